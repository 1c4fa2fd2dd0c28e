"""Views of a training run for other tools: a CSV file, TensorBoard, MLflow; packages are imported when used."""

import csv
import io
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.config import MlflowConfig
from src.files import write_atomically
from src.trees import flat

if TYPE_CHECKING:
    import pandas as pd

INSTALL = "make requirements, or pip install -e '.[trackers]'"
MOST_IN_BATCH, MOST_CHARACTERS = 100, 6000
"""What MLflow takes at once, and of one value."""
RUN_TAG = "run_id"


class CsvTracker:
    """A row per step in one file, for a spreadsheet; whole at any time. Rows after `resume_step` are dropped."""

    def __init__(self, path: Path, *, resume_step: int = 0) -> None:
        self._path = path
        self._rows: list[dict[str, Any]] = []
        if path.exists() and resume_step:
            with path.open(encoding="utf-8", newline="") as file:
                self._rows = [dict(row) for row in csv.DictReader(file) if int(row["step"]) <= resume_step]
        self._write()

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Add one row; a metric that comes later has empty cells before."""
        self._rows.append({"step": step, **metrics})
        self._write()

    def summary(self, metrics: Mapping[str, float]) -> None:
        """Nothing: a table of steps has no place for it."""

    def show(self, pictures: Mapping[str, bytes], tables: "Mapping[str, pd.DataFrame]", *, step: int) -> None:
        """Nothing: a CSV file holds no pictures."""

    def keep(self, folder: Path) -> None:
        """Nothing: a CSV file holds no weights."""

    def finish(self, exit_code: int = 0) -> None:
        """Nothing: the file is whole already."""

    def _write(self) -> None:
        columns = dict.fromkeys(["step", *(name for row in self._rows for name in row)])
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomically(self._path, text.getvalue().encode("utf-8"))


class TensorboardTracker:
    """Event files in one folder, for TensorBoard; points after `resume_step` are marked as void for it."""

    def __init__(self, folder: Path, *, config: Mapping[str, Any], resume_step: int = 0) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ImportError(f"run.trackers=[tensorboard] needs the package tensorboardX: {INSTALL}") from None
        self._writer = SummaryWriter(logdir=str(folder), purge_step=resume_step + 1 if resume_step else None)
        self._step = resume_step
        if not resume_step:
            lines = [f"| {key} | {_cell(value)} |" for key, value in flat(config).items()]
            self._writer.add_text("config", "\n".join(["| key | value |", "|---|---|", *lines]), 0)
            self._writer.flush()

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """A point in the curve of each metric, on disk before this returns."""
        self._step = step
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def summary(self, metrics: Mapping[str, float]) -> None:
        """A point of each figure at the last step."""
        self.log({f"summary/{name}": value for name, value in metrics.items()}, step=self._step)

    def show(self, pictures: Mapping[str, bytes], tables: "Mapping[str, pd.DataFrame]", *, step: int) -> None:
        """Pictures, and tables as text."""
        import numpy as np
        from PIL import Image

        for name, content in pictures.items():
            pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
            self._writer.add_image(name, pixels, step, dataformats="HWC")
        for name, table in tables.items():
            self._writer.add_text(name, _markdown(table), step)
        self._writer.flush()

    def keep(self, folder: Path) -> None:
        """Nothing: TensorBoard keeps no files."""

    def finish(self, exit_code: int = 0) -> None:
        """Close the file."""
        self._writer.close()


class MlflowTracker:
    """A run of MLflow in a SQLite file or on a server; a resumed run is found again by its id."""

    def __init__(self, cfg: MlflowConfig, *, name: str, run_id: str, config: Mapping[str, Any]) -> None:
        # this project sends nothing about its use to anyone
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        try:
            from mlflow import MlflowClient
        except ImportError:
            raise ImportError(f"run.trackers=[mlflow] needs the package mlflow-skinny: {INSTALL}") from None
        self._client = MlflowClient(tracking_uri=store_address(cfg.store))
        experiment = self._client.get_experiment_by_name(cfg.experiment)
        place = None if "://" in cfg.store else (Path(cfg.store).absolute().parent / "mlartifacts").as_uri()
        number = experiment.experiment_id if experiment else self._client.create_experiment(cfg.experiment, place)
        found = self._client.search_runs([number], f"tags.{RUN_TAG} = '{run_id}'")
        if found:
            self._run = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
        else:
            self._run = self._client.create_run(number, run_name=name, tags={RUN_TAG: run_id}).info.run_id
            self._describe(config)

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """One value of each metric."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._run, [Metric(name, float(value), now, step) for name, value in metrics.items()])

    def summary(self, metrics: Mapping[str, float]) -> None:
        """The figures as metrics of their own, without a step."""
        self.log(metrics, step=0)

    def show(self, pictures: Mapping[str, bytes], tables: "Mapping[str, pd.DataFrame]", *, step: int) -> None:
        """Pictures and tables as files of the run."""
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as folder:
            for name, content in pictures.items():
                (Path(folder) / f"{name}.png").write_bytes(content)
            for name, table in tables.items():
                table.to_csv(Path(folder) / f"{name}.csv", index=False)
            self._client.log_artifacts(self._run, folder, "report")

    def keep(self, folder: Path) -> None:
        """Nothing: weights stay in the run folder."""

    def finish(self, exit_code: int = 0) -> None:
        """Mark the run as finished or failed."""
        self._client.set_terminated(self._run, "FAILED" if exit_code else "FINISHED")

    def _describe(self, config: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(key, _cell(value)[:MOST_CHARACTERS]) for key, value in flat(config).items()]
        for some in _parts(params):
            self._client.log_batch(self._run, params=some)


def store_address(store: str) -> str:
    """The address by which MLflow knows a file or a server."""
    if "://" in store:
        return store
    path = Path(store).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{path.as_posix()}"


def _parts(entries: Sequence[Any]) -> list[list[Any]]:
    return [list(entries[start : start + MOST_IN_BATCH]) for start in range(0, len(entries), MOST_IN_BATCH)]


def _cell(value: object) -> str:
    return "null" if value is None else str(value)


def _markdown(table: "pd.DataFrame") -> str:
    head = [str(name) for name in table.columns]
    rows = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in table.to_numpy())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
