"""Facts about the packed data: channel statistics of train, and the settings that made it."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from src.config import FeaturesConfig
from src.config_data import DataConfig
from src.features.packed import PackedSplit
from src.files import read_json
from src.trees import differences

STATISTICS_FILE = "statistics.json"
STATISTICS_BATCH = 256


def channel_statistics(split: PackedSplit) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over all pixels of the split, in units of [0, 1]."""
    sums, squares = np.zeros(3), np.zeros(3)
    for start in range(0, len(split), STATISTICS_BATCH):
        pixels = split.gather(np.arange(start, min(start + STATISTICS_BATCH, len(split))))
        unit = pixels.reshape(-1, 3).astype(np.float64) / 255
        sums += unit.sum(axis=0)
        squares += (unit**2).sum(axis=0)
    num_pixels = len(split) * split.size**2
    mean = sums / num_pixels
    std = np.sqrt(np.maximum(squares / num_pixels - mean**2, 1e-8))
    return mean.tolist(), std.tolist()


def load_statistics(folder: Path, data: DataConfig, features: FeaturesConfig) -> dict[str, Any]:
    """The content of `statistics.json`, once it is sure that these settings made the packed splits.

    Raises:
        ValueError: there are none, or they were made with other settings; the message names each.
    """
    facts = read_json(folder / STATISTICS_FILE, made_by="build_features")
    check_settings(facts["settings"], {"data": asdict(data), "features": asdict(features)}, where=folder)
    return facts


def check_settings(made_with: Mapping[str, Any], asked: Mapping[str, Any], *, where: Path) -> None:
    """Nothing, if what lies at `where` was made with the settings asked for.

    Raises:
        ValueError: the settings differ; the message gives the overrides that would make them equal.
    """
    changed = differences(made_with, asked)
    if changed:
        found = " ".join(f"{key}={'null' if old is None else old}" for key, (old, _) in changed.items())
        wanted = " ".join(f"{key}={'null' if new is None else new}" for key, (_, new) in changed.items())
        raise ValueError(f"{where} was made with {found}, not with {wanted}: give those values, or build it again")
