"""Choosing an entry of a table by name, with help for the one who misspelt it."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any, TypeVar

Entry = TypeVar("Entry")

MOST_SHOWN = 12


def near(name: str, names: Iterable[str], *, most: int = 3) -> list[str]:
    """Up to `most` of `names` that look like `name`, nearest first."""
    return get_close_matches(name, list(names), n=most, cutoff=0.5)


def suggestion(name: str, names: Iterable[str]) -> str:
    """A clause that ends an error: the near names, or the allowed ones where none is near."""
    allowed = sorted(names)
    close = near(name, allowed)
    if close:
        return f"did you mean {' or '.join(close)}?"
    shown = ", ".join(allowed[:MOST_SHOWN])
    more = f" and {len(allowed) - MOST_SHOWN} more" if len(allowed) > MOST_SHOWN else ""
    return f"allowed: {shown}{more}" if allowed else "none is allowed here"


def pick(table: Mapping[str, Entry], name: str, *, key: str) -> Entry:
    """The entry of `table` called `name`; `key` is the config key that chose it.

    Raises:
        ValueError: no such entry; the message offers the near or the allowed names.
    """
    if name not in table:
        raise ValueError(f"{key}={name} is unknown; {suggestion(name, table)}")
    return table[name]


def is_number(value: object) -> bool:
    """Whether an option is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_positive(value: Any) -> bool:
    """Whether an option is a number above zero."""
    return is_number(value) and value > 0


def bound(function: Callable[..., Any], options: Mapping[str, Any], *, name: str, key: str) -> dict[str, Any]:
    """`options`, once it is sure that they are just the keyword-only arguments that `function` needs.

    Raises:
        ValueError: an option that the entry called `name` does not take, or one it needs is absent.
    """
    parameters = signature(function).parameters.values()
    keyword_only = [entry for entry in parameters if entry.kind is entry.KEYWORD_ONLY]
    taken = [entry.name for entry in keyword_only]
    for option in options:
        if option not in taken:
            raise ValueError(f"{key}.{option}: {name} takes no {option}; {suggestion(option, taken)}")
    absent = [entry.name for entry in keyword_only if entry.default is entry.empty and entry.name not in options]
    if absent:
        raise ValueError(f"{key}: {name} needs {', '.join(absent)}")
    return dict(options)
