"""Choosing pictures to show, and turning their pixels into something that a page can hold."""

import base64
import io
from collections.abc import Iterable

import numpy as np
from PIL import Image

from src.artifacts import UNLABELLED
from src.features.packed import PackedSplit

SHARP_UP_TO = 64
THUMBNAIL_SIDE = 192
MOST_CLASSES = 30
SAMPLE_SEED = 0
MOST_PNG_BYTES = 100_000


def is_sharp(size: int) -> bool:
    """Whether images of this side are shown pixel by pixel; larger ones are photographs and shown smooth."""
    return size <= SHARP_UP_TO


def class_samples(pack: PackedSplit, per_class: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Class name to uint8 pixels of up to `per_class` of its images, drawn without repetition.

    Of more than `MOST_CLASSES` classes, that many are drawn; classes without an image are left out.
    """
    present = sorted(set(pack.labels.tolist()) - {UNLABELLED})
    if len(present) > MOST_CLASSES:
        present = sorted(rng.choice(present, MOST_CLASSES, replace=False).tolist())
    return {pack.class_names[label]: pack.gather(_drawn(pack.labels, label, per_class, rng)) for label in present}


def _drawn(labels: np.ndarray, label: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `most` positions of the label, in rising order."""
    positions = np.flatnonzero(labels == label)
    return np.sort(rng.choice(positions, min(most, len(positions)), replace=False))


def data_uri(pixels: np.ndarray) -> str:
    """The image itself as an address: PNG for small images, a JPEG of at most `THUMBNAIL_SIDE` px for photographs."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    out = io.BytesIO()
    if is_sharp(max(image.size)):
        image.save(out, format="PNG", optimize=True)
        kind = "png"
    else:
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
        image.save(out, format="JPEG", quality=85)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode('ascii')}"


def sheet_uri(content: bytes) -> str:
    """A PNG file as an address, as a JPEG one where it shows photographs: of those PNG makes several times as much."""
    kind = "png"
    if len(content) > MOST_PNG_BYTES:
        out = io.BytesIO()
        Image.open(io.BytesIO(content)).convert("RGB").save(out, format="JPEG", quality=85)
        content, kind = out.getvalue(), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def data_uris(images: Iterable[np.ndarray]) -> list[str]:
    """One address for each image."""
    return [data_uri(pixels) for pixels in images]
