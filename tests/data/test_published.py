from dataclasses import replace

import pytest

from src.config_data import AboutConfig
from src.data.auditing.published import differences

ABOUT = AboutConfig(
    classes=["cat", "dog"],
    expected={"train": {"cat": 10, "dog": 10}, "test": {"cat": 5, "dog": 5}, "predict": {"(unlabelled)": 7}},
    licence=None,
    home_page=None,
)
WHOLE = {"train": {"cat": 10, "dog": 10}, "test": {"cat": 5, "dog": 5}, "predict": {"(unlabelled)": 7}}


def test_a_set_as_published_differs_in_nothing():
    assert differences(WHOLE, ABOUT) == []


def test_what_was_cut_from_train_counts_as_train():
    cut = WHOLE | {"train": {"cat": 8, "dog": 7}, "val": {"cat": 2, "dog": 3}}
    assert differences(cut, ABOUT) == []
    without_test = replace(ABOUT, expected={"train": {"cat": 15, "dog": 15}})
    assert (
        differences(
            {"train": {"cat": 9, "dog": 9}, "val": {"cat": 1, "dog": 1}, "test": {"cat": 5, "dog": 5}}, without_test
        )
        == []
    )


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (WHOLE | {"train": {"cat": 9, "dog": 10}}, "train: 9 images of cat, 10 were published"),
        (WHOLE | {"train": {"cat": 10}}, "train: 0 images of dog, 10 were published"),
        (WHOLE | {"train": {"cat": 10, "dog": 10, "cow": 1}}, "train: 1 images of cow, none was published"),
        (WHOLE | {"interesting": {"cat": 6}}, "interesting: 6 images of cat, none was published"),
        (WHOLE | {"predict": {"(unlabelled)": 1200}}, "predict: 1,200 images of (unlabelled), 7 were published"),
    ],
)
def test_each_split_and_class_that_differs_is_told(found, line):
    assert differences(found, ABOUT) == [line]


def test_every_difference_has_a_line_of_its_own_in_the_published_order():
    lines = differences({"train": {"dog": 1}}, ABOUT)
    assert [line.split(",")[0] for line in lines] == [
        "train: 0 images of cat",
        "train: 1 images of dog",
        "test: 0 images of cat",
        "test: 0 images of dog",
        "predict: 0 images of (unlabelled)",
    ]


def test_nothing_is_compared_where_nothing_was_published():
    assert differences({"train": {"cat": 3}}, replace(ABOUT, expected={})) == []
