import dataclasses
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.artifacts import Manifest, Predictions
from src.data.label_issues import label_issues
from src.data.suspects import COLUMNS, read_suspects
from src.fold_predictions import KFoldPredictions
from src.layout import DATASET_DIR, FOLDS_DIR, LABEL_ISSUES_DIR, LABEL_ISSUES_PAGE, PACKED_DIR, PIPELINE_RUN, RunFolder
from src.paired import share_interval
from src.visualization.show_label_issues import show_label_issues
from src.visualization.suspecting.evidence import compare
from src.visualization.suspecting.page import chosen
from tests.visualization.page_parser import PageParser

RUN = RunFolder(PIPELINE_RUN)
PROJECT_ROOT = Path(__file__).resolve().parents[2]
OVERRIDES = "data/external/labels_overrides.csv"
ATTACK = "<script>alert(1)</script>"

NO_TORCH = """
import sys
from src.compose import compose
from src.selection import Selection
from src.visualization.show_label_issues import show_label_issues
show_label_issues(compose(Selection()))
sys.exit(", ".join(sorted({"torch", "timm", "sklearn"} & set(sys.modules))) or 0)
"""


def search(cfg, *, doubted: dict[str, int], overrides: str | None = OVERRIDES) -> None:
    """Write suspects as the stages before do, where a model doubts so many of the first images of each split."""
    manifest = Manifest.load(DATASET_DIR)
    manifest = dataclasses.replace(manifest, settings={"overrides": overrides})
    manifest.save(DATASET_DIR)
    rows = pd.concat([manifest.rows(split) for split in manifest.splits()])
    rows = rows[rows["label"] >= 0]
    labels = rows["label"].to_numpy(dtype=np.int64)
    place = rows.groupby("split").cumcount().to_numpy()
    doubt = place < rows["split"].map(lambda split: doubted.get(split, 0)).to_numpy()
    num_classes = len(manifest.class_names)
    sure = np.where(doubt, (labels + 1) % num_classes, labels)
    probs = np.full((len(rows), num_classes), 0.03, dtype=np.float32)
    probs[np.arange(len(rows)), sure] = 1 - 0.03 * (num_classes - 1)
    KFoldPredictions(
        ids=list(rows["id"]),
        splits=list(rows["split"]),
        labels=labels,
        folds=np.arange(len(rows)) % cfg.labels.folds,
        probs=probs,
        class_names=manifest.class_names,
        features="embeddings of a net",
        digest=manifest.digest(),
    ).save(FOLDS_DIR)
    label_issues(cfg)


def drawn(cfg) -> tuple[str, PageParser]:
    show_label_issues(cfg)
    html = LABEL_ISSUES_PAGE.read_text("utf-8")
    return html, PageParser(html)


def test_the_page_is_whole_and_needs_no_network(drawn_run, cfg, caplog):
    drawn_run()
    search(cfg, doubted={"train": 2, "test": 3})
    with caplog.at_level(logging.INFO, logger="src"):
        html, parsed = drawn(cfg)
    assert parsed.faults == []
    assert str(LABEL_ISSUES_PAGE) in caplog.text
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = {link["href"][1:] for link in parsed.found("a")}
    assert anchors <= set(ids)
    outside = [value for _, found in parsed.elements for key, value in found.items() if key in ("src", "href")]
    assert all(value.startswith(("data:", "#")) for value in outside)
    assert not re.search(r"url\((?!#)|@import|https?:", html)


def test_suspects_of_train_and_test_are_shown_with_given_and_suggested_label(drawn_run, cfg):
    drawn_run()
    search(cfg, doubted={"train": 2, "test": 3})
    _, parsed = drawn(cfg)
    table, _ = read_suspects(LABEL_ISSUES_DIR)
    assert len(table) == len(parsed.found("img")) == 5
    for image, row in zip(parsed.found("img"), table.sort_values("split").to_dict("records"), strict=True):
        assert image["alt"] == f"An image labelled {row['label']}, suggested {row['suggested']}"
    for fact in (
        "45 labels in 3 classes",
        "predicted from embeddings of a net",
        "In test 3 ",
        "Elsewhere 2 ",
        "Suspects of test 3 of 3 suspects on 15 labels",
        "Suspects of train 2 of 2 suspects on 21 labels",
        "circle → cross 3.0 %, 94.0 %",
    ):
        assert fact in parsed.text
    assert parsed.text.index("Suspects of test") < parsed.text.index("Suspects of train")
    assert "Suspects of val" not in parsed.text


def test_accuracy_is_told_with_and_without_the_test_suspects_and_which_one_to_trust(drawn_run, cfg):
    drawn_run()
    search(cfg, doubted={"test": 3})
    _, parsed = drawn(cfg)
    table, _ = read_suspects(LABEL_ISSUES_DIR)
    predictions = Predictions.load(RUN.predictions / "test.parquet")
    kept = ~np.isin(predictions.ids, table["id"])
    right = predictions.preds == predictions.labels
    low, high = share_interval(right[kept].mean(), int(kept.sum()), level=0.95)
    assert f"all test images 15 {100 * right.mean():.1f} %" in parsed.text
    expected = f"without the suspects 12 {100 * right[kept].mean():.1f} % {100 * low:.1f} to {100 * high:.1f} %"
    assert expected in parsed.text
    assert "The first figure is the one to report. The second is biased upwards" in parsed.text


