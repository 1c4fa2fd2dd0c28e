"""Numbers from labels and probabilities. Images without a label are left out by the caller."""

from typing import Any

import numpy as np


def confusion(labels: np.ndarray, preds: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts of shape (classes, classes): rows are labels, columns are predictions."""
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(counts, (labels, preds), 1)
    return counts


def log_loss(labels: np.ndarray, probs: np.ndarray) -> float:
    """Mean negative log probability of the label, in nats."""
    picked = probs[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.clip(picked, np.finfo(np.float32).tiny, 1.0)).mean())


def per_class(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall, F1 and support of each class from a confusion matrix; 0 where undefined."""
    hits = np.diag(counts).astype(np.float64)
    predicted, support = counts.sum(axis=0), counts.sum(axis=1)
    return {
        "precision": hits / np.maximum(predicted, 1),
        "recall": hits / np.maximum(support, 1),
        "f1": 2 * hits / np.maximum(predicted + support, 1),
        "support": support,
    }


def evaluate(labels: np.ndarray, probs: np.ndarray, class_names: list[str]) -> dict[str, Any]:
    """Accuracy, balanced accuracy, macro F1, loss, and the figures of each class.

    Balanced accuracy and macro F1 are means over the classes that have images or predictions, as in scikit-learn.

    Raises:
        ValueError: there is no image to score.
    """
    if not len(labels):
        raise ValueError("no labelled image to score")
    assert labels.min() >= 0, "images without a label must be left out: -1 would count as the last class"
    counts = confusion(labels, probs.argmax(axis=1), len(class_names))
    columns = per_class(counts)
    present = columns["support"] > 0
    seen = present | (counts.sum(axis=0) > 0)
    rows = {
        name: {key: (int if key == "support" else float)(column[index]) for key, column in columns.items()}
        for index, name in enumerate(class_names)
    }
    return {
        "acc": float(np.diag(counts).sum() / counts.sum()),
        "balanced_acc": float(columns["recall"][present].mean()),
        "macro_f1": float(columns["f1"][seen].mean()),
        "loss": log_loss(labels, probs),
        "num_images": len(labels),
        "per_class": rows,
    }
