"""Transforms that draw for each image which operation it goes through, and by how much.

Operations and amounts are those of the papers, as torchvision has them; pixels that move are looked up bilinearly.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from src.features.augmenting.colour import with_brightness, with_contrast, with_saturation
from src.features.augmenting.filters import sharpened
from src.features.augmenting.geometry import sheared_x, sheared_y, shifted, turned, warped
from src.features.augmenting.sampling import (
    UNTOUCHED,
    Draws,
    Images,
    Operation,
    beside,
    changed_by_choice,
    per_image,
)
from src.features.augmenting.tones import equalized, posterized, solarized, stretched


@dataclass(frozen=True)
class Range:
    """What an operation may be applied by, from the weakest to the strongest.

    `signed` amounts are taken either way; those `of_side` are shares of the image's side, those in `bits` are whole.
    """

    weakest: float = 0.0
    strongest: float = 0.0
    signed: bool = False
    of_side: bool = False
    bits: bool = False

    def spread(self, bins: int, *, side: int) -> np.ndarray:
        """As many evenly spaced amounts, shares of the side in px."""
        values = np.linspace(self.weakest, self.strongest, bins) * (side if self.of_side else 1)
        return np.asarray(np.round(values) if self.bits else values)


Space = Mapping[str, Range]

RAND_AUGMENT: Space = {
    "identity": Range(),
    "shear_x": Range(0.0, 0.3, signed=True),
    "shear_y": Range(0.0, 0.3, signed=True),
    "translate_x": Range(0.0, 150 / 331, signed=True, of_side=True),
    "translate_y": Range(0.0, 150 / 331, signed=True, of_side=True),
    "rotate": Range(0.0, 30.0, signed=True),
    "brightness": Range(0.0, 0.9, signed=True),
    "color": Range(0.0, 0.9, signed=True),
    "contrast": Range(0.0, 0.9, signed=True),
    "sharpness": Range(0.0, 0.9, signed=True),
    "posterize": Range(8.0, 4.0, bits=True),
    "solarize": Range(1.0, 0.0),
    "auto_contrast": Range(),
    "equalize": Range(),
}

TRIVIAL_AUGMENT: Space = {
    "identity": Range(),
    "shear_x": Range(0.0, 0.99, signed=True),
    "shear_y": Range(0.0, 0.99, signed=True),
    "translate_x": Range(0.0, 32.0, signed=True),
    "translate_y": Range(0.0, 32.0, signed=True),
    "rotate": Range(0.0, 135.0, signed=True),
    "brightness": Range(0.0, 0.99, signed=True),
    "color": Range(0.0, 0.99, signed=True),
    "contrast": Range(0.0, 0.99, signed=True),
    "sharpness": Range(0.0, 0.99, signed=True),
    "posterize": Range(8.0, 2.0, bits=True),
    "solarize": Range(1.0, 0.0),
    "auto_contrast": Range(),
    "equalize": Range(),
}

AUG_MIX: Space = {
    "shear_x": Range(0.0, 0.3, signed=True),
    "shear_y": Range(0.0, 0.3, signed=True),
    "translate_x": Range(0.0, 1 / 3, signed=True, of_side=True),
    "translate_y": Range(0.0, 1 / 3, signed=True, of_side=True),
    "rotate": Range(0.0, 30.0, signed=True),
    "posterize": Range(4.0, 0.0, bits=True),
    "solarize": Range(1.0, 0.0),
    "auto_contrast": Range(),
    "equalize": Range(),
    "brightness": Range(0.0, 0.9, signed=True),
    "color": Range(0.0, 0.9, signed=True),
    "contrast": Range(0.0, 0.9, signed=True),
    "sharpness": Range(0.0, 0.9, signed=True),
}

# of AugMix: the levels that `severity` is a number of, and the most operations in a chain
SEVERITIES, LONGEST_CHAIN = 10, 3


def operations(*, fill: float) -> dict[str, Operation]:
    """What the names of a space stand for; factors are one more than the amounts, as 0 is to change nothing."""
    return {
        "identity": lambda images, amounts: images,
        "shear_x": lambda images, amounts: warped(images, sheared_x(amounts, side=images.shape[-1]), fill=fill),
        "shear_y": lambda images, amounts: warped(images, sheared_y(amounts, side=images.shape[-1]), fill=fill),
        "translate_x": lambda images, amounts: warped(images, shifted(amounts.trunc(), 0 * amounts), fill=fill),
        "translate_y": lambda images, amounts: warped(images, shifted(0 * amounts, amounts.trunc()), fill=fill),
        "rotate": lambda images, amounts: warped(images, turned(amounts), fill=fill),
        "brightness": lambda images, amounts: with_brightness(images, 1 + amounts),
        "color": lambda images, amounts: with_saturation(images, 1 + amounts),
        "contrast": lambda images, amounts: with_contrast(images, 1 + amounts),
        "sharpness": lambda images, amounts: sharpened(images, 1 + amounts),
        "posterize": posterized,
        "solarize": solarized,
        "auto_contrast": lambda images, amounts: stretched(images),
        "equalize": lambda images, amounts: equalized(images),
    }


def rand_augment(images: Images, draws: Draws, *, num_ops: int, magnitude: int, num_bins: int, fill: float) -> Images:
    """Images after `num_ops` drawn operations, all at level `magnitude` of `num_bins` (Cubuk et al., 2020).

    Raises:
        ValueError: the magnitude is none of the levels.
    """
    if not 0 <= magnitude < num_bins:
        raise ValueError(
            f"rand_augment: magnitude={magnitude} is no level of num_bins={num_bins}; allowed: 0 to {num_bins - 1}"
        )
    numbers = draws(2 * num_ops).reshape(len(images), num_ops, 2)
    for step in range(num_ops):
        levels = np.full(len(images), magnitude)
        images = _apply(images, RAND_AUGMENT, numbers[:, step], levels=levels, num_bins=num_bins, fill=fill)
    return images


def trivial_augment(images: Images, draws: Draws, *, num_bins: int, fill: float) -> Images:
    """Images after one drawn operation at a drawn level of `num_bins`, the wide space (Müller and Hutter, 2021)."""
    numbers = draws(3)
    levels = (numbers[:, 2] * num_bins).astype(np.int64)
    return _apply(images, TRIVIAL_AUGMENT, numbers, levels=levels, num_bins=num_bins, fill=fill)


def aug_mix(images: Images, draws: Draws, *, severity: int, width: int, alpha: float, fill: float) -> Images:
    """Images mixed with `width` chains of one to three drawn operations on them (Hendrycks et al., 2020).

    Levels are drawn below `severity` of 10; the shares of the chains and of the image itself are drawn from a Dirichlet
    and a Beta distribution of `alpha`. The consistency loss of the paper is no part of this.
    """
    numbers = draws(width * (1 + 3 * LONGEST_CHAIN) + width + 2)
    chains, shares = numbers[:, : -(width + 2)].reshape(len(images), width, -1), numbers[:, -(width + 2) :]
    itself, weights = mixture_weights(shares, alpha)
    mixed = images * per_image(beside(itself, images))
    for number in range(width):
        chain = _chain(images, chains[:, number], severity=severity, fill=fill)
        mixed = mixed + chain * per_image(beside(weights[:, number], images))
    return mixed.clamp_(0, 1)


def mixture_weights(numbers: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """The share of the image itself and those of its chains, which add up to one; from width + 2 uniform numbers."""
    from scipy.special import gammaincinv

    # normalised Gamma numbers are a Dirichlet number, and of two they are a Beta number
    gammas = gammaincinv(alpha, numbers) + np.finfo(np.float64).tiny
    pair, chains = gammas[:, :2], gammas[:, 2:]
    itself, augmented = (pair / pair.sum(axis=1, keepdims=True)).T
    return itself, augmented[:, None] * chains / chains.sum(axis=1, keepdims=True)


def _chain(images: Images, numbers: np.ndarray, *, severity: int, fill: float) -> Images:
    lengths = 1 + (numbers[:, 0] * LONGEST_CHAIN).astype(np.int64)
    steps = numbers[:, 1:].reshape(len(images), LONGEST_CHAIN, 3)
    for step in range(LONGEST_CHAIN):
        levels = (steps[:, step, 2] * severity).astype(np.int64)
        levels[step >= lengths] = UNTOUCHED
        images = _apply(images, AUG_MIX, steps[:, step], levels=levels, num_bins=SEVERITIES, fill=fill)
    return images


def _apply(
    images: Images, space: Space, numbers: np.ndarray, *, levels: np.ndarray, num_bins: int, fill: float
) -> Images:
    """Images after one operation each: the first number chooses it, the second the way it goes.

    A level of `UNTOUCHED` leaves its image as it is.
    """
    chosen = (numbers[:, 0] * len(space)).astype(np.int64)
    table = np.stack([reach.spread(num_bins, side=images.shape[-1]) for reach in space.values()])
    signs = np.where([reach.signed for reach in space.values()], -1.0, 1.0)[chosen]
    own = table[chosen, levels] * np.where(numbers[:, 1] < 0.5, signs, 1.0)
    known = operations(fill=fill)
    return changed_by_choice(
        images, np.where(levels == UNTOUCHED, UNTOUCHED, chosen), own, operations=[known[name] for name in space]
    )
