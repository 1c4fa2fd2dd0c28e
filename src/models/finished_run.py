"""A finished run for a notebook: settings, metrics, curves, predictions, pixels, and the model once it is asked for.

from src.models.finished_run import load_run

run = load_run("champion")
run.metrics["test"]["acc"], run.curves, run.predictions["test"].table(), run.model
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from src.artifacts import Predictions, RunRecord
from src.layout import PACKED_DIR, PIPELINE_RUN, RunFolder
from src.metrics_log import read_metrics
from src.runs import Run, chosen, load

if TYPE_CHECKING:
    from src.features.packed import PackedSplit
    from src.models.checkpoint import TrainedModel


@dataclass(frozen=True)
class FinishedRun:
    """A run that was trained to its end; what takes time is read when it is asked for."""

    run: Run

    @property
    def folder(self) -> RunFolder:
        """Its files."""
        return self.run.folder

    @property
    def record(self) -> RunRecord:
        """What it was and what it cost."""
        return self.run.record

    @property
    def config(self) -> dict[str, Any]:
        """The whole configuration as nested dicts."""
        return self.run.record.config

    @property
    def metrics(self) -> dict[str, Any]:
        """Final figures by split; empty where it was not scored."""
        return self.run.metrics

    @cached_property
    def curves(self) -> pd.DataFrame:
        """A row per epoch, by epoch."""
        return pd.DataFrame(read_metrics(self.folder.metrics_log)).set_index("epoch")

    @cached_property
    def predictions(self) -> dict[str, Predictions]:
        """Probabilities of every image by split; empty where it was not scored."""
        found = [Predictions.load(path) for path in sorted(self.folder.predictions.glob("*.parquet"))]
        return {predictions.split: predictions for predictions in found}

    @cached_property
    def model(self) -> "TrainedModel":
        """The best checkpoint on the CPU: `model.model` is the network, `model.preprocess` the way into it.

        Raises:
            ValueError: its weights are gone or damaged.
        """
        import torch

        from src.models import checkpoint

        return checkpoint.load(self.folder.checkpoint("best"), torch.device("cpu"))

    def pixels(self, split: str) -> "PackedSplit":
        """Packed pixels of the split, in the order of its predictions.

        Raises:
            ValueError: the packed data at hand is absent or not what the run was trained on.
        """
        from src.features.packed import PackedSplit

        pack = PackedSplit.load(PACKED_DIR / split)
        if pack.digest != self.record.data_digest:
            raise ValueError(
                f"{PACKED_DIR} holds other data ({pack.digest}) than {self.run.place} was trained on "
                f"({self.record.data_digest}); make that data again: make features"
            )
        return pack


def load_run(name: str = PIPELINE_RUN.as_posix()) -> FinishedRun:
    """The run of that name: a run folder, a name below models/runs, an experiment of DVC, or `champion`.

    Raises:
        ValueError: there is none, or several.
    """
    return FinishedRun(load(chosen([name], least=1, most=1)[0]))
