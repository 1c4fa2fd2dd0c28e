import pytest

from src.config_data import DuplicatesConfig
from tests.data.audited import drawn_set


def made_with(*groups, **changes):
    return drawn_set(groups=list(groups), **changes)


CROSS = ["train/cross/1.png", "train/cross/4.png"]
LEAK = ["train/cross/1.png", "test/cross/1.png"]
CONFLICT = ["train/cross/1.png", "train/circle/0.png"]


def test_a_leak_whose_copies_are_left_out_is_a_warning_that_says_from_where():
    made = made_with(("exact", LEAK))
    made.change(made.of(LEAK[:1]), status="duplicate")
    finding = made.finding("leak")
    assert finding.severity == "warning"
    assert finding.done.startswith("Left out: 1 of train;")


def test_a_leak_that_is_still_there_is_an_error():
    finding = made_with(("near", LEAK)).finding("leak")
    assert finding.severity == "error"
    assert finding.done == "1 group of copies (2 images) still stands in two splits."
    assert "data.duplicates.policy=group" in finding.advice


def test_a_leak_is_counted_for_each_pair_of_splits():
    threefold = ["train/cross/1.png", "val/cross/1.png", "test/cross/1.png"]
    finding = made_with(("exact", threefold), ("exact", ["train/square/2.png", "test/square/2.png"])).finding("leak")
    assert finding.count == 2
    assert "2 in train and test, 1 in train and val and 1 in val and test" in finding.text


def test_copies_inside_one_split_are_no_leak():
    assert made_with(("exact", CROSS)).kinds() == ["exact_duplicates"]


def test_a_copy_among_images_to_predict_is_no_leak():
    made = drawn_set(
        {"train": 100, "test": 100, "predict": 100}, groups=[("near", ["train/cross/1.png", "predict/cross/1.png"])]
    )
    made.change(made.images["split"] == "predict", label="")
    assert "leak" not in made.kinds()
    assert "conflicting_labels" not in made.kinds()
    assert made.finding("predict_overlap").severity == "info"


def test_contradicting_labels_that_are_trained_on_are_an_error():
    finding = made_with(("exact", CONFLICT)).finding("conflicting_labels")
    assert finding.severity == "error"
    assert "1 as circle and cross" in finding.text
    assert "trained on under two labels" in finding.done
    assert finding.advice.endswith("(data/external/labels_overrides.csv), by hand or with make relabel.")


def test_contradicting_labels_that_are_left_out_are_a_warning():
    made = made_with(("near", CONFLICT))
    made.change(made.of(CONFLICT), status="conflict")
    finding = made.finding("conflicting_labels")
    assert finding.severity == "warning"
    assert finding.done == "Left out: 2 of train."
    assert "lower data.duplicates.near_distance (now 6)" in finding.advice


def test_contradicting_labels_of_the_test_split_stay_and_are_told_as_such():
    finding = made_with(("exact", ["test/cross/1.png", "test/circle/0.png"])).finding("conflicting_labels")
    assert finding.severity == "warning"
    assert "stays in test as published" in finding.done


@pytest.mark.parametrize(
    ("policy", "words"),
    [("keep", "Nothing was changed"), ("drop", "One image of each group is used"), ("group", "stays in one split")],
)
def test_what_was_done_about_copies_follows_the_policy(policy, words):
    duplicates = DuplicatesConfig(policy=policy, near_distance=6, near_difference=0.03)
    made = made_with(("exact", CROSS)).configured(duplicates=duplicates)
    assert words in made.finding("exact_duplicates").done


def test_every_member_of_every_group_is_listed_with_its_group_and_what_became_of_it():
    made = made_with(("near", LEAK), ("near", ["val/square/2.png", "val/square/5.png"]))
    made.change(made.of(LEAK[:1]), status="duplicate")
    cases = made.finding("near_duplicates").cases
    assert list(cases["id"]) == [*LEAK, "val/square/2.png", "val/square/5.png"]
    assert cases["detail"].iloc[0] == "group 000000000000, left out: duplicate"
    assert cases["detail"].iloc[1] == "group 000000000000, used"
    assert list(cases["split"]) == ["train", "test", "val", "val"]


def test_copies_outside_a_chosen_subset_are_not_counted():
    made = made_with(("exact", LEAK), ("exact", CROSS))
    made.change(made.of([LEAK[1]]), status="subset")
    assert made.kinds() == ["exact_duplicates"]
    assert made.finding("exact_duplicates").ids == CROSS
