"""What a search varies: its dimensions, checked against the schema, and the configuration of one point in them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from src.choices import suggestion
from src.compose import composed_tree
from src.config import Config, as_tree
from src.models.sweeping.sweep_folder import changed, changed_tree
from src.schema import Section
from src.selection import Selection, groups
from src.trees import flat
from src.validation import section_keys, typed

KEY = "sweep.options.space"
SEARCHED = ("model", "augment", "loss", "optimizer", "schedule", "train")
"""Sections that act on training alone; `data` and `features` would change the packed images."""
WORDS = ("low", "high", "log", "step", "choices", "keep")

Point = Mapping[str, Any]
"""A value for each dimension, by its key."""


@dataclass(frozen=True, kw_only=True)
class Interval(Section):
    """From `low` to `high`, both included; whole numbers where both are."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None


@dataclass(frozen=True, kw_only=True)
class Choices(Section):
    """One of some values, or of some presets of a group; `keep` lays what the configuration sets there over each."""

    choices: list[str | bool | int | float | None]
    keep: bool = False


def dimensions(space: Mapping[str, Any], cfg: Config) -> dict[str, BaseDistribution]:
    """The dimensions of a space by their dotted keys, in its order; one that is null is left out.

    Raises:
        ValueError: there is none, or a key, a preset, a bound or a value that cannot be.
    """
    found: dict[str, BaseDistribution] = {}
    for key, words in list(_leaves(space)):
        _check_key(key)
        if key in found:
            raise ValueError(f"{KEY}.{key} stands twice, once with dots in its name: keep one of them")
        found[key] = _distribution(key, words, cfg)
    if not found:
        raise ValueError(
            f"{KEY} holds nothing to search, such as optimizer: {{lr: {{low: 1e-4, high: 0.1, log: true}}}}"
        )
    for key, distribution in found.items():
        _check_values(key, distribution, cfg)
    _check_nothing_is_lost(found, kept_values(space, cfg), cfg)
    return found


def at(cfg: Config, point: Point) -> Config:
    """The configuration at a point of the space: presets first, single values over them.

    Raises:
        ValueError: values that cannot hold together.
    """
    # single values are written into the presets' own dicts
    presets = {key: deepcopy(preset_section(key, preset)) for key, preset in point.items() if key in SEARCHED}
    return changed(cfg, presets | {key: value for key, value in point.items() if key not in SEARCHED})


def overrides(point: Point) -> str:
    """The point as it would be typed on a command line."""
    presets = {key: value for key, value in point.items() if key in SEARCHED}
    return Selection(presets, {key: value for key, value in point.items() if key not in SEARCHED}).described()


