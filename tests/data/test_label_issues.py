import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from src.artifacts import Manifest
from src.compose import compose
from src.data.confident import judge
from src.data.label_issues import label_issues
from src.data.suspects import COLUMNS, read_suspects, summary, suspects_table
from src.fold_predictions import KFoldPredictions
from src.layout import DATASET_DIR, FOLDS_DIR, LABEL_ISSUES_DIR
from src.selection import Selection

CLASS_NAMES = ["NA", "cat, tabby", "dog"]
WRONG = {"train/007.png": "dog", "train/020.png": "NA", "test/003.png": "cat, tabby"}


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    """The default configuration, in an empty project."""
    monkeypatch.chdir(tmp_path)
    return compose(Selection())


def drawn() -> KFoldPredictions:
    """45 images, of which the labels of those in `WRONG` are not the class that the model is sure of."""
    splits = ["train"] * 30 + ["val"] * 6 + ["test"] * 9
    ids = [f"{split}/{number:03d}.png" for split in ("train", "val", "test") for number in range(splits.count(split))]
    truth = np.arange(45) % 3
    probs = np.full((45, 3), 0.04, dtype=np.float32)
    probs[np.arange(45), truth] = 0.92
    labels = truth.copy()
    for image_id, label in WRONG.items():
        labels[ids.index(image_id)] = CLASS_NAMES.index(label)
    sure = ids.index("test/003.png")
    probs[sure] = [0.98, 0.01, 0.01]
    return KFoldPredictions(ids, splits, labels, np.arange(45) % 5, probs, CLASS_NAMES, "pixels at 8 px", "")


def written(predictions: KFoldPredictions, *, overrides: str | None = "labels.csv") -> KFoldPredictions:
    """The predictions and a manifest of the same images, as their stages write them."""
    table = pd.DataFrame({"id": predictions.ids, "label": predictions.labels, "split": predictions.splits})
    table = table.assign(path=table["id"], group=table["id"], sha256=table["id"], width=8, height=8, status="ok")
    manifest = Manifest(table, CLASS_NAMES, "images", {"overrides": overrides})
    manifest.save(DATASET_DIR)
    predictions = replace(predictions, digest=manifest.digest())
    predictions.save(FOLDS_DIR)
    return predictions


def test_suspects_of_every_split_are_listed_with_what_is_suggested(cfg):
    written(drawn())
    label_issues(cfg)
    table, _ = read_suspects(LABEL_ISSUES_DIR)
    assert list(table.columns) == list(COLUMNS)
    assert table["rank"].tolist() == [1, 2, 3]
    assert dict(zip(table["id"], table["label"], strict=True)) == WRONG
    assert table["id"][0] == "test/003.png"
    assert table["split"].tolist() == ["test", "train", "train"]
    assert table["suggested"].tolist() == ["NA", "cat, tabby", "dog"]
    assert table["prob_label"].tolist() == pytest.approx([0.01, 0.04, 0.04])
    assert table["prob_suggested"].tolist() == pytest.approx([0.98, 0.92, 0.92])
    assert table["score"].is_monotonic_increasing


def test_counts_add_up_by_split_class_and_pair(cfg):
    written(drawn())
    label_issues(cfg)
    facts = json.loads((LABEL_ISSUES_DIR / "label_issues.json").read_text("utf-8"))
    assert facts["labels"] == 45
    assert facts["splits"] == {
        "train": {"labels": 30, "suspects": 2},
        "val": {"labels": 6, "suspects": 0},
        "test": {"labels": 9, "suspects": 1},
    }
    assert sum(row["labels"] for row in facts["classes"].values()) == 45
    assert sum(row["suspects"] for row in facts["classes"].values()) == sum(p["suspects"] for p in facts["pairs"]) == 3
    assert {(pair["label"], pair["suggested"]) for pair in facts["pairs"]} == {
        ("NA", "dog"),
        ("cat, tabby", "NA"),
        ("dog", "cat, tabby"),
    }
    assert facts["estimated_noise"] == pytest.approx(3 / 45)
    assert facts["classes"]["dog"]["estimated_noise"] == pytest.approx(1 / 15)
    assert facts["out_of_fold_acc"] == pytest.approx(42 / 45)
    assert (facts["method"], facts["folds"], facts["overrides"]) == ("confident_learning", 5, "labels.csv")


def test_right_labels_leave_an_empty_list_that_can_be_read(cfg):
    right = drawn()
    written(replace(right, labels=right.preds))
    label_issues(cfg)
    table, facts = read_suspects(LABEL_ISSUES_DIR)
    assert (len(table), facts["suspects"], facts["pairs"]) == (0, 0, [])
    assert list(table.columns) == list(COLUMNS)


def test_cleanlab_finds_the_same_suspects(cfg):
    pytest.importorskip("cleanlab", reason="cleanlab is an extra: make requirements")
    written(drawn())
    label_issues(replace(cfg, labels=replace(cfg.labels, method="cleanlab")))
    table, facts = read_suspects(LABEL_ISSUES_DIR)
    assert set(table["id"]) == set(WRONG)
    assert facts["method"] == "cleanlab"


def test_predictions_of_another_data_set_are_refused_and_the_old_list_kept(cfg):
    predictions = written(drawn())
    label_issues(cfg)
    before = (LABEL_ISSUES_DIR / "suspects.csv").read_bytes()
    replace(predictions, digest="f" * 16).save(FOLDS_DIR)
    with pytest.raises(ValueError, match=r"is of another data set than .*; run predict_folds again"):
        label_issues(cfg)
    assert (LABEL_ISSUES_DIR / "suspects.csv").read_bytes() == before


def test_without_predictions_the_verb_to_run_is_named(cfg):
    predictions = written(drawn())
    (FOLDS_DIR / "predictions.parquet").unlink()
    with pytest.raises(ValueError, match=r"predictions.parquet does not exist; run predict_folds first"):
        label_issues(cfg)
    assert predictions.ids


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.splitlines(keepends=True)[0], "do not match"),
        (lambda text: text.replace("prob_label", "p"), "do not match"),
        (lambda text: "", "is damaged"),
        (lambda text: text + '"', "is damaged"),
    ],
)
def test_a_list_that_was_cut_or_changed_is_told(cfg, damage, message):
    written(drawn())
    label_issues(cfg)
    path = LABEL_ISSUES_DIR / "suspects.csv"
    path.write_text(damage(path.read_text("utf-8")), encoding="utf-8")
    with pytest.raises(ValueError, match=f"{message}.*run label_issues again"):
        read_suspects(LABEL_ISSUES_DIR)


def test_an_absent_list_names_the_verb_to_run(cfg):
    with pytest.raises(ValueError, match="does not exist; run label_issues first"):
        read_suspects(LABEL_ISSUES_DIR)
    written(drawn())
    label_issues(cfg)
    (LABEL_ISSUES_DIR / "suspects.csv").unlink()
    with pytest.raises(ValueError, match=r"suspects.csv does not exist; run label_issues first"):
        read_suspects(LABEL_ISSUES_DIR)


def test_a_split_without_suspects_is_counted_all_the_same():
    predictions = drawn()
    facts = summary(predictions, judge(predictions.labels, predictions.probs), method="confident_learning")
    assert facts["splits"]["val"] == {"labels": 6, "suspects": 0}
    assert len(suspects_table(predictions, judge(predictions.labels, predictions.probs))) == facts["suspects"]
