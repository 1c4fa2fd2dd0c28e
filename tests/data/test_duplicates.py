import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from src.data import duplicates
from src.data.duplicates import duplicates_table, group_duplicates, resolve_duplicates
from tests.data.drawn import settings

NEAR = replace(settings().duplicates, near_distance=2, near_difference=0.1)
SHADES = bytes(range(0, 256, 4))
OTHER_SHADES = SHADES[::-1]


def looks(*rows):
    """A table of (sha256, hash) or (sha256, hash, thumbnail)."""
    full = [(row[0], row[1], row[2] if len(row) > 2 else SHADES) for row in rows]
    table = pd.DataFrame(full, columns=["sha256", "phash", "thumbnail"])
    return table.astype({"phash": "uint64"}).assign(id=[str(number) for number in range(len(rows))])


def grouped(*rows, cfg=NEAR):
    found = group_duplicates(looks(*rows), cfg)
    return list(zip(found["group"], found["kind"], strict=True))


def copies(*rows):
    """A table of (id, sha256, group, split, name)."""
    return pd.DataFrame(rows, columns=["id", "sha256", "group", "split", "name"]).astype({"name": object})


def statuses(*rows, policy="group"):
    """Statuses by id; a row without a group is a group of what has its bytes."""
    full = [(row[0], row[1], *(row[1:] if len(row) == 4 else row[2:])) for row in rows]
    table = copies(*full)
    return dict(zip(table["id"], resolve_duplicates(table, policy), strict=True))


def test_identical_bytes_are_a_group_and_what_stands_alone_is_its_own():
    found = grouped(("x", 0), ("y", 2**40 - 1), ("x", 0), cfg=replace(NEAR, near_distance=None))
    assert found == [("x", "exact"), ("y", ""), ("x", "exact")]


def test_near_pictures_are_a_group_called_after_its_smallest_hash():
    found = grouped(("y", 0b1), ("z", 0b1111 << 30), ("x", 0), ("y", 0b1))
    assert found == [("x", "near"), ("z", ""), ("x", "near"), ("x", "near")]


def test_the_hash_alone_makes_no_near_pictures():
    assert grouped(("x", 0, SHADES), ("y", 0, OTHER_SHADES)) == [("x", ""), ("y", "")]


def test_without_a_distance_only_bytes_count():
    exact_only = replace(NEAR, near_distance=None)
    assert grouped(("x", 0), ("y", 0), cfg=exact_only) == [("x", ""), ("y", "")]


def test_what_is_near_over_a_third_is_one_group_so_that_no_near_pair_is_torn():
    assert grouped(("c", 0b1111), ("a", 0), ("b", 0b11)) == [("a", "near")] * 3


def test_groups_do_not_depend_on_the_order_of_the_files():
    draw = np.random.default_rng(0)
    rows = [(f"{number:03d}", int(draw.integers(0, 64))) for number in range(60)]
    table = looks(*rows, rows[5], rows[9])
    found = group_duplicates(table, NEAR)
    mixed = table.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(group_duplicates(mixed, NEAR).sort_index(), found)


def test_a_long_chain_is_cut_into_what_is_near_to_a_centre(monkeypatch, caplog):
    monkeypatch.setattr(duplicates, "SHORT_CHAIN", 5)
    chain = [(f"{number:02d}", (1 << number) - 1) for number in range(30)]
    with caplog.at_level(logging.WARNING):
        table = looks(*chain, ("far", 2**64 - 1), ("near to far", 2**64 - 2))
        found = group_duplicates(table, NEAR)
    assert "30 images are chained by near duplicates of near duplicates" in caplog.text
    sizes = found["group"].value_counts()
    assert sizes.max() <= 5
    assert sizes.sum() == 32
    assert found["group"].iloc[30] == found["group"].iloc[31] == "far"
    for _, rows in table.groupby(found["group"]):
        hashes = [int(value) for value in rows["phash"]]
        assert min(max((centre ^ value).bit_count() for value in hashes) for centre in hashes) <= 2


def test_many_copies_of_one_picture_are_no_chain(monkeypatch):
    monkeypatch.setattr(duplicates, "SHORT_CHAIN", 5)
    assert len(set(grouped(*[(f"{number:02d}", 1 << number) for number in range(20)], ("hub", 0)))) == 1


def test_no_images_have_no_groups():
    assert group_duplicates(looks(), NEAR).empty


def test_what_is_scored_stays_and_train_gives_way(caplog):
    with caplog.at_level(logging.WARNING):
        found = statuses(
            *[("1", "x", "train", "a"), ("2", "x", "val", "a"), ("3", "x", "test", "a"), ("4", "y", "train", "a")]
        )
    assert found == {"1": "duplicate", "2": "duplicate", "3": "ok", "4": "ok"}
    assert "1 images of train are left out: they are byte-identical with images of another split, such as 1 = 3" in (
        caplog.text
    )


