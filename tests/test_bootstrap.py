from dataclasses import replace

import numpy as np
import pytest

from src.bootstrap import intervals
from src.compose import compose
from src.metrics import evaluate
from src.selection import Selection

CFG = compose(Selection()).predict.bootstrap
NO_INTERVAL = {"num_images", "per_class", "undefined", "aurc"}


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
    assert set(found) == figures.keys() - NO_INTERVAL
    # an error of calibration is a mean of distances, which resampling makes larger
    for name in found.keys() - {"ece"}:
        assert found[name]["low"] < figures[name] < found[name]["high"], name


def test_intervals_equal_those_of_figures_scored_again_on_resampled_images():
    labels, probs = drawn(1, num_images=150)
    rng = np.random.default_rng(9)
    draws = [rng.integers(len(labels), size=len(labels)) for _ in range(400)]
    scored = [evaluate(labels[draw], probs[draw], names(7)) for draw in draws]
    found = intervals(labels, probs, replace(CFG, resamples=4000, rank_resamples=1000))
    for name, interval in found.items():
        values = np.array([each[name] for each in scored])
        expected = np.quantile(values, [0.025, 0.975])
        # the ends are themselves drawn: within a quarter of the spread
        assert [interval["low"], interval["high"]] == pytest.approx(list(expected), abs=0.25 * np.ptp(expected)), name


def test_the_interval_of_the_accuracy_is_near_that_of_its_standard_error():
    labels, probs = drawn(2, num_images=2000)
    acc = evaluate(labels, probs, names(7))["acc"]
    found = intervals(labels, probs, CFG)["acc"]
    error = (acc * (1 - acc) / 2000) ** 0.5
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_the_same_images_have_the_same_intervals_and_another_seed_has_others():
    labels, probs = drawn(3)
    assert intervals(labels, probs, CFG) == intervals(labels, probs, CFG)
    assert intervals(labels, probs, CFG) != intervals(labels, probs, replace(CFG, seed=1))


def test_a_wider_level_is_a_wider_interval():
    labels, probs = drawn(4)
    usual, wider = (intervals(labels, probs, replace(CFG, level=level))["acc"] for level in (0.9, 0.99))
    assert wider["low"] < usual["low"] < usual["high"] < wider["high"]


def test_no_resamples_are_no_intervals():
    assert intervals(*drawn(5), replace(CFG, resamples=0)) == {}


def test_areas_have_no_interval_where_images_are_too_many_and_the_log_says_so(caplog):
    labels, probs = drawn(6)
    with caplog.at_level("INFO"):
        found = intervals(labels, probs, replace(CFG, most_ranked=1000))
    assert {"roc_auc", "pr_auc"} & set(found) == set()
    assert "acc" in found
    assert "no intervals of areas under curves: 300 images are too many" in caplog.text


def test_a_split_of_one_class_has_no_interval_of_areas():
    labels, probs = drawn(7)
    found = intervals(np.zeros_like(labels), probs, CFG)
    assert "roc_auc" not in found
    assert found["acc"]["low"] < found["acc"]["high"]


def test_a_single_image_has_intervals_of_no_width():
    labels, probs = drawn(8, num_images=1)
    found = intervals(labels, probs, CFG)
    assert found["acc"]["low"] == found["acc"]["high"]
