"""Named variants of one configuration, each a run of its own on the same data, one after another, and a table of them.

An ablation is such a list too. A variant is written as on a command line: presets, and single values over them.
"""

import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from src.compose import composed_tree
from src.config import Config
from src.features.statistics import load_statistics
from src.files import write_json
from src.layout import PACKED_DIR, RunFolder
from src.models.sweeping.search_space import SEARCHED, check_section, own_values
from src.models.sweeping.sweep_folder import changed, held, open_folder, plan_of, train_and_score
from src.models.sweeping.variant_results import VARIANT_FILE, results_text, row_of, write_results
from src.schema import Section
from src.selection import Selection, parse
from src.validation import typed

log = logging.getLogger(__name__)

OPTIONS = "sweep.options"
VARIED = (*SEARCHED, "run")
"""Sections that a variant may set; `data` and `features` would change the packed images that all share."""
NAME = re.compile(r"[a-z0-9][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Options(Section):
    """What may stand in `sweep.options`."""

    name: Annotated[str, Field(description="beginning of the folder's name")]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, description="of each variant, a run each")]
    common: Annotated[list[str], Field(description="overrides of every variant; its own go over them")]
    variants: Annotated[dict[str, list[str] | None], Field(description="overrides by name; null leaves one out")]

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
        return {name: _selection(name, [*self.common, *own]) for name, own in chosen.items()}


@dataclass(frozen=True, kw_only=True)
class Variants:
    """A comparison that is ready to start, or to go on."""

    cfg: Config
    folder: Path
    cfgs: Mapping[str, Config]
    seeds: Sequence[int]
    data_digest: str

    def runs(self) -> Iterator[tuple[str, int, RunFolder]]:
        """Variant, seed and folder of each run: every variant once, then all of them with the next seed."""
        for seed in self.seeds:
            for name in self.cfgs:
                yield name, seed, RunFolder(self.folder / f"{name}-{seed}")


def variants(
    cfg: Config, *, name: str, seeds: Sequence[int], common: Sequence[str], variants: Mapping[str, Sequence[str] | None]
) -> None:
    """Train and score every variant; write `results.csv` and `summary.json` and tell both.

    Raises:
        ValueError: a variant that cannot be, or no packed data made with these settings.
        SystemExit: a variant failed (1), the others being run; or a signal stopped the sweep.
    """
    given = {"name": name, "seeds": seeds, "common": common, "variants": variants}
    found = prepare(cfg, typed(Options, given, at=OPTIONS))
    failed: dict[str, str] = {}
    runs = list(found.runs())
    with held(found.folder) as descriptor:
        for number, (variant, seed, run) in enumerate(runs, start=1):
            log.info("%s: %d of %d", run.name, number, len(runs))
            if reason := _run(found, variant, seed, held=descriptor):
                log.error("%s failed: %s", run.name, reason)
                failed[run.name] = reason
            write_results(found.folder, runs, failed, data_digest=found.data_digest)
    sys.stdout.write(results_text(found.folder, runs, failed))
    if failed:
        raise SystemExit(1)


def prepare(cfg: Config, options: Options) -> Variants:
    """The comparison over the packed data, its folder made.

    The folder is the same for other seeds, so that seeds can be added.

    Raises:
        ValueError: a variant that cannot be, or no packed data made with these settings.
    """
    cfgs = {name: variant_config(cfg, selection, name=name) for name, selection in options.selections().items()}
    statistics = load_statistics(PACKED_DIR, cfg.data, cfg.features)
    rules = {"common": options.common, "variants": options.variants}
    plan = plan_of(cfg, statistics["digest"]) | {"sweep": {"name": "variants", "options": rules}}
    folder = open_folder(options.name, plan)
    log.info("%s: %d variants, seeds %s", folder, len(cfgs), ", ".join(map(str, options.seeds)))
    return Variants(cfg=cfg, folder=folder, cfgs=cfgs, seeds=options.seeds, data_digest=statistics["digest"])


def variant_config(cfg: Config, selection: Selection, *, name: str) -> Config:
    """The configuration with a variant's presets and values laid over it.

    Raises:
        ValueError: values that cannot be or cannot hold together, or a preset that would drop what `cfg` sets.
    """
    for group in selection.presets:
        own = {key: value for key, value in own_values(group, cfg).items() if key != f"{group}.name"}
        lost = [f"{key}={value}" for key, value in own.items() if not _is_set(key, selection)]
        if lost:
            raise ValueError(
                f"{OPTIONS}.variants.{name}: {group}={selection.presets[group]} would drop what the configuration sets "
                f"({', '.join(lost)}); name it in {OPTIONS}.common for all variants, or in the variant"
            )
    try:
        return changed(cfg, _sections(selection) | selection.values)
    except ValueError as error:
        raise ValueError(f"{OPTIONS}.variants.{name}: {' '.join(str(error).split())}") from None


def _is_set(key: str, selection: Selection) -> bool:
    """Whether the selection sets the key, or a dict that holds it."""
    return any(f"{key}.".startswith(f"{given}.") for given in selection.values)


def _sections(selection: Selection) -> dict[str, Any]:
    """The sections whose presets are chosen, by group."""
    names = {group: selection.values.get(f"{group}.name") for group in selection.presets}
    return {group: deepcopy(_section(group, str(preset), names[group])) for group, preset in selection.presets.items()}


@cache
def _section(group: str, preset: str, name: str | None) -> Any:
    """The values of a section under a preset; one such as model=timm is nothing without the `name` beside it."""
    return composed_tree(Selection({group: preset}, {f"{group}.name": name} if name else {}))[group]


def run_config(found: Variants, variant: str, seed: int, run: RunFolder) -> Config:
    """The configuration of one run."""
    wandb = found.cfg.run.wandb
    values = {
        "run_dir": run.path.as_posix(),
        "sweep": None,
        "train.seed": seed,
        "run.wandb.group": wandb.group or found.folder.name,
        "run.wandb.name": f"{wandb.name or found.folder.name}/{run.name}",
    }
    return changed(found.cfgs[variant], values)


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


def _run(found: Variants, variant: str, seed: int, *, held: int | None) -> str:
    """Why the run failed; empty where it is finished, now or by an earlier sweep."""
    run = RunFolder(found.folder / f"{variant}-{seed}")
    if (run.path / VARIANT_FILE).exists():
        log.info("%s is finished already: %s", run.name, run.path)
        return ""
    cfg = run_config(found, variant, seed, run)
    if reason := train_and_score(cfg, run, held=held):
        return reason
    write_json(run.path / VARIANT_FILE, row_of(run, variant, seed))
    return ""
