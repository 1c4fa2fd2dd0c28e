"""Where the numbers of a training run go: a local file of JSON rows, and the views that `run.trackers` names.

The local rows are the record; Weights & Biases and the others are views of it. A tracker that fails costs its own rows,
never the training: it says so once and is switched off. Only this module imports wandb, and only when a run uses it.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol

from src.config import RunConfig, WandbConfig
from src.layout import RunFolder
from src.metrics_log import JsonlTracker
from src.trackers import CsvTracker, MlflowTracker, TensorboardTracker
from src.wandb_mode import Mode, resolve_mode

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

# Seconds that W&B may take to start and to upload the rest; a tracker that does not answer at all is given up later.
START_S, FINISH_S, PATIENCE_S = 30.0, 60.0, 90.0


class Tracker(Protocol):
    """What the training loop needs of a place that keeps metrics."""

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Keep one row of metrics."""

    def summary(self, metrics: Mapping[str, float]) -> None:
        """Keep figures that describe the whole run, such as `val/acc_best`."""

    def show(self, pictures: Mapping[str, bytes], tables: "Mapping[str, pd.DataFrame]", *, step: int) -> None:
        """Keep pictures (PNG) and tables of the finished run."""

    def keep(self, folder: Path) -> None:
        """Keep the checkpoint in the folder, where that is asked for."""

    def finish(self, exit_code: int = 0) -> None:
        """Keep what is still on its way and close."""


