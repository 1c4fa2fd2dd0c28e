import sys

import numpy as np
import pytest

from src.data.confident import (
    METHODS,
    calibrated,
    confident_joint,
    judge,
    judge_by_cleanlab,
    thresholds,
)

LABELS = np.array([0, 0, 0, 1, 1, 1])
PROBS = np.array(
    [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]],
    dtype=np.float32,
)


def noisy(seed: int, *, num_images: int = 600, num_classes: int = 5, share: float = 0.1):
    """Labels with a share of them flipped, and probabilities of a fairly good model; which ones were flipped."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(num_classes, num_images, p=rng.dirichlet(np.full(num_classes, 5.0)))
    logits = rng.normal(0, 1, (num_images, num_classes))
    logits[np.arange(num_images), truth] += rng.gamma(4, 1, num_images)
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    flipped = rng.random(num_images) < share
    labels = np.where(flipped, (truth + rng.integers(1, num_classes, num_images)) % num_classes, truth)
    return labels, probs.astype(np.float32), flipped


def test_thresholds_are_the_mean_probability_of_a_class_among_its_own_labels():
    assert thresholds(LABELS, PROBS) == pytest.approx([0.6, 0.7])


def test_a_class_without_labels_has_a_threshold_that_only_certainty_reaches():
    probs = np.column_stack([PROBS, np.zeros(6)])
    assert thresholds(LABELS, probs)[2] == 1
    assert confident_joint(LABELS, probs)[:, 2].sum() == 0


def test_only_images_that_reach_a_threshold_are_in_the_confident_joint():
    # the fifth image reaches neither 0.6 nor 0.7
    assert confident_joint(LABELS, PROBS).tolist() == [[2, 1], [0, 2]]


def test_an_image_that_reaches_two_thresholds_counts_for_the_more_probable_class():
    labels = np.array([0, 0, 1, 1])
    probs = np.array([[0.55, 0.45], [0.5, 0.5], [0.6, 0.4], [0.45, 0.55]])
    # thresholds are 0.525 and 0.475
    assert confident_joint(labels, probs).tolist() == [[1, 1], [1, 1]]


def test_the_calibrated_joint_has_the_given_number_of_images_in_each_row():
    joint = calibrated(confident_joint(LABELS, PROBS), LABELS)
    assert joint.sum(axis=1).tolist() == [3, 3]
    assert joint.tolist() == [[2, 1], [0, 3]]


def test_labels_of_a_row_without_counts_are_taken_to_be_right():
    assert calibrated(np.array([[0, 0], [1, 3]]), LABELS).tolist() == [[3, 0], [0.75, 2.25]]


def test_the_suspect_is_the_label_that_the_model_contradicts():
    verdict = judge(LABELS, PROBS)
    assert verdict.is_suspect.tolist() == [False, False, True, False, False, False]
    assert verdict.scores == pytest.approx(PROBS[np.arange(6), LABELS].astype(float))
    assert verdict.ranking().tolist() == [2, 4, 5, 1, 3, 0]
    assert verdict.noise() == pytest.approx([1 / 3, 0])


def test_a_label_that_is_the_most_probable_class_is_no_suspect():
    labels, probs, _ = noisy(3)
    assert not judge(labels, probs).is_suspect[probs.argmax(axis=1) == labels].any()


def test_right_labels_give_no_suspects():
    probs = np.full((90, 3), 0.05)
    labels = np.arange(90) % 3
    probs[np.arange(90), labels] = 0.9
    verdict = judge(labels, probs)
    assert not verdict.is_suspect.any()
    assert verdict.noise() == pytest.approx([0, 0, 0])


def test_the_order_of_the_images_does_not_matter():
    labels, probs, _ = noisy(1)
    order = np.random.default_rng(0).permutation(len(labels))
    assert np.array_equal(judge(labels[order], probs[order]).is_suspect, judge(labels, probs).is_suspect[order])


def test_most_of_the_flipped_labels_come_first():
    for seed in range(5):
        labels, probs, flipped = noisy(seed)
        first = judge(labels, probs).ranking()[: flipped.sum()]
        assert flipped[first].mean() > 0.7


@pytest.mark.parametrize("seed", range(8))
def test_suspects_scores_and_joint_are_those_of_cleanlab(seed):
    pytest.importorskip("cleanlab", reason="cleanlab is an extra: make requirements")
    labels, probs, flipped = noisy(seed, num_classes=3 + seed)
    ours, theirs = judge(labels, probs), judge_by_cleanlab(labels, probs)
    both = (ours.is_suspect & theirs.is_suspect).sum()
    assert both >= 0.97 * (ours.is_suspect | theirs.is_suspect).sum()
    assert ours.scores == pytest.approx(theirs.scores)
    # theirs is rounded to whole images, and counts for the most probable class even where that is not the confident one
    assert np.abs(ours.joint - theirs.joint).max() < 0.02 * len(labels)
    first = set(ours.ranking()[: flipped.sum()]), set(theirs.ranking()[: flipped.sum()])
    assert len(first[0] & first[1]) >= 0.95 * flipped.sum()


def test_a_missing_cleanlab_is_answered_with_its_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    monkeypatch.setitem(sys.modules, "cleanlab.count", None)
    with pytest.raises(ImportError, match=r"labels.method=cleanlab .* make requirements"):
        METHODS["cleanlab"](LABELS, PROBS)
