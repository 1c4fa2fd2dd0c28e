import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.splits import (
    check_patterns,
    cut_from_train,
    fold_from_train,
    folds_of,
    given_splits,
    split_of_path,
    splits_of_paths,
    stratified_splits,
    subset_of,
)
from tests.data.drawn import SPLIT_PATTERNS, Drawn, drawn_groups

SHARES = {"test": 0.2, "val": 0.15}


def dealt(labels, groups, *, shares=SHARES, seed=0):
    return dict(zip(groups, stratified_splits(labels, groups, shares=shares, seed=seed), strict=True))


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("seg_train/sea/1.jpg", "train"),
        ("Training_Set/cats/1.jpg", "train"),
        ("x/valid/cat/1.jpg", "val"),
        ("dev/cat/1.jpg", "val"),
        ("test/cat/1.jpg", "test"),
        ("test1/1.jpg", "predict"),
        ("unlabeled/1.jpg", "predict"),
        ("train/test/1.jpg", "train"),
        ("testimony/1.jpg", None),
        ("device/1.jpg", None),
        ("cat/test.jpg", None),
        ("train.jpg", None),
    ],
)
def test_a_folder_must_match_a_split_whole(path, split):
    assert split_of_path(path, SPLIT_PATTERNS) == split


def test_paths_are_sorted_like_each_of_them_alone():
    paths = ["train/a/1.jpg", "train/a/2.jpg", "test/a/1.jpg", "x/1.jpg", "1.jpg", "train/b/1.jpg"]
    assert splits_of_paths(paths, SPLIT_PATTERNS) == [split_of_path(path, SPLIT_PATTERNS) for path in paths]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *[("tets", "test"), ("tests", "test"), ("Train", "train"), ("training", "train"), ("predictions", "predict")],
        *[("valid", "val"), ("validation", "val"), ("dev", "val"), ("eval", "val"), ("unlabelled", "predict")],
    ],
)
def test_a_near_miss_of_a_split_is_refused_with_the_near_name(name, meant):
    with pytest.raises(ValueError, match=rf"data\.split_patterns\.{name} names no split; did you mean {meant}\?"):
        check_patterns({name: "x"})


@pytest.mark.parametrize("name", ["Hard", "hard cases", "hard/cases", "_hard", "hard__cases", "2nd", "été", ""])
def test_a_further_split_needs_a_plain_lower_case_name(name):
    with pytest.raises(ValueError, match="is no name of a split; allowed: train, val, test, predict, and for further"):
        check_patterns({name: "x"})


@pytest.mark.parametrize("name", ["interesting", "holdout", "test2", "test_night", "ood", "shifted_2024"])
def test_any_other_lower_case_name_may_be_a_further_split(name):
    check_patterns(SPLIT_PATTERNS | {name: name})
    assert split_of_path(f"{name}/cat/1.jpg", SPLIT_PATTERNS | {name: name}) == name


def test_patterns_that_cannot_be_used_are_named():
    with pytest.raises(ValueError, match=r"data\.split_patterns\.val=va\(l is not a regular expression: missing \)"):
        check_patterns({"val": "va(l"})
    with pytest.raises(ValueError, match="embeddings is the name of another folder beside the packed splits"):
        check_patterns({"embeddings": "x"})
    check_patterns(SPLIT_PATTERNS)


@pytest.mark.parametrize("seed", range(20))
def test_shares_are_met_within_one_image_in_every_class(seed):
    draw = random.Random(seed)
    shares = {"test": draw.uniform(0.05, 0.4), "val": draw.uniform(0.05, 0.4)}
    sizes = {f"class {number}": draw.randrange(3, 120) for number in range(5)}
    labels = [name for name, size in sizes.items() for _ in range(size)]
    splits = stratified_splits(labels, [str(index) for index in range(len(labels))], shares=shares, seed=seed)
    for name, size in sizes.items():
        counts = Counter(split for split, label in zip(splits, labels, strict=True) if label == name)
        assert min(counts[split] for split in ("train", "val", "test")) >= 1
        assert all(abs(counts[split] - size * share) <= 1 for split, share in shares.items())


