import copy
import dataclasses
import json
from typing import Any, get_type_hints

import pytest

from src.compose import compose
from src.config import Config, as_tree
from src.selection import Selection
from src.trees import differences, flat
from src.validation import contradictions, section_keys, validate

TAUGHT = {"teacher": "models/teacher", "weight": 0.5, "temperature": 2.0}


@pytest.fixture(scope="module")
def defaults() -> Config:
    return compose(Selection())


@pytest.fixture
def tree(defaults) -> dict[str, Any]:
    return copy.deepcopy(as_tree(defaults))


def put(tree: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    *parents, last = key.split(".")
    at = tree
    for parent in parents:
        at = at[parent]
    at[last] = value
    return tree


def test_a_tree_and_its_configuration_are_each_others_inverse(defaults):
    assert validate(as_tree(defaults)) == defaults
    assert validate(json.loads(json.dumps(as_tree(defaults)))) == defaults


def test_a_configuration_cannot_be_changed(defaults):
    with pytest.raises(dataclasses.FrozenInstanceError):
        defaults.train.epochs = 3


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optimizer.lrr", 1, r"^optimizer\.lrr is not a key; did you mean lr\?$"),
        ("seed", 1, r"^seed is not a key; did you mean sweep or serve or schedule\?$"),
        ("zzz", 1, r"^zzz is not a key; allowed: augment, compare, data, "),
        ("run.wandb.projct", "a", r"^run\.wandb\.projct is not a key; did you mean project\?$"),
        ("train.epochs", "5", r'^train\.epochs="5" should be a valid integer$'),
        ("train.epochs", 0, r"^train\.epochs=0 should be greater than or equal to 1$"),
        ("train.epochs", True, r"^train\.epochs=true should be a valid integer$"),
        ("optimizer.lr", 0, r"^optimizer\.lr=0 should be greater than 0$"),
        ("data.val_share", 1.0, r"^data\.val_share=1\.0 should be less than 1$"),
        ("train.channels_last", "yes", r'^train\.channels_last="yes" should be a valid boolean$'),
        ("features.resize", "stretch", r"""^features\.resize="stretch" should be 'crop', 'squash' or 'pad'$"""),
        ("augment.transforms", [{"name": "flip"}], r"^augment\.transforms\.0\.options has no value; give "),
        ("model", None, r"^model=null should be"),
        ("run.wandb.tags", "a", r'^run\.wandb\.tags="a" should be'),
        ("optimizer.lr", float("nan"), r"^optimizer\.lr=.* should be"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_it(tree, key, value, message):
    with pytest.raises(ValueError, match=message):
        validate(put(tree, key, value))


def test_a_missing_key_is_named(tree):
    del tree["train"]["seed"]
    with pytest.raises(ValueError, match=r"^train\.seed has no value; give train\.seed=<value>$"):
        validate(tree)


def test_every_fault_is_told(tree):
    put(put(put(tree, "train.epochs", "x"), "optimizer.lrr", 1), "loss.nam", "a")
    with pytest.raises(ValueError, match=r"^3 faults in the configuration:") as raised:
        validate(tree)
    assert str(raised.value).count("\n  - ") == 3


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"data.name": "folder"}, ["data.name", "data.path"]),
        ({"data.path": "x.zip"}, ["data.path", "data.name"]),
        ({"data.val_share": 0.5, "data.test_share": 0.5}, ["data.val_share", "data.test_share"]),
        ({"model.pretrained": True, "model.pretrained_path": "w"}, ["model.pretrained", "model.pretrained_path"]),
        ({"model.name": "baseline_cnn", "model.pretrained": True}, ["model.name", "model.pretrained"]),
        ({"model.pretrained": True, "model.stem": "small"}, ["model.stem", "model.pretrained"]),
        ({"train.epochs": 1, "schedule.warmup_epochs": 1.0}, ["schedule.warmup_epochs", "train.epochs"]),
        (
            {"train.epochs": 2, "schedule.warmup_epochs": 1.0, "schedule.cooldown_epochs": 1.5},
            ["schedule.warmup_epochs", "schedule.cooldown_epochs", "train.epochs"],
        ),
        ({"train.imbalance": "focal", "loss.name": "bce"}, ["train.imbalance=focal", "loss.name=bce"]),
        (
            {"train.imbalance": "logit_adjustment", "loss.name": "logit_adjustment"},
            ["train.imbalance=logit_adjustment", "loss.name=logit_adjustment"],
        ),
        (
            {"train.imbalance": "auto", "loss.name": "logit_adjustment"},
            ["train.imbalance=auto", "loss.name=logit_adjustment"],
        ),
        (
            {"run_dir": "models/a", "train.distillation": {"teacher": "models/a", "weight": 0.5, "temperature": 2.0}},
            ["train.distillation.teacher=models/a", "run_dir"],
        ),
        (
            {"train.epochs": 3, "train.resizing": [{"until_epoch": 3, "img_size": 8}]},
            ["train.resizing", "until_epoch=3", "train.epochs=3"],
        ),
        (
            {"train.resizing": [{"until_epoch": 3, "img_size": 8}, {"until_epoch": 2, "img_size": 9}]},
            ["train.resizing", "until_epoch=3, 2"],
        ),
        (
            {"train.gradient_checkpointing": True, "train.compile": "auto"},
            ["train.gradient_checkpointing=true", "train.compile=auto"],
        ),
        ({"loss.name": "bce", "train.distillation": TAUGHT}, ["train.distillation", "loss.name=bce"]),
        (
            {"train.imbalance": "logit_adjustment", "train.distillation": TAUGHT},
            ["train.distillation", "train.imbalance=logit_adjustment"],
        ),
        ({"data.name": "folder", "data.path": "x", "data.archive": "a.zip"}, ["data.archive", "data.name=folder"]),
        ({"data.archive": "a.zip"}, ["data.archive", "data.name=digits"]),
        ({"data.folds": 5}, ["data.folds", "data.fold"]),
        ({"data.folds": 5, "data.fold": 5}, ["data.folds", "data.fold"]),
        (
            {"features.embeddings.pretrained": True, "features.embeddings.pretrained_path": "w"},
            ["features.embeddings.pretrained=true", "features.embeddings.pretrained_path"],
        ),
        ({"labels.features": "embeddings"}, ["labels.features", "features.embeddings.pretrained"]),
    ],
)
def test_a_contradiction_names_both_keys(tree, changes, named):
    for key, value in changes.items():
        put(tree, key, value)
    with pytest.raises(ValueError, match="=") as raised:
        validate(tree)
    assert all(key in str(raised.value) for key in named)


