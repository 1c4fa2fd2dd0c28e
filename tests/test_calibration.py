import numpy as np
import pytest
from scipy.special import softmax
from sklearn.calibration import calibration_curve

from src.calibration import COLDEST, NUM_BINS, at_temperature, bins_of, calibrate, reliability


def honest(seed: int, *, num_images: int = 4000, num_classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from just the distribution that the logits say."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (num_images, num_classes))
    probs = softmax(logits, axis=1)
    labels = (probs.cumsum(axis=1) < rng.random((num_images, 1))).sum(axis=1)
    return labels, logits


def test_the_error_is_the_mean_distance_of_the_bins_of_scikit_learns_curve():
    labels, logits = honest(0)
    probs = softmax(2 * logits, axis=1)
    found = reliability(labels, probs)
    hits = (probs.argmax(axis=1) == labels).astype(int)
    accs, confidences = calibration_curve(hits, probs.max(axis=1), n_bins=NUM_BINS)
    used = found.count > 0
    assert found.acc[used] == pytest.approx(accs)
    assert found.confidence[used] == pytest.approx(confidences)
    expected = (found.count[used] * np.abs(accs - confidences)).sum() / len(labels)
    assert found.ece == pytest.approx(expected)


def test_a_bin_holds_its_upper_edge():
    assert bins_of(np.array([0.0, 1 / NUM_BINS, 1 / NUM_BINS + 1e-9, 1.0])).tolist() == [0, 0, 1, NUM_BINS - 1]


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_is_the_factor_by_which_the_logits_are_too_large(factor):
    labels, logits = honest(1)
    found = calibrate(labels, softmax(factor * logits, axis=1))
    assert found.temperature == pytest.approx(factor, rel=0.08)
    assert found.loss_after <= found.loss_before + 1e-9
    assert found.ece_after < 0.03
    if factor != 1:
        assert found.ece_after < found.ece_before / 2


def test_a_temperature_fitted_on_one_half_mends_the_other():
    labels, logits = honest(2)
    probs = softmax(3 * logits, axis=1)
    temperature = calibrate(labels[:2000], probs[:2000]).temperature
    others = probs[2000:]
    before, after = (reliability(labels[2000:], each).ece for each in (others, at_temperature(others, temperature)))
    assert after < before / 3


def test_probabilities_at_a_temperature_are_those_of_the_divided_logits():
    logits = np.random.default_rng(3).normal(0, 3, (20, 5))
    assert at_temperature(softmax(logits, axis=1), 1.7) == pytest.approx(softmax(logits / 1.7, axis=1))


def test_where_every_image_is_right_there_is_no_temperature_and_it_says_why():
    found = calibrate(np.array([0, 1]), np.array([[0.6, 0.4], [0.3, 0.7]], dtype=np.float32))
    assert found.temperature is None
    assert "every image it could be fitted on is predicted rightly" in found.reason
    assert found.ece_before == pytest.approx(0.35)


def test_without_a_labelled_image_there_is_no_temperature():
    found = calibrate(np.zeros(0, dtype=int), np.zeros((0, 3), dtype=np.float32))
    assert (found.temperature, found.reason) == (None, "no labelled image to fit it on")


def test_a_probability_of_zero_for_the_label_leaves_all_finite():
    probs = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    found = calibrate(np.array([1, 0, 1]), probs)
    assert found.temperature > COLDEST
    assert np.isfinite([found.loss_before, found.loss_after]).all()
