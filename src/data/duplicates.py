"""Which images are the same, byte for byte or to the eye, and what becomes of them."""

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from src.artifacts import STATUS_DUPLICATE, STATUS_OK
from src.config_data import DuplicatesConfig
from src.data.perceptual import THUMBNAIL_BYTES, near_pairs
from src.tables import numbered

log = logging.getLogger(__name__)

STATUS_CONFLICT = "conflict"
ALONE, EXACT, NEAR = "", "exact", "near"
DUPLICATES_COLUMNS = ("group", "kind", "id", "split", "label", "status")

FIRST = ("test",)
LAST = ("predict", "val", "train")
"""An image found in two splits stays in the one named first, further evaluation splits between these two: what is
scored is kept whole, train gives way."""
TRAINED_ON = ("train", "val")

LONGEST_CHAIN = 0.01
SHORT_CHAIN = 100
"""A chain of near duplicates longer than this share of all images, and than this many, is cut: its ends may have
nothing in common, and one group of half the data could not be split."""


def group_duplicates(table: pd.DataFrame, cfg: DuplicatesConfig) -> pd.DataFrame:
    """The `group` of each row, the smallest sha256 in it, and its `kind`: alone (""), "exact" or "near".

    A group is what is connected by identical bytes or by near pairs, so that no near pair stands in two groups; only
    of a very long chain each part holds what is near to its centre. The order of the rows does not matter.

    Args:
        table: columns sha256, phash (uint64) and thumbnail (64 bytes);
            the first will do if `cfg.near_distance` is None.
        cfg: what counts as near.
    """
    codes, first = numbered(table["sha256"])
    groups = np.arange(len(first))
    if cfg.near_distance is not None:
        pairs = near_pairs(
            table["phash"].to_numpy(dtype=np.uint64)[first],
            stacked(table["thumbnail"].iloc[first]),
            distance=cfg.near_distance,
            difference=cfg.near_difference,
        )
        groups = _connected(pairs, len(first))
    group = groups[codes]
    sizes, members = np.bincount(group, minlength=len(first)), np.bincount(groups, minlength=len(first))
    kind = np.where(sizes[group] == 1, ALONE, np.where(members[group] == 1, EXACT, NEAR))
    return pd.DataFrame({"group": table["sha256"].array.take(first[group]), "kind": kind}, index=table.index)


def stacked(thumbnails: pd.Series) -> np.ndarray:
    """The thumbnails as one uint8 array of shape (rows, 64)."""
    if thumbnails.empty:
        return np.empty((0, THUMBNAIL_BYTES), np.uint8)
    content = pa.array(thumbnails, pa.binary())
    # the bytes as Arrow keeps them, uncopied: a part of a longer column begins at its offset
    pixels = np.frombuffer(content.buffers()[2], np.uint8)[content.offset * THUMBNAIL_BYTES :]
    return pixels[: len(content) * THUMBNAIL_BYTES].reshape(-1, THUMBNAIL_BYTES)


def resolve_duplicates(table: pd.DataFrame, policy: str) -> pd.Series:
    """The status of each row of a table with the columns `id`, `sha256`, `group`, `split` and `name` (label or None).

    `ok`; `duplicate`: a copy of it is used in its place; `conflict`: copies in train, or in val, carry different
    labels. A copy is an image of the same group.

    By policy `group` the copies stay that lie in the split that takes precedence, by `drop` only the one of them with
    the smallest id; by `keep` everything stays and is only told.
    """
    status = pd.Series(STATUS_OK, index=table.index)
    codes = numbered(table["group"])[0]
    copies = table[np.bincount(codes)[codes] > 1]
    if copies.empty:
        return status
    home, conflicting = _homes(copies)
    away = copies.index[copies["split"].to_numpy() != home]
    if policy == "keep":
        _warn_of_kept(copies, away, conflicting)
        return status
    status[away] = STATUS_DUPLICATE
    if policy == "drop":
        staying = copies.drop(away).sort_values("id")
        status[staying.index[staying["group"].duplicated()]] = STATUS_DUPLICATE
    status[copies.index[conflicting & ~copies.index.isin(away)]] = STATUS_CONFLICT
    _warn(copies, status, away)
    return status


def duplicates_table(table: pd.DataFrame) -> pd.DataFrame:
    """A row per image of every group of two or more, as `duplicates.csv` lists them; the label is empty where unknown.

    Args:
        table: columns id, group, kind, split, name (label or None) and status.
    """
    members = table[table["kind"] != ALONE].sort_values(["group", "id"])
    labels = members["name"].fillna("").astype(str)
    return members.assign(label=labels)[list(DUPLICATES_COLUMNS)].reset_index(drop=True)