@pytest.mark.parametrize("imbalance", ["none", "class_weights", "balanced_sampler", "focal", "auto"])
def test_what_leaves_probabilities_alone_goes_with_a_teacher(tree, imbalance):
    put(tree, "train.imbalance", imbalance)
    put(tree, "train.distillation", TAUGHT)
    assert validate(tree).train.imbalance == imbalance


def test_the_defaults_contradict_nothing(defaults):
    assert contradictions(defaults) == []


def test_no_field_has_a_default_and_every_field_is_described():
    def check(kind: type) -> None:
        hints = get_type_hints(kind, include_extras=True)
        for field in dataclasses.fields(kind):
            assert field.default is dataclasses.MISSING, f"{kind.__name__}.{field.name}"
            assert field.default_factory is dataclasses.MISSING, f"{kind.__name__}.{field.name}"
            hint = hints[field.name]
            if dataclasses.is_dataclass(hint):
                check(hint)
            else:
                described = dataclasses.is_dataclass(getattr(hint, "__origin__", None)) or any(
                    getattr(extra, "description", None) for extra in getattr(hint, "__metadata__", ())
                )
                assert described, f"{kind.__name__}.{field.name} has no description"

    check(Config)


def test_dotted_keys_open_dicts_and_keep_lists():
    assert flat({"a": {"b": 1, "c": {}}, "d": [1, {"e": 2}]}) == {"a.b": 1, "a.c": {}, "d": [1, {"e": 2}]}


def test_differences_are_told_by_dotted_key():
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == {"a.c": (2, 3), "d": (None, 4)}
    assert differences({"a": 1}, {"a": 1}) == {}


def test_keys_of_a_section_are_its_fields():
    assert section_keys(("train",))[:2] == ["epochs", "batch_size"]
    assert section_keys(("run", "wandb"))[0] == "mode"
    assert section_keys(("optimizer", "options")) == []
    assert section_keys(("nothing", "here")) == []