def test_a_near_copy_of_a_test_image_is_not_trained_on(caplog):
    with caplog.at_level(logging.WARNING):
        found = statuses(("1", "x", "x", "train", "a"), ("2", "y", "x", "test", "b"), ("3", "z", "z", "train", "a"))
    assert found == {"1": "duplicate", "2": "ok", "3": "ok"}
    assert "1 images of train are left out: they are nearly identical with images of another split" in caplog.text


@pytest.mark.parametrize(
    ("kept", "left_out"), [("test", "held_out"), ("held_out", "predict"), ("predict", "val"), ("val", "train")]
)
def test_an_image_stays_in_the_split_that_takes_precedence(kept, left_out):
    name = {"predict": None}
    rows = [("1", "x", left_out, name.get(left_out, "a")), ("2", "x", kept, name.get(kept, "a"))]
    assert statuses(*rows) == {"1": "duplicate", "2": "ok"}


def test_twins_within_a_split_stay():
    assert set(statuses(("1", "x", "train", "a"), ("2", "x", "train", "a")).values()) == {"ok"}


def test_twins_of_train_with_two_labels_are_both_left_out(caplog):
    with caplog.at_level(logging.WARNING):
        found = statuses(("1", "x", "train", "a"), ("2", "x", "train", "b"), ("3", "y", "train", "a"))
    assert found == {"1": "conflict", "2": "conflict", "3": "ok"}
    assert (
        "2 images are left out: they are copies that carry different labels, such as 1 = 2 (byte-identical)"
        in caplog.text
    )


def test_near_twins_of_train_with_two_labels_are_left_out_too(caplog):
    with caplog.at_level(logging.WARNING):
        found = statuses(("1", "x", "x", "train", "a"), ("2", "y", "x", "train", "b"))
    assert found == {"1": "conflict", "2": "conflict"}
    assert "such as 1 = 2 (nearly identical)" in caplog.text


def test_a_conflict_in_val_takes_the_copies_in_train_with_it():
    found = statuses(("1", "x", "val", "a"), ("2", "x", "val", "b"), ("3", "x", "train", "a"))
    assert found == {"1": "conflict", "2": "conflict", "3": "duplicate"}


def test_twins_of_test_with_two_labels_stay_for_the_test_set_is_not_ours():
    assert set(statuses(("1", "x", "test", "a"), ("2", "x", "test", "b")).values()) == {"ok"}


def test_the_copy_to_predict_stays_and_that_of_train_goes():
    assert statuses(("1", "x", "predict", None), ("2", "x", "train", "a")) == {"1": "ok", "2": "duplicate"}


def test_by_policy_drop_one_of_each_group_is_used():
    rows = [("3", "x", "train", "a"), ("2", "x", "train", "a"), ("5", "y", "test", "a"), ("4", "y", "test", "b")]
    found = statuses(*rows, ("1", "y", "train", "a"), ("6", "z", "train", "a"), policy="drop")
    assert found == {"3": "duplicate", "2": "ok", "5": "duplicate", "4": "ok", "1": "duplicate", "6": "ok"}


def test_by_policy_drop_a_conflict_of_train_leaves_none():
    assert set(statuses(("1", "x", "train", "a"), ("2", "x", "train", "b"), policy="drop").values()) == {"conflict"}


def test_by_policy_keep_everything_stays_and_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        found = statuses(
            *[("1", "x", "train", "a"), ("2", "x", "test", "a"), ("3", "y", "train", "a"), ("4", "y", "train", "b")],
            policy="keep",
        )
    assert set(found.values()) == {"ok"}
    assert "1 images are byte-identical with images of another split, such as 1 = 2; all stay" in caplog.text
    assert "2 images stay, as data.duplicates.policy=keep says: they are copies that carry different" in caplog.text


def test_without_twins_nothing_is_said(caplog):
    for policy in ("keep", "drop", "group"):
        assert statuses(("1", "x", "train", "a"), ("2", "y", "test", "b"), policy=policy) == {"1": "ok", "2": "ok"}
    assert not caplog.text


def test_statuses_belong_to_their_rows_whatever_the_index():
    table = copies(("1", "x", "x", "train", "a"), ("2", "y", "y", "test", "b"), ("3", "x", "x", "test", "a"))
    found = resolve_duplicates(table.set_axis([30, 10, 20]), "group")
    assert found.to_dict() == {30: "duplicate", 10: "ok", 20: "ok"}


def test_the_list_has_every_member_of_every_group_and_no_other_image():
    table = copies(("2", "x", "x", "train", "a"), ("1", "y", "x", "predict", None), ("3", "z", "z", "train", "a"))
    found = duplicates_table(table.assign(kind=["near", "near", ""], status=["duplicate", "ok", "ok"]))
    assert found.to_dict("split")["data"] == [
        ["x", "near", "1", "predict", "", "ok"],
        ["x", "near", "2", "train", "a", "duplicate"],
    ]
    assert list(found.columns) == ["group", "kind", "id", "split", "label", "status"]
