"""Which split an image belongs to: as its folder says, else by a seeded, stratified draw. Pure functions."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

import numpy as np
import pandas as pd

from src.data.dealing import Dealt, Names, deal_evenly, deal_shares, seeded_hashes
from src.wording import counted

KNOWN_SPLITS = ("train", "val", "test", "predict")
SYNONYMS = {"validation": "val", "dev": "val", "unlabelled": "predict", "unlabeled": "predict"}
RESERVED = ("embeddings",)
"""Names of other folders among the packed splits."""

SPLIT_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
NEAR_MISS = 0.7


def check_patterns(patterns: Mapping[str, str]) -> None:
    """Nothing, where every pattern is a regular expression and belongs to a split of a usable name.

    Raises:
        ValueError: one does not.
    """
    for split, pattern in patterns.items():
        check_split_name(split, f"data.split_patterns.{split}")
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"data.split_patterns.{split}={pattern} is not a regular expression: {error}") from None


def check_split_name(name: str, where: str) -> None:
    """Nothing, where the name is that of a known split, or one of lower-case letters that is not mistaken for them.

    Raises:
        ValueError: it is not; the message begins with `where`.
    """
    if name in KNOWN_SPLITS:
        return
    plain = SPLIT_NAME.fullmatch(name)
    meant = [SYNONYMS[name]] if name in SYNONYMS else []
    # test_night or test2 is a choice, tets is a slip
    if not meant and (plain is None or name.isalpha()):
        meant = get_close_matches(name.lower(), KNOWN_SPLITS, n=1, cutoff=NEAR_MISS)
    if meant:
        raise ValueError(
            f"{where} names no split; did you mean {meant[0]}? (a further evaluation split needs a name less like it)"
        )
    if plain is None:
        raise ValueError(
            f"{where} is no name of a split; allowed: {', '.join(KNOWN_SPLITS)}, and for further evaluation splits "
            "lower-case letters, digits and single underscores"
        )
    if name in RESERVED:
        raise ValueError(f"{where} is the name of another folder beside the packed splits; choose another")


def split_of_folder(name: str, patterns: Mapping[str, str]) -> str | None:
    """The split whose pattern the folder's name matches whole, upper and lower case alike; None when there is none."""
    for split, pattern in patterns.items():
        if re.fullmatch(pattern, name, re.IGNORECASE):
            return split
    return None


def split_of_path(path: str, patterns: Mapping[str, str]) -> str | None:
    """The split of the outermost folder of `path` that matches a pattern; None when none does."""
    found = (split_of_folder(folder, patterns) for folder in path.split("/")[:-1])
    return next((split for split in found if split is not None), None)


def splits_of_paths(paths: Iterable[str], patterns: Mapping[str, str]) -> list[str | None]:
    """`split_of_path` of each path, worked out once for each folder."""
    known: dict[str, str | None] = {}
    splits = []
    for path in paths:
        folder = path[: path.rfind("/") + 1]
        if folder not in known:
            known[folder] = split_of_path(folder, patterns)
        splits.append(known[folder])
    return splits


def given_splits(official: Sequence[str | None], labels: Sequence[str | None], *, pooled: bool = False) -> list[str]:
    """The split of each image before any is cut: `predict` without a label, else the official one, else train.

    `pooled`: val counts as train, for folds are cut from both.

    Raises:
        ValueError: no image is left to train on.
    """
    counts_as = {None: "train", "val": "train" if pooled else "val"}
    splits = [
        "predict" if label is None else counts_as.get(split) or str(split)
        for split, label in zip(official, labels, strict=True)
    ]
    if "train" not in splits:
        found = ", ".join(sorted(set(splits)))
        raise ValueError(f"no labelled image is left to train on (splits found: {found}); see data.split_patterns")
    return splits


def cut_from_train(
    splits: Sequence[str],
    labels: Names,
    groups: Names,
    *,
    shares: Mapping[str, float],
    seed: int,
) -> list[str]:
    """The split of each image once those of `shares` that are absent and above zero are cut from train.

    Raises:
        ValueError: a class has too few images to cut from.
    """
    absent = {split: share for split, share in shares.items() if split not in splits and share > 0}
    if not absent:
        return list(splits)
    cut = np.flatnonzero(np.asarray(splits, dtype=object) == "train")
    names = stratified_splits(_at(labels, cut), _at(groups, cut), shares=absent, seed=seed)
    return _with(splits, cut, names)


