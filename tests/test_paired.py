"""Tests and intervals of paired answers, against scipy's and against what simulation says they should be."""

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_ind

from src.paired import difference_interval, holm, mean_interval, seed_test, share_interval, sign_test


def differences(wins: int, losses: int, ties: int) -> np.ndarray:
    return np.repeat([1.0, -1.0, 0.0], [wins, losses, ties])


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (9, 1), (30, 12), (50, 50), (0, 8)])
def test_of_single_runs_it_is_the_exact_test_of_mcnemar(wins, losses):
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    found = sign_test(differences(wins, losses, 100), resamples=100, seed=0)
    assert found == pytest.approx(expected)


def test_drawn_signs_agree_with_the_exact_test():
    exact = sign_test(differences(30, 14, 50), resamples=100, seed=0)
    # one image of another size makes it draw
    mixed = np.append(differences(30, 14, 50), -1e-6)
    assert sign_test(mixed, resamples=200_000, seed=0) == pytest.approx(exact, abs=0.002)


def test_shares_of_seeds_count_by_their_size():
    halves = np.repeat([0.5, -0.5, 1.0, 0.0], [20, 5, 6, 60])
    small = sign_test(halves, resamples=20_000, seed=0)
    assert 0 < small < 0.001
    assert sign_test(-halves, resamples=20_000, seed=0) == small


def test_equally_good_models_are_told_apart_no_more_often_than_the_level_says():
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(400):
        first, second = rng.random((2, 2, 200)) < 0.8
        p_values.append(sign_test(first.mean(0) - second.mean(0), resamples=500, seed=int(rng.integers(2**31))))
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        found = (rng.random(300) < 0.85).astype(float) - (rng.random(300) < 0.75)
        low, high = difference_interval(found, level=0.95, resamples=1000, seed=trial)
        covered += low <= 0.10 <= high
    assert 0.92 <= covered / 300 <= 0.98


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
