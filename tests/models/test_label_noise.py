"""What the search for wrong labels finds where it is known which ones are wrong."""

import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from src.compose import compose
from src.config import LabelsConfig
from src.data.confident import judge
from src.features.embedder import embed_packed, load_embedder
from src.features.embeddings import Embeddings
from src.features.packed import write_split
from src.files import write_json
from src.models.probing.fold_features import LabelledImages
from src.models.probing.fold_regression import predict_labels
from src.selection import Selection, parse

FLIPPED_SHARE = 0.05
SEEDS = range(5)
TARGET = 0.7


@pytest.fixture
def cfg() -> LabelsConfig:
    """The default search."""
    return compose(Selection()).labels


def flipped(labels: np.ndarray, num_classes: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels with a share of them changed to another class at random, and which ones were."""
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(len(labels)) < round(FLIPPED_SHARE * len(labels))
    return np.where(wrong, (labels + rng.integers(1, num_classes, len(labels))) % num_classes, labels), wrong


def precision(vectors: np.ndarray, labels: np.ndarray, cfg: LabelsConfig, *, seed: int) -> float:
    """Share of flipped labels among as many of the most suspect ones as were flipped."""
    names = [str(name) for name in np.unique(labels)]
    noisy, wrong = flipped(labels, len(names), seed=seed)
    ids = [f"{number}.png" for number in range(len(labels))]
    predictions = predict_labels(
        LabelledImages(
            ids=ids,
            splits=["train"] * len(ids),
            labels=noisy,
            groups=ids,
            vectors=vectors,
            class_names=names,
            features="given",
            digest="",
        ),
        cfg,
    )
    order = judge(predictions.labels, predictions.probs).ranking()
    return float(wrong[order[: wrong.sum()]].mean())


def test_of_the_labels_suspected_first_at_least_seven_in_ten_were_flipped_on_digits(cfg):
    pixels, labels = load_digits(return_X_y=True)
    vectors = np.repeat(pixels / 16, 3, axis=1).astype(np.float32)
    found = [precision(vectors, labels, cfg, seed=seed) for seed in SEEDS]
    assert np.mean(found) >= TARGET, found
    # by chance
    assert np.mean([precision(vectors[::-1], labels, cfg, seed=seed) for seed in SEEDS[:1]]) < 0.2


@pytest.mark.slow
def test_of_the_labels_suspected_first_at_least_seven_in_ten_were_flipped_on_scenes(cfg, scenes):
    found = [precision(scenes.vectors, scenes.labels, cfg, seed=seed) for seed in SEEDS]
    assert np.mean(found) >= TARGET, found


@pytest.fixture(scope="module")
def scenes(real_data, weights_file, tmp_path_factory) -> Embeddings:
    """Embeddings of the 3,000 labelled scenes."""
    folder: Path = tmp_path_factory.mktemp("scenes")
    names, images = read_scenes(real_data("intel-3k.zip"))
    class_names = sorted({name.split("/")[-2] for name in names})
    rows = {"id": names, "path": names, "label": [class_names.index(name.split("/")[-2]) for name in names]}
    pixels = ((index, np.asarray(image.resize((150, 150), Image.Resampling.BILINEAR))) for index, image in images)
    write_split(folder / "train", pixels, size=150, rows=rows, class_names=class_names, digest="0")
    net = {
        "pretrained_path": weights_file("mobilenetv2_100-in1k.safetensors"),
        "img_size": 160,
        "mean": "[0.5,0.5,0.5]",
        "std": "[0.5,0.5,0.5]",
        "options": "{pad_type: same}",
    }
    features = compose(parse([f"features.embeddings.{key}={value}" for key, value in net.items()])).features
    facts = {"resize": "squash", "interpolation": "bilinear"}
    write_json(
        folder / "statistics.json",
        {"size": 150, "counts": {"train": len(names)}, "digest": "0", "settings": {"features": facts}},
    )
    embedder = load_embedder(replace(features.embeddings, batch_size=32), device=torch.device("cpu"))
    embed_packed(folder, embedder, cache_dir=folder / "cache")
    return Embeddings.load(folder, "train")


def read_scenes(path: Path):
    """Names of the labelled images, and pairs of a number and a decoded image."""
    archive = zipfile.ZipFile(path)
    names = sorted(name for name in archive.namelist() if name.endswith(".jpg") and "seg_pred" not in name)
    return names, ((index, Image.open(BytesIO(archive.read(name))).convert("RGB")) for index, name in enumerate(names))
