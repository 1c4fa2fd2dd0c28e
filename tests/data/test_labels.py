import random

import pytest

from src.data.labels import check_classes, check_label_pattern, class_names_of, label_of_path
from tests.data.drawn import SPLIT_PATTERNS


@pytest.mark.parametrize(
    ("path", "pattern", "label"),
    [
        ("train/cat/1.jpg", None, "cat"),
        ("cat/1.jpg", None, "cat"),
        ("seg_pred/1.jpg", None, None),
        ("1.jpg", None, None),
        ("train/cat.1.jpg", r"^(cat|dog)\.", "cat"),
        ("dog/cat.1.jpg", r"^(cat|dog)\.", "cat"),
        ("test1/1.jpg", r"^(cat|dog)\.", None),
        ("cat.d/1.jpg", r"^(cat|dog)\.", None),
        ("x/_1.jpg", r"^([a-z]*)_", None),
    ],
)
def test_the_label_is_the_parent_folder_or_the_first_group(path, pattern, label):
    assert label_of_path(path, pattern, SPLIT_PATTERNS) == label


def test_a_label_pattern_that_cannot_be_used_is_told():
    with pytest.raises(ValueError, match=r"data\.label_pattern=\^cat has no group; put the label in brackets"):
        check_label_pattern("^cat")
    with pytest.raises(ValueError, match=r"data\.label_pattern=\(cat is not a regular expression: missing \)"):
        check_label_pattern("(cat")
    check_label_pattern(None)
    check_label_pattern("^(cat)")


@pytest.mark.parametrize("seed", range(5))
def test_classes_stand_in_natural_order_whatever_order_they_come_in(seed):
    names = ["1", "2", "10", "a2b", "a10b", "B", "c", "Été", "犬"]
    shuffled = random.Random(seed).sample(names, len(names))
    assert class_names_of([*shuffled, *shuffled]) == class_names_of(names)
    assert class_names_of(shuffled)[:7] == names[:7]


def test_classes_that_differ_in_case_only_are_refused():
    with pytest.raises(ValueError, match="classes 'Cat' and 'cat' differ only in upper and lower case"):
        class_names_of(["cat", "dog", "Cat"])


def test_one_class_is_too_few():
    with pytest.raises(ValueError, match="only one class found, 'cat'; training needs two or more"):
        check_classes({"cat"}, {"test": {"cat"}}, ["cat"])


def test_a_class_that_train_lacks_is_named():
    with pytest.raises(ValueError, match="test has classes that train lacks: 'cats'; train has cat, dog; rename"):
        check_classes({"dog", "cat"}, {"test": {"cats", "dog"}}, ["cat", "cats", "dog"])
    check_classes({"dog", "cat"}, {"test": {"dog"}}, ["cat", "dog"])
