import json
import shutil
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from src.artifacts import Predictions
from src.config import Config
from src.features.packed import PackedSplit
from src.files import read_json, write_json
from src.layout import PACKED_DIR, RunFolder
from src.models import checkpoint, runtime
from src.models.predict_model import predict_model
from src.models.predictor import predict_images, predict_split
from src.models.train_model import train_model
from tests.disks import small_disk

RUN = "run_dir=models/mine"


@pytest.fixture
def trained(project, config) -> RunFolder:
    train_model(config(RUN, "train.epochs=3"))
    return RunFolder(Path("models/mine"))


def place(cfg: Config) -> runtime.Runtime:
    return runtime.start(cfg.run, "fp32")


def write_test_images(folder: Path) -> list[str]:
    """The packed test images as files; PNG, so that the pixels are the same."""
    split = PackedSplit.load(PACKED_DIR / "test")
    folder.mkdir(parents=True)
    for index, pixels in enumerate(split.gather(np.arange(len(split)))):
        Image.fromarray(pixels).save(folder / f"{index:03d}.png")
    return [f"{index:03d}.png" for index in range(len(split))]


def test_every_split_is_scored_and_the_metrics_are_those_of_its_predictions(trained, config):
    predict_model(config(RUN))
    found = json.loads(trained.metrics.read_text())
    assert list(found) == ["train", "val", "test"]
    predictions = Predictions.load(trained.predictions / "test.parquet")
    assert len(predictions.ids) == 31
    assert found["test"]["acc"] == pytest.approx((predictions.preds == predictions.labels).mean())
    assert found["test"]["acc"] > 0.9
    rows = pd.read_csv(trained.predictions / "confusion.csv")
    assert (rows["actual"] == rows["predicted"]).mean() == pytest.approx(found["test"]["acc"])


