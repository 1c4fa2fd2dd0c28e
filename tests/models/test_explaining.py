import json
import logging
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from src.artifacts import Predictions
from src.compose import compose
from src.config import ModelConfig
from src.features.backbones import build_model
from src.features.packed import PackedSplit
from src.features.preprocess import Preprocess
from src.features.statistics import STATISTICS_FILE
from src.files import write_json
from src.layout import PACKED_DIR, RunFolder
from src.models import checkpoint
from src.models.checkpoint import ModelFacts, TrainedModel
from src.models.evaluating.evaluation import EXTRA_FILES
from src.models.evaluating.explaining import features_taken, neighbours, places, principal_plane
from src.models.evaluating.saliency import confident_mistakes, grad_cam, last_maps, write_saliency
from src.models.predict_model import predict_model
from src.models.train_model import train_model
from src.selection import Selection, parse

RUN = "run_dir=models/mine"
EXPLAIN = compose(Selection()).predict.explain


def trained_of(*overrides: str, img_size: int = 32) -> TrainedModel:
    """An untrained network, as if a checkpoint had been loaded."""
    torch.manual_seed(0)
    section: ModelConfig = compose(parse(list(overrides))).model
    model = build_model(section, num_classes=3, img_size=img_size).eval()
    preprocess = Preprocess(
        size=img_size,
        resize="crop",
        interpolation="bilinear",
        img_size=img_size,
        input_interpolation="bilinear",
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    facts = {"class_names": ["a", "b", "c"], "data_digest": "", "data_settings": {}, "git_commit": "", "metrics": {}}
    return TrainedModel(model, ModelFacts(model=asdict(section), preprocess={}, step=0, epoch=0, **facts), preprocess)


def one_image() -> PackedSplit:
    return PackedSplit("test", [np.zeros((1, 32, 32, 3), np.uint8)], np.array([1]), ["a"], ["a"], list("abc"), "d")


def test_neighbours_are_those_of_scikit_learn_by_cosine():
    rng = np.random.default_rng(0)
    vectors, train = rng.normal(size=(40, 8)).astype(np.float32), rng.normal(size=(90, 8)).astype(np.float32)
    found = neighbours(vectors, train, 3)
    distances, expected = NearestNeighbors(n_neighbors=3, metric="cosine").fit(train).kneighbors(vectors)
    assert (found.places == expected).all()
    assert found.similarity == pytest.approx(1 - distances, abs=1e-5)


def test_of_fewer_training_images_than_asked_all_are_neighbours():
    found = neighbours(np.ones((2, 3), np.float32), np.eye(3, dtype=np.float32)[:2], 5)
    assert found.places.shape == (2, 2)


def test_the_map_is_the_principal_plane_of_scikit_learn():
    vectors = np.random.default_rng(1).normal(size=(50, 6)) * np.arange(1, 7)
    ours, theirs = principal_plane(vectors, 0), PCA(2).fit_transform(vectors)
    assert np.abs(ours) == pytest.approx(np.abs(theirs))
    assert (ours == principal_plane(vectors, 0)).all()


def test_a_map_of_many_images_has_the_most_that_are_asked_for():
    ids = [f"i{number}" for number in range(60)]
    split = Predictions(ids, ids, np.zeros(60, int), np.full((60, 2), 0.5, np.float32), ["a", "b"], "test", "c")
    table = places(np.random.default_rng(0).normal(size=(60, 5)), split, replace(EXPLAIN, max_points=20))
    assert len(table) == len(set(table["id"])) == 20
    tsne = places(np.random.default_rng(0).normal(size=(60, 5)), split, replace(EXPLAIN, map="tsne"))
    assert np.isfinite(tsne[["x", "y"]].to_numpy()).all()


def test_features_are_what_goes_into_the_head_and_the_hook_is_gone_after():
    trained = trained_of("model=baseline_cnn")
    images = torch.rand(5, 3, 32, 32)
    with features_taken(trained.model, wanted=True) as taken, torch.no_grad():
        logits = trained.model(images)
    again = torch.from_numpy(taken.vectors()) @ trained.model.head.weight.T + trained.model.head.bias
    assert torch.allclose(again, logits, atol=1e-5)
    trained.model(images)
    assert len(taken.vectors()) == 5


@pytest.mark.parametrize(
    "name", ["baseline_cnn", "residual_cnn", "resnet18", "mobilenetv3_small_100", "convnextv2_atto"]
)
def test_grad_cam_has_a_map_of_each_image_at_the_packed_side(name):
    trained = trained_of(f"model={name}", img_size=64)
    layer = last_maps(trained)
    images = torch.randint(0, 256, (2, 48, 48, 3), dtype=torch.uint8)
    maps = grad_cam(trained, layer, images, torch.tensor([0, 2]))
    assert maps.shape == (2, 48, 48)
    assert maps.dtype == np.uint8


def test_a_transformer_has_no_feature_maps_to_show():
    assert last_maps(trained_of("model=timm", "model.name=vit_tiny_patch16_224", img_size=32)) is None


def test_maps_with_the_channels_last_are_none():
    trained = trained_of("model=timm", "model.name=swin_tiny_patch4_window7_224", img_size=224)
    assert last_maps(trained) is None


def test_grad_cam_looks_where_the_only_signal_is():
    trained = trained_of("model=baseline_cnn", img_size=32)
    with torch.no_grad():
        trained.model.head.weight.copy_(torch.tensor([[1.0], [-1.0], [0.0]]).expand_as(trained.model.head.weight))
    images = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    images[:, :8, :8] = torch.randint(0, 256, (8, 8, 3), dtype=torch.uint8)
    blank = grad_cam(trained, last_maps(trained), torch.zeros_like(images), torch.tensor([0])).astype(int)
    spotted = grad_cam(trained, last_maps(trained), images, torch.tensor([0])).astype(int)
    change = np.abs(spotted - blank)[0]
    assert change[:16, :16].mean() > change[16:, 16:].mean()


def test_the_surest_mistakes_come_first_and_unlabelled_images_are_none():
    probs = np.array([[0.6, 0.4], [0.9, 0.1], [0.8, 0.2], [0.7, 0.3]], dtype=np.float32)
    ids = list("abcd")
    split = Predictions(ids, ids, np.array([1, 1, 0, -1]), probs, ["x", "y"], "test", "c")
    assert confident_mistakes(split, 5).tolist() == [1, 0]
    assert confident_mistakes(split, 1).tolist() == [1]


def test_a_network_without_feature_maps_leaves_no_file_and_a_word(tmp_path, caplog):
    trained = trained_of("model=timm", "model.name=vit_tiny_patch16_224")
    ids = ["a"]
    split = Predictions(ids, ids, np.array([1]), np.array([[0.9, 0.1, 0.0]], np.float32), list("abc"), "test", "c")
    with caplog.at_level(logging.INFO):
        write_saliency(trained, one_image(), split, tmp_path / "saliency.npz", most=3)
    assert "vit_tiny_patch16_224 at 32 px has no feature maps that Grad-CAM could show" in caplog.text
    assert not (tmp_path / "saliency.npz").exists()


def test_predictions_come_with_near_images_of_train_and_a_map_unless_they_are_not_wanted(project, config):
    train_model(config(RUN, "train.epochs=1"))
    folder = RunFolder(Path("models/mine")).predictions
    predict_model(config(RUN))
    near = pd.read_csv(folder / "neighbours.csv")
    train, test = (PackedSplit.load(PACKED_DIR / name) for name in ("train", "test"))
    assert list(near["id"].unique()) == test.ids
    assert set(near["neighbour"]) <= set(train.ids)
    assert near.groupby("id")["similarity"].apply(lambda each: each.is_monotonic_decreasing).all()
    assert list(pd.read_csv(folder / "map.csv")["id"]) == test.ids
    wrong = Predictions.load(folder / "test.parquet")
    if (wrong.preds != wrong.labels).any():
        with np.load(folder / "saliency.npz") as found:
            assert set(found["ids"]) <= set(test.ids)
            assert found["maps"].shape[1:] == (12, 12)
    none = ("predict.explain.neighbours=0", "predict.explain.map=none", "predict.explain.saliency=0")
    predict_model(config(RUN, *none))
    assert not [name for name in EXTRA_FILES if (folder / name).exists() and name != "slices.csv"]


def test_features_of_a_split_that_is_too_large_are_not_kept(project, config):
    train_model(config(RUN, "train.epochs=1"))
    predict_model(config(RUN, "predict.explain.max_images=40"))
    folder = RunFolder(Path("models/mine")).predictions
    assert (folder / "map.csv").exists()
    assert not (folder / "neighbours.csv").exists()
    predict_model(config(RUN, "predict.explain.max_images=30"))
    # val is small enough, but the result is told by test
    assert not (folder / "map.csv").exists()
    assert checkpoint.load_facts(Path("models/mine/train/best")).calibration


def test_without_a_test_split_val_is_made_plain_in_its_place(project, config):
    train_model(config(RUN, "train.epochs=1"))
    facts = json.loads((PACKED_DIR / STATISTICS_FILE).read_text())
    del facts["counts"]["test"]
    write_json(PACKED_DIR / STATISTICS_FILE, facts)
    predict_model(config(RUN, "predict.tta=flip", "predict.corruptions.names=[noise]"))
    folder = RunFolder(Path("models/mine"))
    val = PackedSplit.load(PACKED_DIR / "val").ids
    assert list(pd.read_csv(folder.predictions / "map.csv")["id"]) == val
    assert len(pd.read_csv(folder.predictions / "confusion.csv")) == len(val)
    assert set(pd.read_csv(folder.predictions / "corruptions.csv")["num_images"]) == {len(val)}
    assert json.loads(folder.metrics.read_text())["val"]["tta"]["views"] == "flip"
