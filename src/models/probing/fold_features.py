"""What labels are predicted from, image by image: the embeddings of a frozen network, or small pictures."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from src.artifacts import Manifest, ordered_splits
from src.features.embeddings import Embeddings
from src.features.packed import PackedSplit
from src.logs import progress

log = logging.getLogger(__name__)

PIXEL_SIDE = 16
"""Pixels are averaged down to this side: a linear model sees colours and coarse shapes, and fits in memory."""

READ_CHUNK = 256


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """The labelled images of all splits: `vectors` is float32 of shape (images, dim), `features` says what it is."""

    ids: list[str]
    splits: list[str]
    labels: np.ndarray
    groups: list[str]
    vectors: np.ndarray
    class_names: list[str]
    features: str
    digest: str


def gather_labelled(
    packed_dir: Path, manifest: Manifest, statistics: Mapping[str, Any], *, features: str
) -> LabelledImages:
    """The labelled images of every packed split; `features` is auto, pixels or embeddings.

    Raises:
        ValueError: no embeddings where they are wanted, packed data of another manifest, or no label.
    """
    names = ordered_splits(set(statistics["counts"]))
    packs = {name: PackedSplit.load(packed_dir / name) for name in names}
    if statistics["digest"] != manifest.digest():
        raise ValueError(f"{packed_dir} was made from another manifest than there is now; run build_features again")
    known = {name: np.flatnonzero(pack.labels >= 0) for name, pack in packs.items()}
    ids = [packs[name].ids[position] for name in names for position in known[name]]
    if not ids:
        raise ValueError(f"{packed_dir} holds no labelled image, so there is no label to search")
    what, vectors = _vectors(packed_dir, packs, known, features=wanted(features, statistics))
    group_of = manifest.used().set_index("id")["group"]
    return LabelledImages(
        ids=ids,
        splits=[name for name in names for _ in known[name]],
        labels=np.concatenate([packs[name].labels[known[name]] for name in names]),
        groups=[str(group) for group in group_of.loc[ids]],
        vectors=vectors,
        class_names=manifest.class_names,
        features=what,
        digest=manifest.digest(),
    )


def wanted(features: str, statistics: Mapping[str, Any]) -> str:
    """`pixels` or `embeddings`; auto is the latter where build_features was told to make them."""
    embeddings = statistics["settings"]["features"]["embeddings"]
    has_weights = embeddings["pretrained"] or embeddings["pretrained_path"] is not None
    return ("embeddings" if has_weights else "pixels") if features == "auto" else features


def small_pictures(pack: PackedSplit, positions: np.ndarray) -> np.ndarray:
    """Pixels of the given images in [0, 1], float32 of shape (positions, dim), averaged down where they are large."""
    side = min(pack.size, PIXEL_SIDE)
    rows = np.empty((len(positions), side * side * 3), dtype=np.float32)
    with progress(what=f"read {pack.name}", total=len(positions)) as bar:
        for start in range(0, len(positions), READ_CHUNK):
            pixels = pack.gather(positions[start : start + READ_CHUNK])
            rows[start : start + len(pixels)] = [_shrunk(image, side) for image in pixels]
            bar.update(len(pixels))
    return rows / 255


def _shrunk(image: np.ndarray, side: int) -> np.ndarray:
    if len(image) > side:
        image = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))
    return image.reshape(-1)


def _vectors(
    packed_dir: Path, packs: Mapping[str, PackedSplit], known: Mapping[str, np.ndarray], *, features: str
) -> tuple[str, np.ndarray]:
    """What the vectors are, in words, and the vectors of the labelled images of each split, one below the other."""
    if features == "embeddings":
        found = {name: Embeddings.load(packed_dir, name) for name in packs}
        rows = [np.asarray(found[name].vectors[known[name]]) for name in packs]
        first = next(iter(found.values()))
        return f"embeddings of {first.backbone}", np.concatenate(rows)
    pack = next(iter(packs.values()))
    side = min(pack.size, PIXEL_SIDE)
    if pack.size > side:
        log.warning(
            "labels are predicted from pixels at %d px, which tells little about photographs; embeddings of a trained "
            "network find more: features.embeddings.pretrained=true or features.embeddings.pretrained_path=<file>",
            side,
        )
    return f"pixels at {side} px", np.concatenate([small_pictures(packs[name], known[name]) for name in packs])
