"""Random changes of a training batch, on the training device, with parameters of each sample's own.

A transform takes unit images and draws; it returns images in [0, 1]. The draws are pure functions of (seed, epoch,
sample), so a batch looks the same on any number of processes and after a resume.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import numpy as np

from src.choices import bound, pick
from src.config_training import AugmentConfig
from src.features.augmenting.colour import brightness_contrast, colour_jitter, grayscale
from src.features.augmenting.erasing import NOISE, cutout, random_erasing
from src.features.augmenting.filters import gaussian_blur
from src.features.augmenting.geometry import (
    alternating_flip,
    flip,
    pad_crop,
    random_resized_crop,
    rotation,
    vertical_flip,
)
from src.features.augmenting.mixing import cutmix, mixup
from src.features.augmenting.policies import aug_mix, rand_augment, trivial_augment
from src.features.augmenting.sampling import Draws, Images, Targets
from src.schema import Component

MIX_STREAM = 1000

Transform = Callable[..., Images]
Mix = Callable[..., tuple[Images, Targets]]

TRANSFORMS: dict[str, Transform] = {
    "pad_crop": pad_crop,
    "flip": flip,
    "vertical_flip": vertical_flip,
    "alternating_flip": alternating_flip,
    "random_resized_crop": random_resized_crop,
    "rotation": rotation,
    "brightness_contrast": brightness_contrast,
    "colour_jitter": colour_jitter,
    "grayscale": grayscale,
    "gaussian_blur": gaussian_blur,
    "rand_augment": rand_augment,
    "trivial_augment": trivial_augment,
    "aug_mix": aug_mix,
    "cutout": cutout,
    "random_erasing": random_erasing,
}

MIXES: dict[str, Mix] = {"mixup": mixup, "cutmix": cutmix}

# what an option may be, both ends included; a list holds numbers of the same range
LIMITS: dict[str, tuple[float, float]] = {
    "p": (0, 1),
    "padding": (0, 0.5),
    "size": (0, 1),
    "scale": (0.001, 1),
    "ratio": (0.01, 100),
    "fill": (0, 1),
    "cover": (0, 1),
    "degrees": (0, 180),
    "brightness": (0, 1),
    "contrast": (0, 1),
    "saturation": (0, 1),
    "hue": (0, 0.5),
    "sigma": (0.01, 100),
    "num_ops": (1, 16),
    "num_bins": (2, 1000),
    "severity": (1, 10),
    "width": (1, 16),
    "alpha": (0.01, 100),
}


@dataclass(frozen=True)
class Augment:
    """The transforms and the mix of one run; calling it changes one batch."""

    transforms: tuple[Transform, ...]
    mix: Mix | None
    seed: int

    def __call__(self, images: Images, targets: Targets, *, samples: np.ndarray, epoch: int) -> tuple[Images, Targets]:
        """Augmented images and targets of the batch whose images stand at `samples` in their split.

        Each is mixed with the one before it in the batch; the order of a batch is random, so the partner is too.
        """
        images = self.transformed(images, samples=samples, epoch=epoch)
        if self.mix is None:
            return images, targets
        pairs = (images, images.roll(1, 0)), (targets, targets.roll(1, 0))
        return self.mixed(*pairs, samples=samples, epoch=epoch)

    def transformed(self, images: Images, *, samples: np.ndarray, epoch: int) -> Images:
        """The images, each changed by itself: it matters neither where in a batch one stands nor beside which."""
        for stream, transform in enumerate(self.transforms):
            images = transform(images, Draws(samples, self.seed, epoch, stream))
        return images

    def mixed(
        self, images: tuple[Images, Images], targets: tuple[Targets, Targets], *, samples: np.ndarray, epoch: int
    ) -> tuple[Images, Targets]:
        """Mixes of transformed images with their partners, (images, partners); shares are drawn by the former."""
        assert self.mix is not None
        return self.mix(images, targets, Draws(samples, self.seed, epoch, MIX_STREAM))


def build_augment(cfg: AugmentConfig, *, seed: int, img_size: int) -> Augment:
    """The augmentation that a section asks for; `img_size` is the network's input size in px.

    Raises:
        ValueError: an unknown transform, an option it does not take, or one out of range.
    """
    transforms = tuple(
        _built(TRANSFORMS, component, key=f"augment.transforms[{index}]", img_size=img_size)
        for index, component in enumerate(cfg.transforms)
    )
    mix = None if cfg.mix is None else _built(MIXES, cfg.mix, key="augment.mix", img_size=img_size)
    return Augment(transforms, mix, seed)


def _built(
    table: dict[str, Callable[..., Any]], component: Component, *, key: str, img_size: int
) -> Callable[..., Any]:
    function = pick(table, component.name, key=f"{key}.name")
    derived = {"img_size": img_size} if "img_size" in signature(function).parameters else {}
    for option, value in component.options.items():
        _check_limits(option, value, key=f"{key}.options.{option}")
    return partial(function, **bound(function, component.options | derived, name=component.name, key=f"{key}.options"))


def _check_limits(option: str, value: Any, *, key: str) -> None:
    words = (NOISE,) if option == "cover" else ()
    if option not in LIMITS or value in words:
        return
    low, high = LIMITS[option]
    numbers = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not all(isinstance(number, int | float) and low <= number <= high for number in numbers):
        raise ValueError(f"{key}={value} is out of range; allowed: {' or '.join((*words, f'{low:g} to {high:g}'))}")
