"""Shares of the training images: which they are, and a sweep over them that ends in one page."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from src.artifacts import Predictions, RunRecord
from src.compose import compose
from src.features.packed import PackedSplit, drawn_share, part_of
from src.layout import PACKED_DIR, RunFolder
from src.models.distributed.team import ALONE
from src.models.engine.preparing import ground_of
from src.models.predict_model import predict_model
from src.models.sweep import sweep
from src.models.sweeping.learning_curve import Curve
from src.models.train_model import train_model
from src.selection import parse
from tests.models.test_measure_cost import FEW

OPTIONS = "sweep.options={shares:[0.25,1.0],seeds:[0],processes:[1]}"


def test_a_share_is_stratified_and_a_smaller_one_lies_within_a_larger_one():
    labels = np.repeat([0, 1, 2], [100, 40, 3])
    small, large = (drawn_share(labels, share, seed=1) for share in (0.1, 0.5))
    assert np.bincount(labels[small]).tolist() == [10, 4, 1]
    assert np.bincount(labels[large]).tolist() == [50, 20, 2]
    assert set(small) < set(large)
    assert list(drawn_share(labels, 1.0, seed=5)) == list(range(143))
    assert list(small) != list(drawn_share(labels, 0.1, seed=2))


def test_a_part_of_a_split_has_the_pixels_of_its_images(project):
    whole = PackedSplit.load(PACKED_DIR / "train")
    rows = np.array([3, 10, 40])
    part = part_of(whole, rows)
    assert (len(part), part.size, part.ids) == (3, whole.size, [whole.ids[row] for row in rows])
    assert (part.gather(np.array([2, 0])) == whole.gather(np.array([40, 3]))).all()
    assert list(part.labels) == list(whole.labels[rows])


def test_a_run_trains_on_its_share_alone(project, config):
    ground = ground_of(config("train.share=0.25"), ALONE)
    assert len(ground.splits["train"]) == 24
    assert len(ground.splits["val"]) == 30
    assert len(ground_of(config(), ALONE).splits["train"]) == 96


def test_of_train_only_the_images_that_were_trained_on_are_scored(project, config):
    train_model(config("run_dir=models/runs/part", "train.share=0.25", "train.epochs=1"))
    predict_model(config("run_dir=models/runs/part"))
    train = PackedSplit.load(PACKED_DIR / "train")
    rows = drawn_share(train.labels, 0.25, seed=config().train.seed)
    scored = Predictions.load(RunFolder(Path("models/runs/part")).predictions / "train.parquet")
    assert scored.ids == [train.ids[row] for row in rows]


def test_every_share_has_a_run_for_each_seed_and_several_processes_one():
    curve = Curve(shares=[1.0, 0.1], seeds=[3, 4], processes=[1, 2])
    assert [name for name, _ in curve.runs()] == [
        "share_10-seed_3",
        "share_10-seed_4",
        "share_100-seed_3",
        "share_100-seed_4",
        "processes_2-seed_3",
    ]


def test_options_that_cannot_be_are_refused(project, config):
    with pytest.raises(ValueError, match=r"sweep\.options\.shares"):
        sweep(config("sweep=learning_curve", "sweep.options.shares=[0.0]"))
    with pytest.raises(ValueError, match=r"train\.share=0\.5 is not read by model\.name=linear_probe"):
        compose(parse(["model=linear_probe", "features.embeddings.pretrained_path=x.pth", "train.share=0.5"]))


@pytest.mark.slow
def test_a_learning_curve_ends_in_one_page_and_is_not_run_twice(project, config, capfd):
    cfg = config("sweep=learning_curve", OPTIONS, "run.trackers=[]", *FEW)
    sweep(cfg)
    (folder,) = project.glob("models/sweeps/learning_curve-*")
    records = {path.parent.parent.name: RunRecord.load(path.parent) for path in folder.glob("*/train/run.json")}
    assert set(records) == {"share_25-seed_0", "share_100-seed_0"}
    page = project / "reports" / folder.name / "index.html"
    with page.with_name("table.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["setting"]: row["seeds"] for row in csv.DictReader(file)}
    assert rows == {"train.share=0.25": "1", "train.share=1.0": "1"}
    assert "share of the training images" in page.read_text("utf-8")
    stamps = [RunFolder(path).metrics.stat().st_mtime_ns for path in sorted(folder.glob("share_*"))]
    sweep(cfg)
    assert [RunFolder(path).metrics.stat().st_mtime_ns for path in sorted(folder.glob("share_*"))] == stamps
    assert "| train.share=1.0" in capfd.readouterr().out
    assert all(RunFolder(path).cost.exists() for path in folder.glob("share_*"))
    shutil.rmtree(project / "reports")
    (project / "reports").write_text("a file where the folder should be")
    with pytest.raises(SystemExit) as ended:
        sweep(cfg)
    assert ended.value.code == 1
