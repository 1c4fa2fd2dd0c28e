"""What a comparison of named variants may be asked for, and what each of its variants selects."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from src.models.sweeping.search_space import SEARCHED, check_section
from src.schema import Section
from src.selection import Selection, parse

OPTIONS = "sweep.options"
VARIED = (*SEARCHED, "run")
"""Sections that a variant may set; `data` and `features` would change the packed images that all share."""
NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
PERCENT = 100


@dataclass(frozen=True, kw_only=True)
class Scale(Section):
    """What accuracy and time are told of beside the whole of train on one process."""

    shares: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(description="of train")]
    processes: Annotated[list[Annotated[int, Field(ge=2)]], Field(description="with all of train")]

    def applied(self, name: str, own: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """Name and overrides of the variant, and of those beside it."""
        yield name, [*own]
        for share in self.shares:
            yield f"{name}_share_{PERCENT * share:g}".replace(".", "_"), [*own, f"train.share={share}"]
        for number in self.processes:
            yield f"{name}_processes_{number}", [*own, f"run.devices={number}"]


@dataclass(frozen=True, kw_only=True)
class Options(Section):
    """What may stand in `sweep.options`."""

    name: Annotated[str, Field(description="beginning of the folder's name")]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, description="of each variant, a run each")]
    common: Annotated[list[str], Field(description="overrides of every variant; its own go over them")]
    variants: Annotated[dict[str, list[str] | None], Field(description="overrides by name; null leaves one out")]
    scale: Annotated[
        Scale | None, Field(description="each variant with fewer images and on more processes, too; null: with neither")
    ] = None

    def selections(self) -> dict[str, Selection]:
        """What each variant selects, by its name.

        Raises:
            ValueError: no variant, a name that is no name, an override that cannot be, a seed twice.
        """
        for name in (self.name, *self.variants):
            if not NAME.fullmatch(name):
                raise ValueError(
                    f"{OPTIONS}: {name!r} names a folder: take small letters, digits and _, as in plain_cnn"
                )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"{OPTIONS}.seeds={self.seeds} names a seed twice; each gives one run: name it once")
        chosen = {name: own for name, own in self.variants.items() if own is not None}
        if not chosen:
            raise ValueError(f"{OPTIONS}.variants names none; give some, such as plain_cnn: [model=baseline_cnn]")
        scaled = chosen if self.scale is None else _scaled(chosen, self.scale)
        return {name: _selection(name, [*self.common, *own]) for name, own in scaled.items()}


def _scaled(chosen: Mapping[str, list[str]], scale: Scale) -> dict[str, list[str]]:
    """The variants and what stands beside each."""
    pairs = [pair for name, own in chosen.items() for pair in scale.applied(name, own)]
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{OPTIONS}: {twice[0]} would be the name of two runs; change scale, or a variant's name")
    return dict(pairs)


def _selection(name: str, overrides: Sequence[str]) -> Selection:
    """What the overrides of a variant select."""
    try:
        selection = parse(overrides)
    except ValueError as error:
        raise ValueError(f"{OPTIONS}.variants.{name}: {error}") from None
    for key in (*selection.presets, *selection.values):
        because = f"{key} is none of what differs between variants, which share the packed data:"
        check_section(key, VARIED, at=f"{OPTIONS}.variants.{name}", because=because, outside="the list")
    if None in selection.presets.values():
        raise ValueError(f"{OPTIONS}.variants.{name}: null is no preset; leave it out")
    return selection
