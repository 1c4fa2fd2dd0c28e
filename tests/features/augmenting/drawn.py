"""Batches to augment: uniform noise, 8-bit levels of it, and colours as smooth as photographs have them."""

import numpy as np
import torch
import torch.nn.functional as F

from src.features.augmenting.sampling import Draws


def noise(count: int = 6, side: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def levels(count: int = 6, side: int = 16) -> torch.Tensor:
    """uint8 images in which every channel of every image has another range."""
    smooth = F.interpolate(noise(count, 4), (side, side), mode="bicubic", align_corners=False).clamp(0, 1)
    spread = torch.linspace(0.2, 1, count * 3).view(count, 3, 1, 1)
    return (255 * smooth * spread).round().to(torch.uint8)


def photographs(count: int = 6, side: int = 16) -> torch.Tensor:
    """Unit images of 8-bit levels, their channels last in memory as those of a training batch are."""
    return (levels(count, side).float() / 255).contiguous(memory_format=torch.channels_last)


def draws(count: int = 6, *, seed: int = 0, epoch: int = 0, first: int = 0) -> Draws:
    return Draws(np.arange(first, first + count), seed, epoch, 0)


def per_image(function, images: torch.Tensor, *parameters) -> torch.Tensor:
    """What a function of one image makes of each, given the image's own parameters."""
    return torch.stack([function(image, *own) for image, *own in zip(images, *parameters, strict=True)])
