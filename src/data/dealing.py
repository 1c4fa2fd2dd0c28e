"""Groups of images dealt into bins (splits or folds), class by class. Pure functions of names and a seed.

scikit-learn's StratifiedGroupKFold does this for folds, but what it deals depends on the order of the images and, for
each class, on all others, so that a new class would move the images of the old ones.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heapreplace

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray

from src.logs import progress
from src.tables import numbered

Names = Sequence[str] | Sequence[str | None] | pd.Series | ExtensionArray
"""A name for each image; a column of a table takes a fraction of the memory of a list."""

UNDEALT = -1
HASH_BYTES = 8
ROWS_AT_ONCE = 2**16
"""Names of a column that are Python's at the same time."""


@dataclass(frozen=True, kw_only=True)
class Dealt:
    """The bin of each image, and what came of it: images by bin and class, and the number of groups of each class."""

    bins: np.ndarray
    images: np.ndarray
    num_groups: np.ndarray
    label_names: list[str]


@dataclass(frozen=True, kw_only=True)
class _Tally:
    """How many images of which class each group has.

    Row i: group `group[i]` has `size[i]` images of class `label[i]`; rows are sorted by group. `rank` is the place of
    each group in the seeded order, `mixed` says which groups hold more than one class, `group_of` gives the group of
    each image.
    """

    group: np.ndarray
    label: np.ndarray
    size: np.ndarray
    rank: np.ndarray
    mixed: np.ndarray
    group_of: np.ndarray
    label_names: list[str]

    def classes(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Each class with its groups that hold no other class, in the seeded order, and their sizes."""
        rows = np.flatnonzero(~self.mixed[self.group])
        rows = rows[np.lexsort((self.rank[self.group[rows]], self.label[rows]))]
        bounds = np.searchsorted(self.label[rows], np.arange(len(self.label_names) + 1))
        for label in range(len(self.label_names)):
            here = rows[bounds[label] : bounds[label + 1]]
            yield label, self.group[here], self.size[here]


@dataclass(frozen=True)
class _Bins:
    """The bin of each group, and images by bin and class so far; both are filled while groups are dealt."""

    of_group: np.ndarray
    images: np.ndarray

    def put(self, groups: np.ndarray, bins: np.ndarray | int, *, label: int, sizes: np.ndarray) -> None:
        """Lay groups of one class into bins."""
        self.of_group[groups] = bins
        np.add.at(self.images[:, label], bins, sizes)

    def dealt(self, tally: _Tally) -> Dealt:
        """What came of it, once all groups lie in a bin."""
        num_groups = np.bincount(tally.label, minlength=len(tally.label_names))
        bins = self.of_group[tally.group_of]
        return Dealt(bins=bins, images=self.images, num_groups=num_groups, label_names=tally.label_names)


def deal_shares(labels: Names, groups: Names, *, shares: Sequence[float], seed: int) -> Dealt:
    """Each image in a bin: bin i gets `shares[i]` of each class, and one group at least; the last bin gets the rest.

    Groups are never divided. Where groups hold one class each, a share is met to within the size of one group, and
    what becomes of a class does not depend on the others.
    """
    tally = _tally(labels, groups, seed)
    bins = _begun(tally, [*shares, 1 - sum(shares)])
    for label, members, sizes in tally.classes():
        total = int(sizes.sum()) + int(bins.images[:, label].sum())
        start = 0
        for number, share in enumerate(shares):
            quota = max(1, round(total * share)) - int(bins.images[number, label])
            waiting = len(members) - start - int((bins.images[number + 1 :, label] == 0).sum())
            end = start + max(0, min(_reaching(sizes[start:], quota), waiting))
            bins.put(members[start:end], number, label=label, sizes=sizes[start:end].sum())
            start = end
        bins.put(members[start:], len(shares), label=label, sizes=sizes[start:].sum())
    return bins.dealt(tally)


def deal_evenly(labels: Names, groups: Names, *, num_bins: int, seed: int) -> Dealt:
    """Each image in a bin, each class spread evenly over all bins; groups are never divided.

    Where groups hold one class each, two bins differ by no more than the largest group of the class, and what becomes
    of a class does not depend on the others.
    """
    tally = _tally(labels, groups, seed)
    bins = _begun(tally, [1 / num_bins] * num_bins)
    for label, members, sizes in tally.classes():
        # by size: single images come last and even out what the groups left; stable: the seeded order within a size
        order = np.argsort(-sizes, kind="stable")
        # each class begins at a bin of its own, so that the first bin does not get the odd image of every class
        first = _hash(f"{seed}:first:{tally.label_names[label]}") % num_bins
        chosen = _balanced(sizes[order], bins.images[:, label], first=first)
        bins.put(members[order], chosen, label=label, sizes=sizes[order])
    return bins.dealt(tally)


def seeded_hashes(names: Sequence[str] | ExtensionArray, seed: int) -> np.ndarray:
    """A uint64 for each name that looks random and is the same on every machine."""
    parts = (names[start : start + ROWS_AT_ONCE] for start in range(0, len(names), ROWS_AT_ONCE))
    hashes = (_hash(f"{seed}:{name}") for part in parts for name in part)
    return np.fromiter(hashes, dtype=np.uint64, count=len(names))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest()[:HASH_BYTES], "big")


def _tally(labels: Names, groups: Names, seed: int) -> _Tally:
    label_of, label_names = pd.factorize(pd.Series(labels, dtype="str"), sort=True)
    names = pd.Series(groups, dtype="str")
    group_of, first = numbered(names)
    num_labels = max(1, len(label_names))
    pairs, sizes = np.unique(group_of * num_labels + label_of, return_counts=True)
    group, label = np.divmod(pairs, num_labels)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(seeded_hashes(names.array.take(first), seed), kind="stable")] = np.arange(len(first))
    return _Tally(
        group=group,
        label=label,
        size=sizes,
        rank=rank,
        mixed=np.bincount(group, minlength=len(first)) > 1,
        group_of=group_of,
        label_names=list(label_names),
    )


def _begun(tally: _Tally, shares: Sequence[float]) -> _Bins:
    """Bins in which the groups of several classes lie already; those of one class then make up what is missing."""
    num_classes = len(tally.label_names)
    bins = _Bins(np.full(len(tally.rank), UNDEALT), np.zeros((len(shares), num_classes), dtype=np.int64))
    wanted = np.outer(shares, np.bincount(tally.label, weights=tally.size, minlength=num_classes))
    left = np.bincount(tally.label, minlength=num_classes)
    mixed = np.flatnonzero(tally.mixed)
    starts, ends = np.searchsorted(tally.group, mixed), np.searchsorted(tally.group, mixed, side="right")
    total = np.bincount(tally.group, weights=tally.size, minlength=len(tally.rank))
    order = np.lexsort((tally.rank[mixed], -total[mixed]))
    for turn in progress(order, what="deal groups of several classes", unit="groups") if len(mixed) else ():
        rows = slice(starts[turn], ends[turn])
        labels, sizes = tally.label[rows], tally.size[rows]
        chosen = _fitting(bins.images[:, labels], wanted[:, labels], sizes=sizes, left=left[labels])
        bins.of_group[mixed[turn]] = chosen
        bins.images[chosen, labels] += sizes
        left[labels] -= 1
    return bins


def _fitting(images: np.ndarray, wanted: np.ndarray, *, sizes: np.ndarray, left: np.ndarray) -> int:
    """The bin that comes nearest to what is wanted by taking a group, all arrays for the group's classes only.

    `left` counts the groups of each class that are not dealt: where no more are left than bins lack the class, the
    group goes to a bin that does.
    """
    cost = (sizes * (2 * (images - wanted) + sizes) / wanted).sum(axis=1)
    allowed = np.ones(len(cost), dtype=bool)
    for lacking in (images == 0)[:, left <= (images == 0).sum(axis=0)].T:
        if (allowed & lacking).any():
            allowed &= lacking
    return int(np.where(allowed, cost, np.inf).argmin())


def _reaching(sizes: np.ndarray, quota: int) -> int:
    """How many of the sizes, from the first on, make up the quota."""
    return int(np.searchsorted(np.cumsum(sizes), quota)) + 1 if quota > 0 else 0


def _balanced(sizes: np.ndarray, images: np.ndarray, *, first: int) -> np.ndarray:
    """The bin of each group, each laid into the emptiest bin; of those equally empty the next one from `first` on."""
    heap = sorted((int(number), (index - first) % len(images), index) for index, number in enumerate(images))
    dealt = np.empty(len(sizes), dtype=np.int64)
    for position, size in enumerate(sizes.tolist()):
        number, turn, index = heap[0]
        dealt[position] = index
        heapreplace(heap, (number + size, turn, index))
    return dealt
