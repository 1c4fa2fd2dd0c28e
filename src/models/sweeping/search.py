"""A search for better settings: trials proposed by Optuna, each a run of its own, told by its figures on val alone."""

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field

from src.config import Config
from src.features.statistics import load_statistics
from src.layout import PACKED_DIR, RunFolder
from src.models.sweeping.search_results import STATES, results_text, write_results
from src.models.sweeping.search_space import at, dimensions, kept_values, overrides
from src.models.sweeping.study import Design, best_of, ended, next_trial, open_study
from src.models.sweeping.sweep_folder import changed, held, open_folder, plan_of
from src.models.sweeping.trials import Watch, fail, remove_weights, run_trial
from src.schema import Component, Count, Section
from src.validation import typed
from src.wording import counted

log = logging.getLogger(__name__)

OPTIONS = "sweep.options"


@dataclass(frozen=True, kw_only=True)
class Trials(Section):
    """How many trials there are and what each may take."""

    number: Annotated[Count | None, Field(description="trials in all; null: every point of a grid")]
    limit_s: Annotated[float | None, Field(gt=0, description="a trial that takes longer has failed, in s; null: none")]
    keep: Annotated[Literal["best", "all"], Field(description="whose weights are kept")]


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search that is ready to start, or to go on."""

    cfg: Config
    folder: Path
    design: Design
    trials: Trials
    num_trials: int
    data_digest: str
    kept: Mapping[str, Any]

    def run(self, trial: int) -> RunFolder:
        """The folder of one trial's run."""
        return RunFolder(self.folder / f"trial_{trial:03d}")


def search(
    cfg: Config,
    *,
    metric: str,
    trials: Mapping[str, Any],
    sampler: Mapping[str, Any],
    pruner: Mapping[str, Any],
    space: Mapping[str, Any],
) -> None:
    """Try points of a space of settings; write `results.csv`, `summary.json` and `best.yaml`, and tell them.

    A trial that fails, runs out of memory or gets a loss that is no number has failed, and the search goes on.

    Raises:
        ValueError: a setting that cannot be, or no packed data with a val split made with these settings.
        SystemExit: no trial was finished (1), or a signal stopped the search.
    """
    design = Design(
        space=dimensions(space, cfg),
        metric=metric,
        sampler=typed(Component, sampler, at=f"{OPTIONS}.sampler"),
        pruner=typed(Component, pruner, at=f"{OPTIONS}.pruner"),
    )
    found = prepare(cfg, design, typed(Trials, trials, at=f"{OPTIONS}.trials"))
    with held(found.folder) as descriptor:
        study = open_study(found.folder, design, most=found.num_trials)
        while len(ended(study)) < found.num_trials:
            _try_one(found, study, held=descriptor)
            _keep_books(found, study)
        _keep_books(found, study)
    sys.stdout.write(results_text(study, found.folder, metric=metric))
    if best_of(study) is None:
        raise SystemExit(1)


def prepare(cfg: Config, design: Design, trials: Trials) -> Search:
    """The search over the packed data, its folder made.

    The folder is the same for another number of trials, so that a search can be extended.

    Raises:
        ValueError: no number of trials, or no packed data with a val split made with these settings.
    """
    num_trials = trials.number
    if design.is_grid:
        num_trials = min(num_trials or sys.maxsize, len(design.points()))
    if num_trials is None:
        raise ValueError(f"{OPTIONS}.trials.number=null is for a grid; say how many trials {design.sampler.name} draws")
    statistics = load_statistics(PACKED_DIR, cfg.data, cfg.features)
    if not statistics["counts"].get("val"):
        raise ValueError("a search goes by the val split and there is none; set data.val_share to hold one out")
    assert cfg.sweep is not None, "a sweep was asked for"
    rules = {key: value for key, value in cfg.sweep.options.items() if key != "trials"}
    plan = plan_of(cfg, statistics["digest"]) | {"sweep": {"name": "search", "options": rules}}
    folder = open_folder("search", plan)
    kept = kept_values(cfg.sweep.options["space"], cfg)
    log.info("%s: %d trials by %s", folder, num_trials, design.sampler.name)
    if kept:
        log.info("over every preset stays %s", overrides(kept))
    return Search(
        cfg=cfg,
        folder=folder,
        design=design,
        trials=trials,
        num_trials=num_trials,
        data_digest=statistics["digest"],
        kept=kept,
    )


def trial_config(search: Search, trial: int, point: Mapping[str, Any]) -> Config:
    """The configuration of one trial's run.

    Raises:
        ValueError: values that cannot hold together.
    """
    run, wandb = search.run(trial), search.cfg.run.wandb
    values = {
        "run_dir": run.path.as_posix(),
        "sweep": None,
        "run.wandb.group": wandb.group or search.folder.name,
        "run.wandb.name": f"{wandb.name or search.folder.name}/{run.name}",
    }
    return changed(at(search.cfg, {**search.kept, **point}), values)


def _try_one(search: Search, study: optuna.Study, *, held: int | None) -> None:
    """Run the trial that was left unfinished, or the next one, and log how it ended."""
    trial = next_trial(study, search.design)
    run = search.run(trial.number)
    log.info("%s: %d of %d: %s", run.name, trial.number + 1, search.num_trials, overrides(trial.params))
    try:
        cfg = trial_config(search, trial.number, trial.params)
    except ValueError as error:
        fail(trial, " ".join(str(error).split()))
    else:
        watch = Watch(trial, run, search.design.metric, cfg.train.epochs, search.trials.limit_s)
        run_trial(cfg, watch, held=held)
    _log_end(study, study.trials[trial.number], run.name, search.design.metric)


def _log_end(study: optuna.Study, trial: FrozenTrial, name: str, metric: str) -> None:
    if trial.value is None:
        log.warning("%s failed: %s", name, trial.user_attrs["reason"])
        return
    best = best_of(study)
    so_far = "" if best is None else f"; best so far {best.value:.4f} of trial {best.number}"
    epochs = counted(trial.user_attrs["epochs"], "epoch")
    log.info("%s %s after %s: %s %.4f%s", name, STATES[trial.state], epochs, metric, trial.value, so_far)


def _keep_books(search: Search, study: optuna.Study) -> None:
    """Write the results so far, and remove the weights that are not to be kept."""
    best = best_of(study)
    best_cfg = None
    if best is not None:
        # as a run of its own, in a new folder
        best_cfg = replace(trial_config(search, best.number, best.params), run_dir=None, run=search.cfg.run)
    facts = {"metric": search.design.metric, "data_digest": search.data_digest}
    write_results(study, search.folder, best_cfg, facts=facts)
    for trial in ended(study):
        is_kept = trial.state == TrialState.COMPLETE and search.trials.keep == "all"
        if not is_kept and (best is None or trial.number != best.number):
            remove_weights(search.run(trial.number))
