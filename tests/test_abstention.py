import numpy as np
import pytest

from src.abstention import answers, risk_coverage, threshold_for

LABELS = np.array([0, 0, 1, 1])
PROBS = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]], dtype=np.float32)


def test_the_curve_answers_the_surest_first():
    curve = risk_coverage(LABELS, PROBS)
    assert curve.threshold == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == [0, 0, 0, 0.25]
    assert curve.aurc == pytest.approx(0.0625)


def test_images_of_equal_confidence_are_answered_together():
    curve = risk_coverage(np.array([0, 1, 0]), np.array([[0.7, 0.3], [0.7, 0.3], [0.6, 0.4]], dtype=np.float32))
    assert curve.coverage == pytest.approx([2 / 3, 1])
    assert curve.risk == pytest.approx([1 / 2, 1 / 3])


def test_the_threshold_is_the_least_that_keeps_the_risk():
    curve = risk_coverage(LABELS, PROBS)
    assert threshold_for(curve, 0.0) == pytest.approx(0.7)
    assert threshold_for(curve, 0.25) == pytest.approx(0.6)


def test_no_threshold_keeps_a_risk_that_the_surest_image_breaks():
    curve = risk_coverage(np.array([1, 0]), np.array([[0.9, 0.1], [0.8, 0.2]], dtype=np.float32))
    assert threshold_for(curve, 0.1) is None


def test_a_threshold_gives_on_its_own_split_what_the_curve_says():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(3, 0.4), size=500).astype(np.float32)
    labels = (probs.cumsum(axis=1) < rng.random((500, 1))).sum(axis=1)
    curve = risk_coverage(labels, probs)
    threshold = threshold_for(curve, 0.15)
    found = answers(labels, probs, threshold)
    place = int(np.flatnonzero(curve.threshold == np.float32(threshold))[0])
    assert found.risk == pytest.approx(curve.risk[place])
    assert found.coverage == pytest.approx(curve.coverage[place])
    assert found.risk <= 0.15
    assert 0.1 < found.coverage < 1


def test_where_none_is_answered_there_is_no_risk_to_tell():
    found = answers(LABELS, PROBS, 0.95)
    assert (found.coverage, found.risk, found.num_answered) == (0, None, 0)
