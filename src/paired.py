"""Whether two models differ on the same images, or only by chance: tests and intervals of paired answers.

A difference is an array with a number for each image: by how much more often the first model is right on it. For single
runs that is 1, 0 or -1; over repetitions with several seeds it is a difference of shares.
"""

from collections.abc import Sequence

import numpy as np

SIDES = 2


def sign_test(differences: np.ndarray, *, resamples: int, seed: int) -> float:
    """Probability of so large a mean difference where both models are equally good.

    Under that hypothesis each image's difference might as well have the other sign. For single runs this is McNemar's
    exact test (McNemar, 1947); for shares the signs are drawn `resamples` times.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if len(sizes) < SIDES:
        return _exact(int((differences > 0).sum()), int(counts.sum()))
    rng = np.random.default_rng(seed)
    # the sum over k images of one size with random signs is size * (2 * Binomial(k, 1/2) - k)
    sums = sum(
        size * (2 * rng.binomial(count, 0.5, resamples) - count) for size, count in zip(sizes, counts, strict=True)
    )
    reached = np.abs(sums) >= abs(differences.sum()) - 1e-9
    return float((1 + reached.sum()) / (1 + resamples))


def _exact(wins: int, decided: int) -> float:
    from scipy.stats import binomtest

    return float(binomtest(wins, decided).pvalue) if decided else 1.0


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


def difference_interval(differences: np.ndarray, *, level: float, resamples: int, seed: int) -> tuple[float, float]:
    """Bootstrap interval of the mean difference over images (Efron, 1979), by percentiles."""
    values, counts = np.unique(differences, return_counts=True)
    # resampling images is drawing how often each value comes
    drawn = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), resamples)
    means = drawn @ values / counts.sum()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(values: Sequence[float], *, level: float) -> tuple[float, float] | None:
    """Student's interval of the mean of repetitions, cut to 0..1; None of fewer than two."""
    from scipy.stats import t

    if len(values) < SIDES:
        return None
    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5 * float(t.ppf((1 + level) / 2, len(values) - 1))
    mean = float(np.mean(values))
    return max(0.0, mean - spread), min(1.0, mean + spread)


def share_interval(share: float, number: int, *, level: float) -> tuple[float, float]:
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
