"""One trial of a search: a training run in a child process, watched while it runs, and what is told of it."""

import logging
import math
import shutil
import time
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import TrialState

from src.artifacts import RunRecord
from src.config import Config
from src.layout import RunFolder
from src.metrics_log import read_metrics
from src.models.sweeping.sweep_folder import train_once

log = logging.getLogger(__name__)

COSTS = ("epochs", "seconds", "images_per_s", "num_params", "peak_mib")
"""Fields of a run's record that tell what it cost."""


@dataclass
class Watch:
    """Reads the metrics of a run while it trains, and says whether it is to be stopped: pruned, or out of time."""

    trial: optuna.Trial
    run: RunFolder
    metric: str
    epochs: int
    limit_s: float | None
    pruned: bool = False
    late: bool = False
    began: float = field(default_factory=time.monotonic)
    size: int = 0

    def __post_init__(self) -> None:
        """Take up what was reported before a kill."""
        known = self.trial.study.trials[self.trial.number].intermediate_values
        self.epoch = max(known, default=0)
        # the kill may have come between a report and its verdict
        self.pruned = 0 < self.epoch < self.epochs and bool(self.trial.should_prune())

    def __call__(self) -> bool:
        """Whether the run is to be stopped, by what it has written so far."""
        self.late = self.limit_s is not None and time.monotonic() - self.began > self.limit_s
        path = self.run.metrics_log
        if path.exists() and path.stat().st_size != self.size:
            self.size = path.stat().st_size
            self.report()
        return self.pruned or self.late

    def report(self) -> None:
        """Tell the study the epochs that it does not know, up to the one at which the trial is pruned.

        The verdict depends on these figures alone, not on how far the run had come when they were read.
        """
        rows = read_metrics(self.run.metrics_log) if self.run.metrics_log.exists() else []
        for row in rows:
            if row["epoch"] <= self.epoch or self.pruned:
                continue
            self.epoch = int(row["epoch"])
            self.trial.report(row[self.metric], step=self.epoch)
            self.pruned = self.epoch < self.epochs and bool(self.trial.should_prune())


def run_trial(cfg: Config, watch: Watch, *, held: int | None) -> None:
    """Train, and tell the study how the trial ended: finished with a value, pruned, or failed with the reason.

    What an earlier search has trained is not trained again.

    Raises:
        SystemExit: a signal stopped it; the trial is gone on with by the next search.
    """
    reason = "" if watch.pruned else train_once(cfg, watch.run, held=held, watch=watch)
    watch.report()
    if watch.pruned:
        _tell(watch.trial, TrialState.PRUNED, {"epochs": watch.epoch})
    elif watch.late:
        _tell(watch.trial, TrialState.FAIL, {"reason": f"not done after sweep.options.trials.limit_s={watch.limit_s}"})
    elif reason:
        _tell(watch.trial, TrialState.FAIL, {"reason": reason})
    else:
        _tell_result(watch)


def fail(trial: optuna.Trial, reason: str) -> None:
    """Tell the study that a trial could not be run."""
    _tell(trial, TrialState.FAIL, {"reason": reason})


def remove_weights(run: RunFolder) -> None:
    """Give back the room of checkpoints and states; metrics, record and output stay."""
    for folder in (run.checkpoint("best"), run.checkpoint("last"), run.resume):
        shutil.rmtree(folder, ignore_errors=True)


def _tell_result(watch: Watch) -> None:
    record = RunRecord.load(watch.run.train)
    value = record.best[watch.metric]
    costs: dict[str, Any] = {name: getattr(record, name) for name in COSTS}
    if not math.isfinite(value):
        _tell(watch.trial, TrialState.FAIL, costs | {"reason": f"{watch.metric} is {value}"})
        return
    _tell(watch.trial, TrialState.COMPLETE, costs | {"best_epoch": int(record.best["epoch"])}, value=value)


def _tell(trial: optuna.Trial, state: TrialState, facts: dict[str, Any], *, value: float | None = None) -> None:
    for name, fact in facts.items():
        trial.set_user_attr(name, fact)
    trial.study.tell(trial, value, state=state)
