"""How an image looks, in a few numbers: what a change of camera, light or focus moves."""

import numpy as np
from jaxtyping import Float, UInt8

from src.features.packed import PackedSplit

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""

IMAGES_AT_ONCE = 256


def appearance(pixels: UInt8[np.ndarray, "images size size 3"]) -> dict[str, Float[np.ndarray, " images"]]:
    """Brightness, contrast, saturation and sharpness of each packed image, all from 0 to 1.

    Contrast is the standard deviation of brightness, saturation the mean distance of the largest and the least channel,
    sharpness the mean difference of neighbouring pixels in brightness.
    """
    colours = pixels.astype(np.float32) / 255
    grey = colours @ LUMA
    across, down = np.abs(np.diff(grey, axis=2)), np.abs(np.diff(grey, axis=1))
    return {
        "brightness": grey.mean(axis=(1, 2)),
        "contrast": grey.std(axis=(1, 2)),
        "saturation": (colours.max(axis=3) - colours.min(axis=3)).mean(axis=(1, 2)),
        "sharpness": (across.mean(axis=(1, 2)) + down.mean(axis=(1, 2))) / 2,
    }


def looks_of(split: PackedSplit) -> dict[str, Float[np.ndarray, " images"]]:
    """The same of every image of a packed split, in its order."""
    starts = range(0, len(split), IMAGES_AT_ONCE)
    parts = [appearance(split.gather(np.arange(start, min(start + IMAGES_AT_ONCE, len(split))))) for start in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
