"""Transforms that hide a part of an image."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from src.features.augmenting.sampling import Draws, Images, beside, changed

NOISE = "noise"


def cutout(images: Images, draws: Draws, *, size: float, p: float) -> Images:
    """Images with a grey square of `size` of their side, with probability `p` (DeVries and Taylor, 2017)."""
    side, numbers = images.shape[-1], beside(draws(3), images)
    edge = max(1, round(size * side))
    index = torch.arange(side, device=images.device)
    centres = numbers[:, 1:3] * side
    rows = (index - centres[:, 0, None]).abs() <= edge / 2
    columns = (index - centres[:, 1, None]).abs() <= edge / 2
    hole = rows[:, None, :, None] & columns[:, None, None, :] & (numbers[:, 0] < p).view(-1, 1, 1, 1)
    return images.clone().masked_fill_(hole, 0.5)


def random_erasing(
    images: Images, draws: Draws, *, p: float, scale: Sequence[float], ratio: Sequence[float], cover: float | str
) -> Images:
    """Images with a rectangle hidden, with probability `p`, under one level or noise (Zhong et al., 2020).

    `scale` is its share of the area, `ratio` its height over its width; a side that would not fit is cut to the
    image's. `cover` is a level or `noise`.
    """
    side, numbers = images.shape[-1], draws(6)
    rows = np.flatnonzero(numbers[:, 0] < p)
    boxes = beside(_boxes(numbers[rows], side, scale, ratio), images)
    seeds = beside((numbers[rows, 5] * 2**24).astype(np.int64), images)
    over = partial(_noise, seeds=seeds) if isinstance(cover, str) else partial(torch.full_like, fill_value=cover)
    return changed(images, rows, lambda part: erased(part, boxes, over(part)))


def erased(images: Images, boxes: Int[Tensor, "batch 4"], cover: Images) -> Images:
    """Images whose box (top, left, height, width in px) shows the cover."""
    return torch.where(inside(boxes, images.shape[-1]), cover, images)


def inside(boxes: Int[Tensor, "batch 4"], side: int) -> Bool[Tensor, "batch 1 side side"]:
    """Whether each pixel lies in the box (top, left, height, width in px) of its image."""
    index = torch.arange(side, device=boxes.device)
    top, left, height, width = boxes[:, :, None].unbind(dim=1)
    rows = (index >= top) & (index < top + height)
    columns = (index >= left) & (index < left + width)
    return rows[:, None, :, None] & columns[:, None, None, :]


def _boxes(numbers: np.ndarray, side: int, scale: Sequence[float], ratio: Sequence[float]) -> np.ndarray:
    """Top, left, height and width in px, in columns."""
    area = scale[0] + numbers[:, 1] * (scale[1] - scale[0])
    slope = np.exp(np.log(ratio[0]) + numbers[:, 2] * (np.log(ratio[1]) - np.log(ratio[0])))
    sides = np.stack([np.sqrt(area * slope), np.sqrt(area / slope)], axis=1)
    sides = np.minimum(np.round(sides * side), side)
    corners = np.floor(numbers[:, 3:5] * (side - sides + 1))
    return np.concatenate([corners, sides], axis=1).astype(np.int64)


def _noise(images: Images, *, seeds: Int[Tensor, " batch"]) -> Float[Tensor, "batch channels size size"]:
    """Uniform noise in [0, 1), a function of the seed of its image and of the place of the pixel.

    A hash of 32 bits (lowbias32: Wellons, Prospecting for hash functions, 2018), made where the images are.
    """
    low = 0xFFFFFFFF
    places = torch.arange(images[0].numel(), device=images.device)
    bits = ((seeds[:, None] * 0x9E3779B1 & low) + places * 0x85EBCA77) & low
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        bits = ((bits ^ (bits >> shift)) * factor) & low
    bits = bits ^ (bits >> 16)
    return (bits >> 8).to(torch.float32).div_(2.0**24).view(images.shape)
