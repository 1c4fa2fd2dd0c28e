"""Transforms that mix each pixel with its neighbours."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from src.features.augmenting.sampling import Amounts, Draws, Images, beside, changed, per_image

REACH = 3.0
"""Deviations after which a Gaussian is cut off."""


def gaussian_blur(images: Images, draws: Draws, *, sigma: Sequence[float], p: float) -> Images:
    """Images blurred, with probability `p`, by a Gaussian whose deviation is drawn from `sigma`, in px."""
    numbers = draws(2)
    rows = np.flatnonzero(numbers[:, 0] < p)
    deviations = beside((sigma[0] + numbers[:, 1] * (sigma[1] - sigma[0]))[rows], images)
    radius = min(math.ceil(REACH * sigma[1]), images.shape[-1] - 1)
    return changed(images, rows, lambda part: blurred(part, deviations, radius=radius))


def blurred(images: Images, deviations: Amounts, *, radius: int) -> Images:
    """Images blurred by Gaussians of 2 * radius + 1 taps, reflected at the border: two batched matrix products."""
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    taps = torch.softmax(-((offsets / deviations[:, None]) ** 2) / 2, dim=1)
    weights = torch.einsum("nk,kos->nos", taps, _reflected(offsets, images.shape[-1]))
    blur = torch.einsum("nos,ncst,npt->ncop", weights, images, weights)
    return blur.contiguous(memory_format=torch.channels_last)


def sharpened(images: Images, factors: Amounts) -> Images:
    """From smoothed images at a factor of zero over the images at one to sharper ones; the border stays as it is."""
    if images.shape[-1] < 3:
        return images
    inner = images[..., 1:-1, 1:-1]
    # the kernel of Pillow's SMOOTH: ones about a five, over their sum of 13
    triples = images[..., :-2, :] + images[..., 1:-1, :] + images[..., 2:, :]
    nines = triples[..., :-2] + triples[..., 1:-1] + triples[..., 2:]
    smooth = nines.div_(13).add_(inner, alpha=4 / 13)
    out = images.clone()
    out[..., 1:-1, 1:-1] = torch.lerp(smooth, inner, per_image(factors)).clamp_(0, 1)
    return out


def _reflected(offsets: Tensor, side: int) -> Float[Tensor, "taps side side"]:
    """For each tap a matrix that looks each pixel's neighbour up, the border reflected without repeating it."""
    pixels = torch.arange(side, device=offsets.device)
    places = (pixels[None, :] + offsets[:, None]).abs()
    places = (side - 1) - ((side - 1) - places).abs()
    return (places[:, :, None] == pixels).float()
