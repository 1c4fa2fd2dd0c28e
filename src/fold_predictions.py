"""Predictions of every labelled image by a model that saw neither it nor its copies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.artifacts import SUM_TOLERANCE, read_table, write_table

FOLD_PREDICTIONS_FILE = "predictions.parquet"
MADE_BY = "predict_folds"
COLUMNS = ("id", "split", "label", "fold")


@dataclass(frozen=True)
class KFoldPredictions:
    """Probabilities out of fold for the labelled images of all splits together.

    `labels` and `folds` are int64, `probs` is float32 of shape (images, classes) and rows sum to one. `features` says
    what the labels were predicted from, `digest` is that of the manifest the labels came from.
    """

    ids: list[str]
    splits: list[str]
    labels: np.ndarray
    folds: np.ndarray
    probs: np.ndarray
    class_names: list[str]
    features: str
    digest: str

    def __post_init__(self) -> None:
        """Check the promises.

        Raises:
            ValueError: lengths differ, ids repeat, a label is none, there is one fold only or one without images, or
                a row of probabilities is none.
        """
        lengths = {len(self.ids), len(self.splits), len(self.labels), len(self.folds), len(self.probs)}
        if len(lengths) > 1:
            raise _broken("ids, splits, labels, folds and probs differ in length")
        if len(set(self.ids)) < len(self.ids):
            raise _broken("an id stands twice")
        if self.probs.shape[1:] != (len(self.class_names),):
            raise _broken(f"{self.probs.shape} probs for {len(self.class_names)} classes")
        if len(self.labels) and not (self.labels.min() >= 0 and self.labels.max() < len(self.class_names)):
            raise _broken(f"labels outside 0..{len(self.class_names) - 1}")
        found = np.unique(self.folds).tolist()
        if len(found) < 2 or found != list(range(len(found))):
            raise _broken(f"folds {found} in place of 0, 1 and on")
        if not np.isfinite(self.probs).all() or self.probs.min() < 0:
            raise _broken("a probability that is negative, a NaN or an infinity")
        if np.abs(self.probs.sum(axis=1) - 1).max() > SUM_TOLERANCE:
            raise _broken("probabilities that do not sum to one")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def preds(self) -> np.ndarray:
        """Index of the most probable class of each image, shape (images,)."""
        return self.probs.argmax(axis=1)

    @property
    def acc(self) -> float:
        """Share of the labels that are predicted out of fold."""
        return float((self.preds == self.labels).mean())

    def save(self, folder: Path) -> None:
        """Write one parquet file into the folder; what is no column goes into its metadata."""
        columns: dict[str, Any] = dict(zip(COLUMNS, (self.ids, self.splits, self.labels, self.folds), strict=True))
        columns |= {_column(index): self.probs[:, index] for index in range(len(self.class_names))}
        table = pd.DataFrame(columns)
        table.attrs = {"class_names": self.class_names, "features": self.features, "digest": self.digest}
        write_table(folder / FOLD_PREDICTIONS_FILE, table)

    @classmethod
    def load(cls, folder: Path) -> "KFoldPredictions":
        """The predictions in the folder.

        Raises:
            ValueError: there are none, or they break a promise.
        """
        path = folder / FOLD_PREDICTIONS_FILE
        table = read_table(path, made_by=MADE_BY)
        facts = table.attrs
        names: Sequence[str] = facts.get("class_names", [])
        absent = {*COLUMNS, *(_column(index) for index in range(len(names)))} - set(table.columns)
        if not names or absent:
            raise ValueError(f"{path} is not a file of fold predictions; run {MADE_BY} again")
        return cls(
            ids=list(table["id"]),
            splits=list(table["split"]),
            labels=table["label"].to_numpy(dtype=np.int64),
            folds=table["fold"].to_numpy(dtype=np.int64),
            probs=table[[_column(index) for index in range(len(names))]].to_numpy(dtype=np.float32),
            class_names=list(names),
            features=facts["features"],
            digest=facts["digest"],
        )


def _column(index: int) -> str:
    return f"prob_{index}"


def _broken(promise: str) -> ValueError:
    return ValueError(f"fold predictions: {promise}; run {MADE_BY} again")
