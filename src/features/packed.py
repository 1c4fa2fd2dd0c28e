"""Splits as packed uint8 pixels: a few large files that are memory-mapped, in place of many small ones."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.format import open_memmap

from src.files import read_json, write_json

SHARD_BYTES = 2**31


@dataclass(frozen=True)
class PackedSplit:
    """One split: `images[i]` is uint8 of shape (size, size, 3), `labels[i]` is -1 where there is none.

    `digest` is the manifest's: it says which data the pixels came from. `groups[i]` is a number that images share which
    belong together, by the manifest; None where that was not kept.
    """

    name: str
    shards: list[np.ndarray]
    labels: np.ndarray
    ids: list[str]
    paths: list[str]
    class_names: list[str]
    digest: str
    groups: np.ndarray | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Check the promises.

        Raises:
            ValueError: the lengths differ.
        """
        lengths = {sum(len(shard) for shard in self.shards), len(self.labels), len(self.ids), len(self.paths)}
        if len(lengths) > 1:
            raise ValueError(
                f"packed split {self.name}: pixels, labels and ids differ in length; run build_features again"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """Side of the images, in px."""
        return int(self.shards[0].shape[1]) if self.shards else 0

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """Pixels of the given images, uint8 of shape (len(indices), size, size, 3)."""
        per_shard = len(self.shards[0])
        if len(self.shards) == 1:
            return self.shards[0][indices]
        out = np.empty((len(indices), *self.shards[0].shape[1:]), dtype=np.uint8)
        for number, shard in enumerate(self.shards):
            here = indices // per_shard == number
            out[here] = shard[indices[here] % per_shard]
        return out

    @classmethod
    def load(cls, folder: Path) -> "PackedSplit":
        """The split in the folder, its pixels memory-mapped.

        Raises:
            ValueError: there is none, or it breaks a promise.
        """
        facts = read_json(folder / "index.json", made_by="build_features")
        try:
            shards = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("images-*.npy"))]
            labels = np.load(folder / "labels.npy")
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"{folder} is damaged ({error}); run build_features again") from None
        return cls(
            name=folder.name,
            shards=shards,
            labels=labels,
            ids=facts["ids"],
            paths=facts["paths"],
            class_names=facts["class_names"],
            digest=facts["digest"],
            groups=np.array(facts["groups"], dtype=np.int64) if "groups" in facts else None,
        )


@dataclass(frozen=True)
class PartOfSplit(PackedSplit):
    """Some images of a split, as a split of its own: `rows` are their places in the shards."""

    rows: np.ndarray

    def __post_init__(self) -> None:
        """Check the promises."""
        assert len(self.rows) == len(self.labels) == len(self.ids) == len(self.paths), (
            "part_of takes the same rows of all"
        )

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """Pixels of the given images of the part."""
        return super().gather(self.rows[indices])


def part_of(split: PackedSplit, rows: np.ndarray) -> PartOfSplit:
    """The split with these of its images alone, whose pixels stay where they are."""
    return PartOfSplit(
        name=split.name,
        shards=split.shards,
        labels=split.labels[rows],
        ids=[split.ids[row] for row in rows],
        paths=[split.paths[row] for row in rows],
        class_names=split.class_names,
        digest=split.digest,
        groups=None if split.groups is None else split.groups[rows],
        rows=rows,
    )


def drawn_share(labels: np.ndarray, share: float, *, seed: int) -> np.ndarray:
    """Positions, in order, of a stratified share of the images: of each class at least one.

    With the same seed a smaller share is part of a larger one.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    taken = []
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        taken.append(of_class[: max(1, round(share * len(of_class)))])
    return np.sort(np.concatenate(taken))


class SplitWriter:
    """A packed split while it is made: pixels are laid at their places in any order, `finish` makes it whole."""

    def __init__(self, folder: Path, count: int, *, size: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.size = size
        self._per_shard = max(1, SHARD_BYTES // (size * size * 3))
        self._shards = [
            open_memmap(
                folder / f"images-{number:03d}.npy",
                mode="w+",
                dtype=np.uint8,
                shape=(min(self._per_shard, count - start), size, size, 3),
            )
            for number, start in enumerate(range(0, count, self._per_shard))
        ]

    def put(self, position: int, pixels: np.ndarray) -> None:
        """Lay the pixels of one image at its place."""
        self._shards[position // self._per_shard][position % self._per_shard] = pixels

    def finish(self, rows: Mapping[str, Sequence[Any]], *, class_names: Sequence[str], digest: str) -> None:
        """Write labels and index, once every place has its pixels.

        `rows` has the columns id, path and label, and group where it is known which images belong together.
        """
        for shard in self._shards:
            shard.flush()
        np.save(self.folder / "labels.npy", np.asarray(rows["label"], dtype=np.int64))
        facts = {"ids": list(rows["id"]), "paths": list(rows["path"]), "class_names": list(class_names)}
        if "group" in rows:
            facts["groups"] = pd.factorize(np.asarray(rows["group"], dtype=object))[0].tolist()
        write_json(self.folder / "index.json", facts | {"digest": digest, "size": self.size})


def write_split(
    folder: Path,
    images: Iterable[tuple[int, np.ndarray]],
    *,
    size: int,
    rows: Mapping[str, Sequence[Any]],
    class_names: Sequence[str],
    digest: str,
) -> None:
    """Write a split whose `rows` have the columns that `SplitWriter.finish` tells of.

    `images` yields (position, pixels) in any order and must cover every position once.
    """
    writer = SplitWriter(folder, len(rows["id"]), size=size)
    for position, pixels in images:
        writer.put(position, pixels)
    writer.finish(rows, class_names=class_names, digest=digest)