@pytest.mark.parametrize("seed", range(20))
def test_splits_do_not_depend_on_the_order_of_images(seed):
    labels = [f"class {index % 3}" for index in range(60)]
    groups = [str(index) for index in range(60)]
    order = random.Random(seed).sample(range(60), 60)
    assert dealt(labels, groups) == dealt([labels[i] for i in order], [groups[i] for i in order])


def test_splits_of_a_class_do_not_depend_on_other_classes():
    alone = dealt(["a"] * 40, [f"a{index}" for index in range(40)])
    beside = dealt(["a", "b"] * 40, [f"{'ab'[index % 2]}{index // 2}" for index in range(80)])
    assert alone.items() <= beside.items()


def test_the_seed_changes_the_draw_and_nothing_else_does():
    labels, groups = ["a"] * 100, [str(index) for index in range(100)]
    assert dealt(labels, groups, seed=1) == dealt(labels, groups, seed=1)
    assert dealt(labels, groups, seed=1) != dealt(labels, groups, seed=2)


@pytest.mark.parametrize("seed", range(20))
def test_a_group_is_never_divided_and_no_split_stays_empty(seed):
    draw = random.Random(seed)
    groups = [str(draw.choice([0, 0, 0, 0, 1, 2])) for _ in range(30)] + ["0", "1", "2"]
    splits = stratified_splits(["a"] * len(groups), groups, shares=SHARES, seed=seed)
    found = set(zip(groups, splits, strict=True))
    assert len(found) == 3
    assert {split for _, split in found} == {"train", "val", "test"}


def test_a_class_too_small_to_split_is_named_with_the_ways_out():
    with pytest.raises(
        ValueError,
        match=r"class 'rare' has 2 images, but test, val, train need one each at least; add images, "
        r"set data\.test_share=0 or data\.val_share=0, or remove the class",
    ):
        stratified_splits(["many"] * 9 + ["rare"] * 2, list("abcdefghijk"), shares=SHARES, seed=0)
    with pytest.raises(ValueError, match=r"class 'a' has 5 images in 1 group that must not be divided, but test, val"):
        stratified_splits(["a"] * 5, ["same"] * 5, shares=SHARES, seed=0)
    assert set(stratified_splits(["rare"] * 3, list("abc"), shares=SHARES, seed=0)) == {"train", "val", "test"}


def test_a_class_too_small_for_the_folds_is_named_with_the_ways_out():
    labels = ["many"] * 9 + ["rare"] * 4
    told = r"class 'rare' has 4 images, but fold 0 to fold 4 need one each at least; add images, ask for fewer folds"
    with pytest.raises(ValueError, match=told):
        folds_of(labels, [str(index) for index in range(13)], num_folds=5, seed=0)
    assert sorted(folds_of(labels, [str(index) for index in range(13)], num_folds=4, seed=0)[9:]) == [0, 1, 2, 3]


def test_a_class_that_its_mixed_groups_keep_out_of_a_split_is_named():
    labels, groups = ["a", "b"] * 3, ["one", "one", "two", "two", "two", "two"]
    told = r"class 'a' has 3 images in 2 groups that must not be divided.* \(and so it is for 1 more\)"
    with pytest.raises(ValueError, match=told):
        folds_of(labels, groups, num_folds=3, seed=0)
    # two groups of a and one of b alone: where both classes meet, c can be in no other fold
    labels, groups = ["a", "b", "a", "b", "c", "c"], ["one", "one", "two", "two", "one", "one"]
    with pytest.raises(ValueError, match="class 'c' has 2 images in 1 group that must not be divided"):
        folds_of(labels, groups, num_folds=2, seed=0)


def test_images_without_a_label_are_to_predict_and_strays_train():
    official = ["train", "test", "test", None, None, "predict", "val"]
    labels = ["a", "a", None, "a", None, "a", "b"]
    assert given_splits(official, labels) == ["train", "test", "predict", "train", "predict", "predict", "val"]


def test_nothing_to_train_on_is_told():
    with pytest.raises(ValueError, match=r"no labelled image is left to train on \(splits found: predict, test\)"):
        given_splits(["test", "predict"], ["a", None])