@cache
def preset_section(group: str, preset: str) -> Any:
    """The values of a section under one of its presets."""
    return composed_tree(Selection({group: preset}))[group]


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Dotted key and words of each dimension; one may stand inside another, as `model.pretrained` in `model`."""
    if path and (words := {word: value for word, value in tree.items() if word in WORDS}):
        yield path, words
    for name, value in tree.items():
        key = f"{path}.{name}" if path else name
        if isinstance(value, Mapping):
            yield from _leaves(value, key)
        elif value is not None and not (path and name in WORDS):
            raise ValueError(f"{KEY}.{key}={value} should be {{low: .., high: ..}} or {{choices: [..]}}")


def check_section(key: str, allowed: Sequence[str], *, at: str, because: str, outside: str) -> None:
    """Nothing, where the key is of a section that a sweep may vary.

    Raises:
        ValueError: it is not; `because` leads over to the sections that are, `outside` says where it can be set.
    """
    section = key.partition(".")[0]
    if section not in section_keys(()):
        raise ValueError(f"{at}: {section} is not a key; {suggestion(section, allowed)}")
    if section not in allowed:
        raise ValueError(f"{at}: {because} {', '.join(allowed)}; set {section} outside {outside}")


def _check_key(key: str) -> None:
    because = "a search trains on the packed data as they are and varies"
    check_section(key, SEARCHED, at=f"{KEY}.{key}", because=because, outside="the space")


def _distribution(key: str, words: Mapping[str, Any], cfg: Config) -> BaseDistribution:
    where = f"{KEY}.{key}"
    try:
        if "choices" in words:
            return CategoricalDistribution(typed(Choices, words, at=where).choices)
        found: Interval = typed(Interval, words, at=where)
        if _is_whole(key, found, cfg):
            return IntDistribution(int(found.low), int(found.high), log=found.log, step=int(found.step or 1))
        return FloatDistribution(float(found.low), float(found.high), log=found.log, step=found.step)
    except ValueError as error:
        said = " ".join(str(error).split())
        raise ValueError(said if said.startswith(where) else f"{where}: {said}") from None


def _is_whole(key: str, found: Interval, cfg: Config) -> bool:
    """Whether an interval holds whole numbers only: its ends are, and the key takes no others or is an option."""
    if any(type(number) is float for number in (found.low, found.high, found.step)):
        return False
    *parents, last = key.split(".")
    if last not in section_keys(tuple(parents)):
        return True
    between = found.low + (found.high - found.low) / (abs(found.high - found.low) + 1)
    try:
        typed(Config, changed_tree(cfg, {key: between}))
    except ValueError:
        return True
    return False


def _check_values(key: str, distribution: BaseDistribution, cfg: Config) -> None:
    """Nothing, where the schema takes the ends or the choices of a dimension."""
    if key in SEARCHED:
        _check_presets(key, distribution)
        return
    for value in ends_of(distribution):
        try:
            typed(Config, changed_tree(cfg, {key: value}))
        except ValueError as error:
            raise ValueError(f"{KEY}.{key}: {error}") from None


def _check_presets(group: str, distribution: BaseDistribution) -> None:
    known = groups()[group]
    if not isinstance(distribution, CategoricalDistribution):
        raise ValueError(f"{KEY}.{group} takes presets: {group}: {{choices: [{', '.join(known)}]}}")
    for preset in distribution.choices:
        if preset not in known:
            raise ValueError(
                f"{KEY}.{group}: {preset} is not a preset of configs/{group}; {suggestion(str(preset), known)}"
            )
        preset_section(group, str(preset))


def ends_of(distribution: BaseDistribution) -> list[Any]:
    """The values that bound a dimension: all of its choices, or its ends."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return [distribution.low, distribution.high]


def _check_nothing_is_lost(found: Mapping[str, BaseDistribution], kept: Mapping[str, Any], cfg: Config) -> None:
    """Nothing, where the configuration sets no value that a preset of the space would drop without a word."""
    for group in [key for key in found if key in SEARCHED]:
        own = {key: value for key, value in own_values(group, cfg).items() if not _is_name(key)}
        lost = [f"{key}={value}" for key, value in own.items() if key not in found and key not in kept]
        if lost:
            raise ValueError(
                f"{KEY}.{group}: its presets would drop what the configuration sets ({', '.join(lost)}); "
                f"{KEY}.{group}.keep=true lays it over each of them, or leave it out"
            )


def kept_values(space: Mapping[str, Any], cfg: Config) -> dict[str, Any]:
    """Values of the configuration that stay over every preset, by dotted key: those of a group with `keep: true`."""
    groups_kept = [key for key, words in _leaves(space) if key in SEARCHED and "keep" in words and words["keep"]]
    return {key: value for group in groups_kept for key, value in own_values(group, cfg).items() if not _is_name(key)}


def own_values(group: str, cfg: Config) -> dict[str, Any]:
    """What tells a section of the configuration from the preset that is nearest to it, by dotted key."""
    section = flat({group: as_tree(cfg)[group]})
    nearest: dict[str, Any] | None = None
    # a preset is often called as what it chooses
    for preset in sorted(groups()[group], key=lambda name: name not in section.values()):
        # one that needs a value of its user's cannot be composed alone
        with suppress(ValueError):
            plain = flat({group: preset_section(group, preset)})
            own = {key: value for key, value in section.items() if key not in plain or plain[key] != value}
            nearest = own if nearest is None or len(own) < len(nearest) else nearest
        if nearest == {}:
            break
    return nearest or {}


def _is_name(key: str) -> bool:
    """Whether the key says which entry of a table it is, which is what a preset is chosen for."""
    return key.count(".") == 1 and key.endswith(".name")
