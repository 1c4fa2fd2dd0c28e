"""Whether two models differ on the same images, or only by chance: tests and intervals of paired answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SIDES = 2


@dataclass(frozen=True)
class Differences:
    """By how much more often the first of two models is right, in whole numbers, as shares of seeds have no exact ones.

    A row for each group of images that belong together: `sums` over its images, and how many they are in `sizes`. An
    image that the first model is always right on and the second one never counts `unit`.
    """

    sums: np.ndarray
    sizes: np.ndarray
    unit: int

    @property
    def mean(self) -> float:
        """The difference of the shares of right answers."""
        return float(self.sums.sum() / (self.unit * self.sizes.sum()))


def sign_test(differences: Differences) -> float:
    """Probability of so large a mean difference where both models are equally good.

    Under that hypothesis each group's difference might as well have the other sign. Exact, to about 1e-12; for single
    runs on images without groups it is McNemar's exact test (McNemar, 1947).
    """
    sums = differences.sums[differences.sums != 0]
    reached = abs(int(sums.sum()))
    if not reached:
        return 1.0
    sizes, counts = np.unique(np.abs(sums), return_counts=True)
    furthest = int(sizes @ counts)
    # the chances of all sums with signs at random, by the Fourier transform of their distribution
    angles = np.arange(furthest + 1) * (2 * np.pi / (2 * furthest + 1))
    wave = np.ones(furthest + 1)
    for size, count in zip(sizes, counts, strict=True):
        wave *= np.cos(size * angles) ** count
    chances = np.fft.irfft(wave, 2 * furthest + 1)[reached : furthest + 1]
    return float(np.clip(SIDES * chances.sum(), 0, 1))


def seed_test(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Probability of so large a difference of means by the luck of the seeds.

    Welch's test (1947) of several repetitions each; where one has a single run, Student's test of it with the spread of
    the other. None of two single runs; 1 or 0 where no repetition varies.
    """
    from scipy.stats import t, ttest_ind_from_stats

    few, many = sorted((first, second), key=len)
    if len(many) < SIDES:
        return None
    if np.ptp(few) == np.ptp(many) == 0:
        return float(few[0] == many[0])
    if len(few) >= SIDES:
        told = [fact for one in (first, second) for fact in (np.mean(one), np.std(one, ddof=1), len(one))]
        return float(ttest_ind_from_stats(*told, equal_var=False).pvalue)
    spread = float(np.std(many, ddof=1)) * (1 + 1 / len(many)) ** 0.5
    return float(2 * t.sf(abs(few[0] - float(np.mean(many))) / spread, len(many) - 1))


def difference_interval(differences: Differences, *, level: float, resamples: int, seed: int) -> tuple[float, float]:
    """Bootstrap interval of the mean difference over images, drawn in whole groups (Efron, 1979), by percentiles."""
    rows = np.column_stack([differences.sums, differences.sizes])
    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    # resampling groups is drawing how often each kind of them comes
    drawn = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), resamples)
    sums, sizes = (drawn @ kinds).T
    low, high = np.quantile(sums / (differences.unit * sizes), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(values: Sequence[float], *, level: float) -> tuple[float, float] | None:
    """Student's interval of the mean of repetitions, cut to 0..1; None of fewer than two."""
    from scipy.stats import t

    if len(values) < SIDES:
        return None
    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5 * float(t.ppf((1 + level) / 2, len(values) - 1))
    mean = float(np.mean(values))
    return max(0.0, mean - spread), min(1.0, mean + spread)


def num_alone(shares: np.ndarray, groups: np.ndarray) -> float:
    """How many images without groups would tell as much of their mean share (Kish, 1965); at most as many as there are.

    Args:
        shares: of right answers, for each image, 0 to 1.
        groups: the number of the group of each image, 0 and on.
    """
    share, num_groups = float(shares.mean()), int(groups.max()) + 1
    if num_groups in (1, len(shares)):
        return num_groups
    apart = np.bincount(groups, weights=shares - share)
    variance = (apart**2).sum() / len(shares) ** 2 * num_groups / (num_groups - 1)
    return min(len(shares), share * (1 - share) / variance) if variance > 0 else num_groups


def share_interval(share: float, number: float, *, level: float) -> tuple[float, float]:
    """Interval of a share measured on so many images (Wilson, 1927)."""
    from scipy.stats import norm

    z = float(norm.ppf((1 + level) / 2))
    centre = share + z**2 / (2 * number)
    spread = z * (share * (1 - share) / number + z**2 / (4 * number**2)) ** 0.5
    scale = 1 + z**2 / number
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def holm(probabilities: Sequence[float]) -> list[float]:
    """The probabilities, raised so that any of them falls below a level by chance no more often than one test would.

    Holm's step-down correction (1979): the smallest times their number, the next times one less, never falling.
    """
    order = np.argsort(probabilities, kind="stable")
    raised = np.asarray(probabilities, dtype=float)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(raised))
    return [float(value) for value in corrected]
