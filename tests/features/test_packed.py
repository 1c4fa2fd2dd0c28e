from dataclasses import replace

import numpy as np
import pytest

from src.features import packed
from src.features.packed import PackedSplit, part_of
from tests.features.conftest import pack


def test_pixels_come_back_as_they_were_written_in_any_order_of_writing(tmp_path, monkeypatch):
    pixels = np.random.default_rng(1).integers(0, 256, (11, 4, 4, 3), dtype=np.uint8)
    # shards of four images
    monkeypatch.setattr(packed, "SHARD_BYTES", 4 * 4 * 4 * 3)
    split = pack(tmp_path / "train", pixels, [0] * 11)
    assert len(split.shards) == 3
    wanted = np.array([10, 0, 3, 4, 7, 4])
    assert np.array_equal(split.gather(wanted), pixels[wanted])


def test_absent_split_names_the_verb_that_makes_it(tmp_path):
    with pytest.raises(ValueError, match=r"index.json does not exist; run build_features first"):
        PackedSplit.load(tmp_path / "val")


def test_cut_off_pixels_are_named_as_damage(packed_split, tmp_path):
    shard = tmp_path / "train" / "images-000.npy"
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"train is damaged .* run build_features again"):
        PackedSplit.load(tmp_path / "train")


def test_pixels_without_their_labels_are_refused(packed_split, tmp_path):
    np.save(tmp_path / "train" / "labels.npy", np.zeros(3, dtype=np.int64))
    with pytest.raises(ValueError, match="differ in length"):
        PackedSplit.load(tmp_path / "train")


def test_data_packed_before_groups_were_kept_has_none(packed_split):
    assert packed_split.groups is None
    part = part_of(replace(packed_split, groups=np.arange(30) // 2), np.array([4, 5, 9]))
    assert part.groups.tolist() == [2, 2, 4]
