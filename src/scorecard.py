"""What `metrics.json` says of each split: figures with intervals, the gap to train, calibration, abstention."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from src import metrics
from src.abstention import answers, risk_coverage, threshold_for
from src.artifacts import Predictions
from src.bootstrap import intervals
from src.calibration import at_temperature, reliability
from src.config_predict import BootstrapConfig, PredictConfig

TRAIN, VAL = "train", "val"

GAPS = ("acc", "balanced_acc", "macro_f1", "loss")


def scorecard(splits: Mapping[str, Predictions], cfg: PredictConfig, temperature: float | None) -> dict[str, Any]:
    """Figures keyed by split; splits without a label are left out.

    Train has no intervals, as its images say nothing of others.

    Args:
        splits: predictions by the name of the split.
        cfg: what is asked for.
        temperature: that of the checkpoint; None where it has none.
    """
    labelled = {name: split.known for name, split in splits.items() if (split.labels >= 0).any()}
    found = {}
    for name, (labels, probs) in labelled.items():
        figures = metrics.evaluate(labels, probs, splits[name].class_names)
        figures["calibrated"] = _calibrated(labels, probs, temperature)
        figures["interval_level"] = cfg.bootstrap.level
        _add_intervals(figures, splits[name], cfg.bootstrap)
        found[name] = figures
    _add_gaps(found)
    _add_abstention(found, labelled, cfg.target_risk)
    return found


def _calibrated(labels: np.ndarray, probs: np.ndarray, temperature: float | None) -> dict[str, float]:
    """The figures that a temperature changes; none where there is no temperature."""
    if temperature is None:
        return {}
    mended = at_temperature(probs, temperature)
    return {
        "ece": reliability(labels, mended).ece,
        "loss": metrics.log_loss(labels, mended),
        "brier": float(metrics.brier_scores(labels, mended).mean()),
    }


def _add_intervals(figures: dict[str, Any], split: Predictions, cfg: BootstrapConfig) -> None:
    """Those of the split and of each class; none of train."""
    resamples = 0 if split.split == TRAIN else cfg.resamples
    groups = None if split.groups is None else split.groups[split.labels >= 0]
    found = intervals(*split.known, replace(cfg, resamples=resamples), groups=groups)
    figures["interval"] = found.figures
    for row, interval in zip(figures["per_class"].values(), found.per_class, strict=True):
        row["interval"] = interval


def _add_gaps(found: dict[str, Any]) -> None:
    """By how much train is ahead of each other split."""
    if TRAIN in found:
        for name in found.keys() - {TRAIN}:
            found[name]["gap"] = {key: found[TRAIN][key] - found[name][key] for key in GAPS}


def _add_abstention(
    found: dict[str, Any], labelled: Mapping[str, tuple[np.ndarray, np.ndarray]], target_risk: float
) -> None:
    """The threshold that val gives for the target risk, and what it makes of each split but train."""
    threshold, reason = None, "there is no labelled val split to choose a threshold on"
    if VAL in labelled:
        threshold = threshold_for(risk_coverage(*labelled[VAL]), target_risk)
        reason = f"no threshold brings the share of wrong answers on val down to {target_risk}"
    for name in found.keys() - {TRAIN}:
        told: dict[str, Any] = {"target_risk": target_risk, "threshold": threshold}
        if threshold is None:
            found[name]["undefined"]["abstention"] = reason
        else:
            told |= asdict(answers(*labelled[name], threshold))
        found[name]["abstention"] = told
