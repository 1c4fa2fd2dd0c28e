"""Rare classes: the ways to make up for them, the choice between them, and that they help on real images."""

import logging
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.utils.class_weight import compute_class_weight

from src.compose import compose
from src.config_training import LossConfig
from src.features.inputs import model_input, unit_images
from src.features.packed import PackedSplit, write_split
from src.files import write_json
from src.layout import PACKED_DIR
from src.metrics import evaluate
from src.models.engine.preparing import prepare
from src.models.recipes.imbalance import TREATMENTS, class_counts, class_weights, treatment
from src.models.signals import StopFlag
from src.selection import Selection
from tests.models.conftest import configured

LABELS = np.array([0] * 90 + [1] * 30 + [2] * 6)
COUNTS = np.array([90, 30, 6])
PLAIN = LossConfig(name="cross_entropy", options={"smoothing": 0.1})


def treated(imbalance: str, *, loss: LossConfig = PLAIN, counts: np.ndarray = COUNTS, **balance):
    train = compose(Selection()).train
    return treatment(replace(train, imbalance=imbalance, balance=replace(train.balance, **balance)), loss, counts)


def test_every_entry_but_auto_can_be_chosen_by_the_key():
    for name in (*TREATMENTS, "auto"):
        assert compose(Selection(values={"train.imbalance": name})).train.imbalance == name
    with pytest.raises(ValueError, match=r'train.imbalance="focl" should be'):
        compose(Selection(values={"train.imbalance": "focl"}))


def test_classes_are_counted_absent_ones_too():
    assert class_counts(LABELS, 4).tolist() == [90, 30, 6, 0]


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999, 1.0])
def test_weights_have_mean_one_over_the_images_and_never_favour_a_larger_class(beta):
    weights = class_weights(COUNTS, beta=beta)
    assert weights[LABELS].mean() == pytest.approx(1.0)
    assert weights[0] <= weights[1] <= weights[2]


def test_weights_run_from_all_alike_to_inverse_frequency_as_scikit_learn_has_it():
    assert class_weights(COUNTS, beta=0.0) == pytest.approx(np.ones(3))
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    assert class_weights(COUNTS, beta=1.0) == pytest.approx(balanced)
    assert class_weights(COUNTS, beta=1 - 1e-9) == pytest.approx(balanced, rel=1e-4)


def test_weights_by_effective_number_equal_the_formula_of_the_paper():
    raw = (1 - 0.9) / (1 - 0.9**COUNTS)
    assert class_weights(COUNTS, beta=0.9) == pytest.approx(raw / raw[LABELS].mean())


def test_a_class_without_images_has_a_finite_weight_and_changes_no_other():
    weights = class_weights(np.array([90, 30, 6, 0]), beta=0.999)
    assert np.isfinite(weights).all()
    assert weights[:3] == pytest.approx(class_weights(COUNTS, beta=0.999))


def test_each_way_acts_where_it_says():
    assert asdict(treated("none")) == {"loss": asdict(PLAIN), "weights": None, "balanced": False}
    assert treated("class_weights", beta=1.0).weights == pytest.approx([126 / 270, 126 / 90, 126 / 18])
    assert treated("balanced_sampler").balanced
    assert treated("focal", gamma=3.0).loss == LossConfig(name="focal", options={"smoothing": 0.1, "gamma": 3.0})
    adjusted = LossConfig(name="logit_adjustment", options={"smoothing": 0.1, "tau": 0.5})
    assert treated("logit_adjustment", tau=0.5).loss == adjusted


def test_auto_acts_from_its_ratio_on_and_says_what_it_chose_and_why(caplog):
    caplog.set_level(logging.INFO)
    assert treated("auto", auto_ratio=15.0) == treated("balanced_sampler")
    assert (
        "auto: balanced_sampler; the largest class has 15.0 times the images of the smallest (90 and 6)" in caplog.text
    )
    assert treated("auto", auto_ratio=15.1) == treated("none")
    assert "auto: none; " in caplog.text
    assert "below train.balance.auto_ratio=15.1" in caplog.text


def test_auto_counts_an_absent_class_as_one_image():
    assert treated("auto", counts=np.array([90, 30, 0])).balanced
    assert not treated("auto", counts=np.array([2, 1, 0])).balanced


def test_a_balanced_order_reaches_the_training_of_a_run(project, config):
    training = prepare(config("train.imbalance=balanced_sampler"))
    split = training.splits["train"]
    rare = replace(split, labels=np.where(np.arange(len(split)) < 90, 0, 1))
    drawn = np.concatenate(training.recipe.plan(rare, epoch=0))
    assert np.mean(drawn % 2**40 >= 90) == pytest.approx(0.5, abs=0.05)
    assert len(np.unique(drawn)) == len(drawn)


HELD, COMMON, RARE, TESTED = range(5, 10), 100, 6, 60


def pack_digits(seed: int) -> None:
    """Digits of which half the classes are rare in train, and all alike in test."""
    digits = load_digits()
    pixels = np.repeat((digits.images / 16 * 255).astype(np.uint8)[..., None], 3, axis=-1)
    rng = np.random.default_rng(seed)
    rows: dict[str, list[int]] = {"train": [], "test": []}
    for label in range(10):
        order = rng.permutation(np.flatnonzero(digits.target == label))
        rows["test"] += order[:TESTED].tolist()
        rows["train"] += order[TESTED:][: RARE if label in HELD else COMMON].tolist()
    for name, chosen in rows.items():
        names = [str(index) for index in chosen]
        write_split(
            PACKED_DIR / name,
            enumerate(pixels[chosen]),
            size=8,
            rows={"id": names, "path": names, "label": digits.target[chosen].tolist()},
            class_names=[str(label) for label in range(10)],
            digest="0123456789abcdef",
        )
    cfg = configured()
    settings = {"data": asdict(cfg.data), "features": asdict(cfg.features)}
    counts = {name: len(chosen) for name, chosen in rows.items()}
    facts = {"mean": [0.3] * 3, "std": [0.35] * 3, "size": 8, "counts": counts, "class_names": list("0123456789")}
    write_json(PACKED_DIR / "statistics.json", facts | {"digest": "0123456789abcdef", "settings": settings})


def balanced_acc(imbalance: str, seed: int) -> float:
    """Balanced accuracy on test of a run of some seconds; classes are as large there, so it is accuracy too."""
    settings = ["train.epochs=20", "train.batch_size=32", "model.options.width=16", "optimizer.lr=0.01"]
    chosen = [f"train.seed={seed}", f"train.imbalance={imbalance}", f"run_dir=models/{imbalance}-{seed}"]
    training = prepare(configured(*settings, *chosen))
    training.run(StopFlag())
    test = PackedSplit.load(PACKED_DIR / "test")
    images = unit_images(torch.from_numpy(test.gather(np.arange(len(test)))))
    with torch.inference_mode():
        logits = training.state.model.eval()(model_input(images, training.recipe.preprocess))
    scores = evaluate(test.labels, logits.softmax(dim=1).numpy(), test.class_names)
    return float(scores["balanced_acc"])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_rare_digits_are_found_more_often(tmp_path, monkeypatch):
    gains: dict[str, list[float]] = {"class_weights": [], "balanced_sampler": [], "logit_adjustment": []}
    for seed in range(2):
        (tmp_path / str(seed)).mkdir()
        monkeypatch.chdir(tmp_path / str(seed))
        pack_digits(seed)
        before = balanced_acc("none", seed)
        for imbalance, found in gains.items():
            found.append(balanced_acc(imbalance, seed) - before)
    assert min(min(found) for found in gains.values()) > 0.1, gains
