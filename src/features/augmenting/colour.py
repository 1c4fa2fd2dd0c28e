"""Transforms of colour and light, and the operations that they and the policies share."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from src.features.augmenting.sampling import (
    Amounts,
    Draws,
    Images,
    Operation,
    beside,
    changed,
    changed_by_choice,
    per_image,
)


def brightness_contrast(images: Images, draws: Draws, *, brightness: float, contrast: float) -> Images:
    """Images whose brightness and contrast are scaled by up to the given share each way."""
    numbers = beside(draws(2), images)
    gain = per_image(1 + brightness * (2 * numbers[:, 0] - 1))
    stretch = per_image(1 + contrast * (2 * numbers[:, 1] - 1))
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return ((images - mean) * stretch + mean).mul(gain).clamp(0, 1)


def colour_jitter(
    images: Images, draws: Draws, *, brightness: float, contrast: float, saturation: float, hue: float
) -> Images:
    """Images whose brightness, contrast, saturation and hue are changed by up to the given shares, in drawn order.

    As in torchvision, but with factors and an order of each image's own. A share of zero leaves its change out.
    """
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    used = [name for name, strength in strengths.items() if strength > 0]
    numbers = draws(2 * len(strengths))
    amounts = np.array([_jitter(name, strengths[name], numbers[:, place]) for place, name in enumerate(used)])
    order = np.argsort(numbers[:, len(strengths) :][:, : len(used)], axis=1)
    operations = [JITTERS[name] for name in used]
    for chosen in order.T:
        own = amounts[chosen, np.arange(len(images))]
        images = changed_by_choice(images, chosen, own, operations=operations)
    return images


def _jitter(name: str, strength: float, numbers: np.ndarray) -> np.ndarray:
    """Turns of the hue either way, or factors about one that are not below zero."""
    if name == "hue":
        return strength * (2 * numbers - 1)
    return np.asarray(max(0.0, 1 - strength) + numbers * (1 + strength - max(0.0, 1 - strength)))


def grayscale(images: Images, draws: Draws, *, p: float) -> Images:
    """Images without colour, in three equal channels, with probability `p`."""
    rows = np.flatnonzero(draws(1)[:, 0] < p)
    return changed(images, rows, lambda part: luminance(part).expand_as(part))


def luminance(images: Images) -> Float[Tensor, "batch 1 size size"]:
    """The grey of each pixel, weighted as in ITU-R BT.601."""
    red, green, blue = images.unbind(dim=1)
    return (0.2989 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114).unsqueeze(1)


def with_brightness(images: Images, factors: Amounts) -> Images:
    """Images whose pixels are multiplied by the factor of their image."""
    return (images * per_image(factors)).clamp_(0, 1)


def with_contrast(images: Images, factors: Amounts) -> Images:
    """Images stretched by their factor about their mean grey."""
    return _blended(luminance(images).mean(dim=(1, 2, 3), keepdim=True), images, factors)


def with_saturation(images: Images, factors: Amounts) -> Images:
    """Images whose colours lie `factors` times as far from grey."""
    return _blended(luminance(images), images, factors)


def with_hue(images: Images, turns: Amounts) -> Images:
    """Images whose hue is turned by the given shares of the colour wheel, saturation and value kept."""
    red, green, blue = images.unbind(dim=1)
    value = images.amax(dim=1)
    chroma = value - images.amin(dim=1)
    spread = torch.where(chroma == 0, 1.0, chroma)
    sixths = torch.where(value == green, 2 + (blue - red) / spread, 4 + (red - green) / spread)
    sixths = torch.where(value == red, (green - blue) / spread, sixths) + 6 * turns[:, None, None]
    # each channel is the value less the share of the chroma that the distance of the hue to it leaves
    distances = [(sixths + start).remainder(6) for start in (5, 3, 1)]
    lacking = torch.stack([torch.minimum(place, 4 - place).clamp_(0, 1) for place in distances], dim=1)
    return torch.addcmul(value[:, None], chroma[:, None], lacking, value=-1).contiguous(
        memory_format=torch.channels_last
    )


def _blended(others: Tensor, images: Images, factors: Amounts) -> Images:
    """From `others` at a factor of zero over the images themselves at one to beyond them, within [0, 1]."""
    return torch.lerp(others, images, per_image(factors)).clamp_(0, 1)


JITTERS: dict[str, Operation] = {
    "brightness": with_brightness,
    "contrast": with_contrast,
    "saturation": with_saturation,
    "hue": with_hue,
}