class WandbTracker:
    """A run of Weights & Biases whose files lie in `folder`/wandb; no model and no code is uploaded.

    A stopped run goes on under the same `run_id`; where the server does not answer at the start, rows stay offline.
    """

    def __init__(self, cfg: WandbConfig, *, mode: Mode, folder: Path, run_id: str, config: Mapping[str, Any]) -> None:
        import wandb

        self._artifacts = cfg.artifacts
        start = partial(_start_run, cfg, folder=folder, run_id=run_id, config=config)
        try:
            self._run = start(mode=mode)
        except (wandb.Error, OSError) as error:
            if mode != "online":
                raise
            log.warning("W&B does not take the run online (%s): kept offline", str(error).partition("\n")[0])
            _drop_service()
            self._run = start(mode="offline")
        where = f"offline, upload with: wandb sync {Path(self._run.dir).parent}"
        log.info("W&B run %s: %s", run_id, where if self._run.offline else self._run.url)

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Hand one row to the service of W&B."""
        self._run.log(dict(metrics), step=step, commit=True)

    def summary(self, metrics: Mapping[str, float]) -> None:
        """Set figures shown in the table of runs."""
        self._run.summary.update(dict(metrics))

    def show(self, pictures: Mapping[str, bytes], tables: "Mapping[str, pd.DataFrame]", *, step: int) -> None:
        """Pictures as images and tables as tables of W&B, at the step, or behind it where the run goes on online."""
        import wandb
        from PIL import Image

        shown: dict[str, Any] = {name: wandb.Image(Image.open(BytesIO(png))) for name, png in pictures.items()}
        shown |= {f"{name}_table": wandb.Table(dataframe=table) for name, table in tables.items()}
        # what goes on begins behind the last step, and a row of a step before is dropped without a word here
        self._run.log(shown, step=max(step, self._run.starting_step), commit=True)

    def keep(self, folder: Path) -> None:
        """Upload the checkpoint, if `run.wandb.artifacts` asks for it."""
        import wandb

        if self._artifacts:
            checkpoint = wandb.Artifact(f"model-{self._run.id}", type="model")
            checkpoint.add_dir(str(folder))
            self._run.log_artifact(checkpoint)

    def finish(self, exit_code: int = 0) -> None:
        """Wait for the upload, within bounds, and mark the run as finished or failed."""
        self._run.finish(exit_code=exit_code)


class SafeTracker:
    """A tracker that can neither stop the training nor keep it waiting: after one failure it is switched off.

    `what` names the tracker and `kept` tells where its rows still are, both for the one warning; `abandon` frees
    what a failed tracker holds. No call takes much longer than `patience_s`.
    """

    def __init__(
        self,
        start: Callable[[], Tracker],
        *,
        what: str,
        kept: str,
        abandon: Callable[[], None] = lambda: None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._what, self._kept, self._abandon, self._patience_s = what, kept, abandon, patience_s
        started: list[Tracker] = []
        self._tracker = started[0] if self._tried("the start", lambda: started.append(start())) else None

    def do(self, when: str, action: Callable[[Tracker], None]) -> None:
        """Let the tracker act, unless it is switched off; `when` is told in the warning."""
        if self._tracker is not None and not self._tried(when, partial(action, self._tracker)):
            self._tracker = None

    def _tried(self, when: str, action: Callable[[], None]) -> bool:
        fault = _fault_of(action, wait_s=self._patience_s)
        if fault:
            log.warning("%s failed at %s (%s) and is off for the rest; %s", self._what, when, fault, self._kept)
            _fault_of(self._abandon, wait_s=self._patience_s / 20)
        return not fault


class Trackers:
    """Several trackers as one, or none; closed at the end of a `with` block, also after an error."""

    def __init__(self, trackers: Sequence[SafeTracker] = ()) -> None:
        self._trackers = tuple(trackers)

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Hand one row to each tracker."""
        self._each(f"step {step}", lambda tracker: tracker.log(metrics, step=step))

    def summary(self, metrics: Mapping[str, float]) -> None:
        """Hand the figures of the run to each tracker."""
        self._each("the summary", lambda tracker: tracker.summary(metrics))

    def show(self, pictures: Mapping[str, bytes], tables: "Mapping[str, pd.DataFrame]", *, step: int) -> None:
        """Hand pictures and tables to each tracker."""
        self._each("the figures", lambda tracker: tracker.show(pictures, tables, step=step))

    def keep(self, folder: Path) -> None:
        """Offer the checkpoint in the folder to each tracker."""
        self._each("the checkpoint", lambda tracker: tracker.keep(folder))

    def finish(self, exit_code: int = 0) -> None:
        """Close each tracker; what is logged later goes nowhere."""
        self._each("the end of the run", lambda tracker: tracker.finish(exit_code))
        self._trackers = ()

    def _each(self, when: str, action: Callable[[Tracker], None]) -> None:
        for tracker in self._trackers:
            tracker.do(when, action)

    def __enter__(self) -> "Trackers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.finish(exit_code=0 if kind is None else 1)


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What a view of a run is opened with; `resume_step` is that of a run which goes on, else 0."""

    cfg: RunConfig
    folder: Path
    run_id: str
    config: Mapping[str, Any]
    resume_step: int

    @property
    def kept(self) -> str:
        """Where the rows of a view that failed still are."""
        return f"all rows are in {RunFolder(self.folder).metrics_log}"


def open_trackers(
    cfg: RunConfig, *, folder: Path, run_id: str, config: Mapping[str, Any], resume_step: int = 0
) -> Trackers:
    """The trackers that the configuration asks for; every row also goes to `metrics.jsonl`.

    Raises:
        OSError: the run folder cannot be written.
        ValueError: `metrics.jsonl` of an earlier run is damaged.
    """
    rows = RunFolder(folder).metrics_log
    local = JsonlTracker(rows, resume_step=resume_step)
    record = SafeTracker(lambda: local, what=str(rows), kept="later epochs are not in it")
    opening = Opening(cfg=cfg, folder=folder, run_id=run_id, config=config, resume_step=resume_step)
    return Trackers([record, *_views(opening)])


def open_views(cfg: RunConfig, *, folder: Path, run_id: str, config: Mapping[str, Any], step: int) -> Trackers:
    """The views of a run that has ended, to add to them; its own record stays as it is."""
    return Trackers(_views(Opening(cfg=cfg, folder=folder, run_id=run_id, config=config, resume_step=step)))


def _views(opening: Opening) -> list[SafeTracker]:
    found = [TRACKERS[name](opening) for name in dict.fromkeys(opening.cfg.trackers)]
    return [view for view in found if view is not None]


def _wandb(opening: Opening) -> SafeTracker | None:
    """Weights & Biases; online where a key is found, else offline."""
    cfg = opening.cfg.wandb
    mode = resolve_mode(cfg, os.environ, home=Path.home())
    if mode == "disabled":
        return None
    start = partial(WandbTracker, cfg, mode=mode, folder=opening.folder, run_id=opening.run_id, config=opening.config)
    return SafeTracker(start, what="W&B", kept=opening.kept, abandon=_drop_service)


def _tensorboard(opening: Opening) -> SafeTracker:
    """Event files in `<run>/tensorboard`."""
    folder, step = opening.folder / "tensorboard", opening.resume_step
    start = partial(TensorboardTracker, folder, config=opening.config, resume_step=step)
    return SafeTracker(start, what="TensorBoard", kept=opening.kept)


def _mlflow(opening: Opening) -> SafeTracker:
    """A run of MLflow in `run.mlflow.store`."""
    name = opening.cfg.wandb.name or opening.folder.name
    start = partial(MlflowTracker, opening.cfg.mlflow, name=name, run_id=opening.run_id, config=opening.config)
    return SafeTracker(start, what="MLflow", kept=opening.kept)


def _csv(opening: Opening) -> SafeTracker:
    """A row per step in `<run>/metrics.csv`."""
    start = partial(CsvTracker, opening.folder / "metrics.csv", resume_step=opening.resume_step)
    return SafeTracker(start, what="CSV", kept=opening.kept)


TRACKERS: dict[str, Callable[[Opening], SafeTracker | None]] = {
    "wandb": _wandb,
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "csv": _csv,
}
"""What `run.trackers` may name."""


def _start_run(cfg: WandbConfig, *, mode: Mode, folder: Path, run_id: str, config: Mapping[str, Any]) -> Any:
    import wandb

    settings = wandb.Settings(
        silent=True,
        console="off",
        init_timeout=START_S,
        x_service_wait=START_S,
        finish_timeout=FINISH_S,
        finish_timeout_raises=True,
        save_code=False,
        reinit="create_new",
        # A row is on disk this soon after it is logged, and so survives a kill of everything; the default is 15 s.
        x_transaction_log_flush_interval=0.2,
    )
    (folder / "wandb").mkdir(parents=True, exist_ok=True)
    shown = asdict(cfg) | {"mode": mode, "name": cfg.name or folder.name}
    del shown["artifacts"]
    return wandb.init(**shown, config=dict(config), dir=folder, id=run_id, resume="allow", settings=settings)


def _drop_service() -> None:
    """Forget the service of W&B, whose exit hook would hold up or clutter the end of the process."""
    import wandb

    wandb.teardown(exit_code=1)


def _fault_of(action: Callable[[], None], *, wait_s: float) -> str:
    """Why the action failed, or an empty text; one that does not come back within `wait_s` is left behind."""
    fault = ["ended early"]

    def guarded() -> None:
        try:
            action()
            fault[0] = ""
        # Whatever a tracker raises must not reach the training; the caller tells it.
        except Exception as error:  # noqa: BLE001
            fault[0] = f"{type(error).__name__}: {error}".partition("\n")[0]

    thread = Thread(target=guarded, daemon=True, name="tracker")
    thread.start()
    thread.join(wait_s)
    return f"no answer within {wait_s:g} s" if thread.is_alive() else fault[0]
