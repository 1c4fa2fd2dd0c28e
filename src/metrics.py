"""Numbers from labels and probabilities. Images without a label are left out by the caller."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from src.abstention import risk_coverage
from src.calibration import reliability
from src.ranking import class_areas, mean_known

TOP_K = (3, 5)


def confusion(labels: np.ndarray, preds: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts of shape (classes, classes): rows are labels, columns are predictions."""
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(counts, (labels, preds), 1)
    return counts


def label_losses(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Negative log probability of each image's label, in nats; finite."""
    picked = probs[np.arange(len(labels)), labels].astype(np.float64)
    losses: np.ndarray = -np.log(np.clip(picked, np.finfo(np.float32).tiny, 1.0))
    return losses


def log_loss(labels: np.ndarray, probs: np.ndarray) -> float:
    """Mean negative log probability of the label, in nats."""
    return float(label_losses(labels, probs).mean())


def brier_scores(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Squared distance of each image's probabilities from its label's, 0 to 2 (Brier, 1950)."""
    picked = probs[np.arange(len(labels)), labels].astype(np.float64)
    squares: np.ndarray = np.square(probs, dtype=np.float64).sum(axis=1) - 2 * picked + 1
    return squares


def label_ranks(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """How many classes stand before each image's label, 0 where it is on top; of equals the first class comes first."""
    picked = probs[np.arange(len(labels)), labels][:, None]
    is_before = np.arange(probs.shape[1]) < labels[:, None]
    ranks: np.ndarray = ((probs > picked) | ((probs == picked) & is_before)).sum(axis=1)
    return ranks


@dataclass(frozen=True)
class ClassSums:
    """Images of each class that are predicted rightly, that there are, and that are predicted; shape (..., classes)."""

    hits: np.ndarray
    support: np.ndarray
    predicted: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray) -> "ClassSums":
        """The sums of a confusion matrix."""
        return cls(np.diag(counts), counts.sum(axis=1), counts.sum(axis=0))


def class_figures(sums: ClassSums) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each class, NaN where undefined; shape as the sums."""
    with np.errstate(invalid="ignore"):
        return {
            "precision": sums.hits / sums.predicted,
            "recall": sums.hits / sums.support,
            "f1": 2 * sums.hits / (sums.predicted + sums.support),
        }


def per_class(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall, F1 and support of each class from a confusion matrix; 0 where undefined."""
    sums = ClassSums.of(counts)
    return {name: np.nan_to_num(values) for name, values in class_figures(sums).items()} | {"support": sums.support}


def from_sums(sums: ClassSums) -> dict[str, np.ndarray]:
    """Figures of predictions alone, one for each of the leading axes.

    Balanced accuracy and macro F1 are means over the classes that have images or predictions, MCC is Gorodkin's (2004)
    for several classes and 0 where undefined; all as in scikit-learn.
    """
    hits, support, predicted = sums.hits, sums.support, sums.predicted
    total = support.sum(axis=-1).astype(np.float64)
    right = hits.sum(axis=-1)
    is_present, is_seen = support > 0, support + predicted > 0
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(predicted + support, 1)
    spread = (total**2 - (predicted.astype(float) ** 2).sum(-1)) * (total**2 - (support.astype(float) ** 2).sum(-1))
    covered = right * total - (predicted.astype(float) * support).sum(axis=-1)
    return {
        "acc": right / total,
        "balanced_acc": recall.sum(axis=-1) / is_present.sum(axis=-1),
        "macro_f1": f1.sum(axis=-1) / is_seen.sum(axis=-1),
        "weighted_f1": (f1 * support).sum(axis=-1) / total,
        "mcc": np.where(spread > 0, covered / np.sqrt(np.maximum(spread, 1)), 0.0),
    }


def evaluate(labels: np.ndarray, probs: np.ndarray, class_names: list[str]) -> dict[str, Any]:
    """All figures of a split, and those of each class.

    A figure that the split does not define is None, and `undefined` says why. Areas under curves are means over the
    classes that have images and are not all there is.

    Raises:
        ValueError: there is no image to score.
    """
    if not len(labels):
        raise ValueError("no labelled image to score")
    assert labels.min() >= 0, "images without a label must be left out: -1 would count as the last class"
    counts = confusion(labels, probs.argmax(axis=1), len(class_names))
    by_class = class_areas(labels, probs)
    ranks = label_ranks(labels, probs)
    figures: dict[str, Any] = {name: float(value) for name, value in from_sums(ClassSums.of(counts)).items()}
    figures |= {f"top{k}_acc": float((ranks < k).mean()) if k < len(class_names) else None for k in TOP_K}
    figures |= {
        "roc_auc": _or_none(mean_known(by_class.roc)[0]),
        "pr_auc": _or_none(mean_known(by_class.pr)[0]),
        "loss": log_loss(labels, probs),
        "brier": float(brier_scores(labels, probs).mean()),
        "ece": reliability(labels, probs).ece,
        "aurc": risk_coverage(labels, probs).aurc,
        "num_images": len(labels),
    }
    columns = per_class(counts) | {"roc_auc": by_class.roc[0], "pr_auc": by_class.pr[0]}
    figures["per_class"] = {
        name: {key: _plain(column[index]) for key, column in columns.items()} for index, name in enumerate(class_names)
    }
    return figures | {"undefined": _undefined(figures, labels, class_names)}


def _undefined(figures: dict[str, Any], labels: np.ndarray, class_names: list[str]) -> dict[str, str]:
    """Why each of the figures that are None is so."""
    reasons = {f"top{k}_acc": f"there are {len(class_names)} classes, so that it is 1 or not there" for k in TOP_K}
    only = class_names[int(labels[0])]
    areas = f"all images are of one class, {only}, so that there are no others to rank it before"
    reasons |= {"roc_auc": areas, "pr_auc": areas}
    return {name: reasons[name] for name, value in figures.items() if value is None}


def _plain(value: Any) -> int | float | None:
    return int(value) if isinstance(value, np.integer) else _or_none(value)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
