"""Packing reads its source once, whatever it is and however many splits there are."""

import hashlib
import tarfile
from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from src.artifacts import Manifest
from src.compose import compose
from src.data.stores import tars
from src.features.packed import PackedSplit
from src.features.packing import pack_all
from src.selection import parse

SPLITS = ("train", "val", "test", "predict")


@pytest.fixture
def files():
    """Twelve images of their own grey, by path."""
    found = {}
    for index in range(12):
        file = BytesIO()
        Image.new("RGB", (9, 7), (20 * index,) * 3).save(file, "PNG")
        found[f"{SPLITS[index % 4]}/{'ab'[index % 2]}/{index:02d}.png"] = file.getvalue()
    return found


@pytest.fixture
def archive(tmp_path, files):
    """The images in a compressed tar, in an order that no split has."""
    with tarfile.open(tmp_path / "images.tar.gz", "w:gz") as packed:
        for name in sorted(files, reverse=True):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            packed.addfile(info, BytesIO(files[name]))
    return tmp_path / "images.tar.gz"


def manifest_of(files, location):
    table = pd.DataFrame({"id": sorted(files), "path": sorted(files)})
    table["split"] = [name.split("/")[0] for name in table["id"]]
    table["label"] = [-1 if name.startswith("predict") else "ab".index(name.split("/")[1]) for name in table["id"]]
    table["sha256"] = table["group"] = [hashlib.sha256(files[name]).hexdigest() for name in table["id"]]
    table["width"], table["height"], table["status"] = 9, 7, "ok"
    table = table.astype({"width": "int32", "height": "int32"})
    return Manifest(table=table, class_names=["a", "b"], location=location.as_posix(), settings={})


def packed(manifest, folder):
    cfg = compose(parse(["data=folder", "data.path=images", "features.size=4"]))
    pack_all(manifest, cfg.data, replace(cfg.features), folder=folder, workers=2)
    return {split: PackedSplit.load(folder / split) for split in SPLITS}


def test_every_split_holds_its_own_images_in_the_order_of_their_ids(tmp_path, archive, files):
    for split, found in packed(manifest_of(files, archive), tmp_path / "packed").items():
        assert found.ids == sorted(name for name in files if name.startswith(split))
        greys = found.gather(np.arange(len(found)))[:, 0, 0, 0]
        assert greys.tolist() == [20 * int(name[-6:-4]) for name in found.ids]


def test_images_that_belong_together_share_a_number(tmp_path, archive, files):
    manifest = manifest_of(files, archive)
    groups = ["of two" if name[-6:-4] in ("02", "06") else name for name in manifest.table["id"]]
    manifest = replace(manifest, table=manifest.table.assign(group=groups))
    found = packed(manifest, tmp_path / "packed")
    assert found["test"].groups.tolist() == [0, 0, 1]
    assert found["train"].groups.tolist() == [0, 1, 2]


def test_a_compressed_archive_is_unpacked_once_for_all_splits(tmp_path, archive, files, monkeypatch):
    opened = []

    def counting(location):
        opened.append(location)
        return original(location)

    original = tars._decompressed
    monkeypatch.setattr(tars, "_decompressed", counting)
    packed(manifest_of(files, archive), tmp_path / "packed")
    assert opened == [archive]
