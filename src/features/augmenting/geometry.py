"""Transforms that move pixels: shifts, mirror images, crops and everything that a matrix describes."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from src.features.augmenting.sampling import Amounts, Draws, Images, beside, per_image

Matrices = Float[Tensor, "batch 2 3"]


def pad_crop(images: Images, draws: Draws, *, padding: float) -> Images:
    """Images shifted by up to `padding` of their side each way, the border filled by reflection."""
    side = images.shape[-1]
    pad = max(int(padding > 0), round(padding * side))
    padded = F.pad(images, (pad, pad, pad, pad), mode="reflect")
    offsets = (beside(draws(2), images) * (2 * pad + 1)).long()
    index = torch.arange(side, device=images.device)
    rows, columns = offsets[:, 0, None] + index, offsets[:, 1, None] + index
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def flip(images: Images, draws: Draws, *, p: float) -> Images:
    """Images mirrored left to right with probability `p`."""
    return mirrored(images, draws(1)[:, 0] < p, axis=-1)


def vertical_flip(images: Images, draws: Draws, *, p: float) -> Images:
    """Images turned upside down, as in a mirror, with probability `p`: for pictures taken from above."""
    return mirrored(images, draws(1)[:, 0] < p, axis=-2)


def alternating_flip(images: Images, draws: Draws) -> Images:
    """Images mirrored left to right in every other epoch, half of them in the first (Jordan, 2024).

    So a pair of epochs shows each image both ways, where a coin would show one of them twice for half the images.
    """
    first = draws.of_first_epoch()(1)[:, 0] < 0.5
    return mirrored(images, first ^ (draws.epoch % 2 == 1), axis=-1)


def mirrored(images: Images, which: np.ndarray, *, axis: int) -> Images:
    """Images of which those that `which` marks are mirrored along the axis."""
    return torch.where(per_image(beside(which, images)), images.flip(axis), images)


def random_resized_crop(
    images: Images, draws: Draws, *, scale: Sequence[float], ratio: Sequence[float], img_size: int
) -> Float[Tensor, "batch channels img_size img_size"]:
    """Crops of `scale` of the area and `ratio` of width to height, resized to the input size (Szegedy et al., 2015)."""
    side, numbers = images.shape[-1], beside(draws(4), images)
    area = scale[0] + numbers[:, 0] * (scale[1] - scale[0])
    log_ratio = np.log(ratio[0]) + numbers[:, 1] * (np.log(ratio[1]) - np.log(ratio[0]))
    height = (area / log_ratio.exp()).sqrt().clamp(max=1.0) * side
    width = (area * log_ratio.exp()).sqrt().clamp(max=1.0) * side
    top, left = numbers[:, 2] * (side - height), numbers[:, 3] * (side - width)
    return resized_crops(images, (top, height), (left, width), img_size=img_size)


def resized_crops(
    images: Images, rows: tuple[Amounts, Amounts], columns: tuple[Amounts, Amounts], *, img_size: int
) -> Float[Tensor, "batch channels img_size img_size"]:
    """The part of each image whose first row and height, first column and width are given in px, resized.

    A crop and an antialiased bilinear resize are linear in rows and in columns: two batched matrix products.
    """
    side = images.shape[-1]
    down = _resize_weights(*rows, side=side, img_size=img_size)
    across = _resize_weights(*columns, side=side, img_size=img_size)
    return torch.einsum("nos,ncst,npt->ncop", down, images, across).contiguous(memory_format=torch.channels_last)


def rotation(images: Images, draws: Draws, *, degrees: float, fill: float) -> Images:
    """Images turned by up to `degrees` each way about their centre, `fill` where nothing was."""
    angles = beside((2 * draws(1)[:, 0] - 1) * degrees, images)
    return warped(images, turned(angles), fill=fill)


def warped(images: Images, matrices: Matrices, *, fill: float) -> Images:
    """Images looked up, bilinearly, where the matrices send each pixel; `fill` where that is outside.

    Pixels are counted from the centre of the image.
    """
    scale = torch.tensor([1.0, 1.0, 2.0 / images.shape[-1]]).to(images.device, non_blocking=images.is_cuda)
    grid = F.affine_grid(matrices * scale, list(images.shape), align_corners=False)
    found = F.grid_sample(images - fill, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return found.contiguous(memory_format=torch.channels_last).add_(fill)


def turned(degrees: Amounts) -> Matrices:
    """Matrices that turn images against the clock."""
    cos, sin, none = degrees.deg2rad().cos(), degrees.deg2rad().sin(), torch.zeros_like(degrees)
    return _matrices([cos, -sin, none], [sin, cos, none])


def sheared_x(amounts: Amounts, *, side: int) -> Matrices:
    """Matrices that shift each row to the left by `amounts` px for every px that it lies below the first."""
    one, none = torch.ones_like(amounts), torch.zeros_like(amounts)
    return _matrices([one, amounts, amounts * side / 2], [none, one, none])


def sheared_y(amounts: Amounts, *, side: int) -> Matrices:
    """Matrices that shift each column up by `amounts` px for every px that it lies right of the first."""
    one, none = torch.ones_like(amounts), torch.zeros_like(amounts)
    return _matrices([one, none, none], [amounts, one, amounts * side / 2])


def shifted(right: Amounts, down: Amounts) -> Matrices:
    """Matrices that move images by the given numbers of px."""
    one, none = torch.ones_like(right), torch.zeros_like(right)
    return _matrices([one, none, -right], [none, one, -down])


def _matrices(*rows: Sequence[Amounts]) -> Matrices:
    return torch.stack([torch.stack(list(row), dim=1) for row in rows], dim=1)


def _resize_weights(start: Tensor, length: Tensor, *, side: int, img_size: int) -> Float[Tensor, "batch img_size side"]:
    """Rows of antialiased bilinear weights that resize [start, start + length) of a line to `img_size` samples."""
    scale = (length / img_size)[:, None, None]
    reach = scale.clamp(min=1.0)
    out = torch.arange(img_size, device=start.device, dtype=torch.float32)
    centres = start[:, None, None] + (out[None, :, None] + 0.5) * scale
    inputs = torch.arange(side, device=start.device, dtype=torch.float32) + 0.5
    weights = (1 - (inputs[None, None, :] - centres).abs() / reach).clamp(min=0)
    # as if the crop had been cut out first: nothing outside of it is seen
    outside = (inputs < start[:, None]) | (inputs > (start + length)[:, None])
    weights = weights.masked_fill(outside[:, None, :], 0)
    return weights / weights.sum(dim=2, keepdim=True)
