"""Tests and intervals of paired answers, against scipy's and against what simulation says they should be."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_ind

from src.paired import (
    Differences,
    difference_interval,
    holm,
    mean_interval,
    num_alone,
    seed_test,
    share_interval,
    sign_test,
)


def of_images(counts: np.ndarray, *, unit: int = 1) -> Differences:
    """Differences of images of which each is a group of its own."""
    return Differences(counts, np.ones_like(counts), unit)


def differences(wins: int, losses: int, ties: int) -> Differences:
    return of_images(np.repeat([1, -1, 0], [wins, losses, ties]))


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (9, 1), (30, 12), (50, 50), (0, 8), (900, 1100)])
def test_of_single_runs_it_is_the_exact_test_of_mcnemar(wins, losses):
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert sign_test(differences(wins, losses, 100)) == pytest.approx(expected)


def test_it_is_the_share_of_all_choices_of_signs_that_differ_as_much():
    rng = np.random.default_rng(0)
    for _ in range(20):
        counts = rng.integers(-3, 4, 10)
        sums = np.array(list(product([-1, 1], repeat=10))) @ counts
        assert sign_test(of_images(counts)) == pytest.approx((np.abs(sums) >= abs(counts.sum())).mean())


def test_a_chance_may_be_as_small_as_many_comparisons_need():
    assert 0 <= sign_test(of_images(np.full(60, 2))) < 1e-12
    assert sign_test(of_images(np.repeat([1, 2], 10))) == pytest.approx(2 * 0.5**20)


def test_shares_of_seeds_count_by_their_size():
    halves = np.repeat([1, -1, 2, 0], [20, 5, 6, 60])
    small = sign_test(of_images(halves, unit=2))
    assert 0 < small < 0.001
    assert sign_test(of_images(-halves, unit=2)) == small


def test_equally_good_models_are_told_apart_no_more_often_than_the_level_says():
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(400):
        first, second = (rng.random((2, 2, 200)) < 0.8).sum(axis=1)
        p_values.append(sign_test(of_images(first - second, unit=2)))
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


def test_images_in_groups_tell_equal_models_apart_no_more_often_than_the_level_says():
    rng = np.random.default_rng(0)
    alone, together = [], []
    for _ in range(400):
        # which model is better on the images of a group is the luck of the group
        ahead = rng.normal(0, 0.5, 50).repeat(20)
        counts = np.sign(ahead + rng.normal(0, 0.5, 1000)).astype(int) * (rng.random(1000) < 0.3)
        alone.append(sign_test(of_images(counts)))
        together.append(sign_test(Differences(counts.reshape(50, 20).sum(axis=1), np.full(50, 20), 1)))
    assert np.mean(np.array(alone) <= 0.05) > 0.15
    assert np.mean(np.array(together) <= 0.05) <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        found = (rng.random(300) < 0.85).astype(int) - (rng.random(300) < 0.75)
        low, high = difference_interval(of_images(found), level=0.95, resamples=1000, seed=trial)
        covered += low <= 0.10 <= high
    assert 0.92 <= covered / 300 <= 0.98


def test_the_interval_of_a_difference_is_in_shares_and_as_wide_as_its_groups_make_it():
    counts = np.repeat([2, -2, 0], [30, 10, 60])
    settings = {"level": 0.95, "resamples": 4000, "seed": 0}
    alone = difference_interval(of_images(counts, unit=2), **settings)
    copies = difference_interval(Differences(3 * counts, np.full(100, 3), 2), **settings)
    assert copies == pytest.approx(alone)
    assert alone[0] < of_images(counts, unit=2).mean == 0.2 < alone[1]


def test_copies_of_an_image_count_as_one():
    rng = np.random.default_rng(0)
    shares = (rng.random(2000) < 0.8).astype(float)
    assert num_alone(shares, np.arange(2000)) == 2000
    assert num_alone(shares.repeat(5), np.arange(2000).repeat(5)) == pytest.approx(2000, rel=0.001)
    assert num_alone(shares, rng.integers(500, size=2000)) == pytest.approx(2000, rel=0.15)
    assert num_alone(np.ones(40), np.arange(10).repeat(4)) == 10
    assert num_alone(shares, np.zeros(2000, int)) == 1


def test_seeds_that_never_vary_are_equal_or_not():
    assert seed_test([0.5, 0.5], [0.5, 0.5]) == 1.0
    assert seed_test([0.5, 0.5], [0.6, 0.6]) == 0.0
    assert seed_test([0.5], [0.6]) is None
    first, second = [0.50, 0.52, 0.53], [0.53, 0.56, 0.51, 0.58]
    assert seed_test(first, second) == pytest.approx(ttest_ind(first, second, equal_var=False).pvalue)


def test_a_single_run_is_held_against_the_spread_of_the_other_s_seeds():
    many = [0.80, 0.82, 0.81, 0.79]
    # Student's test with equal variances, as scipy has it, of one value against four
    assert seed_test([0.9], many) == pytest.approx(ttest_ind([0.9], many, equal_var=True).pvalue)
    assert seed_test(many, [0.9]) == seed_test([0.9], many)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([]) == []


def test_interval_of_few_seeds_is_student_s():
    low, high = mean_interval([0.8, 0.9], level=0.95)
    assert (low, high) == (pytest.approx(0.2147, abs=1e-3), 1.0)
    assert mean_interval([0.8], level=0.95) is None


def test_interval_of_a_share_is_wilson_s():
    assert share_interval(0.5, 100, level=0.95) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))
    assert share_interval(1.0, 10, level=0.95)[1] == pytest.approx(1.0)


def test_interval_of_a_share_equals_the_published_example():
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263
    low, high = share_interval(81 / 263, 263, level=0.95)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_interval_of_a_share_stays_inside_zero_and_one():
    assert share_interval(1.0, 10, level=0.95)[1] == pytest.approx(1.0)
    assert share_interval(0.0, 10, level=0.95)[0] == pytest.approx(0.0)
    assert max(share_interval(1.0, 3, level=0.95)) <= 1.0
