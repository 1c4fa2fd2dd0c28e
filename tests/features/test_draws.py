import numpy as np

from src.features.draws import permutation, uniform


def test_draws_do_not_depend_on_the_batch_a_sample_falls_into():
    whole = uniform(np.arange(100), seed=1, epoch=2, stream=3, count=4)
    part = uniform(np.array([97, 5]), seed=1, epoch=2, stream=3, count=4)
    assert np.array_equal(part, whole[[97, 5]])


def test_seed_epoch_and_stream_each_change_the_draws():
    base = uniform(np.arange(50), seed=0, epoch=0, stream=0, count=2)
    for change in ({"seed": 1}, {"epoch": 1}, {"stream": 1}):
        other = uniform(np.arange(50), **({"seed": 0, "epoch": 0, "stream": 0} | change), count=2)
        assert not np.any(other == base)


def test_draws_are_uniform_and_uncorrelated():
    draws = uniform(np.arange(20_000), seed=0, epoch=0, stream=0, count=4)
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = np.stack([np.histogram(column, bins=20, range=(0, 1))[0] for column in draws.T])
    # 1,000 a bin with a deviation of 31: five deviations either way.
    assert np.abs(counts - 1000).max() < 155
    assert np.abs(np.corrcoef(draws.T) - np.eye(4)).max() < 0.03
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.03


def test_permutation_holds_each_position_once_and_changes_with_the_epoch():
    first, second = (permutation(1000, seed=7, epoch=epoch) for epoch in (0, 1))
    assert np.array_equal(np.sort(first), np.arange(1000))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, permutation(1000, seed=7, epoch=0))
