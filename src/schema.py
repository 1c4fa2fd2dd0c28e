"""What all sections of the configuration share."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field

Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Section:
    """Settings shared by all sections: unknown keys are refused and types are not coerced."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


@dataclass(frozen=True, kw_only=True)
class Component(Section):
    """An entry of a literal table in the code, and arguments for it."""

    name: Annotated[str, Field(description="entry of the table")]
    options: Annotated[dict[str, Any], Field(description="arguments of the entry, checked against its signature")]
