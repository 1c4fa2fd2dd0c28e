from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from src.artifacts import Manifest
from src.compose import compose
from src.config import Config
from src.data.make_dataset import make_dataset
from src.features import regrouping
from src.features.build_features import build_features
from src.features.packed import PackedSplit
from src.features.regrouping import regroup
from src.features.statistics import load_statistics
from src.files import read_json, write_json
from src.layout import DATASET_DIR, PACKED_DIR
from src.selection import parse
from tests.project import draw_images

NEW = Path("new/packed")


def settings(*overrides: str) -> Config:
    return compose(parse(["data=folder", "data.path=images", "features.size=10", "run.workers=1", *overrides]))


@pytest.fixture
def packed(tmp_path, monkeypatch) -> Manifest:
    """The manifest of drawn images that are packed in the working folder."""
    monkeypatch.chdir(tmp_path)
    draw_images(Path("images"), per_class=12)
    make_dataset(settings())
    build_features(settings())
    return Manifest.load(DATASET_DIR)


def with_val(manifest: Manifest, ids: set[str], cfg: Config) -> Manifest:
    """The manifest in which these images of train and val are val."""
    table = manifest.table.copy()
    pool = table["split"].isin(["train", "val"])
    table.loc[pool, "split"] = np.where(table.loc[pool, "id"].isin(ids), "val", "train")
    return replace(manifest, table=table, settings=asdict(cfg.data))


def pixels_by_id(folder: Path, *splits: str) -> dict[str, bytes]:
    loaded = [PackedSplit.load(folder / name) for name in splits]
    return {
        image_id: split.gather(np.array([row]))[0].tobytes()
        for split in loaded
        for row, image_id in enumerate(split.ids)
    }


def test_regrouped_splits_are_what_build_features_makes_of_the_same_manifest(packed, monkeypatch):
    monkeypatch.setattr(regrouping, "CHUNK", 3)
    cfg = settings("data.folds=3", "data.fold=1")
    moved = with_val(packed, set(packed.rows("train")["id"][::3]), cfg)
    regroup(PACKED_DIR, moved, cfg.features, folder=NEW)
    moved.save(DATASET_DIR)
    build_features(cfg)
    for name in ("train", "val", "test"):
        ours, theirs = PackedSplit.load(NEW / name), PackedSplit.load(PACKED_DIR / name)
        assert (ours.ids, ours.paths, ours.digest) == (theirs.ids, theirs.paths, theirs.digest)
        assert (ours.labels == theirs.labels).all()
        assert (ours.groups == theirs.groups).all()
        assert (ours.gather(np.arange(len(ours))) == theirs.gather(np.arange(len(theirs)))).all()
    assert load_statistics(NEW, cfg.data, cfg.features) == load_statistics(PACKED_DIR, cfg.data, cfg.features)


def test_every_image_keeps_its_pixels_and_the_packed_data_stay_as_they_were(packed):
    before = pixels_by_id(PACKED_DIR, "train", "val", "test")
    cfg = settings("data.folds=3", "data.fold=0")
    regroup(PACKED_DIR, with_val(packed, set(packed.rows("train")["id"][:5]), cfg), cfg.features, folder=NEW)
    assert pixels_by_id(NEW, "train", "val", "test") == before == pixels_by_id(PACKED_DIR, "train", "val", "test")


def test_a_split_that_stays_takes_no_room(packed):
    regroup(PACKED_DIR, packed, settings().features, folder=NEW)
    for name in ("train", "test"):
        linked, original = NEW / name / "images-000.npy", PACKED_DIR / name / "images-000.npy"
        assert linked.stat().st_ino == original.stat().st_ino
    facts = read_json(NEW / "statistics.json", made_by="")
    assert facts["counts"]["train"] == len(PackedSplit.load(NEW / "train"))


def test_splits_of_several_files_are_regrouped_too(packed, monkeypatch):
    before = pixels_by_id(PACKED_DIR, "train", "val")
    monkeypatch.setattr("src.features.packed.SHARD_BYTES", 4 * 10 * 10 * 3)
    cfg = settings("data.folds=3", "data.fold=0")
    first = with_val(packed, set(packed.rows("train")["id"][:5]), cfg)
    regroup(PACKED_DIR, first, cfg.features, folder=NEW)
    assert len(list((NEW / "train").glob("images-*.npy"))) > 1
    regroup(NEW, packed, cfg.features, folder=Path("back"))
    assert pixels_by_id(Path("back"), "train", "val") == before


def test_an_image_that_is_not_packed_is_named(packed):
    cfg = settings("data.folds=3", "data.fold=0")
    moved = with_val(packed, set(packed.rows("train")["id"][:5]), cfg)
    index = PACKED_DIR / "val" / "index.json"
    facts = read_json(index, made_by="")
    lost = facts["ids"][0]
    write_json(index, facts | {"ids": ["other", *facts["ids"][1:]]})
    with pytest.raises(ValueError, match=rf"1 images are not packed, '{lost}' first; run build_features again"):
        regroup(PACKED_DIR, moved, cfg.features, folder=NEW)
    assert not NEW.exists()


def test_a_disk_without_room_is_found_before_anything_is_written(tmp_path):
    with pytest.raises(
        OSError, match=r"needs 1,099,511,627,776 MiB for copies of pixels and .* MiB are free; make room"
    ):
        regrouping._check_room(tmp_path / "not" / "there", 2**60)
