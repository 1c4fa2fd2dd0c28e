"""Runs that are repetitions of one another, and what tells the groups apart."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.runs import Run
from src.trees import flat

ACTING = ("data", "features", "model", "augment", "loss", "optimizer", "schedule", "train")
"""Sections that act on weights."""

ACTING_ALONE = ("run.devices",)
NOT_ACTING = ("train.resume", "train.save_every_s", "data.about")
MOST_IN_NAME = 3
SHORT = ("model.name", "data.name")


@dataclass(frozen=True)
class Group:
    """Runs whose settings differ in nothing but repetitions; `name` tells it from the other groups."""

    name: str
    runs: list[Run]
    settings: dict[str, Any]

    @property
    def seeds(self) -> list[Any]:
        """The seeds of its runs."""
        return [run.record.config["train"]["seed"] for run in self.runs]


def grouped(runs: Sequence[Run], *, repetitions: Sequence[str]) -> list[Group]:
    """The groups in the order of their first runs, each with a name of its own."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        settings = settings_of(run, leave_out=repetitions)
        found.setdefault(json.dumps(settings, sort_keys=True), []).append(run)
    members = list(found.values())
    acting = [settings_of(group[0], leave_out=repetitions) for group in members]
    keys = varying(acting)
    names = _unlike([_name(own, keys, group) for own, group in zip(acting, members, strict=True)], members)
    return [
        Group(name, group, {key: own.get(key) for key in keys})
        for name, group, own in zip(names, members, acting, strict=True)
    ]


def settings_of(run: Run, *, leave_out: Sequence[str] = ()) -> dict[str, Any]:
    """Dotted keys and values of everything that acts on the weights of a run."""
    config = run.record.config
    values = flat({section: config[section] for section in ACTING if section in config})
    values |= {key: flat(config).get(key) for key in ACTING_ALONE}
    # the weights of a soup come from its runs, whatever else its record says
    if "soup" in run.record.facts:
        values |= {f"soup.{key}": value for key, value in config["soup"].items()}
    left_out = (*leave_out, *NOT_ACTING)
    return {
        key: value
        for key, value in values.items()
        # options that are not given are no setting
        if value != {} and not any(key == other or key.startswith(f"{other}.") for other in left_out)
    }


def varying(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys in which the settings are not all equal, those that name things first."""
    keys = list(dict.fromkeys(key for one in settings for key in one))
    found = [key for key in keys if any(one.get(key) != settings[0].get(key) for one in settings)]
    return sorted(found, key=lambda key: (key not in SHORT, keys.index(key)))


def _name(settings: Mapping[str, Any], keys: Sequence[str], runs: Sequence[Run]) -> str:
    """What tells the group from the others, as it would be typed; the folder where that is too long to read."""
    if not keys:
        return str(settings.get("model.name", runs[0].folder.name))
    # what a network, an optimiser or a schedule brings along is told by its name
    shown = [key for key in keys if key.endswith(".name") or f"{key.split('.')[0]}.name" not in keys]
    if len(shown) > MOST_IN_NAME or any(isinstance(settings.get(key), list | dict) for key in shown):
        return runs[0].folder.name if len(runs) == 1 else f"{Path(runs[0].place).name} and {len(runs) - 1} more"
    return ", ".join(_part(key, settings.get(key)) for key in shown)


def _part(key: str, value: Any) -> str:
    if key in SHORT:
        return str(value)
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"
    return f"{key}={text}"


def _unlike(names: Sequence[str], members: Sequence[Sequence[Run]]) -> list[str]:
    """The names, a folder put behind those that occur twice."""
    return [
        name if names.count(name) == 1 else f"{name} ({runs[0].place})"
        for name, runs in zip(names, members, strict=True)
    ]
