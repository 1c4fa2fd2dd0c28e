"""Confident learning: which labels are probably wrong, from probabilities out of fold. Pure functions.

After Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, 2021,
https://arxiv.org/abs/1911.00068; the sections below are those of the paper.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-6


@dataclass(frozen=True)
class Verdict:
    """What is thought of each label.

    `is_suspect` is bool and `scores` float of shape (images,): the probability of the label as given, so the lowest is
    the most suspect. `joint` estimates how many images of each given label (row) belong to each class (column).
    """

    is_suspect: np.ndarray
    scores: np.ndarray
    joint: np.ndarray

    def ranking(self) -> np.ndarray:
        """Positions of all images, the most suspect first: the suspects by score, then the others by score."""
        return np.lexsort((self.scores, ~self.is_suspect))

    def noise(self) -> np.ndarray:
        """Estimated share of wrong labels among the images of each given label; 0 where it has none."""
        totals = self.joint.sum(axis=1)
        return np.where(totals > 0, 1 - self.joint.diagonal() / np.maximum(totals, 1), 0.0)


def judge(labels: np.ndarray, probs: np.ndarray) -> Verdict:
    """The verdict on the labels by pruning by class (section 3.2, PBC).

    The confident joint says how many images of a class are labelled wrongly; those of the least probable labels are
    the suspects, unless the label is the most probable class all the same.
    """
    joint = calibrated(confident_joint(labels, probs), labels)
    scores = probs[np.arange(len(labels)), labels].astype(np.float64)
    is_suspect = np.zeros(len(labels), dtype=bool)
    for label, row in enumerate(joint):
        images = np.flatnonzero(labels == label)
        num_wrong = round(float(row.sum() - row[label]))
        is_suspect[images[np.argsort(scores[images], kind="stable")[:num_wrong]]] = True
    return Verdict(is_suspect & (probs.argmax(axis=1) != labels), scores, joint)


def thresholds(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """For each class the mean probability that the images of that label get for it; 1 where there is none (eq. 2)."""
    means = [probs[labels == label, label].mean() if (labels == label).any() else 1 for label in range(probs.shape[1])]
    return np.array(means, dtype=np.float64)


def confident_joint(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Counts of the images that reach the threshold of a class, by given label (row) and that class (eq. 1).

    Where several are reached the most probable of them counts; an image that reaches none is in no count.
    """
    reached = probs >= thresholds(labels, probs) - ROUNDING
    guesses = np.where(reached, probs, -1).argmax(axis=1)
    sure = reached.any(axis=1)
    joint = np.zeros((probs.shape[1],) * 2, dtype=np.int64)
    np.add.at(joint, (labels[sure], guesses[sure]), 1)
    return joint


def calibrated(joint: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The joint scaled so that its rows add up to the number of images of each label (eq. 3, before the division).

    The labels of a row without a single count are taken to be right.
    """
    counts = np.bincount(labels, minlength=len(joint))
    sums = joint.sum(axis=1, keepdims=True)
    shares = np.where(sums > 0, joint / np.maximum(sums, 1), np.eye(len(joint)))
    return shares * counts[:, None]


def judge_by_cleanlab(labels: np.ndarray, probs: np.ndarray) -> Verdict:
    """The verdict of the cleanlab package, by the same method.

    Raises:
        ImportError: it is not installed.
    """
    try:
        from cleanlab.count import compute_confident_joint
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ModuleNotFoundError as error:
        raise ImportError(
            f"labels.method=cleanlab needs a package that is not installed ({error.name}); "
            "run: make requirements, or use labels.method=confident_learning"
        ) from None
    joint = compute_confident_joint(labels, probs, calibrate=True)
    is_suspect = find_label_issues(labels, probs, filter_by="prune_by_class", n_jobs=1)
    scores = get_label_quality_scores(labels, probs, method="self_confidence")
    return Verdict(np.asarray(is_suspect, dtype=bool), np.asarray(scores, dtype=np.float64), np.asarray(joint))


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], Verdict]] = {
    "confident_learning": judge,
    "cleanlab": judge_by_cleanlab,
}
