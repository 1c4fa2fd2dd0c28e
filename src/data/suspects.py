"""The list of suspect labels and what it adds up to, as files."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.artifacts import ordered_splits
from src.data.confident import Verdict
from src.files import read_json, whole_folder, write_atomically, write_json
from src.fold_predictions import KFoldPredictions

SUSPECTS_FILE = "suspects.csv"
SUMMARY_FILE = "label_issues.json"
MADE_BY = "label_issues"
COLUMNS = ("id", "split", "label", "suggested", "rank", "score", "prob_label", "prob_suggested")
DIGITS = 6


def suspects_table(predictions: KFoldPredictions, verdict: Verdict) -> pd.DataFrame:
    """A row per suspect with the columns of `COLUMNS`, the most suspect first.

    `rank` counts from 1 over all splits; `label` and `suggested` are names, the latter of the most probable class.
    """
    order = verdict.ranking()[: int(verdict.is_suspect.sum())]
    names = np.array(predictions.class_names, dtype=object)
    labels, preds = predictions.labels[order], predictions.preds[order]
    columns = (
        np.array(predictions.ids, dtype=object)[order],
        np.array(predictions.splits, dtype=object)[order],
        names[labels],
        names[preds],
        np.arange(1, len(order) + 1),
        verdict.scores[order].round(DIGITS),
        predictions.probs[order, labels].astype(np.float64).round(DIGITS),
        predictions.probs[order, preds].astype(np.float64).round(DIGITS),
    )
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


def summary(predictions: KFoldPredictions, verdict: Verdict, *, method: str) -> dict[str, Any]:
    """Counts of labels and suspects by split, class and pair of classes, and the estimated share of wrong labels."""
    splits = np.array(predictions.splits, dtype=object)
    wrong = verdict.joint.sum() - verdict.joint.diagonal().sum()
    by_split = {name: splits == name for name in ordered_splits(set(predictions.splits))}
    by_class = {name: predictions.labels == label for label, name in enumerate(predictions.class_names)}
    noise = dict(zip(predictions.class_names, verdict.noise().tolist(), strict=True))
    return {
        "digest": predictions.digest,
        "method": method,
        "features": predictions.features,
        "folds": int(predictions.folds.max()) + 1,
        "out_of_fold_acc": predictions.acc,
        "labels": len(predictions),
        "suspects": int(verdict.is_suspect.sum()),
        "estimated_noise": float(wrong / verdict.joint.sum()),
        "splits": {name: _counts(rows, verdict) for name, rows in by_split.items()},
        "classes": {name: _counts(rows, verdict) | {"estimated_noise": noise[name]} for name, rows in by_class.items()},
        "pairs": _pairs(predictions, verdict),
    }


def write_suspects(table: pd.DataFrame, facts: dict[str, Any], *, folder: Path) -> None:
    """Write `suspects.csv` and `label_issues.json`; the folder changes only once both are whole."""
    with whole_folder(folder) as fresh:
        write_atomically(fresh / SUSPECTS_FILE, table.to_csv(index=False, lineterminator="\n").encode("utf-8"))
        write_json(fresh / SUMMARY_FILE, facts)


def read_suspects(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The list of suspects and the counts, as `write_suspects` wrote them.

    Raises:
        ValueError: they are absent or damaged.
    """
    facts = read_json(folder / SUMMARY_FILE, made_by=MADE_BY)
    path = folder / SUSPECTS_FILE
    text = {"id": str, "split": str, "label": str, "suggested": str}
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; run {MADE_BY} first") from None
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); run {MADE_BY} again") from None
    if list(table.columns) != list(COLUMNS) or len(table) != facts["suspects"]:
        raise ValueError(f"{path} and {SUMMARY_FILE} do not match; run {MADE_BY} again")
    return table, facts


def _counts(rows: np.ndarray, verdict: Verdict) -> dict[str, int]:
    return {"labels": int(rows.sum()), "suspects": int((rows & verdict.is_suspect).sum())}


def _pairs(predictions: KFoldPredictions, verdict: Verdict) -> list[dict[str, Any]]:
    """How often a label should perhaps be which other, the most frequent first."""
    names = predictions.class_names
    pairs = pd.DataFrame({"label": predictions.labels, "suggested": predictions.preds})[verdict.is_suspect]
    counted = pairs.value_counts().reset_index(name="suspects")
    counted = counted.sort_values(["suspects", "label", "suggested"], ascending=[False, True, True])
    rows = counted[["label", "suggested", "suspects"]].itertuples(index=False, name=None)
    return [{"label": names[label], "suggested": names[suggested], "suspects": n} for label, suggested, n in rows]
