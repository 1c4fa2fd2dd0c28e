"""Random numbers as pure functions of (seed, epoch, sample): no generator to keep, nothing to save for a resume.

The same image gets the same draws on one process or on eight, whatever batch it falls into.
"""

import numpy as np

# Constants of SplitMix64 (Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_MANTISSA_BITS = 53

# An image that is drawn again in an epoch gets draws of its own: its position plus the repeats times this number.
AGAIN = 2**40
# counter of the stream of numbers that `balanced` takes, apart from that of `permutation`
_BALANCED = 2**64

Bits = np.ndarray | np.uint64


def uniform(samples: np.ndarray, *, seed: int, epoch: int, stream: int, count: int) -> np.ndarray:
    """Uniform numbers in [0, 1) of shape (len(samples), count), float64.

    `stream` keeps users of the same (seed, epoch) apart: each transform has its own.
    """
    with np.errstate(over="ignore"):
        key = _mixed(_mixed(_mixed(np.uint64(seed)) + np.uint64(epoch)) + np.uint64(stream))
        per_sample = _mixed(key + samples.astype(np.uint64) * _GOLDEN)
        columns = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        bits = _mixed(np.asarray(per_sample)[:, None] + columns[None, :])
    return np.asarray(bits >> np.uint64(64 - _MANTISSA_BITS), dtype=np.float64) / 2.0**_MANTISSA_BITS


def permutation(length: int, *, seed: int, epoch: int) -> np.ndarray:
    """An order of 0..length-1 that depends on seed and epoch only."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(length)


def balanced(labels: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """As many draws as there are labels, each class equally often (to one), in an order of seed and epoch only.

    A draw is a position, plus `AGAIN` for each time that it was drawn before: no image comes again before all of its
    class have come.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch], counter=_BALANCED))
    classes = generator.permutation(np.unique(labels))
    shares = [len(part) for part in np.array_split(np.arange(len(labels)), len(classes))]
    draws = [
        _rounds(np.flatnonzero(labels == name), share, generator) for name, share in zip(classes, shares, strict=True)
    ]
    return generator.permutation(np.concatenate(draws))


def _rounds(positions: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """`count` draws of the positions, all of them in each round but the last."""
    rounds = [generator.permutation(positions) + number * AGAIN for number in range(-(-count // len(positions)))]
    return np.concatenate(rounds)[:count]


def _mixed(bits: Bits) -> Bits:
    """SplitMix64's output function, elementwise."""
    state = bits + _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))
