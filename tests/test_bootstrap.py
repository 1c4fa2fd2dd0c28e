import time
from dataclasses import replace

import numpy as np
import pytest

from src.bootstrap import Intervals, intervals
from src.compose import compose
from src.metrics import evaluate
from src.selection import Selection

CFG = compose(Selection()).predict.bootstrap
NO_INTERVAL = {"num_images", "per_class", "undefined"}
OF_A_CLASS = {"precision", "recall", "f1"}


def drawn(seed: int, *, num_images: int = 300, num_classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(num_classes, 0.6), size=num_images).astype(np.float32)
    labels = (probs.cumsum(axis=1) < rng.random((num_images, 1))).sum(axis=1).clip(max=num_classes - 1)
    return labels, probs


def names(num_classes: int) -> list[str]:
    return [f"c{index}" for index in range(num_classes)]


def test_every_figure_has_an_interval_that_holds_it():
    labels, probs = drawn(0)
    figures, found = evaluate(labels, probs, names(7)), intervals(labels, probs, CFG)
    assert set(found.figures) == figures.keys() - NO_INTERVAL
    # an error of calibration is a mean of distances, which resampling makes larger
    for name in found.figures.keys() - {"ece"}:
        assert found.figures[name]["low"] < figures[name] < found.figures[name]["high"], name
    for row, interval in zip(figures["per_class"].values(), found.per_class, strict=True):
        assert set(interval) == OF_A_CLASS
        assert all(interval[name]["low"] < row[name] < interval[name]["high"] for name in OF_A_CLASS)


def test_intervals_equal_those_of_figures_scored_again_on_resampled_images():
    labels, probs = drawn(1, num_images=150)
    rng = np.random.default_rng(9)
    draws = [rng.integers(len(labels), size=len(labels)) for _ in range(400)]
    scored = [evaluate(labels[draw], probs[draw], names(7)) for draw in draws]
    found = intervals(labels, probs, replace(CFG, resamples=4000, rank_resamples=1000))
    told = [(interval, [each[name] for each in scored]) for name, interval in found.figures.items()]
    for number, of_class in enumerate(found.per_class):
        rows = [each["per_class"][f"c{number}"] for each in scored]
        told += [(of_class[name], [row[name] for row in rows if row["support"]]) for name in OF_A_CLASS]
    assert len(told) == len(found.figures) + 3 * 7
    for interval, values in told:
        expected = np.quantile(values, [0.025, 0.975])
        # the ends are themselves drawn: within a quarter of the spread
        assert [interval["low"], interval["high"]] == pytest.approx(list(expected), abs=0.25 * np.ptp(expected))


def test_a_class_without_images_has_no_interval_of_what_it_does_not_define():
    labels, probs = drawn(0)
    found = intervals(labels[labels != 3], probs[labels != 3], CFG)
    assert set(found.per_class[3]) == {"precision", "f1"}
    probs[:, 3] = 0
    assert intervals(labels[labels != 3], probs[labels != 3], CFG).per_class[3] == {}


def test_resamples_without_a_class_do_not_count_as_recalls_of_zero():
    labels = np.array([0] * 40 + [1, 1])
    probs = np.eye(2, dtype=np.float32)[labels]
    assert intervals(labels, probs, CFG).per_class[1]["recall"] == {"low": 1.0, "high": 1.0}


def test_intervals_of_a_thousand_classes_take_no_more_than_moments():
    labels, probs = drawn(0, num_images=5000, num_classes=1000)
    began = time.process_time()
    intervals(labels, probs, CFG)
    # 0.4 s of one core; a loop over classes and resamples takes minutes
    assert time.process_time() - began < 5


def test_images_of_one_group_are_drawn_together():
    labels, probs = drawn(0)
    alone = intervals(labels, probs, CFG)
    groups = np.repeat(np.arange(len(labels)), 4)
    copied = intervals(labels.repeat(4), probs.repeat(4, axis=0), CFG, groups=groups)
    # four copies of each image tell no more than the images do
    assert copied.figures["acc"] == alone.figures["acc"]
    assert copied.figures["aurc"] == pytest.approx(alone.figures["aurc"])
    assert copied.per_class == alone.per_class
    taken_apart = intervals(labels.repeat(4), probs.repeat(4, axis=0), CFG).figures["acc"]
    assert taken_apart["high"] - taken_apart["low"] < 0.6 * (alone.figures["acc"]["high"] - alone.figures["acc"]["low"])


def test_the_interval_of_the_accuracy_is_near_that_of_its_standard_error():
    labels, probs = drawn(2, num_images=2000)
    acc = evaluate(labels, probs, names(7))["acc"]
    found = intervals(labels, probs, CFG).figures["acc"]
    error = (acc * (1 - acc) / 2000) ** 0.5
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_the_same_images_have_the_same_intervals_and_another_seed_has_others():
    labels, probs = drawn(3)
    assert intervals(labels, probs, CFG) == intervals(labels, probs, CFG)
    assert intervals(labels, probs, CFG) != intervals(labels, probs, replace(CFG, seed=1))


def test_a_wider_level_is_a_wider_interval():
    labels, probs = drawn(4)
    usual, wider = (intervals(labels, probs, replace(CFG, level=level)).figures["acc"] for level in (0.9, 0.99))
    assert wider["low"] < usual["low"] < usual["high"] < wider["high"]


def test_no_resamples_are_no_intervals():
    assert intervals(*drawn(5), replace(CFG, resamples=0)) == Intervals({}, [{}] * 7)


def test_areas_have_no_interval_where_images_are_too_many_and_the_log_says_so(caplog):
    labels, probs = drawn(6)
    with caplog.at_level("INFO"):
        found = intervals(labels, probs, replace(CFG, most_ranked=1000)).figures
    assert {"roc_auc", "pr_auc"} & set(found) == set()
    assert "acc" in found
    assert "no intervals of areas under curves: 300 images are too many" in caplog.text


def test_a_split_of_one_class_has_no_interval_of_areas():
    labels, probs = drawn(7)
    found = intervals(np.zeros_like(labels), probs, CFG).figures
    assert "roc_auc" not in found
    assert found["acc"]["low"] < found["acc"]["high"]


def test_a_single_image_has_intervals_of_no_width():
    labels, probs = drawn(8, num_images=1)
    found = intervals(labels, probs, CFG).figures
    assert found["acc"]["low"] == found["acc"]["high"]