def test_a_comparison_counts_what_the_run_says_of_the_suspects():
    probs = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]]
    labels = np.array([0, 0, 2, 1, -1])
    ids = ["a", "b", "c", "d", "e"]
    predictions = Predictions(ids, ids, labels, probs, ["x", "y", "z"], "test", "c0ffee")
    suspects = pd.DataFrame({"id": ["b", "c", "d", "other"], "suggested": ["y", "x", "z", "x"]})
    found = compare(predictions, suspects)
    assert (found.everything.num_images, found.everything.acc) == (4, 0.5)
    assert found.without is not None
    assert (found.without.num_images, found.without.acc) == (1, 1.0)
    assert (found.num_suspects, found.as_labelled, found.as_suggested) == (3, 1, 1)
    everything = pd.DataFrame({"id": ids, "suggested": ["y"] * 5})
    assert compare(predictions, everything).without is None


def test_without_a_run_of_these_labels_the_page_says_how_to_get_one(drawn_run, cfg, caplog):
    drawn_run()
    search(cfg, doubted={"test": 3})
    predictions = Predictions.load(RUN.predictions / "test.parquet")
    dataclasses.replace(predictions, labels=np.roll(predictions.labels, 1)).save(RUN.predictions / "test.parquet")
    _, parsed = drawn(cfg)
    assert "is of other images or labels" in caplog.text
    assert "all test images" not in parsed.text
    (RUN.predictions / "test.parquet").unlink()
    _, parsed = drawn(cfg)
    assert "No run at hand has scored these test images with these labels: make train trains one" in parsed.text


def test_run_dir_names_the_run_that_is_compared(drawn_run, cfg):
    drawn_run()
    search(cfg, doubted={"test": 1})
    PIPELINE_RUN.rename("models/other")
    _, parsed = drawn(dataclasses.replace(cfg, run_dir="models/other"))
    assert "Run other" in parsed.text


def test_the_page_says_how_to_correct_with_a_row_that_can_be_copied(drawn_run, cfg):
    drawn_run(class_names=["circle", "cross, small", "square"])
    search(cfg, doubted={"test": 1})
    _, parsed = drawn(cfg)
    assert "make relabel" in parsed.text
    assert OVERRIDES in parsed.text
    row = read_suspects(LABEL_ISSUES_DIR)[0].iloc[0]
    assert f'id,label,who,why {row["id"]},"{row["suggested"]}",who decided,why' in parsed.text


def test_without_a_file_for_corrections_the_key_is_named(drawn_run, cfg):
    drawn_run()
    search(cfg, doubted={"test": 1}, overrides=None)
    _, parsed = drawn(cfg)
    assert f"Name a file for corrections first, such as data.overrides={OVERRIDES}" in parsed.text


def test_right_labels_make_a_page_without_pictures(drawn_run, cfg):
    drawn_run()
    search(cfg, doubted={})
    _, parsed = drawn(cfg)
    assert parsed.faults == []
    assert "Suspects None: no label stands against" in parsed.text
    assert not parsed.found("img")
    assert "Its first line is id,label,who,why" in parsed.text


def test_names_of_classes_are_text_and_not_markup(drawn_run, cfg):
    drawn_run(class_names=["circle", ATTACK, "square"])
    search(cfg, doubted={"train": 3, "test": 4})
    html, parsed = drawn(cfg)
    assert ATTACK not in html
    assert ATTACK in parsed.text


def test_the_suspects_shown_are_shared_among_the_splits():
    rows = [(f"{split}{n}", split, "a", "b") for split, count in (("train", 6), ("test", 2)) for n in range(count)]
    table = pd.DataFrame(rows, columns=list(COLUMNS[:4]))
    table["rank"] = range(1, 9)
    assert chosen(table, 5)["id"].tolist() == ["train0", "train1", "train2", "test0", "test1"]
    assert chosen(table, 1)["id"].tolist() == ["train0"]
    assert chosen(table, 100)["id"].tolist() == table["id"].tolist()
    assert chosen(table.iloc[:0], 5).empty


def test_images_packed_since_from_other_data_are_refused_and_the_old_page_kept(drawn_run, cfg):
    drawn_run()
    search(cfg, doubted={"test": 1})
    before, _ = drawn(cfg)
    index = PACKED_DIR / "val" / "index.json"
    digest = Manifest.load(DATASET_DIR).digest()
    index.write_text(index.read_text("utf-8").replace(digest, "f" * 16), encoding="utf-8")
    with pytest.raises(ValueError, match=r"is of another data set than .*val; run predict_folds and label_issues"):
        show_label_issues(cfg)
    assert LABEL_ISSUES_PAGE.read_text("utf-8") == before


def test_the_page_imports_neither_torch_nor_scikit_learn(drawn_run, cfg):
    root = drawn_run()
    search(cfg, doubted={"test": 1})
    environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")
