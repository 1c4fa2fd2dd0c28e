"""Named variants of one configuration, each a run of its own on the same data, one after another, and a table of them.

An ablation is such a list too. A variant is written as on a command line: presets, and single values over them.
"""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from src.compose import composed_tree
from src.config import Config
from src.features.statistics import load_statistics
from src.files import write_json
from src.layout import PACKED_DIR, RunFolder
from src.models.sweeping.ending import measure, show
from src.models.sweeping.search_space import own_values
from src.models.sweeping.sweep_folder import changed, held, open_folder, plan_of, train_and_score
from src.models.sweeping.variant_options import OPTIONS, Options
from src.models.sweeping.variant_results import VARIANT_FILE, results_text, row_of, write_results
from src.selection import Selection
from src.validation import typed

log = logging.getLogger(__name__)


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


def variants(cfg: Config, *, name: Any, seeds: Any, common: Any, variants: Any, scale: Any = None) -> None:
    """Train and score every variant; write `results.csv` and `summary.json`, tell both and compare all on one page.

    Raises:
        ValueError: a variant that cannot be, or no packed data made with these settings.
        SystemExit: a variant failed (1), the others being run; or a signal stopped the sweep.
    """
    given = {"name": name, "seeds": seeds, "common": common, "variants": variants, "scale": scale}
    options: Options = typed(Options, given, at=OPTIONS)
    found = prepare(cfg, options)
    failed: dict[str, str] = {}
    runs = list(found.runs())
    with held(found.folder) as descriptor:
        for number, (variant, seed, run) in enumerate(runs, start=1):
            log.info("%s: %d of %d", run.name, number, len(runs))
            if reason := _run(found, variant, seed, held=descriptor):
                log.error("%s failed: %s", run.name, reason)
                failed[run.name] = reason
            write_results(found.folder, runs, failed, data_digest=found.data_digest)
        ended = [(seed, run) for _, seed, run in runs if run.name not in failed]
        failed |= measure(cfg, [run for seed, run in ended if seed == options.seeds[0]], held=descriptor)
        failed |= show([run for _, run in ended], name=found.folder.name, held=descriptor)
        write_results(found.folder, runs, failed, data_digest=found.data_digest)
    sys.stdout.write(results_text(found.folder, runs, failed))
    if failed:
        raise SystemExit(1)


def prepare(cfg: Config, options: Options) -> Variants:
    """The comparison over the packed data, its folder made.

    The folder is the same for other seeds, shares and processes, so that they can be added.

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
