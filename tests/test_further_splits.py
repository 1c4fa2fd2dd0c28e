"""A labelled split of a name of its own goes the whole way: packed, predicted, scored and reported by itself."""

import json

import pytest

from src.artifacts import Manifest, Predictions
from src.compose import compose
from src.data.make_dataset import make_dataset
from src.features.build_features import build_features
from src.features.packed import PackedSplit
from src.layout import DATASET_DIR, PACKED_DIR, REPORTS_DIR
from src.models.predict_model import predict_model
from src.models.train_model import train_model
from src.selection import parse
from src.visualization.visualize import visualize
from tests.data.drawn import below, folder_of, labelled

FILES = (
    below("train", labelled({"cat": 20, "dog": 20}))
    | below("test", labelled({"cat": 4, "dog": 4}, first_seed=50))
    | below("interesting", labelled({"cat": 3, "dog": 2}, first_seed=80))
)


@pytest.mark.slow
def test_a_further_evaluation_split_is_packed_predicted_scored_and_reported(tmp_path, monkeypatch):
    images = folder_of(tmp_path / "images", FILES)
    monkeypatch.chdir(tmp_path)
    small = ("model=baseline_cnn", "model.options.width=8", "train.epochs=1", "train.batch_size=16")
    given = ("data=folder", f"data.path={images}", "+data.split_patterns.interesting=interesting", "run_dir=models/run")
    cfg = compose(parse([*given, *small, "run.wandb.mode=disabled"]))
    for verb in (make_dataset, build_features, train_model, predict_model, visualize):
        verb(cfg)
    ids = list(Manifest.load(DATASET_DIR).rows("interesting")["id"])
    assert ids == sorted(name for name in FILES if name.startswith("interesting/"))
    assert PackedSplit.load(PACKED_DIR / "interesting").ids == ids
    assert Predictions.load(tmp_path / "models/run/predictions/interesting.parquet").ids == ids
    metrics = json.loads((tmp_path / "models/run/metrics.json").read_text())
    counts = {"train": 34, "val": 6, "test": 8, "interesting": 5}
    assert {split: found["num_images"] for split, found in metrics.items()} == counts
    page = (REPORTS_DIR / "run/index.html").read_text(encoding="utf-8")
    assert '<th scope="col">Interesting</th>' in page
    assert "not from a git checkout" in (tmp_path / "models/run/MODEL_CARD.md").read_text(encoding="utf-8")