def test_only_absent_splits_are_cut_and_only_from_train():
    splits = ["train"] * 20 + ["test"] * 3 + ["predict"]
    labels = ["a"] * 23 + [None]
    groups = [str(index) for index in range(24)]
    cut = cut_from_train(splits, labels, groups, shares=SHARES, seed=0)
    assert cut[20:] == splits[20:]
    assert Counter(cut[:20]) == {"train": 17, "val": 3}
    assert cut_from_train(splits, labels, groups, shares={"test": 0.2, "val": 0}, seed=0) == splits


def test_folds_are_dealt_from_train_alone():
    splits = ["train"] * 20 + ["test"] * 3 + ["predict"]
    labels, groups = ["a"] * 23 + [None], [str(index) for index in range(24)]
    dealt = [fold_from_train(splits, labels, groups, folds=5, fold=fold, seed=0) for fold in range(5)]
    assert all(found[20:] == splits[20:] for found in dealt)
    assert all(Counter(found[:20]) == {"train": 16, "val": 4} for found in dealt)
    # each image is val in one fold and train in all others
    assert {tuple(sorted(found)) for found in zip(*(found[:20] for found in dealt), strict=True)} == {
        ("train",) * 4 + ("val",)
    }


def test_val_joins_train_where_folds_are_cut_from_both():
    official = ["train", "val", "test", None, "interesting"]
    labels = ["a"] * 5
    assert given_splits(official, labels, pooled=True) == ["train", "train", "test", "train", "interesting"]
    assert given_splits(official, labels) == ["train", "val", "test", "train", "interesting"]


# what holds for any images

# a busy machine is no fault
UNHURRIED = settings(deadline=None, max_examples=50)
SEEDS = st.integers(0, 1000)
NUM_FOLDS = st.integers(2, 6)


def dealt_by_image(deal, drawn: Drawn, order=None):
    """What `deal` gives for the images in this order, by image; None where it refuses."""
    order = range(len(drawn.labels)) if order is None else order
    try:
        found = deal([drawn.labels[i] for i in order], [drawn.groups[i] for i in order])
    except ValueError:
        return None
    return dict(zip(order, found, strict=True))


def dealers(num_folds, seed):
    return (
        lambda labels, groups: folds_of(labels, groups, num_folds=num_folds, seed=seed),
        lambda labels, groups: stratified_splits(labels, groups, shares=SHARES, seed=seed),
    )


@UNHURRIED
@given(drawn=drawn_groups(), num_folds=NUM_FOLDS, seed=SEEDS, shuffling=st.randoms(use_true_random=False))
def test_the_order_of_images_never_matters(drawn, num_folds, seed, shuffling):
    order = list(range(len(drawn.labels)))
    shuffling.shuffle(order)
    for deal in dealers(num_folds, seed):
        assert dealt_by_image(deal, drawn) == dealt_by_image(deal, drawn, order)


@UNHURRIED
@given(drawn=drawn_groups(), num_folds=NUM_FOLDS, seed=SEEDS)
def test_a_group_is_never_divided_and_every_class_is_in_every_part(drawn, num_folds, seed):
    for deal, num_parts in zip(dealers(num_folds, seed), (num_folds, 3), strict=True):
        found = dealt_by_image(deal, drawn)
        if found is not None:
            parts = list(found.values())
            assert len(set(zip(drawn.groups, parts, strict=True))) == len(set(drawn.groups))
            assert len(set(zip(drawn.labels, parts, strict=True))) == num_parts * len(set(drawn.labels))


@UNHURRIED
@given(drawn=drawn_groups(mixed=False), num_folds=NUM_FOLDS, seed=SEEDS)
def test_folds_of_a_class_differ_by_one_group_at_most(drawn, num_folds, seed):
    found = folds_of(drawn.labels, drawn.groups, num_folds=num_folds, seed=seed)
    for label in set(drawn.labels):
        mine = [i for i, other in enumerate(drawn.labels) if other == label]
        sizes = Counter(found[i] for i in mine)
        largest = max(Counter(drawn.groups[i] for i in mine).values())
        assert max(sizes.values()) - min(sizes[fold] for fold in range(num_folds)) <= largest


