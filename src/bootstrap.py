"""Intervals of figures: how much they would differ had other images of the same kind been scored."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from src.calibration import NUM_BINS, bins_of
from src.config_predict import BootstrapConfig
from src.metrics import TOP_K, ClassSums, brier_scores, class_figures, from_sums, label_losses, label_ranks
from src.ranking import class_areas, mean_known

log = logging.getLogger(__name__)

AT_ONCE = 2**22
"""Weights of images that are held in memory together."""

Interval = dict[str, float]
Measure = Callable[[np.ndarray], dict[str, np.ndarray]]
"""From how often each resample has each image: figures of shape (resamples,), or of each class, (resamples, classes).

NaN where a resample does not define one."""


@dataclass(frozen=True)
class Intervals:
    """`low` and `high` of each figure by its name: of the whole split, and of each class by its number."""

    figures: dict[str, Interval]
    per_class: list[dict[str, Interval]]


def intervals(
    labels: np.ndarray, probs: np.ndarray, cfg: BootstrapConfig, *, groups: np.ndarray | None = None
) -> Intervals:
    """Percentiles of the figures of `metrics.evaluate` over resamples of the images.

    Empty where no resamples are asked for; a figure that no resample defines has none. The same on every call.

    Args:
        labels: of the images, all of them labelled.
        probs: of the same images.
        cfg: what is asked for.
        groups: the group of each image, as a number; groups are drawn whole. None: each image is one of its own.
    """
    found = Intervals({}, [{} for _ in range(probs.shape[1])])
    if not cfg.resamples:
        return found
    rng = np.random.default_rng(cfg.seed)
    group_of = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    measures = [_of_predictions(labels, probs), _of_images(labels, probs), _of_risks(labels, probs)]
    drawn = _drawn(measures, _weights(group_of, cfg.resamples, rng))
    if len(labels) * probs.shape[1] * cfg.rank_resamples <= cfg.most_ranked:
        drawn |= _drawn([_of_ranks(labels, probs)], _weights(group_of, cfg.rank_resamples, rng))
    else:
        log.info("no intervals of areas under curves: %d images are too many for predict.bootstrap", len(labels))
    for name, values in drawn.items():
        places = [found.figures] if values.ndim == 1 else found.per_class
        for place, column in zip(places, values.reshape(len(values), -1).T, strict=True):
            if interval := _percentiles(column, cfg.level):
                place[name] = interval
    return found


def _percentiles(values: np.ndarray, level: float) -> Interval:
    """Empty where all values are NaN."""
    known = values[~np.isnan(values)]
    if not len(known):
        return {}
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return {"low": float(low), "high": float(high)}


def _drawn(measures: Sequence[Measure], parts: Iterator[np.ndarray]) -> dict[str, np.ndarray]:
    """The figures of all resamples, which come in parts."""
    found = [{name: values for measure in measures for name, values in measure(part).items()} for part in parts]
    return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


def _of_predictions(labels: np.ndarray, probs: np.ndarray) -> Measure:
    """Figures of predictions alone, of the split and of each class."""
    from scipy.sparse import csr_array

    num_images, num_classes = probs.shape
    preds, images = probs.argmax(axis=1), np.arange(num_images)
    hits = np.flatnonzero(preds == labels)
    rows = np.concatenate([labels[hits], num_classes + labels, 2 * num_classes + preds])
    places = (rows, np.concatenate([hits, images, images]))
    members = csr_array((np.ones(len(rows)), places), shape=(3 * num_classes, num_images))

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        sums = ClassSums(*np.split((members @ weights.T).T, 3, axis=1))
        return from_sums(sums) | class_figures(sums)

    return measure


def _of_images(labels: np.ndarray, probs: np.ndarray) -> Measure:
    """Figures that are means over images, or over bins of them."""
    confidence, hits = probs.max(axis=1), probs.argmax(axis=1) == labels
    ranks, place = label_ranks(labels, probs), bins_of(confidence)
    columns = {"loss": label_losses(labels, probs), "brier": brier_scores(labels, probs)}
    columns |= {f"top{k}_acc": (ranks < k).astype(float) for k in TOP_K if k < probs.shape[1]}
    gaps = (place[:, None] == np.arange(NUM_BINS)) * (confidence - hits)[:, None]
    values = np.column_stack([*columns.values(), gaps])

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        means = weights @ values / weights.sum(axis=1, keepdims=True)
        figures = {name: means[:, number] for number, name in enumerate(columns)}
        return figures | {"ece": np.abs(means[:, len(columns) :]).sum(axis=1)}

    return measure


def _of_risks(labels: np.ndarray, probs: np.ndarray) -> Measure:
    """The area under the risk-coverage curve, as `abstention.RiskCoverage` has it."""
    confidence, is_wrong = probs.max(axis=1), probs.argmax(axis=1) != labels
    order = np.argsort(-confidence, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True))

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        surest_first = weights[:, order]
        answered = surest_first.cumsum(axis=1)[:, ends]
        wrong = (surest_first * is_wrong[order]).cumsum(axis=1)[:, ends]
        risks = wrong / np.maximum(answered, 1)
        return {"aurc": (np.diff(answered, axis=1, prepend=0) * risks).sum(axis=1) / answered[:, -1]}

    return measure


def _of_ranks(labels: np.ndarray, probs: np.ndarray) -> Measure:
    """Areas under curves, means over the classes."""

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = class_areas(labels, probs, weights)
        return {"roc_auc": mean_known(found.roc), "pr_auc": mean_known(found.pr)}

    return measure


def _weights(group_of: np.ndarray, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each resample has each image, some resamples at a time: floats of shape (resamples, images)."""
    num_groups, at_once = int(group_of.max()) + 1, max(1, AT_ONCE // len(group_of))
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = rng.integers(num_groups, size=(rows, num_groups)) + num_groups * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * num_groups).reshape(rows, num_groups)
        yield counts[:, group_of].astype(np.float64)
