"""A small project with packed digits: two classes of drawn images, enough to learn in seconds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from src.compose import compose
from src.config import Config
from src.features.packed import write_split
from src.files import write_json
from src.layout import PACKED_DIR
from src.selection import parse

CLASS_NAMES = ["across", "down", "dots"]
COUNTS = {"train": 96, "val": 30, "test": 31}
FAST = [
    "model=baseline_cnn",
    "model.options.width=8",
    "train.epochs=2",
    "train.batch_size=16",
    "run.wandb.mode=disabled",
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a project whose drawn images are packed already."""
    monkeypatch.chdir(tmp_path)
    pack_drawn(configured())
    return tmp_path


@pytest.fixture
def config() -> Callable[..., Config]:
    """A configuration for a run of a second, with further overrides."""
    return configured


def configured(*overrides: str) -> Config:
    return compose(parse([*FAST, *overrides]))


def pack_drawn(cfg: Config, *, seed: int = 0) -> None:
    """Stripes across, stripes down and dots, in noise: 12 px, three classes."""
    from dataclasses import asdict

    rng = np.random.default_rng(seed)
    for name, count in COUNTS.items():
        labels = np.arange(count) % 3
        pixels = np.stack([drawn(int(label), rng) for label in labels])
        names = [f"{name}/{CLASS_NAMES[label]}/{index:03d}.png" for index, label in enumerate(labels)]
        write_split(
            PACKED_DIR / name,
            enumerate(pixels),
            size=12,
            rows={"id": names, "path": names, "label": labels.tolist()},
            class_names=CLASS_NAMES,
            digest="0123456789abcdef",
        )
    settings = {"data": asdict(cfg.data), "features": asdict(cfg.features)}
    facts = {"mean": [0.5] * 3, "std": [0.3] * 3, "size": 12, "counts": COUNTS, "class_names": CLASS_NAMES}
    write_json(PACKED_DIR / "statistics.json", facts | {"digest": "0123456789abcdef", "settings": settings})


def drawn(label: int, rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[:12, :12]
    pattern = [rows % 4 < 2, columns % 4 < 2, (rows % 4 < 2) & (columns % 4 < 2)][label]
    noise = rng.normal(0, 20, (12, 12, 3))
    return np.clip(60 + 140 * pattern[..., None] + noise, 0, 255).astype(np.uint8)
