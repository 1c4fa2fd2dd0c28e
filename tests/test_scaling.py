"""The projection of the scaling report is the arithmetic that it states."""

import pytest

from benchmarks.scaling import Figures, Link, link_of, projected, ring_s

ALONE = Figures(world=1, step_s=0.1, reduce_s=0.0, smallest_s=0.0, gradient_bytes=1_000_000)


def test_a_ring_sends_twice_and_every_byte_nearly_twice():
    link = Link(latency_s=0.001, bytes_per_s=1e9)
    assert ring_s(2, 1_000_000, link) == pytest.approx(2 * 0.001 + 0.001)
    assert ring_s(64, 1_000_000, link) == pytest.approx(126 * 0.001 + 126 / 64 * 0.001)


def test_the_link_of_two_processes_gives_back_what_they_measured():
    pair = Figures(world=2, step_s=0.1, reduce_s=0.012, smallest_s=0.002, gradient_bytes=1_000_000)
    assert ring_s(2, pair.gradient_bytes, link_of(pair)) == pytest.approx(pair.reduce_s)


def test_efficiency_lies_between_nothing_and_all_of_it_hidden():
    slow, quick = Link(0.001, 1e7), Link(1e-6, 1e12)
    assert projected(ALONE, quick, 64) == pytest.approx((1.0, 1.0), abs=0.01)
    worst, best = projected(ALONE, slow, 64)
    assert worst == pytest.approx(0.1 / (0.1 + ring_s(64, 1_000_000, slow)))
    assert best == pytest.approx(0.1 / ring_s(64, 1_000_000, slow))
    assert worst < best < 1
