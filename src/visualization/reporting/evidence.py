"""What a report is drawn from: the artifacts of the data, of the run and of its predictions, read and checked once."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.artifacts import Manifest, Predictions, RunRecord, told_by
from src.config import ReportConfig
from src.features.packed import PackedSplit
from src.files import read_json
from src.layout import DATASET_DIR, PACKED_DIR, RunFolder
from src.metrics import confusion
from src.visualization.reporting.extras import Extras, read_extras

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that a figure or a page may show; figures are pure functions of it.

    `curves` has a row per epoch with the columns of `metrics.jsonl`; `metrics` is keyed by split; `augmented` is a PNG
    file, None where the run has none; `calibration` is that of the checkpoint that made the predictions, empty where it
    has none; `extras` is what else predict_model left.
    """

    run: str
    record: RunRecord
    curves: pd.DataFrame
    metrics: dict[str, Any]
    manifest: Manifest
    summary: dict[str, Any]
    quarantine: pd.DataFrame
    packed: dict[str, PackedSplit]
    predictions: dict[str, Predictions]
    augmented: bytes | None
    calibration: dict[str, Any]
    extras: Extras
    settings: ReportConfig

    @property
    def scored(self) -> Predictions | None:
        """The predictions that the result is told by: of test, else of val, else of any labelled split but train."""
        told = told_by({name for name, split in self.predictions.items() if name in self.metrics and has_labels(split)})
        return None if told is None else self.predictions[told]

    @property
    def scores(self) -> dict[str, Any] | None:
        """The final metrics of the split in `scored`."""
        return None if self.scored is None else self.metrics[self.scored.split]

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights were kept; None where the record does not say and nothing was validated."""
        if "epoch" in self.record.best:
            return int(self.record.best["epoch"])
        if "val/acc" not in self.curves or self.curves["val/acc"].isna().all():
            return None
        return int(self.curves["epoch"].to_numpy()[self.curves["val/acc"].fillna(-1).to_numpy().argmax()])

    @property
    def other_data(self) -> bool:
        """Whether the data set at hand is not the one that the run was trained on."""
        return self.manifest.digest() != self.record.data_digest

    def pixels(self, split: str, ids: list[str]) -> list[np.ndarray | None]:
        """Packed pixels of the given images; None for an image that is not in the pack the run was trained on."""
        pack = self.packed.get(split)
        if pack is None or pack.digest != self.record.data_digest:
            return [None] * len(ids)
        position = {image_id: index for index, image_id in enumerate(pack.ids)}
        return [pack.gather(np.array([position[i]]))[0] if i in position else None for i in ids]


@dataclass(frozen=True)
class Answer:
    """An image and its prediction; `prob` is of the predicted class, `label_prob` of the label."""

    id: str
    label: str
    pred: str
    prob: float
    label_prob: float


def has_labels(predictions: Predictions) -> bool:
    """Whether at least one image of the split is labelled."""
    return bool((predictions.labels >= 0).any())


def confusion_of(predictions: Predictions) -> np.ndarray:
    """Counts of shape (classes, classes) over the labelled images: rows are labels, columns predictions."""
    known = predictions.labels >= 0
    return confusion(predictions.labels[known], predictions.preds[known], len(predictions.class_names))


def mistakes_of(predictions: Predictions) -> list[Answer]:
    """All wrongly predicted images, the most confident first."""
    wrong = np.flatnonzero((predictions.labels >= 0) & (predictions.labels != predictions.preds))
    return _answers(predictions, wrong[np.argsort(-_confidence(predictions)[wrong], kind="stable")])


def unsure_hits_of(predictions: Predictions, most: int) -> list[Answer]:
    """Up to `most` rightly predicted images, the least confident first."""
    right = np.flatnonzero(predictions.labels == predictions.preds)
    return _answers(predictions, right[np.argsort(_confidence(predictions)[right], kind="stable")][:most])


def _confidence(predictions: Predictions) -> np.ndarray:
    return predictions.probs[np.arange(len(predictions.ids)), predictions.preds]


def _answers(predictions: Predictions, rows: np.ndarray) -> list[Answer]:
    labels, preds, names = predictions.labels, predictions.preds, predictions.class_names
    return [
        Answer(
            id=predictions.ids[row],
            label=names[labels[row]],
            pred=names[preds[row]],
            prob=float(predictions.probs[row, preds[row]]),
            label_prob=float(predictions.probs[row, labels[row]]),
        )
        for row in rows
    ]


def gather(run: RunFolder, settings: ReportConfig) -> Evidence:
    """The evidence of one run.

    Raises:
        ValueError: an artifact is absent or damaged; the message names the verb that writes it.
    """
    manifest = Manifest.load(DATASET_DIR)
    packed = {split: PackedSplit.load(PACKED_DIR / split) for split in manifest.splits()}
    if "train" not in packed:
        raise ValueError(
            f"{DATASET_DIR} has no train split, only {', '.join(packed) or 'none'}; run make_dataset again"
        )
    if not run.path.is_dir():
        raise ValueError(f"{run.path} does not exist; run train_model first, or name a run with run_dir=<folder>")
    predictions = read_predictions(run.predictions)
    evidence = Evidence(
        run=run.name,
        record=RunRecord.load(run.train),
        curves=read_curves(run.metrics_log),
        metrics=read_json(run.metrics, made_by="predict_model"),
        manifest=manifest,
        summary=read_json(DATASET_DIR / "summary.json", made_by="make_dataset"),
        quarantine=read_quarantine(DATASET_DIR / "quarantine.csv"),
        packed=packed,
        predictions=predictions,
        augmented=run.augmented.read_bytes() if run.augmented.exists() else None,
        calibration=read_calibration(run, next(iter(predictions.values())).checkpoint),
        extras=read_extras(run.predictions),
        settings=settings,
    )
    if evidence.other_data:
        log.warning(
            "%s was trained on other data (digest %s) than %s holds now (%s): samples and counts are of the latter",
            run.path,
            evidence.record.data_digest,
            DATASET_DIR,
            manifest.digest(),
        )
    return evidence


def read_calibration(run: RunFolder, checkpoint: str) -> dict[str, Any]:
    """What `model.json` says of calibration for the weights of that hash; empty where they are no more, or say none."""
    for which in ("best", "last"):
        path = run.checkpoint(which) / "model.json"
        facts = read_json(path, made_by="train_model") if path.exists() else {}
        if facts.get("sha256") == checkpoint:
            found: dict[str, Any] = facts.get("calibration", {})
            return found
    return {}


def read_predictions(folder: Path) -> dict[str, Predictions]:
    """The predictions of each split in the folder.

    Raises:
        ValueError: there are none.
    """
    found = [Predictions.load(path) for path in sorted(folder.glob("*.parquet"))]
    if not found:
        raise ValueError(f"{folder} holds no predictions; run predict_model first")
    return {predictions.split: predictions for predictions in found}


def read_curves(path: Path) -> pd.DataFrame:
    """A row per epoch, the last one logged where an epoch was repeated after a resume.

    Raises:
        ValueError: the file is absent or tells of no epoch.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist; run train_model first")
    rows = [_line(text, path, number) for number, text in enumerate(path.read_text("utf-8").splitlines(), start=1)]
    epochs = {row["epoch"]: row for row in rows if "epoch" in row}
    if not epochs:
        raise ValueError(f"{path} tells of no finished epoch; run train_model again")
    return pd.DataFrame([epochs[epoch] for epoch in sorted(epochs)])


def _line(text: str, path: Path, number: int) -> dict[str, Any]:
    """One line of the log; empty for a line that a killed process left half written."""
    try:
        row = json.loads(text)
    except json.JSONDecodeError:
        log.warning("line %d of %s is damaged and left out of the curves", number, path)
        return {}
    return row if isinstance(row, dict) else {}


def read_quarantine(path: Path) -> pd.DataFrame:
    """Columns path and reason, a row per file that could not be used.

    Raises:
        ValueError: the file is absent.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist; run make_dataset first")
    return pd.read_csv(path, dtype=str, keep_default_na=False)
