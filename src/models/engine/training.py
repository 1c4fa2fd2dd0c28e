"""A training run: the loop with its checkpoints, its metrics and its record, gone on with where it was cut short."""

import csv
import logging
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from src.artifacts import RunRecord
from src.config import Config, as_tree
from src.energy import Meter
from src.features.augment_preview import preview
from src.features.backbones import num_params
from src.features.loader import steps_per_epoch
from src.features.origin import weights_origin
from src.features.packed import PackedSplit
from src.files import write_atomically
from src.logs import environment, git_state
from src.metrics_log import write_metrics
from src.models import checkpoint
from src.models.checkpoint import ModelFacts
from src.models.engine.loop import Hooks, Metrics, fit
from src.models.engine.recipe import Recipe
from src.models.engine.run_folder import Claim
from src.models.engine.state import TrainState
from src.models.engine.teamwork import SaveClock, checkpoints_of, whole_peak_mib, whole_state
from src.models.engine.waiting import advice
from src.models.evaluating.calibrating import calibrate_checkpoints
from src.models.runtime import gpus_in_use
from src.models.signals import STOPPING, StopFlag
from src.tracking import Trackers, open_trackers
from src.wording import counted

log = logging.getLogger(__name__)

CURVE_COLUMNS = ("epoch", "train/loss", "val/loss", "train/acc", "val/acc", "lr", "images_per_s")