def fold_from_train(
    splits: Sequence[str],
    labels: Names,
    groups: Names,
    *,
    folds: int,
    fold: int,
    seed: int,
) -> list[str]:
    """The split of each image once train is dealt into so many folds, of which `fold`, from 0, is val.

    Raises:
        ValueError: a class has too few images for so many folds.
    """
    pool = np.flatnonzero(np.asarray(splits, dtype=object) == "train")
    dealt = folds_of(_at(labels, pool), _at(groups, pool), num_folds=folds, seed=seed)
    return _with(splits, pool, ["val" if number == fold else "train" for number in dealt])


def stratified_splits(labels: Names, groups: Names, *, shares: Mapping[str, float], seed: int) -> list[str]:
    """The split of each image: each of `shares` gets its share of each class, train the rest.

    A group is never divided. Groups are dealt out in the order of a seeded hash of their names, so that the result
    depends neither on the order of the images nor, where groups hold one class each, on those of other classes. Shares
    are met to within one group.

    Raises:
        ValueError: a class has too few groups to give each split one.
    """
    names = [*shares, "train"]
    dealt = deal_shares(labels, groups, shares=list(shares.values()), seed=seed)
    _check_filled(dealt, names, way_out="set " + " or ".join(f"data.{split}_share=0" for split in shares))
    return [names[number] for number in dealt.bins.tolist()]


def folds_of(labels: Names, groups: Names, *, num_folds: int, seed: int) -> list[int]:
    """The fold of each image, 0 to `num_folds` - 1, each class spread evenly over the folds.

    A group is never divided. The result depends neither on the order of the images nor, where groups hold one class
    each, on those of other classes; there the folds of a class differ by one group at most.

    Raises:
        ValueError: a class has fewer groups than there are folds.
    """
    dealt = deal_evenly(labels, groups, num_bins=num_folds, seed=seed)
    _check_filled(dealt, [f"fold {number}" for number in range(num_folds)], way_out="ask for fewer folds")
    return list(dealt.bins.tolist())


def subset_of(
    ids: Sequence[str], labels: Sequence[str | None], splits: Sequence[str], *, subset: float, seed: int
) -> np.ndarray:
    """Which images are used, as a bool array: of each class in each split but `predict` so many, or such a share.

    A whole number is a number of images, all where there are fewer; a number below one is a share, one image at least.
    The choice depends on the seed and on the ids of that class and split alone; a smaller subset lies in a larger one.
    """
    table = pd.DataFrame({"id": ids, "label": labels, "split": splits})
    table = table[table["split"] != "predict"]
    table["hash"] = seeded_hashes(table["id"].tolist(), seed)
    table = table.sort_values(["split", "label", "hash", "id"])
    by_class = table.groupby(["split", "label"], sort=False)["id"]
    sizes = by_class.transform("size").to_numpy()
    quota = np.full(len(sizes), subset) if isinstance(subset, int) else np.maximum(1, np.rint(sizes * subset))
    used = np.array([split == "predict" for split in splits], dtype=bool)
    used[table.index.to_numpy()[by_class.cumcount().to_numpy() < quota]] = True
    return used


def _at(names: Names, positions: np.ndarray) -> pd.Series:
    """The names at the positions, which are in order and different; all of them are not copied."""
    column = pd.Series(names)
    return column if len(positions) == len(column) else column.iloc[positions]


def _with(splits: Sequence[str], positions: np.ndarray, names: Sequence[str]) -> list[str]:
    """The splits, those at the positions replaced."""
    completed = list(splits)
    for position, name in zip(positions.tolist(), names, strict=True):
        completed[position] = name
    return completed


def _check_filled(dealt: Dealt, bins: Sequence[str], *, way_out: str) -> None:
    """Nothing, where every class has an image in each bin."""
    short = np.flatnonzero((dealt.images == 0).any(axis=0))
    if not len(short):
        return
    images, num_groups = int(dealt.images[:, short[0]].sum()), int(dealt.num_groups[short[0]])
    together = "" if images == num_groups else f" in {counted(num_groups, 'group')} that must not be divided"
    cause = f"{_some(bins)} need one each at least"
    if num_groups >= len(bins):
        empty = [name for name, number in zip(bins, dealt.images[:, short[0]], strict=True) if not number]
        cause = f"{_some(empty)} got none, for groups of it hold images of other classes too"
    others = f" (and so it is for {len(short) - 1} more)" if len(short) > 1 else ""
    raise ValueError(
        f"class {dealt.label_names[short[0]]!r} has {counted(images, 'image')}{together}, but {cause}; "
        f"add images, {way_out}, or remove the class{others}"
    )


def _some(bins: Sequence[str]) -> str:
    return ", ".join(bins) if len(bins) <= 3 else f"{bins[0]} to {bins[-1]}"
