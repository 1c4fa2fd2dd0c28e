"""How well probabilities rank the images of a class before all others: areas under two curves, for many resamples."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Areas:
    """Areas under the ROC curve and, as average precision, under the precision-recall curve; NaN where undefined."""

    roc: np.ndarray
    pr: np.ndarray


def areas(is_class: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> Areas:
    """The areas for each row of weights, float64 of shape (rows,).

    Images of equal score share a threshold. NaN where a row has no image of the class, or none of the others.

    Args:
        is_class: bool of shape (images,).
        scores: of shape (images,), the higher the surer.
        weights: of shape (rows, images); how often a resample has each image.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    drawn = weights[:, order].astype(np.float64)
    everything = drawn.cumsum(axis=1)[:, ends]
    found = (drawn * is_class[order]).cumsum(axis=1)[:, ends]
    hits, positives = _steps(found), found[:, -1]
    others = everything - found
    negatives = others[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = found / np.maximum(everything, np.finfo(float).tiny)
        pr = (hits * precision).sum(axis=1) / positives
        # the mean height of each step of the curve, by trapezes
        roc = (_steps(others) * (found - hits / 2)).sum(axis=1) / (positives * negatives)
    undefined = (positives == 0) | (negatives == 0)
    return Areas(np.where(undefined, np.nan, roc), np.where(undefined, np.nan, pr))


def class_areas(labels: np.ndarray, probs: np.ndarray, weights: np.ndarray | None = None) -> Areas:
    """The areas of each class against all others, of shape (rows, classes); one row where there are no weights."""
    weights = np.ones((1, len(labels))) if weights is None else weights
    by_class = [areas(labels == index, probs[:, index], weights) for index in range(probs.shape[1])]
    return Areas(np.stack([each.roc for each in by_class], axis=1), np.stack([each.pr for each in by_class], axis=1))


def mean_known(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis of what is not NaN; NaN where all is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: np.ndarray = np.where(known, values, 0).sum(axis=-1) / known.sum(axis=-1)
    return means


def _steps(cumulated: np.ndarray) -> np.ndarray:
    return np.diff(cumulated, axis=1, prepend=0)
