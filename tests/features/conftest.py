"""Drawn images and packed splits for the features floor."""

from pathlib import Path

import numpy as np
import pytest

from src.features.packed import PackedSplit, write_split


@pytest.fixture
def packed_split(tmp_path: Path) -> PackedSplit:
    """Thirty random images of 8 px in three classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    return pack(tmp_path / "train", pixels, [index % 3 for index in range(30)])


def pack(folder: Path, pixels: np.ndarray, labels: list[int]) -> PackedSplit:
    names = [f"{index:03d}.png" for index in range(len(pixels))]
    write_split(
        folder,
        enumerate(pixels),
        size=pixels.shape[1],
        rows={"id": names, "path": names, "label": labels},
        class_names=["a", "b", "c"],
        digest="0123456789abcdef",
    )
    return PackedSplit.load(folder)
