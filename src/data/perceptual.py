"""How alike pictures look: a perceptual hash, a thumbnail, and all pairs of images that are near in both."""

from collections.abc import Iterator
from itertools import combinations
from math import comb

import numpy as np
from PIL import Image

from src.logs import progress

HASH_BITS = 64
HASHED_SIDE = 32
THUMBNAIL_SIDE = 8
THUMBNAIL_BYTES = THUMBNAIL_SIDE**2
LEVELS = 255

LEAST_CONTRAST = 8.0
"""Standard deviation of a thumbnail's levels: below it an image is blank, and all blank images look alike."""
MOST_PAIRS = 50_000_000
"""More pairs than that are no list of duplicates; their arrays alone would take 800 MB."""
ROWS_AT_ONCE = 2**16
SORT_COST = 12.0
"""Time to sort a row by its key, against that to compare two hashes: as measured, of 10^5 to 10^6 rows."""
DEEPEST = 4


def perceptual_hash(image: Image.Image) -> int:
    """The 64 bits of ImageHash's `phash`: the signs of low frequencies against their median.

    It hardly changes with size, compression and brightness, and changes with the picture.
    """
    return _hash_of(reduced(image))


def thumbnail(image: Image.Image) -> bytes:
    """The image as 8 x 8 px of grey, 64 bytes in rows from the top."""
    return _thumbnail_of(reduced(image))


def fingerprint(image: Image.Image) -> tuple[int, bytes]:
    """Perceptual hash and thumbnail at the price of one reduction."""
    grey = reduced(image)
    return _hash_of(grey), _thumbnail_of(grey)


def reduced(image: Image.Image) -> Image.Image:
    """The image as 32 x 32 px of grey, just as ImageHash reduces it: of that its `phash` is the same."""
    return image.convert("L").resize((HASHED_SIDE, HASHED_SIDE), Image.Resampling.LANCZOS)


def near_pairs(phashes: np.ndarray, thumbnails: np.ndarray, *, distance: int, difference: float) -> np.ndarray:
    """All pairs of rows i < j, shape (pairs, 2), in order, whose hashes and whose thumbnails are near; no guess.

    Args:
        phashes: uint64, shape (n,).
        thumbnails: uint8, shape (n, 64).
        distance: bits in which two hashes may differ.
        difference: largest mean absolute difference of two thumbnails, of 1.

    A blank image is near to none. Memory grows with n and the pairs found, never with n squared.

    Raises:
        ValueError: the pairs are too many to be duplicates.
    """
    rows = _with_contrast(thumbnails)
    found = [np.empty((0, 2), np.int64)]
    total = 0
    for candidates in _within(phashes[rows], distance):
        pairs = _alike(np.sort(rows[candidates], axis=1), thumbnails, difference)
        total += len(pairs)
        if total > MOST_PAIRS:
            raise ValueError(
                f"more than {MOST_PAIRS:,} pairs of images are near duplicates by data.duplicates.near_distance="
                f"{distance} and near_difference={difference}; give smaller values, or near_distance=null for none"
            )
        found.append(pairs)
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _hash_of(grey: Image.Image) -> int:
    import imagehash

    bits = np.packbits(imagehash.phash(grey).hash)
    return int.from_bytes(bits.tobytes(), "big")


def _thumbnail_of(grey: Image.Image) -> bytes:
    return grey.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX).tobytes()


def _with_contrast(thumbnails: np.ndarray) -> np.ndarray:
    """Indices of the rows that are not blank."""
    parts = [
        thumbnails[start : start + ROWS_AT_ONCE].std(axis=1, dtype=np.float32) >= LEAST_CONTRAST
        for start in range(0, len(thumbnails), ROWS_AT_ONCE)
    ]
    return np.flatnonzero(np.concatenate(parts)) if parts else np.zeros(0, np.int64)


def _alike(pairs: np.ndarray, thumbnails: np.ndarray, difference: float) -> np.ndarray:
    """Those of the pairs whose thumbnails are near."""
    keep = []
    for start in range(0, len(pairs), ROWS_AT_ONCE):
        one, other = (thumbnails[column].astype(np.int16) for column in pairs[start : start + ROWS_AT_ONCE].T)
        keep.append(np.abs(one - other).mean(axis=1) <= difference * LEVELS)
    return pairs[np.concatenate(keep)] if keep else pairs


def _within(phashes: np.ndarray, distance: int) -> Iterator[np.ndarray]:
    """Pairs of rows whose hashes differ in at most `distance` bits, each once.

    By the pigeonhole principle: of `distance` + r blocks of bits two such hashes share at least r, so that they meet
    where rows are sorted by some r blocks (Manku, Jain, Das Sarma, 2007).
    """
    masks = _masks(distance, _depth(len(phashes), distance))
    for number, mask in enumerate(progress(masks, what="comparing", unit="passes")):
        for pairs in _in_buckets(phashes, mask, distance):
            # a pair belongs to the first mask under which it meets
            differing = phashes[pairs[:, 0]] ^ phashes[pairs[:, 1]]
            first = np.ones(len(pairs), bool)
            for earlier in masks[:number]:
                first &= (differing & earlier) != 0
            if first.any():
                yield pairs[first]


def _depth(num_rows: int, distance: int) -> int:
    """How many blocks two hashes have to share, so that sorting and comparing together cost least."""

    def cost(shared: int) -> float:
        per_bucket = num_rows / 2 ** (HASH_BITS * shared / (distance + shared))
        return comb(distance + shared, shared) * (SORT_COST + per_bucket)

    return min(range(1, DEEPEST + 1), key=cost)


def _masks(distance: int, shared: int) -> np.ndarray:
    """The bits of each choice of `shared` out of `distance` + `shared` blocks, uint64.

    Neighbouring bits are correlated, so a block takes its bits from all over the hash.
    """
    num_blocks = distance + shared
    blocks = [sum(1 << bit for bit in range(block, HASH_BITS, num_blocks)) for block in range(num_blocks)]
    return np.array([sum(chosen) for chosen in combinations(blocks, shared)], dtype=np.uint64)


def _in_buckets(phashes: np.ndarray, mask: np.uint64, distance: int) -> Iterator[np.ndarray]:
    """Pairs of rows equal under the mask and within the distance.

    Rows are sorted by what the mask leaves, and all compared with the next, then with the next but one, and so on.
    """
    keys = phashes & mask
    order = np.argsort(keys, kind="stable")
    keys, hashes = keys[order], phashes[order]
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))) if len(keys) else np.zeros(0, np.int64)
    sizes = np.diff(np.append(starts, len(keys)))
    ends = np.repeat(starts + sizes, sizes)
    one = np.arange(len(keys))
    for offset in range(1, int(sizes.max(initial=1))):
        one = one[one + offset < ends[one]]
        near = one[np.bitwise_count(hashes[one] ^ hashes[one + offset]) <= distance]
        if len(near):
            yield np.stack([order[near], order[near + offset]], axis=1)
