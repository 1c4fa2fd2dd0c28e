import math

import numpy as np
import pytest
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    matthews_corrcoef,
    precision_recall_fscore_support,
    roc_auc_score,
    top_k_accuracy_score,
)
from sklearn.metrics import log_loss as sklearn_log_loss

from src import metrics


def drawn(seed: int, *, num_classes: int, label_classes: list[int], num_images: int = 60) -> tuple:
    """Labels out of `label_classes` only, and probabilities over all classes."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(label_classes, size=num_images)
    probs = rng.dirichlet(np.full(num_classes, 0.5), size=num_images)
    return labels, (probs * 0.999 + 0.001 / num_classes).astype(np.float32)


CASES = {
    "two classes": {"num_classes": 2, "label_classes": [0, 1]},
    "ten classes": {"num_classes": 10, "label_classes": list(range(10))},
    "a class without images": {"num_classes": 5, "label_classes": [0, 2, 3, 4]},
    "most classes without images or predictions": {"num_classes": 200, "label_classes": [3, 150]},
    "a single class in the split": {"num_classes": 3, "label_classes": [1]},
    "a single image": {"num_classes": 4, "label_classes": [0, 1, 2, 3], "num_images": 1},
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", CASES)
def test_figures_equal_those_of_scikit_learn(case, seed):
    labels, probs = drawn(seed, **CASES[case])
    num_classes = CASES[case]["num_classes"]
    found = metrics.evaluate(labels, probs, [f"c{index}" for index in range(num_classes)])
    preds = probs.argmax(axis=1)
    assert found["acc"] == pytest.approx(accuracy_score(labels, preds))
    assert found["balanced_acc"] == pytest.approx(balanced_accuracy_score(labels, preds))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, preds, average="macro", zero_division=0))
    assert found["loss"] == pytest.approx(sklearn_log_loss(labels, probs, labels=list(range(num_classes))), rel=1e-5)
    assert found["num_images"] == len(labels)
    assert found["weighted_f1"] == pytest.approx(f1_score(labels, preds, average="weighted", zero_division=0))
    assert found["mcc"] == pytest.approx(matthews_corrcoef(labels, preds))
    for k in (3, 5):
        expected = top_k_accuracy_score(labels, probs, k=k, labels=range(num_classes)) if k < num_classes else None
        assert found[f"top{k}_acc"] == (None if expected is None else pytest.approx(expected))
    brier = brier_score_loss(labels, probs, labels=list(range(num_classes)), scale_by_half=False)
    assert found["brier"] == pytest.approx(brier, abs=1e-6)


@pytest.mark.filterwarnings(f"ignore::{UndefinedMetricWarning.__module__}.UndefinedMetricWarning")
@pytest.mark.parametrize("case", CASES)
def test_figures_of_each_class_equal_those_of_scikit_learn(case):
    labels, probs = drawn(7, **CASES[case])
    classes = list(range(CASES[case]["num_classes"]))
    rows = metrics.evaluate(labels, probs, [f"c{index}" for index in classes])["per_class"]
    expected = precision_recall_fscore_support(labels, probs.argmax(axis=1), labels=classes, zero_division=0)
    for key, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [rows[f"c{index}"][key] for index in classes] == pytest.approx(list(column))


@pytest.mark.parametrize("case", CASES)
def test_areas_of_each_class_equal_those_of_scikit_learn_and_their_mean_leaves_out_the_undefined(case):
    labels, probs = drawn(4, **CASES[case])
    found = metrics.evaluate(labels, probs, [f"c{index}" for index in range(probs.shape[1])])
    for key, of_one in (("roc_auc", roc_auc_score), ("pr_auc", average_precision_score)):
        expected = {}
        for index in range(probs.shape[1]):
            is_class = labels == index
            if is_class.any() and not is_class.all():
                expected[f"c{index}"] = of_one(is_class, probs[:, index])
        for name, row in found["per_class"].items():
            assert row[key] == (pytest.approx(expected[name]) if name in expected else None)
        assert found[key] == (pytest.approx(np.mean(list(expected.values()))) if expected else None)


def test_the_area_of_two_classes_is_scikit_learns_for_two():
    labels, probs = drawn(3, num_classes=2, label_classes=[0, 1])
    probs[:, 0] = 1 - probs[:, 1]
    assert metrics.evaluate(labels, probs, ["a", "b"])["roc_auc"] == pytest.approx(roc_auc_score(labels, probs[:, 1]))


def test_figures_that_a_split_does_not_define_are_none_with_a_reason():
    labels, probs = drawn(2, num_classes=3, label_classes=[1])
    found = metrics.evaluate(labels, probs, ["ant", "bee", "cat"])
    assert {name for name, value in found.items() if value is None} == set(found["undefined"])
    assert found["undefined"]["roc_auc"].startswith("all images are of one class, bee")
    assert found["undefined"]["top3_acc"].startswith("there are 3 classes")


def test_of_equal_probabilities_the_first_class_comes_first():
    ranks = metrics.label_ranks(np.array([0, 1, 2]), np.full((3, 3), 1 / 3, dtype=np.float32))
    assert ranks.tolist() == [0, 1, 2]


@pytest.mark.parametrize("case", CASES)
def test_confusion_has_labels_as_rows_and_predictions_as_columns(case):
    labels, probs = drawn(1, **CASES[case])
    classes = list(range(CASES[case]["num_classes"]))
    preds = probs.argmax(axis=1)
    counts = metrics.confusion(labels, preds, len(classes))
    assert (counts == confusion_matrix(labels, preds, labels=classes)).all()


def test_confusion_of_a_known_case():
    counts = metrics.confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_loss_of_an_impossible_label_is_large_and_finite():
    probs = np.array([[1.0, 0.0]], dtype=np.float32)
    assert metrics.log_loss(np.array([0]), probs) == 0
    assert 80 < metrics.log_loss(np.array([1]), probs) < math.inf


def test_loss_of_even_odds_is_the_log_of_the_number_of_classes():
    probs = np.full((3, 8), 1 / 8, dtype=np.float32)
    assert metrics.log_loss(np.array([0, 3, 7]), probs) == pytest.approx(math.log(8))


def test_figures_are_plain_numbers_that_json_takes():
    labels, probs = drawn(0, num_classes=6, label_classes=list(range(6)))
    found = metrics.evaluate(labels, probs, list("abcdef"))
    assert found.pop("undefined") == {}
    figures = [value for key, value in found.items() if key != "per_class"]
    figures += [value for row in found["per_class"].values() for value in row.values()]
    assert {type(value) for value in figures} == {int, float}


def test_a_split_without_labelled_images_is_refused():
    with pytest.raises(ValueError, match="no labelled image to score"):
        metrics.evaluate(np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=np.float32), ["a", "b"])


def test_an_image_without_a_label_is_not_counted_as_the_last_class():
    with pytest.raises(AssertionError, match="must be left out"):
        metrics.evaluate(np.array([0, -1]), np.array([[0.9, 0.1], [0.1, 0.9]]), ["a", "b"])
