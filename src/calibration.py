"""Whether probabilities mean what they say: the expected calibration error, and a temperature that mends it."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

NUM_BINS = 15
"""As in Guo et al., On Calibration of Modern Neural Networks (2017)."""

COLDEST, HOTTEST = 0.05, 20.0
LEAST_PROB = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Reliability:
    """A row per bin of confidence, the bins being of equal width: images, mean confidence and accuracy (0: none)."""

    count: np.ndarray
    confidence: np.ndarray
    acc: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: mean distance of confidence and accuracy, weighted by the images of a bin."""
        return float((self.count * np.abs(self.confidence - self.acc)).sum() / self.count.sum())


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A temperature, and how well calibrated the probabilities of the split that it was fitted on are without and with.

    `temperature` is None where none could be fitted, and `reason` says why.
    """

    temperature: float | None
    reason: str = ""
    num_images: int = 0
    ece_before: float | None = None
    ece_after: float | None = None
    loss_before: float | None = None
    loss_after: float | None = None

    def as_tree(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def bins_of(confidence: np.ndarray) -> np.ndarray:
    """The bin of each confidence, 0 to `NUM_BINS` - 1: a bin holds its upper edge and not its lower one."""
    return np.clip(np.ceil(confidence.astype(np.float64) * NUM_BINS).astype(np.int64) - 1, 0, NUM_BINS - 1)


def reliability(labels: np.ndarray, probs: np.ndarray) -> Reliability:
    """How often the most probable class is right, by how probable it was said to be."""
    confidence, hits = probs.max(axis=1), probs.argmax(axis=1) == labels
    place = bins_of(confidence)
    count = np.bincount(place, minlength=NUM_BINS)
    sums = [np.bincount(place, weights=values, minlength=NUM_BINS) for values in (confidence, hits)]
    return Reliability(count, *(each / np.maximum(count, 1) for each in sums))


def at_temperature(probs: np.ndarray, temperature: float) -> np.ndarray:
    """The probabilities that the logits divided by the temperature give; which class is on top stays."""
    logits = np.log(np.maximum(probs, LEAST_PROB, dtype=np.float64)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return found


def calibrate(labels: np.ndarray, probs: np.ndarray) -> Calibration:
    """The temperature of least cross-entropy, or the reason why there is none.

    Args:
        labels: of the images that it is fitted on, all of them labelled.
        probs: of the model, for the same images, which it was not trained on.
    """
    if not len(labels):
        return Calibration(temperature=None, reason="no labelled image to fit it on")
    hits = probs.argmax(axis=1) == labels
    if hits.all():
        return Calibration(
            temperature=None,
            reason="every image it could be fitted on is predicted rightly, so that no confidence is too high",
            num_images=len(labels),
            ece_before=reliability(labels, probs).ece,
            loss_before=_loss(labels, probs, 1.0),
        )
    temperature = _fitted(labels, probs)
    return Calibration(
        temperature=temperature,
        num_images=len(labels),
        ece_before=reliability(labels, probs).ece,
        ece_after=reliability(labels, at_temperature(probs, temperature)).ece,
        loss_before=_loss(labels, probs, 1.0),
        loss_after=_loss(labels, probs, temperature),
    )


def _fitted(labels: np.ndarray, probs: np.ndarray) -> float:
    from scipy.optimize import minimize_scalar

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    found = minimize_scalar(lambda log_t: _loss(labels, probs, np.exp(log_t)), bounds=bounds, method="bounded")
    return round(float(np.exp(found.x)), 4)


def _loss(labels: np.ndarray, probs: np.ndarray, temperature: float) -> float:
    picked = at_temperature(probs, temperature)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(picked, LEAST_PROB)).mean())
