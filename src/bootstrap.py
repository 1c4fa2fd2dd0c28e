"""Intervals of figures: how much they would differ had other images of the same kind been scored."""

import logging
from collections.abc import Iterator

import numpy as np

from src.calibration import NUM_BINS, bins_of
from src.config_predict import BootstrapConfig
from src.metrics import TOP_K, ClassSums, brier_scores, confusion, from_sums, label_losses, label_ranks
from src.ranking import class_areas, mean_known

log = logging.getLogger(__name__)

AT_ONCE = 2**22
"""Weights of images that are held in memory together."""

Interval = dict[str, float]


def intervals(labels: np.ndarray, probs: np.ndarray, cfg: BootstrapConfig) -> dict[str, Interval]:
    """`low` and `high` of each figure of `metrics.evaluate` by its name: percentiles over resamples of the images.

    Empty where no resamples are asked for; a figure that no resample defines has none. The same on every call.
    """
    if not cfg.resamples:
        return {}
    rng = np.random.default_rng(cfg.seed)
    drawn = _of_predictions(labels, probs, cfg.resamples, rng) | _of_images(labels, probs, cfg.resamples, rng)
    if len(labels) * probs.shape[1] * cfg.rank_resamples <= cfg.most_ranked:
        drawn |= _of_ranks(labels, probs, cfg.rank_resamples, rng)
    else:
        log.info("no intervals of areas under curves: %d images are too many for predict.bootstrap", len(labels))
    return {name: _percentiles(values, cfg.level) for name, values in drawn.items() if not np.isnan(values).all()}


def _percentiles(values: np.ndarray, level: float) -> Interval:
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return {"low": float(low), "high": float(high)}


def _of_predictions(
    labels: np.ndarray, probs: np.ndarray, resamples: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Figures of predictions alone: images of one label and one prediction are alike, so that pairs are drawn."""
    num_classes = probs.shape[1]
    counts = confusion(labels, probs.argmax(axis=1), num_classes)
    rows, columns = np.nonzero(counts)
    drawn = rng.multinomial(len(labels), counts[rows, columns] / len(labels), size=resamples)
    sums = [np.zeros((resamples, num_classes), dtype=np.int64) for _ in range(3)]
    for number, (row, column) in enumerate(zip(rows, columns, strict=True)):
        sums[1][:, row] += drawn[:, number]
        sums[2][:, column] += drawn[:, number]
        if row == column:
            sums[0][:, row] += drawn[:, number]
    return from_sums(ClassSums(*sums))


def _of_images(
    labels: np.ndarray, probs: np.ndarray, resamples: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Figures that are means over images, or over bins of them."""
    confidence, hits = probs.max(axis=1), probs.argmax(axis=1) == labels
    ranks, place = label_ranks(labels, probs), bins_of(confidence)
    columns = {"loss": label_losses(labels, probs), "brier": brier_scores(labels, probs)}
    columns |= {f"top{k}_acc": (ranks < k).astype(float) for k in TOP_K if k < probs.shape[1]}
    gaps = (place[:, None] == np.arange(NUM_BINS)) * (confidence - hits)[:, None]
    values = np.column_stack([*columns.values(), gaps])
    means = np.concatenate([part @ values for part in _weights(len(labels), resamples, rng)]) / len(labels)
    figures = {name: means[:, number] for number, name in enumerate(columns)}
    return figures | {"ece": np.abs(means[:, len(columns) :]).sum(axis=1)}


def _of_ranks(labels: np.ndarray, probs: np.ndarray, resamples: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    parts = [class_areas(labels, probs, part) for part in _weights(len(labels), resamples, rng)]
    roc, pr = (np.concatenate(each) for each in zip(*((part.roc, part.pr) for part in parts), strict=True))
    return {"roc_auc": mean_known(roc), "pr_auc": mean_known(pr)}


def _weights(num_images: int, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each resample has each image, some resamples at a time: integers of shape (resamples, images)."""
    at_once = max(1, AT_ONCE // num_images)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = rng.integers(num_images, size=(rows, num_images)) + num_images * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * num_images).reshape(rows, num_images)
