"""Operations that give each level of a channel another one: fewer levels, inverted ones, evenly used ones."""

import torch

from src.features.augmenting.sampling import Amounts, Images, per_image

LEVELS = 256


def posterized(images: Images, bits: Amounts) -> Images:
    """Images of which only the upper `bits` (0 to 8) of each 8-bit level are kept."""
    step = per_image(2 ** (8 - bits))
    return (images * (LEVELS - 1)).round_().div_(step).floor_().mul_(step).div_(LEVELS - 1)


def solarized(images: Images, thresholds: Amounts) -> Images:
    """Images whose levels from the threshold on are inverted."""
    return torch.where(images >= per_image(thresholds), 1 - images, images)


def stretched(images: Images) -> Images:
    """Images whose channels each reach from 0 to 1; a channel of one level stays as it is."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    flat = high == low
    return (images - torch.where(flat, 0, low)).div_(torch.where(flat, 1, high - low)).clamp_(0, 1)


def equalized(images: Images) -> Images:
    """Images whose channels use their 8-bit levels as evenly as Pillow makes them; a flat channel stays as it is."""
    levels = (images * (LEVELS - 1)).round_().long().flatten(start_dim=2)
    counts = torch.zeros(*levels.shape[:2], LEVELS, device=images.device, dtype=torch.long)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    brightest = levels.amax(dim=2, keepdim=True)
    step = (levels.shape[2] - counts.gather(2, brightest)).div(LEVELS - 1, rounding_mode="floor")
    darker = counts.cumsum(dim=2) - counts
    table = (darker + step // 2).div(step.clamp(min=1), rounding_mode="floor").clamp_(0, LEVELS - 1)
    even = table.gather(2, levels).view(images.shape).to(images.dtype).div_(LEVELS - 1)
    return torch.where(step.unsqueeze(3) == 0, images, even)
