"""What every transform is given: the images of a batch, and uniform numbers that are each image's own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from src.features.draws import uniform

Images = Float[Tensor, "batch channels size size"]
Targets = Float[Tensor, "batch classes"]
Amounts = Float[Tensor, " batch"]
Operation = Callable[[Images, Amounts], Images]

UNTOUCHED = -1
_BITS = 24


@dataclass(frozen=True)
class Draws:
    """Uniform numbers for the images at `samples` of their split, as functions of (seed, epoch, sample).

    `stream` keeps the transforms of one run apart. The numbers are made on the host, where they may decide which work
    is done at all without waiting for the device.
    """

    samples: np.ndarray
    seed: int
    epoch: int
    stream: int

    def __call__(self, count: int) -> np.ndarray:
        """Numbers in [0, 1) of shape (batch, count), of 24 bits: float32 holds them and makes no 1 of any."""
        drawn = uniform(self.samples, seed=self.seed, epoch=self.epoch, stream=self.stream, count=count)
        return np.asarray(np.floor(drawn * 2.0**_BITS) / 2.0**_BITS)

    def of_first_epoch(self) -> "Draws":
        """The draws of the same images in epoch 0: what stays with an image for the whole run."""
        return replace(self, epoch=0)


def beside(numbers: np.ndarray, images: Tensor) -> Tensor:
    """The numbers on the device of the images, fractions as float32; nothing waits for the device."""
    single = numbers.astype(np.float32) if numbers.dtype == np.float64 else numbers
    # CUDA takes a small pageable array over before the call returns
    return torch.from_numpy(single).to(images.device, non_blocking=images.is_cuda)


def per_image(numbers: Tensor) -> Shaped[Tensor, "batch 1 1 1"]:
    """One number per image, in a shape that multiplies its pixels."""
    return numbers.view(-1, 1, 1, 1)


def changed(images: Images, rows: np.ndarray, operation: Callable[[Images], Images]) -> Images:
    """Images of which those at `rows` have gone through the operation; nothing is computed for the others."""
    if not len(rows):
        return images
    out, index = images.clone(), beside(rows, images)
    return out.index_copy_(0, index, operation(images[index]))


def changed_by_choice(
    images: Images, chosen: np.ndarray, amounts: np.ndarray, *, operations: Sequence[Operation]
) -> Images:
    """Images that have each gone through the operation chosen for it, by the amount that is its own.

    `chosen` holds positions in `operations`, or `UNTOUCHED`. Images of the same choice are changed together.
    """
    out, strengths = images.clone(), beside(amounts, images)
    for number, operation in enumerate(operations):
        rows = np.flatnonzero(chosen == number)
        if len(rows):
            index = beside(rows, images)
            out.index_copy_(0, index, operation(images[index], strengths[index]))
    return out
