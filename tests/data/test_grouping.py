import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.grouping import check_groups, merged_groups

NAMES = st.sampled_from(list("abcdefgh"))
PAIRS = st.lists(st.tuples(NAMES.map("copies {}".format), st.none() | NAMES.map("user {}".format)), max_size=30)


def joined(pairs):
    """The positions that belong together, by walking from image to image."""
    left, parts = set(range(len(pairs))), []
    while left:
        part, waiting = set(), {left.pop()}
        while waiting:
            one = waiting.pop()
            part.add(one)
            near = {i for i in left if pairs[i][0] == pairs[one][0] or (pairs[i][1] and pairs[i][1] == pairs[one][1])}
            left -= near
            waiting |= near
        parts.append(frozenset(part))
    return set(parts)


def merged(pairs):
    return list(merged_groups([copies for copies, _ in pairs], [user for _, user in pairs]))


@settings(deadline=None)
@given(pairs=PAIRS)
def test_images_are_together_just_where_a_chain_of_groups_leads_from_one_to_the_other(pairs):
    names = merged(pairs)
    assert {frozenset(i for i, found in enumerate(names) if found == name) for name in names} == joined(pairs)


@settings(deadline=None)
@given(pairs=PAIRS, shuffling=st.randoms(use_true_random=False))
def test_names_do_not_depend_on_the_order_of_images(pairs, shuffling):
    order = list(range(len(pairs)))
    shuffling.shuffle(order)
    assert merged([pairs[i] for i in order]) == [merged(pairs)[i] for i in order]


def test_a_group_is_named_after_the_first_of_the_user_else_of_the_copies():
    pairs = [("c1", "u2"), ("c2", "u2"), ("c2", "u1"), ("c4", None), ("c3", None), ("c3", None)]
    assert merged(pairs) == ["u1", "u1", "u1", "c4", "c3", "c3"]
    assert merged([]) == []


def test_one_name_is_one_group_of_whichever_kind():
    # crops whose group is the image that they were cut from
    assert merged([("photo.jpg", None), ("crop 1.jpg", "photo.jpg")]) == ["photo.jpg", "photo.jpg"]


def test_a_group_of_the_user_in_two_splits_is_named():
    groups = pd.Series(["p1", "p1", "p2", "p2", None, None], dtype=object)
    check_groups(groups, pd.Series(["train", "train", "test", "test", "train", "test"]))
    told = "group 'p1' has images in test and in train, but a group must stay in one split; give its images"
    with pytest.raises(ValueError, match=told):
        check_groups(groups, pd.Series(["train", "test", "test", "test", "train", "test"]))
    with pytest.raises(ValueError, match=r"in test and in train \(and so have 1 more\), but"):
        check_groups(groups, pd.Series(["train", "test", "train", "test", "train", "test"]))
