"""The way from a decoded image to the numbers a network sees: one object for train, evaluation, predict and export."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Settings that travel with the weights.

    A decoded RGB image is brought to a uint8 square of `size` px (`pack`), as it is stored in the packed split;
    on the device that square is scaled to [0, 1], resized to `img_size` px (`input_interpolation`) where the two
    differ, and normalised by `mean` and `std` (`src/features/inputs.py`).
    """

    size: int
    resize: str
    interpolation: str
    img_size: int
    input_interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def pack(self, image: Image.Image) -> np.ndarray:
        """uint8 pixels of shape (size, size, 3)."""
        return np.asarray(_resized(image, self.size, how=self.resize, interpolation=self.interpolation))

    def as_tree(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> "Preprocess":
        """The inverse of `as_tree`."""
        return cls(**{**tree, "mean": tuple(tree["mean"]), "std": tuple(tree["std"])})


def _resized(image: Image.Image, size: int, *, how: str, interpolation: str) -> Image.Image:
    if image.size == (size, size):
        return image
    resample = FILTERS[interpolation]
    if how == "squash":
        return image.resize((size, size), resample)
    width, height = image.size
    if how == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return image.resize((size, size), resample, box=(left, top, left + side, top + side))
    scale = size / max(width, height)
    inner = image.resize((max(1, round(width * scale)), max(1, round(height * scale))), resample)
    canvas = Image.new("RGB", (size, size))
    canvas.paste(inner, ((size - inner.width) // 2, (size - inner.height) // 2))
    return canvas
