import pytest

from src.wording import counted, listed, percent


@pytest.mark.parametrize(
    ("share", "shown"), [(0.9722, "97.2 %"), (1.0, "100.0 %"), (0.99996, "99.9 %"), (0.0, "0.0 %")]
)
def test_hundred_percent_is_shown_only_where_nothing_is_missing(share, shown):
    assert percent(share) == shown


@pytest.mark.parametrize(
    ("number", "noun", "shown"),
    [
        (1, "image", "1 image"),
        (1797, "image", "1,797 images"),
        (2, "class", "2 classes"),
        (3, "copy", "3 copies"),
        (2, "day", "2 days"),
    ],
)
def test_counts_agree_with_their_noun(number, noun, shown):
    assert counted(number, noun) == shown


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        (list("abcdefg"), "a, b, c and 4 more"),
    ],
)
def test_a_long_list_says_how_many_it_leaves_out(names, shown):
    assert listed(names, 3) == shown
