import pytest

from src.choices import near, pick, suggestion

TABLE = {"resnet18": 1, "resnet50": 2, "convnext_tiny": 3}


def test_a_name_of_the_table_is_picked():
    assert pick(TABLE, "resnet50", key="model.name") == 2


def test_a_misspelt_name_is_answered_with_the_near_ones():
    with pytest.raises(ValueError, match=r"^model\.name=resnet5O is unknown; did you mean resnet50 or resnet18\?$"):
        pick(TABLE, "resnet5O", key="model.name")


def test_a_strange_name_is_answered_with_all_allowed_ones():
    with pytest.raises(ValueError, match=r"^model\.name=vit is unknown; allowed: convnext_tiny, resnet18, resnet50$"):
        pick(TABLE, "vit", key="model.name")


def test_an_entry_that_is_none_is_an_entry():
    assert pick({"none": None}, "none", key="augment.mix") is None


def test_a_long_table_is_cut_and_counted():
    names = [f"n{index:02d}" for index in range(15)]
    assert suggestion("zzz", names) == "allowed: " + ", ".join(names[:12]) + " and 3 more"


def test_an_empty_table_is_told():
    assert suggestion("lr", []) == "none is allowed here"


def test_near_names_come_nearest_first_and_are_few():
    assert near("resnet51", ["resnet101", "resnet50", "resnet18", "resnet34", "vgg"])[0] == "resnet50"
    assert len(near("resnet", [f"resnet{index}" for index in range(9)])) == 3
    assert near("xyz", ["resnet50"]) == []
