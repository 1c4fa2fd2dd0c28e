"""Answering only where the model is sure: the risk among the answers by how many are given, and a threshold for it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RiskCoverage:
    """Share of images answered and share of wrong ones among them, a point per confidence that occurs, surest first.

    `threshold[i]` is the least confidence that is answered at the point (El-Yaniv and Wiener, 2010).
    """

    threshold: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray

    @property
    def aurc(self) -> float:
        """Area under the curve: the mean risk over all coverages (Geifman et al., 2019); lower is better."""
        widths = np.diff(self.coverage, prepend=0)
        return float((widths * self.risk).sum())


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What became of the images of a split at a threshold; `risk` is None where none was answered."""

    coverage: float
    risk: float | None
    num_answered: int


def risk_coverage(labels: np.ndarray, probs: np.ndarray) -> RiskCoverage:
    """The curve of a split whose images are all labelled; images of equal confidence are answered together."""
    confidence, wrong = probs.max(axis=1), probs.argmax(axis=1) != labels
    order = np.argsort(-confidence, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True))
    answered = ends + 1
    return RiskCoverage(
        threshold=confidence[order][ends],
        coverage=answered / len(labels),
        risk=wrong[order].cumsum()[ends] / answered,
    )


def threshold_for(curve: RiskCoverage, target_risk: float) -> float | None:
    """The least confidence to answer from so that the risk is at most the target; None where no threshold does it."""
    fitting = np.flatnonzero(curve.risk <= target_risk)
    return float(curve.threshold[fitting[-1]]) if len(fitting) else None


def answers(labels: np.ndarray, probs: np.ndarray, threshold: float) -> Answers:
    """Coverage and risk of the images whose confidence is at least the threshold."""
    answered = probs.max(axis=1) >= np.float32(threshold)
    wrong = (probs.argmax(axis=1) != labels) & answered
    number = int(answered.sum())
    return Answers(
        coverage=number / len(labels), risk=float(wrong.sum() / number) if number else None, num_answered=number
    )
