import json
from pathlib import Path

import numpy as np
import pytest

from src.features.embeddings import Embeddings
from tests.features.conftest import pack

VECTORS = np.arange(30 * 4, dtype=np.float32).reshape(30, 4)


@pytest.fixture
def packed_dir(packed_split, tmp_path: Path) -> Path:
    """A packed split called train, with embeddings of four numbers."""
    folder = tmp_path / "embeddings"
    folder.mkdir()
    np.save(folder / "train.npy", VECTORS)
    facts = {"backbone": "test_resnet", "weights": "c0ffee", "digest": packed_split.digest}
    (folder / "embeddings.json").write_text(json.dumps(facts))
    return tmp_path


def test_embeddings_come_with_the_labels_and_ids_of_their_images(packed_dir, packed_split):
    found = Embeddings.load(packed_dir, "train")
    assert (found.split, found.backbone, found.weights, found.dim, len(found)) == (
        "train",
        "test_resnet",
        "c0ffee",
        4,
        30,
    )
    assert np.array_equal(found.vectors, VECTORS)
    assert np.array_equal(found.labels, packed_split.labels)
    assert (found.ids, found.class_names) == (packed_split.ids, packed_split.class_names)


def test_without_embeddings_both_ways_to_have_them_are_named(packed_split, tmp_path):
    with pytest.raises(ValueError, match=r"pretrained=true or features.embeddings.pretrained_path=<file> and run bui"):
        Embeddings.load(tmp_path, "train")


def test_embeddings_of_other_data_are_refused(packed_dir):
    facts = json.loads((packed_dir / "embeddings" / "embeddings.json").read_text())
    (packed_dir / "embeddings" / "embeddings.json").write_text(json.dumps(facts | {"digest": "f" * 16}))
    with pytest.raises(ValueError, match=r"made from other data than .*train; run build_features again"):
        Embeddings.load(packed_dir, "train")


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (VECTORS[:29], "differ in length"),
        (VECTORS.astype(np.float64), "are float64"),
        (VECTORS[:, 0], r"of shape \(30,\)"),
    ],
)
def test_vectors_that_are_none_of_these_images_are_told(packed_dir, vectors, message):
    np.save(packed_dir / "embeddings" / "train.npy", vectors)
    with pytest.raises(ValueError, match=f"embeddings of train.*{message}.*run build_features again"):
        Embeddings.load(packed_dir, "train")


def test_a_damaged_or_absent_file_is_named(packed_dir, packed_split):
    path = packed_dir / "embeddings" / "train.npy"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"train.npy is damaged or absent .* run build_features again"):
        Embeddings.load(packed_dir, "train")
    pack(packed_dir / "val", packed_split.gather(np.arange(3)), [0, 1, 2])
    with pytest.raises(ValueError, match=r"val.npy is damaged or absent"):
        Embeddings.load(packed_dir, "val")
