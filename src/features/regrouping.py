"""Packed pixels dealt into other splits: rows are copied as they are, nothing is decoded again."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from src.artifacts import Manifest
from src.config import FeaturesConfig
from src.features.packed import PackedSplit, write_split
from src.features.statistics import STATISTICS_FILE, channel_statistics
from src.files import read_json, whole_folder, write_json
from src.logs import progress

CHUNK = 256
MIB = 2**20


def regroup(packed: Path, manifest: Manifest, features: FeaturesConfig, *, folder: Path) -> None:
    """Write into `folder` what build_features would for `manifest`, from the pixels of the same images in `packed`.

    The side of the images stays that of `packed`; channel statistics are those of the new train split. A split whose
    images are the same as before is linked.

    Raises:
        ValueError: `packed` lacks an image of the manifest.
        OSError: the disk has no room for the copies.
    """
    old = read_json(packed / STATISTICS_FILE, made_by="build_features")
    sources = {name: PackedSplit.load(packed / name) for name in old["counts"]}
    rows = {name: manifest.rows(name) for name in manifest.splits()}
    same = {name for name in rows if name in sources and list(rows[name]["id"]) == sources[name].ids}
    _check_room(folder, sum(len(rows[name]) for name in rows.keys() - same) * 3 * old["size"] ** 2)
    facts = {"digest": manifest.digest(), "size": old["size"], "class_names": manifest.class_names}
    with whole_folder(folder) as fresh:
        for name, wanted in rows.items():
            if name in same:
                _link_split(packed / name, fresh / name, digest=facts["digest"])
            else:
                columns = {column: list(wanted[column]) for column in ("id", "path", "label", "group")}
                _copy_rows(sources, columns, folder=fresh / name, facts=facts)
        counts = {name: len(wanted) for name, wanted in rows.items()}
        mean, std = channel_statistics(PackedSplit.load(fresh / "train"))
        settings = {"data": manifest.settings, "features": asdict(features)}
        write_json(fresh / STATISTICS_FILE, facts | {"counts": counts, "settings": settings, "mean": mean, "std": std})


def _copy_rows(
    sources: Mapping[str, PackedSplit], columns: dict[str, list[Any]], *, folder: Path, facts: Mapping[str, Any]
) -> None:
    """Write a split of the images whose ids are in `columns`, in that order, wherever they lie now."""
    found = {image_id: (name, row) for name, split in sources.items() for row, image_id in enumerate(split.ids)}
    absent = [image_id for image_id in columns["id"] if image_id not in found]
    if absent:
        raise ValueError(f"{len(absent)} images are not packed, {absent[0]!r} first; run build_features again")
    homes = [found[image_id] for image_id in columns["id"]]

    def images() -> Iterator[tuple[int, np.ndarray]]:
        yield from progress(_rows(sources, homes), what=f"regroup {folder.name}", total=len(homes))

    write_split(
        folder,
        images(),
        size=facts["size"],
        rows=columns,
        class_names=facts["class_names"],
        digest=facts["digest"],
    )


def _rows(sources: Mapping[str, PackedSplit], homes: list[tuple[str, int]]) -> Iterator[tuple[int, np.ndarray]]:
    """Position in `homes` and pixels of each image, where a home is the name of a split and a row of it."""
    for name, split in sources.items():
        positions = np.array([at for at, (home, _) in enumerate(homes) if home == name], dtype=np.int64)
        rows = np.array([row for home, row in homes if home == name], dtype=np.int64)
        for start in range(0, len(rows), CHUNK):
            chunk = slice(start, start + CHUNK)
            yield from zip(positions[chunk].tolist(), split.gather(rows[chunk]), strict=True)


def _link_split(source: Path, target: Path, *, digest: str) -> None:
    """The same split under another digest; pixels and labels take no room where the disk can link files."""
    target.mkdir()
    for path in sorted(source.glob("*.npy")):
        try:
            os.link(path, target / path.name)
        except OSError:
            # another disk, or a file system without links
            shutil.copyfile(path, target / path.name)
    index = read_json(source / "index.json", made_by="build_features")
    write_json(target / "index.json", index | {"digest": digest})


def _check_room(folder: Path, num_bytes: int) -> None:
    """Nothing, where the disk has room: a write to a memory map that has none ends the process without a word."""
    at = next(parent for parent in folder.absolute().parents if parent.exists())
    free = shutil.disk_usage(at).free
    if free < num_bytes:
        raise OSError(
            f"{folder} needs {num_bytes / MIB:,.0f} MiB for copies of pixels and {free / MIB:,.0f} MiB are free; "
            "make room, or pack smaller images with features.size"
        )