def _connected(pairs: np.ndarray, num_rows: int) -> np.ndarray:
    """The smallest row that each row is connected with; chains that are too long are cut."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(num_rows, num_rows))
    part = connected_components(links, directed=False)[1]
    long = np.bincount(part) > max(SHORT_CHAIN, LONGEST_CHAIN * num_rows)
    if long.any():
        log.warning(
            "%d images are chained by near duplicates of near duplicates, and only those near to a centre count as "
            "one; give a smaller data.duplicates.near_distance or near_difference",
            int(long[part].sum()),
        )
        part = _cut(part, pairs[long[part[pairs[:, 0]]]])
    smallest = np.full(int(part.max(initial=-1)) + 1, num_rows)
    np.minimum.at(smallest, part, np.arange(num_rows))
    return smallest[part]


def _cut(part: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The parts, those of the pairs replaced: the row with most neighbours takes those that are free, and so on."""
    rows, near = np.unique(pairs), np.concatenate([pairs, pairs[:, ::-1]])
    near = near[np.lexsort((near[:, 1], near[:, 0]))]
    starts = np.searchsorted(near[:, 0], rows)
    ends = np.searchsorted(near[:, 0], rows, side="right")
    cut = part.copy()
    cut[rows] = -1
    following = int(part.max()) + 1
    for at in np.argsort(starts - ends, kind="stable"):
        if cut[rows[at]] == -1:
            neighbours = near[starts[at] : ends[at], 1]
            cut[neighbours[cut[neighbours] == -1]] = following
            cut[rows[at]] = following
            following += 1
    return np.unique(cut, return_inverse=True)[1]


def _homes(copies: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """For each row the split its group stays in, and whether the labels there conflict where they are trained on."""
    order = precedence(set(copies["split"]))
    rank = copies["split"].map({split: number for number, split in enumerate(order)}).to_numpy(dtype=np.int64)
    groups = copies["group"]
    first = pd.Series(rank, index=copies.index).groupby(groups).transform("min").to_numpy()
    home = np.array(order, dtype=object)[first]
    # a folder of images to predict has no label that could conflict
    trained = copies[(rank == first) & copies["split"].isin(TRAINED_ON).to_numpy()]
    labels = trained.groupby("group")["name"].nunique()
    return home, groups.isin(labels.index[labels > 1]).to_numpy()


def precedence(splits: set[str]) -> list[str]:
    """The splits in the order in which they keep an image that stands in several."""
    others = sorted(splits - {*FIRST, *LAST})
    return [split for split in (*FIRST, *others, *LAST) if split in splits]


def _warn(copies: pd.DataFrame, status: pd.Series, away: pd.Index) -> None:
    left_out = copies.loc[away]
    kept = copies[(status[copies.index] != STATUS_DUPLICATE).to_numpy()]
    for split, rows in left_out.groupby("split"):
        log.warning(
            "%d images of %s are left out: they are %s images of another split, such as %s",
            *(len(rows), split, _alike(rows, kept), _example(rows, kept)),
        )
    dropped = int((status == STATUS_DUPLICATE).sum()) - len(away)
    if dropped:
        log.warning("%d images are left out: a copy in the same split is used (data.duplicates.policy=drop)", dropped)
    _warn_of_labels(copies[(status[copies.index] == STATUS_CONFLICT).to_numpy()], "are left out")


def _warn_of_kept(copies: pd.DataFrame, away: pd.Index, conflicting: np.ndarray) -> None:
    rows, kept = copies.loc[away], copies.drop(away)
    if len(rows):
        log.warning(
            "%d images are %s images of another split, such as %s; all stay (data.duplicates.policy=keep), so scores "
            "are better than they would be on new images",
            *(len(rows), _alike(rows, kept), _example(rows, kept)),
        )
    _warn_of_labels(copies[conflicting], "stay, as data.duplicates.policy=keep says")


def _warn_of_labels(rows: pd.DataFrame, fate: str) -> None:
    if len(rows):
        first = rows[rows["group"] == rows["group"].iloc[0]]
        how = "byte-identical" if first["sha256"].nunique() == 1 else "nearly identical"
        log.warning(
            "%d images %s: they are copies that carry different labels, such as %s (%s)",
            *(len(rows), fate, " = ".join(first["id"]), how),
        )


def _alike(rows: pd.DataFrame, kept: pd.DataFrame) -> str:
    """How the rows resemble what is kept, in words."""
    num_exact = int(rows["sha256"].isin(set(kept["sha256"])).sum())
    words = {"byte-identical": num_exact, "nearly identical": len(rows) - num_exact}
    found: Sequence[str] = [word for word, count in words.items() if count]
    return f"{' or '.join(found)} with"


def _example(rows: pd.DataFrame, kept: pd.DataFrame) -> str:
    example = rows.iloc[0]
    twins = kept["id"][(kept["group"] == example["group"]).to_numpy()]
    return f"{example['id']} = {twins.iloc[0] if len(twins) else 'another split'}"
