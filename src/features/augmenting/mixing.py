"""Mixes of two images and of their targets: who is mixed with whom is the caller's to say."""

import numpy as np
import torch

from src.features.augmenting.erasing import inside
from src.features.augmenting.sampling import Draws, Images, Targets, beside, per_image

Pair = tuple[Images, Images]
TargetPair = tuple[Targets, Targets]


def mixup(images: Pair, targets: TargetPair, draws: Draws, *, alpha: float) -> tuple[Images, Targets]:
    """Each image blended with its partner by a Beta(alpha, alpha) share of its own (Zhang et al., 2018)."""
    shares = beside(_beta(draws(1)[:, 0], alpha), images[0])
    return torch.lerp(images[1], images[0], per_image(shares)), torch.lerp(targets[1], targets[0], shares[:, None])


def cutmix(images: Pair, targets: TargetPair, draws: Draws, *, alpha: float) -> tuple[Images, Targets]:
    """A rectangle of each image replaced by its partner's, targets by its area (Yun et al., 2019)."""
    side, numbers = images[0].shape[-1], draws(3)
    boxes = _boxes(1 - _beta(numbers[:, 0], alpha), numbers[:, 1:], side)
    shares = beside(1 - boxes[:, 2] * boxes[:, 3] / side**2, images[0])
    mixed = torch.where(inside(beside(boxes, images[0]), side), images[1], images[0])
    return mixed, torch.lerp(targets[1], targets[0], shares[:, None])


def _boxes(areas: np.ndarray, numbers: np.ndarray, side: int) -> np.ndarray:
    """Top, left, height and width in px of squares of the given shares of the area, cut at the border."""
    centres = np.floor(numbers * side)
    half = np.floor(0.5 * np.sqrt(areas) * side)[:, None]
    corners = np.maximum(centres - half, 0)
    ends = np.minimum(centres + half, side)
    return np.concatenate([corners, ends - corners], axis=1).astype(np.int64)


def _beta(numbers: np.ndarray, alpha: float) -> np.ndarray:
    """Numbers of the Beta(alpha, alpha) distribution, as quantiles of uniform ones."""
    from scipy.special import betaincinv

    return np.asarray(betaincinv(alpha, alpha, numbers))
