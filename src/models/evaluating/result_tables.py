"""Tables of the test split for `dvc plots`: predictions by label, confidence against accuracy, risk by coverage."""

from pathlib import Path

import numpy as np
import pandas as pd

from src.abstention import risk_coverage
from src.artifacts import Predictions
from src.calibration import at_temperature, reliability

MOST_POINTS = 200


def write_tables(predictions: Predictions, folder: Path, *, temperature: float | None) -> None:
    """Write `confusion.csv`, `reliability.csv` and `risk_coverage.csv` of the labelled images; none of no images."""
    tables = {
        "confusion": confusion_table(predictions),
        "reliability": reliability_table(predictions, temperature),
        "risk_coverage": risk_table(predictions),
    }
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)


def confusion_table(predictions: Predictions) -> pd.DataFrame:
    """A row per labelled image: actual and predicted class."""
    table = predictions.table()
    labelled = table[table["label"] != ""]
    return labelled[["label", "pred"]].set_axis(["actual", "predicted"], axis=1)


def reliability_table(predictions: Predictions, temperature: float | None) -> pd.DataFrame:
    """A row per bin of confidence that has images, of plain probabilities and of calibrated ones."""
    labels, probs = predictions.known
    kinds = {"plain": probs} | ({} if temperature is None else {"calibrated": at_temperature(probs, temperature)})
    parts = []
    for kind, given in kinds.items():
        found = reliability(labels, given) if len(labels) else None
        columns = {} if found is None else {"confidence": found.confidence, "acc": found.acc, "num_images": found.count}
        table = pd.DataFrame(columns, columns=["confidence", "acc", "num_images"]).assign(probs=kind)
        parts.append(table[table["num_images"] > 0])
    return pd.concat(parts, ignore_index=True)


def risk_table(predictions: Predictions) -> pd.DataFrame:
    """Risk and threshold by coverage, no more than `MOST_POINTS` points of the curve."""
    labels, probs = predictions.known
    if not len(labels):
        return pd.DataFrame(columns=["coverage", "risk", "threshold"])
    curve = risk_coverage(labels, probs)
    rows = np.unique(np.linspace(0, len(curve.risk) - 1, MOST_POINTS).round().astype(int))
    return pd.DataFrame(
        {"coverage": curve.coverage[rows], "risk": curve.risk[rows], "threshold": curve.threshold[rows]}
    )