@UNHURRIED
@given(drawn=drawn_groups(mixed=False), seed=SEEDS)
def test_a_class_gets_its_share_in_each_split_within_one_group(drawn, seed):
    found = stratified_splits(drawn.labels, drawn.groups, shares=SHARES, seed=seed)
    for label in set(drawn.labels):
        mine = [i for i, other in enumerate(drawn.labels) if other == label]
        sizes = Counter(found[i] for i in mine)
        largest = max(Counter(drawn.groups[i] for i in mine).values())
        assert all(abs(sizes[split] - len(mine) * share) <= largest for split, share in SHARES.items())


@UNHURRIED
@given(drawn=drawn_groups(mixed=False), num_folds=NUM_FOLDS, seed=SEEDS)
def test_what_becomes_of_a_class_does_not_depend_on_the_others(drawn, num_folds, seed):
    for deal in dealers(num_folds, seed):
        together = deal(drawn.labels, drawn.groups)
        for label in set(drawn.labels):
            mine = [i for i, other in enumerate(drawn.labels) if other == label]
            alone = deal([drawn.labels[i] for i in mine], [drawn.groups[i] for i in mine])
            assert alone == [together[i] for i in mine]


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_several_classes_are_dealt_in_proportion(seed):
    draw = random.Random(seed)
    labels = [f"class {draw.randrange(4)}" for _ in range(2000)]
    groups = [f"patient {draw.randrange(200)}" for _ in range(2000)]
    folds = np.array(folds_of(labels, groups, num_folds=5, seed=seed))
    splits = np.array(stratified_splits(labels, groups, shares=SHARES, seed=seed))
    for label, count in Counter(labels).items():
        here = np.array(labels) == label
        assert np.bincount(folds[here]).min() > 0.17 * count
        assert abs((splits[here] == "test").sum() - 0.2 * count) < 0.03 * count


def test_the_odd_images_of_many_classes_do_not_all_go_to_the_first_fold():
    labels = [f"class {index // 6}" for index in range(600)]
    folds = folds_of(labels, [str(index) for index in range(600)], num_folds=5, seed=0)
    assert max(Counter(folds).values()) < 150


# subsets


def subset(labels, splits, size, *, ids=None, seed=0):
    ids = [str(index) for index in range(len(labels))] if ids is None else ids
    used = subset_of(ids, labels, splits, subset=size, seed=seed)
    return {image_id for image_id, kept in zip(ids, used, strict=True) if kept}


def test_a_subset_takes_so_many_of_each_class_in_each_split_and_all_of_those_to_predict():
    labels = ["a"] * 10 + ["b"] * 3 + ["a"] * 10 + [None] * 5
    splits = ["train"] * 13 + ["interesting"] * 10 + ["predict"] * 5
    used = subset_of([str(index) for index in range(28)], labels, splits, subset=4, seed=0)
    assert Counter(zip(np.array(splits)[used], np.array(labels)[used], strict=True)) == {
        ("train", "a"): 4,
        ("train", "b"): 3,
        ("interesting", "a"): 4,
        ("predict", None): 5,
    }


def test_a_share_is_met_in_each_class_and_leaves_one_image_at_least():
    labels = ["a"] * 20 + ["b"] * 2
    used = subset_of([str(index) for index in range(22)], labels, ["train"] * 22, subset=0.25, seed=0)
    assert Counter(np.array(labels)[used]) == {"a": 5, "b": 1}


def test_a_subset_does_not_depend_on_order_or_on_other_classes_and_lies_in_a_larger_one():
    labels, splits = ["a", "b"] * 20, ["train"] * 40
    ids = [str(index) for index in range(40)]
    some = subset(labels, splits, 5, ids=ids)
    assert some == subset(labels[::-1], splits, 5, ids=ids[::-1])
    assert {image_id for image_id in some if int(image_id) % 2 == 0} == subset(["a"] * 20, splits[:20], 5, ids=ids[::2])
    assert some < subset(labels, splits, 9, ids=ids)
    assert some != subset(labels, splits, 5, ids=ids, seed=1)
