import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.artifacts import Manifest, Predictions
from src.compose import compose
from src.features.packed import PackedSplit
from src.layout import DATASET_DIR, RunFolder
from src.models.evaluating.robustness import averaged, corruption_table, slice_table
from src.models.predict_model import predict_model
from src.models.train_model import train_model
from src.selection import Selection
from tests.test_docs import compared, dictionary

CFG = replace(compose(Selection()).predict.corruptions, names=["noise", "contrast"])
RUN = "run_dir=models/mine"
NAMES = ["bright", "dark"]


def split(num_images: int = 40, *, unlabelled: int = 0) -> PackedSplit:
    """Images that are bright, label 0, or dark, label 1, brighter on the left; the last ones have no label."""
    labels = np.arange(num_images) % 2
    images = np.where(labels[:, None, None, None] == 0, 190, 60) + np.arange(num_images)[:, None, None, None]
    images = np.broadcast_to(images, (num_images, 8, 8, 3)).astype(np.uint8).copy()
    images[:, :, :4] += 20
    labels[num_images - unlabelled :] = -1
    ids = [f"test/{number:02d}.png" for number in range(num_images)]
    return PackedSplit("test", [images], labels, ids, ids, NAMES, "d")


def by_left_half(given: PackedSplit) -> Predictions:
    """A model that looks at the brightness of the left half alone."""
    pixels = given.gather(np.arange(len(given)))
    share = pixels[:, :, :4].mean(axis=(1, 2, 3)) / 255
    probs = np.stack([share, 1 - share], axis=1).astype(np.float32)
    return Predictions(given.ids, given.paths, given.labels, probs, NAMES, given.name, "c")


def test_damage_is_told_beside_the_whole_images_at_three_strengths():
    table = corruption_table(by_left_half, split(), CFG)
    assert list(zip(table["corruption"], table["strength"], strict=True)) == [
        ("none", 0),
        *((name, strength) for name in CFG.names for strength in (1, 2, 3)),
    ]
    whole = by_left_half(split())
    assert table["acc"][0] == (whole.preds == whole.labels).mean()
    assert len(set(table["loss"])) == 7
    pd.testing.assert_frame_equal(table, corruption_table(by_left_half, split(), CFG))


def test_of_many_images_some_are_drawn_and_those_without_a_label_never():
    table = corruption_table(by_left_half, split(40, unlabelled=10), replace(CFG, max_images=12))
    assert set(table["num_images"]) == {12}
    table = corruption_table(by_left_half, split(40, unlabelled=10), CFG)
    assert set(table["num_images"]) == {30}


@pytest.mark.parametrize(("views", "expected"), [("flip", 2), ("shift", 5)])
def test_the_mean_over_views_is_of_the_probabilities_of_each(views, expected):
    seen = []

    def score(given):
        seen.append(by_left_half(given))
        return seen[-1]

    found = averaged(score, split(), views)
    assert len(seen) == expected
    mean = np.mean([each.probs for each in seen], axis=0)
    labels = split().labels
    assert found["acc"] == pytest.approx((mean.argmax(axis=1) == labels).mean())
    assert found["loss"] == pytest.approx(-np.log(mean[np.arange(40), labels]).mean(), rel=1e-5)
    assert (seen[0].probs != seen[-1].probs).any()


def test_brightness_is_told_in_thirds_from_the_pixels():
    table = slice_table(by_left_half(split()), split(), ["brightness"])
    assert list(table["group"]) == ["1 dark", "2 middle", "3 bright"]
    assert table["num_images"].sum() == 40
    assert abs(table["num_images"].max() - table["num_images"].min()) <= 1


def write_manifest(given: PackedSplit) -> PackedSplit:
    count = len(given)
    table = pd.DataFrame(
        {
            "id": given.ids,
            "path": given.ids,
            "label": given.labels,
            "split": "test",
            "group": given.ids,
            "width": np.where(np.arange(count) < 10, 200, 100),
            "height": 100,
            "sha256": given.ids,
            "status": "ok",
            "camera": np.where(np.arange(count) % 4 == 0, "old", "new"),
        }
    )
    manifest = Manifest(table, NAMES, "raw", {})
    manifest.save(DATASET_DIR)
    return replace(given, digest=manifest.digest())


def test_any_column_of_the_manifest_cuts_a_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = write_manifest(split())
    facts = pd.DataFrame({"id": given.ids, "bytes": range(40), "turned": np.arange(40) < 8, "width": 0})
    facts.to_parquet(DATASET_DIR / "files.parquet")
    table = slice_table(by_left_half(given), given, ["aspect", "camera", "size", "bytes", "turned"])
    counts = {(row["slice"], row["group"]): row["num_images"] for row in table.to_dict("records")}
    assert counts["aspect", "3 wide"] == 10
    assert counts["aspect", "2 square"] == 30
    assert counts["camera", "old"] == 10
    assert counts["turned", "True"] == 8
    assert {group for name, group in counts if name == "bytes"} == {"1 low", "2 middle", "3 high"}
    assert sum(number for (name, _), number in counts.items() if name == "size") == 40
    predictions = by_left_half(given)
    old = np.arange(40) % 4 == 0
    row = table[(table["slice"] == "camera") & (table["group"] == "old")].iloc[0]
    assert row["acc"] == (predictions.preds == predictions.labels)[old].mean()


def test_a_column_that_there_is_not_and_one_of_too_many_values_are_named(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    given = write_manifest(split())
    assert slice_table(by_left_half(given), given, ["colour", "sha256"]).empty
    assert "predict.slices: colour is no column of the manifest, which has path" in caplog.text
    assert "predict.slices: sha256 has 40 values, more than 20" in caplog.text


def test_a_manifest_of_other_data_is_not_used_and_named(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    given = replace(write_manifest(split()), digest="of other data")
    assert slice_table(by_left_half(given), given, ["size"]).empty
    assert "is of other data than the packed images" in caplog.text


def test_options_of_predict_are_told_beside_the_plain_figures_which_stay(project, config):
    train_model(config(RUN, "train.epochs=1"))
    run = RunFolder(Path("models/mine"))
    predict_model(config(RUN))
    plain = json.loads(run.metrics.read_text())["test"]
    assert "tta" not in plain
    assert set(pd.read_csv(run.predictions / "slices.csv")["slice"]) == {"brightness"}
    predict_model(config(RUN, "predict.tta=flip", "predict.corruptions.names=[blur]"))
    found = json.loads(run.metrics.read_text())["test"]
    assert found["tta"]["views"] == "flip"
    assert {key: value for key, value in found.items() if key != "tta"} == plain
    table = pd.read_csv(run.predictions / "corruptions.csv", keep_default_na=False)
    assert list(table["strength"]) == [0, 1, 2, 3]
    compared(dictionary("`<run>/predictions/corruptions.csv`"), set(table.columns))
    assert table["acc"][0] == pytest.approx(plain["acc"])