def test_groups_of_the_packed_images_make_intervals_as_wide_as_they_are(trained, config):
    predict_model(config(RUN))
    alone = json.loads(trained.metrics.read_text())["test"]["interval"]["loss"]
    index = PACKED_DIR / "test" / "index.json"
    facts = read_json(index, made_by="")
    groups = [number // 8 for number in np.argsort(np.argsort(facts["paths"])).tolist()]
    write_json(index, facts | {"groups": groups})
    predict_model(config(RUN))
    assert Predictions.load(trained.predictions / "test.parquet").groups.tolist() == groups
    assert json.loads(trained.metrics.read_text())["test"]["interval"]["loss"] != alone


def test_train_is_scored_without_augmentation_unless_it_is_not_wanted(trained, config):
    predict_model(config(RUN))
    found = json.loads(trained.metrics.read_text())
    scored = Predictions.load(trained.predictions / "train.parquet")
    assert found["train"]["acc"] == pytest.approx((scored.preds == scored.labels).mean())
    assert found["test"]["gap"]["acc"] == pytest.approx(found["train"]["acc"] - found["test"]["acc"])
    predict_model(config(RUN, "predict.score_train=false"))
    found = json.loads(trained.metrics.read_text())
    assert list(found) == ["val", "test"]
    assert "gap" not in found["test"]


def test_tables_of_the_test_split_are_those_of_its_predictions(trained, config):
    spoilt = checkpoint.load_facts(trained.checkpoint("best"))
    write_json(trained.checkpoint("best") / "model.json", asdict(spoilt) | {"calibration": {"temperature": 2.0}})
    predict_model(config(RUN))
    found = json.loads(trained.metrics.read_text())["test"]
    table = pd.read_csv(trained.predictions / "reliability.csv")
    for kind, ece in (("plain", found["ece"]), ("calibrated", found["calibrated"]["ece"])):
        rows = table[table["probs"] == kind]
        assert rows["num_images"].sum() == 31
        assert (rows["num_images"] * (rows["confidence"] - rows["acc"]).abs()).sum() / 31 == pytest.approx(ece)
    risks = pd.read_csv(trained.predictions / "risk_coverage.csv")
    assert risks["coverage"].iloc[-1] == 1
    assert risks["risk"].iloc[-1] == pytest.approx(1 - found["acc"])


def test_where_no_test_image_has_a_label_the_tables_are_of_val(trained, config):
    labels = PACKED_DIR / "test" / "labels.npy"
    np.save(labels, np.full_like(np.load(labels), -1))
    predict_model(config(RUN))
    assert list(json.loads(trained.metrics.read_text())) == ["train", "val"]
    for name in ("confusion", "reliability", "risk_coverage"):
        assert len(pd.read_csv(trained.predictions / f"{name}.csv")) > 0
    assert len(pd.read_csv(trained.predictions / "confusion.csv")) == len(PackedSplit.load(PACKED_DIR / "val"))


def test_packed_and_raw_images_give_the_same_probabilities(trained, config):
    write_test_images(Path("photos"))
    cfg = config()
    model = checkpoint.load(trained.checkpoint("best"), torch.device("cpu"))
    packed = predict_split(model, PackedSplit.load(PACKED_DIR / "test"), place(cfg), batch_size=256)
    raw = predict_images(model, Path("photos"), place(cfg), batch_size=256, max_pixels=10**6).predictions
    assert np.abs(packed.probs - raw.probs).max() < 1e-6


@pytest.mark.parametrize("kind", ["folder", "zip", "file"])
def test_new_images_are_predicted_from_the_checkpoint_alone(trained, config, kind):
    names = write_test_images(Path("photos"))
    shutil.rmtree("data")
    where = {"folder": "photos", "zip": "photos.zip", "file": "photos/000.png"}[kind]
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for name in names:
            archive.write(Path("photos") / name, name)
    predict_model(config(RUN, f"predict.images={where}", "predict.batch_size=8", f"predict.output=out/{kind}.csv"))
    table = pd.read_csv(f"out/{kind}.csv")
    assert list(table.columns) == ["id", "pred", "prob", "prob_across", "prob_down", "prob_dots"]
    assert list(table["id"]) == (["000.png"] if kind == "file" else names)


def test_answers_of_two_folders_lie_beside_each_other(trained, config, monkeypatch):
    for name in ("photos.2024-05", "photos.2024-06"):
        write_test_images(Path(name))
        predict_model(config(RUN, f"predict.images={name}"))
    monkeypatch.chdir("photos.2024-06")
    predict_model(config("run_dir=../models/mine", "predict.images=.", "predict.output=null"))
    new = Path("../models/mine/new")
    assert sorted(path.name for path in new.iterdir()) == ["photos.2024-05.csv", "photos.2024-06.csv"]


def test_a_full_disk_leaves_the_answers_of_the_time_before(trained, config, tmp_path):
    names = write_test_images(Path("photos"))
    with small_disk(tmp_path / "disk", size="16k") as disk:
        asked = config(RUN, "predict.images=photos", f"predict.output={disk}/out.csv")
        predict_model(asked)
        assert len(pd.read_csv(disk / "out.csv")) == len(names)
        before = (disk / "out.csv").read_bytes()
        with pytest.raises(OSError, match="No space left"):
            (disk / "filler").write_bytes(bytes(10**6))
        with pytest.raises(OSError, match="No space left"):
            predict_model(asked)
        assert (disk / "out.csv").read_bytes() == before


def test_bad_images_among_good_ones_are_named_and_the_good_predicted(trained, config, caplog):
    names = write_test_images(Path("photos"))
    (Path("photos") / "empty.jpg").write_bytes(b"")
    (Path("photos") / "text.jpg").write_text("no picture")
    predict_model(config(RUN, "predict.images=photos"))
    assert "empty.jpg left out: empty file" in caplog.text
    assert "text.jpg left out: not an image" in caplog.text
    assert len(pd.read_csv("models/mine/new/photos.csv")) == len(names)


def test_not_one_readable_image_is_an_error(trained, config):
    Path("photos").mkdir()
    (Path("photos") / "a.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"predict.images=photos holds no readable image \(a.jpg: empty file\)"):
        predict_model(config(RUN, "predict.images=photos"))


def test_a_place_that_does_not_exist_is_named_before_a_checkpoint_is_looked_for(project, config):
    with pytest.raises(
        ValueError, match=r"predict.images=nowhere does not exist; give an image, a folder or an archive"
    ):
        predict_model(config(RUN, "predict.images=nowhere"))


def test_a_missing_checkpoint_says_how_to_train_one(project, config):
    with pytest.raises(ValueError, match=r"models/pipeline/train/best holds no checkpoint; train one with: make train"):
        predict_model(config())


def test_data_with_other_classes_than_the_checkpoint_is_refused(trained, config):
    for name in ("val", "test"):
        facts = read_json(PACKED_DIR / name / "index.json", made_by="")
        write_json(PACKED_DIR / name / "index.json", facts | {"class_names": ["cat", "dog", "owl"]})
    with pytest.raises(
        ValueError, match=r"checkpoint knows the classes across, down, dots, the packed data cat, dog, owl"
    ):
        predict_model(config(RUN))


def test_data_that_the_checkpoint_was_not_trained_on_is_refused(trained, config):
    for name in ("val", "test"):
        facts = read_json(PACKED_DIR / name / "index.json", made_by="")
        write_json(PACKED_DIR / name / "index.json", facts | {"digest": "f" * 16})
    with pytest.raises(ValueError, match=r"is not what the checkpoint was trained on .* a test image may have been"):
        predict_model(config(RUN))


@pytest.mark.parametrize("what", ["absent", "other images"])
def test_a_refused_scoring_leaves_the_results_of_the_one_before(trained, config, what):
    asked = ["predict.slices=[brightness]", "predict.corruptions.names=[blur]", "predict.explain.saliency=1"]
    predict_model(config(RUN, *asked))
    before = {path: path.read_bytes() for path in trained.path.rglob("*") if path.is_file()}
    assert {path.name for path in before} >= {"neighbours.csv", "map.csv", "slices.csv", "corruptions.csv"}
    if what == "absent":
        shutil.rmtree(PACKED_DIR)
    else:
        facts = read_json(PACKED_DIR / "test" / "index.json", made_by="")
        write_json(PACKED_DIR / "test" / "index.json", facts | {"digest": "f" * 16})
    with pytest.raises(ValueError, match=r"build_features|build that data again"):
        predict_model(config(RUN))
    assert {path: path.read_bytes() for path in trained.path.rglob("*") if path.is_file()} == before


def test_a_split_without_labels_is_predicted_but_not_scored(trained, config):
    labels = PACKED_DIR / "val" / "labels.npy"
    np.save(labels, np.full_like(np.load(labels), -1))
    predict_model(config(RUN))
    assert list(json.loads(trained.metrics.read_text())) == ["train", "test"]
    assert len(Predictions.load(trained.predictions / "val.parquet").ids) == 30