@dataclass
class Training:
    """A run that is ready to start, or to go on; `rows` are the metrics of the epochs done, `seconds` their time."""

    cfg: Config
    state: TrainState
    recipe: Recipe
    splits: dict[str, PackedSplit]
    claim: Claim
    facts: ModelFacts
    rows: list[Metrics] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Take the place of the run that was cut short, if there is one."""
        self.folder = self.claim.folder
        self.began, self.advised = time.perf_counter(), False
        self.saves = SaveClock(self.recipe.team, self.cfg.train.save_every_s)
        self.meter = Meter(gpus=gpus_in_use(self.recipe.runtime.device, self.recipe.team.world))
        if self.claim.state is not None:
            self._go_on(self.claim.state)

    def run(self, stop: StopFlag) -> str:
        """Why the run ended; see `fit`. Checkpoints, metrics and the record are in the run folder."""
        epochs, images = counted(self.recipe.epochs, "epoch"), counted(len(self.splits["train"]), "image")
        log.info("run folder %s: %s over %s", self.folder.path, epochs, images)
        if not self.folder.augmented.exists():
            write_atomically(
                self.folder.augmented, preview(self.splits["train"], self.recipe.augment, seed=self.recipe.seed)
            )
        with self._trackers() as trackers:
            hooks = Hooks(self._save_if_due, partial(self._keep_epoch, trackers))
            stopped = fit(self.state, self.recipe, splits=self.splits, hooks=hooks, stop=stop)
            if stopped in STOPPING:
                self._stop(stopped)
                return stopped
            peak_mib = whole_peak_mib(self.recipe)
            trackers.summary({f"{key}_best": value for key, value in self.state.best.items() if key != "epoch"})
            place, val = self.recipe.runtime, self.splits.get("val")
            calibrate_checkpoints(self.folder, val, place.device, batch_size=self.recipe.eval_batch_size)
            trackers.keep(self.folder.checkpoint("best"))
        write_curves(self.folder.curves, self.rows)
        self._record(stopped, peak_mib).save(self.folder.train)
        if "val/acc" in self.state.best:
            log.info("best val/acc %.4f in epoch %d", self.state.best["val/acc"], self.state.best["epoch"])
        self.claim.resume.clear()
        return stopped

    def _trackers(self) -> Trackers:
        return open_trackers(
            self.cfg.run,
            folder=self.folder.path,
            run_id=self.claim.run_id,
            config=as_tree(self.cfg),
            resume_step=self.state.step,
        )

    def _keep_epoch(self, trackers: Trackers, state: TrainState, metrics: Metrics, best: bool) -> None:  # noqa: FBT001 - a callback's fact
        self.rows.append(metrics)
        self.meter.read()
        trackers.log(metrics, step=state.step)
        log.info("%s", epoch_line(metrics, self.recipe.epochs, best=best))
        self._advise(metrics)
        for which in checkpoints_of(best=best):
            self._save_weights(which, metrics)
        self._save_if_due(state)

    def _advise(self, metrics: Metrics) -> None:
        """Say once what to change where training waits for data."""
        most, train = self.cfg.run.max_wait_share, self.splits["train"]
        # a run that goes on at the end of an epoch has trained on nothing in it
        share, rate = metrics["train/wait_share"], metrics["images_per_s"]
        seconds = len(train) / rate if rate > 0 else 0.0
        said = advice(share, seconds=seconds, most=most, batch_size=self.recipe.batch_size, side=train.size)
        if said and not self.advised:
            log.warning("%s", said)
            self.advised = True

    def _save_weights(self, which: str, metrics: Metrics) -> None:
        facts = replace(self.facts, step=self.state.step, epoch=self.state.epoch, metrics=metrics)
        checkpoint.save(self.folder.checkpoint(which), self.state.average.model, facts)

    def _save_if_due(self, state: TrainState) -> None:
        if self.saves.due():
            self._save_state()

    def _save_state(self) -> None:
        """Everything that the run needs to go on, the best checkpoint included: DVC removes the one in the folder."""
        content = {
            "state": whole_state(self.state, self.recipe.team),
            "rows": self.rows,
            "seconds": self.seconds + time.perf_counter() - self.began,
            "best": checkpoint.packed(self.folder.checkpoint("best")),
            "last": checkpoint.packed(self.folder.checkpoint("last")),
        }
        self.claim.resume.save(content, step=self.state.step)
        self.saves.done()

    def _go_on(self, saved: dict[str, Any]) -> None:
        self.state.load_state_dict(saved["state"])
        self.meter.miss("the run was gone on with, and what it took before is not known")
        self.rows, self.seconds = saved["rows"], saved["seconds"]
        for which in ("best", "last"):
            checkpoint.unpack(self.folder.checkpoint(which), saved[which])
        # DVC may have removed the file, and rows of after the save are logged again
        epoch_steps = steps_per_epoch(len(self.splits["train"]), self.recipe.batch_size)
        write_metrics(self.folder.metrics_log, {epoch_steps * int(row["epoch"]): row for row in self.rows})
        log.info("goes on from step %d (epoch %d)", self.state.step, self.state.epoch + 1)

    def _stop(self, stopped: str) -> None:
        """Save what is there, weights of an epoch cut short included."""
        self._save_state()
        self._save_weights("last", self.rows[-1] if self.rows else {})
        self.claim.resume.release()
        log.warning(
            "stopped by %s at step %d; the last weights are in %s; run the same command again to go on",
            *(stopped, self.state.step, self.folder.checkpoint("last")),
        )

    def _record(self, stopped: str, peak_mib: float) -> RunRecord:
        # an epoch that was gone on with at its end trained nothing
        rates = sorted(row["images_per_s"] for row in self.rows if row["images_per_s"] > 0)
        return RunRecord(
            run_id=self.claim.run_id,
            config=as_tree(self.cfg),
            class_names=self.facts.class_names,
            data_digest=self.facts.data_digest,
            git=git_state(),
            environment=environment(),
            device=f"{self.recipe.runtime.device}, {self.recipe.runtime.precision}",
            num_params=num_params(self.state.model),
            epochs=self.state.epoch,
            steps=self.state.step,
            best=self.state.best,
            seconds=round(self.seconds + time.perf_counter() - self.began, 2),
            images_per_s=round(rates[len(rates) // 2], 1) if rates else 0.0,
            peak_mib=round(peak_mib, 1),
            stopped=stopped,
            facts={
                "rollbacks": self.state.rollbacks,
                "teacher_sha256": self.recipe.teaching.digest,
                "compiled": bool(self.state.compiled),
                "weights": weights_origin(self.cfg.model, init_from=self.cfg.train.init_from),
                "energy": self.meter.record(),
            },
        )


def epoch_line(metrics: Metrics, epochs: int, *, best: bool) -> str:
    """The epoch in one line of the log."""
    parts = [
        f"epoch {metrics['epoch']:.0f}/{epochs}: train loss {metrics['train/loss']:.4f} acc {metrics['train/acc']:.4f}"
    ]
    if "val/acc" in metrics:
        parts.append(f"val loss {metrics['val/loss']:.4f} acc {metrics['val/acc']:.4f}{' (best)' if best else ''}")
    parts.append(f"lr {metrics['lr']:.2e}, {metrics['images_per_s']:.0f} images/s")
    return ", ".join(parts)


def write_curves(path: Path, rows: list[Metrics]) -> None:
    """A CSV file with a row per epoch."""
    columns = [name for name in CURVE_COLUMNS if rows and name in rows[0]]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
