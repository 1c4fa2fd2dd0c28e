import json
from dataclasses import replace

import numpy as np
import pytest

from src.abstention import answers
from src.artifacts import Predictions
from src.calibration import at_temperature, reliability
from src.compose import compose
from src.scorecard import scorecard
from src.selection import Selection

CFG = compose(Selection(values={"predict.target_risk": 0.1})).predict
NAMES = ["ant", "bee", "cat"]


def split(name: str, *, num_images: int = 200, sharpness: float = 0.4, only: int | None = None) -> Predictions:
    """Predictions whose labels are drawn from what they say."""
    rng = np.random.default_rng(len(name))
    probs = rng.dirichlet(np.full(3, sharpness), size=num_images).astype(np.float32)
    labels = (probs.cumsum(axis=1) < rng.random((num_images, 1))).sum(axis=1).clip(max=2)
    labels = labels if only is None else np.full(num_images, only)
    ids = [f"{name}/{index}" for index in range(num_images)]
    return Predictions(ids, ids, labels, probs, NAMES, name, "c0ffee")


def splits(*names: str) -> dict[str, Predictions]:
    return {name: split(name) for name in names}


def test_every_labelled_split_is_scored_apart_and_json_takes_the_whole():
    found = scorecard(splits("train", "val", "test", "interesting"), CFG, 1.5)
    assert list(found) == ["train", "val", "test", "interesting"]
    assert len({figures["loss"] for figures in found.values()}) == 4
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_train_has_no_interval_no_gap_and_no_threshold():
    found = scorecard(splits("train", "val", "test"), CFG, None)
    assert found["train"]["interval"] == {}
    assert "gap" not in found["train"]
    assert "abstention" not in found["train"]
    assert found["test"]["interval"]["acc"]["low"] < found["test"]["acc"] < found["test"]["interval"]["acc"]["high"]


def test_each_class_has_its_intervals_but_on_train():
    found = scorecard(splits("train", "test"), CFG, None)
    row = found["test"]["per_class"]["bee"]
    for name in ("precision", "recall", "f1"):
        assert row["interval"][name]["low"] < row[name] < row["interval"][name]["high"]
    assert found["train"]["per_class"]["bee"]["interval"] == {}


def test_images_of_one_group_are_drawn_together():
    given = split("test")
    # the right answers are one group and the wrong ones the other, and some images of both have no label
    labels = np.where(np.arange(200) < 20, -1, given.labels)
    grouped = replace(given, labels=labels, groups=(given.preds == given.labels).astype(int))
    alone, together = (
        scorecard({"test": each}, CFG, None)["test"]["interval"]["acc"]
        for each in (replace(grouped, groups=None), grouped)
    )
    assert 0 < alone["low"] < alone["high"] < 1
    assert (together["low"], together["high"]) == (0, 1)


def test_the_gap_is_what_train_is_ahead():
    found = scorecard(splits("train", "test"), CFG, None)
    for key, gap in found["test"]["gap"].items():
        assert gap == pytest.approx(found["train"][key] - found["test"][key])


def test_figures_at_the_temperature_stand_beside_the_plain_ones():
    given = splits("val", "test")
    plain, mended = (scorecard(given, CFG, temperature)["test"] for temperature in (None, 2.0))
    assert plain["calibrated"] == {}
    assert plain["ece"] == mended["ece"]
    probs = at_temperature(given["test"].probs, 2.0)
    assert mended["calibrated"]["ece"] == pytest.approx(reliability(given["test"].labels, probs).ece)


def test_the_threshold_comes_from_val_and_is_told_on_test():
    given = splits("val", "test")
    found = scorecard(given, CFG, None)
    threshold = found["val"]["abstention"]["threshold"]
    assert found["val"]["abstention"]["risk"] <= 0.1
    assert found["test"]["abstention"]["threshold"] == threshold
    expected = answers(given["test"].labels, given["test"].probs, threshold)
    assert found["test"]["abstention"]["risk"] == expected.risk
    assert found["test"]["abstention"]["coverage"] == expected.coverage


def test_without_val_there_is_no_threshold_and_the_split_says_so():
    found = scorecard(splits("test"), CFG, None)
    assert found["test"]["abstention"] == {"target_risk": 0.1, "threshold": None}
    assert "no labelled val split" in found["test"]["undefined"]["abstention"]


def test_a_risk_that_no_threshold_keeps_is_told():
    hopeless = replace(split("val"), labels=split("val").probs.argmin(axis=1))
    found = scorecard({"val": hopeless}, CFG, None)
    assert found["val"]["abstention"]["threshold"] is None
    assert "no threshold brings" in found["val"]["undefined"]["abstention"]


def test_a_split_of_one_class_and_one_without_labels_stop_nothing():
    given = {"val": split("val"), "test": split("test", only=1), "predict": split("predict", only=-1)}
    found = scorecard(given, CFG, 1.2)
    assert list(found) == ["val", "test"]
    assert found["test"]["roc_auc"] is None
    assert "all images are of one class, bee" in found["test"]["undefined"]["roc_auc"]
