import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from src.artifacts import Manifest
from src.compose import compose
from src.config import Config
from src.data.make_dataset import make_dataset
from src.features.build_features import build_features
from src.features.embeddings import Embeddings
from src.features.packed import PackedSplit
from src.features.preprocess import Preprocess
from src.layout import DATASET_DIR, PACKED_DIR
from src.selection import parse


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of twenty drawn images of 40 x 24 px, in the working folder of a project."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for label, level in (("dark", 60), ("light", 190)):
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True)
        for index in range(20):
            pixels = np.clip(rng.normal(level, 20, (24, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    return tmp_path / "photos"


def configured(*overrides: str) -> Config:
    return compose(parse(["data=folder", "data.path=photos", *overrides]))


def test_packed_pixels_are_those_of_the_preprocess_in_the_order_of_the_ids(photos):
    cfg = configured("features.size=16")
    make_dataset(cfg)
    build_features(cfg)
    manifest = Manifest.load(DATASET_DIR)
    for name in manifest.splits():
        split, rows = PackedSplit.load(PACKED_DIR / name), manifest.rows(name)
        assert split.ids == list(rows["id"])
        assert split.labels.tolist() == list(rows["label"])
        assert split.digest == manifest.digest()
        facts = {"resize": "crop", "interpolation": "bilinear", "img_size": 16, "input_interpolation": "bilinear"}
        preprocess = Preprocess(size=16, mean=(0.0,) * 3, std=(1.0,) * 3, **facts)
        for index, path in enumerate(rows["path"]):
            expected = preprocess.pack(Image.open(photos / path))
            assert np.array_equal(split.gather(np.array([index]))[0], expected)


def test_statistics_are_those_of_the_train_pixels_alone(photos):
    cfg = configured()
    make_dataset(cfg)
    build_features(cfg)
    facts = json.loads((PACKED_DIR / "statistics.json").read_text())
    train = PackedSplit.load(PACKED_DIR / "train")
    pixels = train.gather(np.arange(len(train))) / 255
    assert facts["size"] == 24
    assert facts["mean"] == pytest.approx(pixels.mean(axis=(0, 1, 2)).tolist())
    assert facts["std"] == pytest.approx(pixels.std(axis=(0, 1, 2)).tolist())
    assert facts["counts"]["train"] == len(train)


def test_an_image_that_changed_since_the_manifest_is_named_and_the_old_pack_kept(photos):
    cfg = configured()
    make_dataset(cfg)
    build_features(cfg)
    before = (PACKED_DIR / "statistics.json").read_bytes()
    victim = photos / "dark" / "03.png"
    Image.open(victim).point(lambda level: level ^ 1).save(victim)
    with pytest.raises(ValueError, match=r"dark/03.png has changed since .* run make_dataset again"):
        build_features(cfg)
    assert (PACKED_DIR / "statistics.json").read_bytes() == before
    assert [path.name for path in PACKED_DIR.parent.iterdir()] == ["packed"]


def test_without_a_manifest_the_verb_to_run_is_named(photos):
    with pytest.raises(ValueError, match=r"manifest.json does not exist; run make_dataset first"):
        build_features(configured())


def test_a_manifest_made_with_other_settings_is_refused(photos):
    make_dataset(configured())
    with pytest.raises(ValueError, match=r"dataset was made with data.seed=0, not with data.seed=9"):
        build_features(configured("data.seed=9"))


def test_embeddings_are_stored_beside_the_pixels_where_weights_are_given(photos, tmp_path):
    weights = tmp_path / "net.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet").state_dict(), weights)
    net = ["name=test_resnet", f"pretrained_path={weights}", "img_size=32"]
    cfg = configured(*[f"features.embeddings.{setting}" for setting in net])
    make_dataset(cfg)
    build_features(cfg)
    manifest = Manifest.load(DATASET_DIR)
    for name in manifest.splits():
        embeddings = Embeddings.load(PACKED_DIR, name)
        assert embeddings.ids == list(manifest.rows(name)["id"])
        assert len(embeddings.vectors) == len(PackedSplit.load(PACKED_DIR / name))
    assert [path.name for path in sorted(PACKED_DIR.parent.iterdir())] == [".embeddings", "packed"]


def test_weights_that_cannot_be_had_stop_it_before_anything_is_packed(photos):
    cfg = configured("features.embeddings.pretrained_path=none.safetensors")
    make_dataset(cfg)
    with pytest.raises(ValueError, match=r"features.embeddings.pretrained_path=none.safetensors is no file"):
        build_features(cfg)
    assert not PACKED_DIR.exists()


def test_packing_alone_needs_no_torch(photos):
    make_dataset(configured())
    code = (
        "import sys; from src.compose import compose; from src.selection import parse; "
        "from src.features.build_features import build_features; "
        "build_features(compose(parse(['data=folder', 'data.path=photos']))); "
        "sys.exit(', '.join(sorted({'torch', 'timm'} & set(sys.modules))) or 0)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert (PACKED_DIR / "statistics.json").exists()
