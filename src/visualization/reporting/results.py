"""The tables of a run's figures: all splits side by side, and what is said of calibration and of abstaining."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from src.artifacts import ordered_splits
from src.visualization.reporting.evidence import Evidence
from src.wording import percent

SHARES = {
    "acc": "Accuracy",
    "top3_acc": "Label among the first 3",
    "top5_acc": "Label among the first 5",
    "balanced_acc": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
}
NUMBERS = {
    "mcc": "Matthews correlation",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "loss": "Log loss",
    "brier": "Brier score",
    "ece": "Calibration error",
    "aurc": "Area under risk-coverage",
}
ROWS = SHARES | NUMBERS
LOWER_IS_BETTER = ("loss", "brier", "ece", "aurc")


@dataclass(frozen=True)
class Cell:
    """A figure as text, with its interval, or the reason why there is none."""

    value: str
    interval: str = ""
    reason: str = ""


def figure_table(evidence: Evidence) -> dict[str, Any]:
    """A row for each figure that some split has, a column for each split, and what train is ahead of the scored one."""
    splits = ordered_splits(set(evidence.metrics))
    shown = [name for name in ROWS if any(evidence.metrics[split].get(name) is not None for split in splits)]
    scored = evidence.scored.split if evidence.scored else None
    rows = [
        {
            "name": ROWS[name],
            "cells": [cell(evidence.metrics[split], name) for split in splits],
            "gap": _gap(evidence.metrics, name, scored),
        }
        for name in shown
    ]
    images = [evidence.metrics[split]["num_images"] for split in splits]
    return {"splits": splits, "rows": rows, "images": images, "has_gap": "train" in splits and scored is not None}


def cell(figures: Mapping[str, Any], name: str) -> Cell:
    """One figure of a split."""
    value = figures.get(name)
    if value is None:
        return Cell("–", reason=figures.get("undefined", {}).get(name, ""))
    return Cell(as_text(name, value), interval_text(figures, name))


def as_text(name: str, value: float) -> str:
    """A figure as readers see it: shares in percent, others to three places."""
    return percent(value) if name in SHARES else f"{value:.3f}"


def interval_text(figures: Mapping[str, Any], name: str) -> str:
    """Both ends of a figure's interval; empty where it has none, or one of no width."""
    found = figures.get("interval", {}).get(name)
    if not found or found["low"] == found["high"]:
        return ""
    if name in SHARES:
        return f"{100 * found['low']:.1f} to {100 * found['high']:.1f} %"
    return f"{found['low']:.3f} to {found['high']:.3f}"


def level_text(figures: Mapping[str, Any]) -> str:
    """The level of a split's intervals, as `95 %`."""
    return f"{100 * figures.get('interval_level', 0.95):g} %"


def calibration_text(evidence: Evidence) -> str:
    """What a temperature makes of the calibration error of the scored split, or why there is none."""
    scores, found = evidence.scores or {}, evidence.calibration
    temperature, mended = found.get("temperature"), scores.get("calibrated", {})
    if temperature is None or not mended:
        reason = found.get("reason") or "the checkpoint has none"
        return f"No temperature: {reason}."
    direction = "too sure of itself" if temperature > 1 else "less sure than it may be"
    return (
        f"Its temperature, fitted on {found['num_images']:,} images of val, is {temperature:.2f}: the network is "
        f"{direction}. With it the calibration error goes from {scores['ece']:.3f} to {mended['ece']:.3f}, the log "
        f"loss from {scores['loss']:.3f} to {mended['loss']:.3f}. Everything else on this page is of the plain "
        "probabilities."
    )


def abstention_text(evidence: Evidence) -> str:
    """What the threshold that val gives makes of the scored split, or why there is none."""
    scores = evidence.scores or {}
    told = scores.get("abstention", {})
    if told.get("threshold") is None:
        reason = scores.get("undefined", {}).get("abstention", "predict_model was not asked for one")
        return f"No threshold: {reason}."
    split = evidence.scored.split if evidence.scored else ""
    asked = (
        f"Where at most {percent(told['target_risk'])} of the answers on val may be wrong, the model answers from a "
    )
    asked += f"probability of {told['threshold']:.3f} on"
    if told["risk"] is None:
        return f"{asked}; no image of {split} has as much."
    return (
        f"{asked}. On {split} that is {percent(told['coverage'])} of the images, and {percent(told['risk'])} of these "
        "answers are wrong."
    )


def _gap(metrics: Mapping[str, Any], name: str, scored: str | None) -> str:
    """By how much train is better than the scored split, with its sign."""
    if scored is None or "train" not in metrics:
        return ""
    ahead, behind = metrics["train"].get(name), metrics[scored].get(name)
    if ahead is None or behind is None:
        return ""
    if name in LOWER_IS_BETTER:
        ahead, behind = behind, ahead
    return f"{100 * (ahead - behind):+.1f}" if name in SHARES else f"{ahead - behind:+.3f}"
