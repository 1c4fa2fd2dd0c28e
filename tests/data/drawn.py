"""Small drawn images, whole and broken, and the containers they come in."""

import random
import tarfile
import zipfile
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from src.compose import compose
from src.config_data import DataConfig
from src.selection import parse

Files = dict[str, bytes]


@dataclass(frozen=True)
class Drawn:
    """Label and group of each of some images that need no pixels."""

    labels: list[str]
    groups: list[str]


@st.composite
def drawn_groups(draw, *, mixed: bool = True) -> Drawn:
    """Up to four classes in six groups or more of one to six images; where `mixed`, groups hold several classes."""
    by_class = draw(st.lists(st.lists(st.integers(1, 6), min_size=6, max_size=30), min_size=1, max_size=4))
    sizes = [(label, size) for label, groups in enumerate(by_class) for size in groups]
    labels = [f"class {label}" for label, size in sizes for _ in range(size)]
    groups = [f"group {number}" for number, (_, size) in enumerate(sizes) for _ in range(size)]
    if mixed:
        joined = draw(st.integers(6, len(sizes)))
        groups = [f"group {int(group.split()[1]) % joined}" for group in groups]
    return Drawn(labels, groups)


@cache
def _defaults() -> DataConfig:
    return replace(compose(parse(["data=folder", "data.path=images"])).data, path=None)


def settings(**changes) -> DataConfig:
    """The data section as configs/data/folder.yaml has it, with changes."""
    return replace(_defaults(), **changes)


SPLIT_PATTERNS = _defaults().split_patterns


def drawing(seed: int, size: tuple[int, int] = (12, 10)) -> Image.Image:
    """An RGB image of (width, height) px, different for each seed."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def scene(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """An image of soft patches, which stays like itself when it is scaled or compressed and is like no other."""
    return drawing(seed, (6, 6)).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(seed: int, size: tuple[int, int] = (12, 10)) -> bytes:
    return encoded(drawing(seed, size))


def labelled(classes: dict[str, int], *, first_seed: int = 0) -> Files:
    """So many different images for each class folder."""
    seeds = iter(range(first_seed, first_seed + sum(classes.values())))
    return {f"{name}/{index}.png": png(next(seeds)) for name, count in classes.items() for index in range(count)}


def below(prefix: str, files: Files) -> Files:
    return {f"{prefix}/{name}": content for name, content in files.items()}


def folder_of(path: Path, files: Files) -> Path:
    for name, content in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return path


def zip_of(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tar_of(path: Path, files: Files, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    return path


def shuffled(files: Files, seed: int) -> Files:
    names = list(files)
    random.Random(seed).shuffle(names)
    return {name: files[name] for name in names}
