"""A picture of what augmentation makes of some training images: a row of originals, then one for each epoch shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import torch

from src.features.augment import Augment
from src.features.inputs import unit_images
from src.features.loader import epoch_batches
from src.features.packed import PackedSplit

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

NUM_IMAGES, NUM_EPOCHS = 8, 3
TILE, GAP, MARGIN, LINE, SIDEBAR = 112, 8, 16, 17, 76
BACKGROUND, INK, MUTED = "#ffffff", "#1d2126", "#666c75"
LARGE, SMALL = 14, 12
SHARP_UP_TO = 64


@dataclass(frozen=True)
class Tile:
    """An image, uint8 of shape (side, side, 3), and the lines below it: a name and what follows it."""

    pixels: np.ndarray
    lines: list[tuple[str, str]]


def preview(split: PackedSplit, augment: Augment, *, seed: int) -> bytes:
    """A PNG file: images of the split as packed, and as they are trained on in the first epochs, mixes included.

    They are the first images of the first epoch, and are mixed among themselves. Nothing is drawn from a generator.
    """
    samples = epoch_batches(len(split), batch_size=NUM_IMAGES, seed=seed, epoch=0)[0]
    pixels, labels = split.gather(samples), split.labels[samples]
    names = split.class_names
    rows = {"original": [Tile(*pair) for pair in zip(pixels, [[(names[label], "")] for label in labels], strict=True)]}
    for epoch in range(NUM_EPOCHS):
        targets = torch.eye(len(names))[torch.from_numpy(labels)]
        images, targets = augment(unit_images(torch.from_numpy(pixels)), targets, samples=samples, epoch=epoch)
        lines = [_shares(target, names) if augment.mix else [] for target in targets]
        rows[f"epoch {epoch + 1}"] = [Tile(*pair) for pair in zip(_levels(images), lines, strict=True)]
    return _png(_drawn(rows))


def _levels(images: torch.Tensor) -> np.ndarray:
    """Unit images as uint8, channels last."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _shares(target: torch.Tensor, class_names: Sequence[str]) -> list[tuple[str, str]]:
    """The classes of a mixed target and their shares, the larger first; one that rounds to nothing is left out."""
    found = sorted(zip(target.tolist(), class_names, strict=True), reverse=True)[:2]
    return [(name, f" {100 * share:.0f} %") for share, name in found if round(100 * share)]


def _drawn(rows: dict[str, list[Tile]]) -> "Image.Image":
    """The rows below each other, their names on the left."""
    from PIL import Image, ImageDraw

    columns = max(len(tiles) for tiles in rows.values())
    width = 2 * MARGIN + SIDEBAR + columns * (TILE + GAP) - GAP
    height = 2 * MARGIN + sum(_height(tiles) + GAP for tiles in rows.values()) - GAP
    canvas = Image.new("RGB", (width, height), BACKGROUND)
    pen = ImageDraw.Draw(canvas)
    top = MARGIN
    for name, tiles in rows.items():
        pen.text((MARGIN, top + TILE / 2), name, fill=INK, anchor="lm", font_size=LARGE)
        for column, tile in enumerate(tiles):
            left = MARGIN + SIDEBAR + column * (TILE + GAP)
            canvas.paste(_scaled(tile.pixels), (left, top))
            for number, line in enumerate(tile.lines):
                _write(pen, line, (left + TILE / 2, top + TILE + 2 + (number + 0.5) * LINE))
        top += _height(tiles) + GAP
    return canvas


def _height(tiles: Sequence[Tile]) -> int:
    return TILE + LINE * max(len(tile.lines) for tile in tiles)


def _scaled(pixels: np.ndarray) -> "Image.Image":
    """The image at the size of a tile; small images keep their pixels."""
    from PIL import Image

    kept = Image.Resampling.NEAREST if len(pixels) <= SHARP_UP_TO else Image.Resampling.LANCZOS
    return Image.fromarray(np.ascontiguousarray(pixels)).resize((TILE, TILE), kept)


def _write(pen: "ImageDraw.ImageDraw", line: tuple[str, str], middle: tuple[float, float]) -> None:
    """The line about the point, its name cut where both are wider than a tile."""
    name, rest = line
    while pen.textlength(name + rest, font_size=SMALL) > TILE and len(name) > 1:
        name = name.rstrip("…")[:-1] + "…"
    pen.text(middle, name + rest, fill=MUTED, anchor="mm", font_size=SMALL)


def _png(image: "Image.Image") -> bytes:
    out = BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()
