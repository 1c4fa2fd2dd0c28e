"""The one door from plain values to a typed configuration: every fault is found, and all are told at once."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from src.choices import suggestion
from src.config import Config
from src.contradictions import contradictions


def validate(tree: Mapping[str, Any]) -> Config:
    """The configuration in `tree`, whole and typed.

    Raises:
        ValueError: with a line for each fault: unknown, missing or wrongly typed keys, and contradictions.
    """
    cfg: Config = typed(Config, tree)
    if faults := contradictions(cfg):
        raise ValueError(_listed(faults))
    return cfg


def typed(kind: Any, tree: Mapping[str, Any], *, at: str = "") -> Any:
    """What `tree` holds as the section `kind`, which lies at the key `at`; contradictions are not looked for.

    Raises:
        ValueError: with a line for each key that is unknown, missing or of a wrong type.
    """
    try:
        return TypeAdapter(kind).validate_json(json.dumps(tree))
    except ValidationError as error:
        raise ValueError(_listed([_fault(details, kind, at) for details in error.errors()])) from None


def section_keys(path: tuple[str, ...], kind: Any = Config) -> list[str]:
    """Names of the fields of the section at `path` in `kind`; empty where it is an open dict of options."""
    for part in path:
        hints = get_type_hints(kind) if is_dataclass(kind) else {}
        kind = hints.get(part)
    return [field.name for field in fields(kind)] if is_dataclass(kind) else []


def _fault(details: Any, kind: Any, at: str) -> str:
    """One sentence for one of pydantic's errors."""
    where = tuple(str(part) for part in details["loc"])
    key = ".".join(filter(None, (at, *where)))
    if details["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{key} is not a key; {suggestion(where[-1], section_keys(where[:-1], kind))}"
    if details["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{key} has no value; give {key}=<value>"
    message = details["msg"].removeprefix("Input should be ")
    return f"{key}={json.dumps(details['input'])} should be {message}"


def _listed(faults: list[str]) -> str:
    if len(faults) == 1:
        return faults[0]
    return f"{len(faults)} faults in the configuration:\n" + "\n".join(f"  - {fault}" for fault in faults)
