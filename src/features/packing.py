"""From a manifest to packed splits: every image decoded once more, resized, and laid at its place."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from src.artifacts import Manifest
from src.config import FeaturesConfig
from src.config_data import DataConfig
from src.data.archives import open_images
from src.data.checks import decode
from src.data.parallel import mapped
from src.features.packed import PackedSplit, SplitWriter
from src.features.preprocess import Preprocess
from src.features.statistics import STATISTICS_FILE, channel_statistics
from src.files import whole_folder, write_json
from src.logs import progress

log = logging.getLogger(__name__)

EVEN = 2


def pack_all(
    manifest: Manifest, data: DataConfig, features: FeaturesConfig, *, folder: Path, workers: int | None
) -> dict[str, Any]:
    """The statistics, after writing a packed split for each split of the manifest and `statistics.json`.

    The folder appears, or changes, only once everything in it is written.

    Raises:
        ValueError: an image is no longer what the manifest says.
    """
    preprocess = packing_of(manifest, features)
    facts = {
        "size": preprocess.size,
        "counts": {split: len(manifest.rows(split)) for split in manifest.splits()},
        "class_names": manifest.class_names,
        "digest": manifest.digest(),
        "settings": {"data": asdict(data), "features": asdict(features)},
    }
    with whole_folder(folder) as fresh:
        _pack(manifest, preprocess, folder=fresh, max_pixels=data.max_pixels, workers=workers)
        mean, std = channel_statistics(PackedSplit.load(fresh / "train"))
        facts |= {"mean": mean, "std": std}
        write_json(fresh / STATISTICS_FILE, facts)
    return facts


def packing_of(manifest: Manifest, features: FeaturesConfig) -> Preprocess:
    """How images are packed; a side left open is the median short side of train, at most `features.max_size`."""
    size = features.size
    if size is None:
        train = manifest.rows("train")
        sides = np.minimum(train["width"].to_numpy(), train["height"].to_numpy())
        size = max(EVEN, min(int(np.median(sides)), features.max_size) // EVEN * EVEN)
        log.info("features.size: %d px, the median short side of train (at most %d)", size, features.max_size)
    return Preprocess(
        size=size,
        resize=features.resize,
        interpolation=features.interpolation,
        img_size=size,
        input_interpolation="bilinear",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )


def _pack(manifest: Manifest, preprocess: Preprocess, *, folder: Path, max_pixels: int, workers: int | None) -> None:
    """Write every split, its images in the order of their ids, in one pass over the source.

    A compressed archive is unpacked from its beginning on each pass.
    """
    rows = {split: manifest.rows(split) for split in manifest.splits()}
    writers = {split: SplitWriter(folder / split, len(rows[split]), size=preprocess.size) for split in rows}
    places = {path: (split, index) for split in rows for index, path in enumerate(rows[split]["path"])}
    sha256 = dict(zip(places, chain.from_iterable(each["sha256"] for each in rows.values()), strict=True))
    pack = partial(_packed, preprocess=preprocess, max_pixels=max_pixels, sha256=sha256)
    files = open_images(Path(manifest.location)).read(places)
    for name, pixels in progress(mapped(pack, files, workers=workers), what="pack", total=len(places)):
        split, position = places[name]
        writers[split].put(position, pixels)
    for split, writer in writers.items():
        columns = {column: list(rows[split][column]) for column in ("id", "path", "label", "group")}
        writer.finish(columns, class_names=manifest.class_names, digest=manifest.digest())


def _packed(
    name: str, content: bytes, *, preprocess: Preprocess, max_pixels: int, sha256: Mapping[str, str]
) -> tuple[str, np.ndarray]:
    # A flipped bit may leave a JPEG decodable; only its hash tells.
    if hashlib.sha256(content).hexdigest() != sha256[name]:
        raise ValueError(f"{name} has changed since the manifest was made; run make_dataset again (make data)")
    return name, preprocess.pack(decode(content, max_pixels))
