import math
from pathlib import Path

import pytest

from src.selection import CONFIG_DIR, Selection, groups, load, parse, parse_multirun, save


@pytest.fixture
def params(tmp_path):
    """A file such as the project's own."""
    path = tmp_path / "params.yaml"
    path.write_text("# what to run\nmodel: null\noptimizer: null\n# single values\nset: {}\n", encoding="utf-8")
    return path


def test_groups_are_those_of_the_defaults_list_and_a_base_is_no_preset():
    known = groups()
    assert {"data", "model", "experiment", "run"} <= set(known)
    assert "resnet50d" in known["model"]
    assert "base" not in known["model"]
    assert "local" not in known


def test_a_group_without_a_folder_has_no_presets(tmp_path):
    (tmp_path / "config.yaml").write_text("defaults: [_self_, {experiment: null}, {optional local: default}]\n")
    assert groups(tmp_path) == {"experiment": []}


@pytest.mark.parametrize("text", ["defaults: [", "a: 1", "", "defaults: 3"])
def test_a_broken_config_yaml_is_named(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml has no list of defaults .* restore it from git"):
        groups(tmp_path)


def test_overrides_are_parted_into_presets_and_values():
    selection = parse(["model=resnet50d", "train.epochs=5", "optimizer.lr=1e-3"])
    assert selection == Selection({"model": "resnet50d"}, {"train.epochs": 5, "optimizer.lr": 1e-3})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("true", True),
        ("3", 3),
        ("1e-3", 1e-3),
        ("0.1", 0.1),
        ("'1e-3'", "1e-3"),
        ("'a, b'", "a, b"),
        ("[0.5,1]", [0.5, 1]),
        ("{momentum:0.9,nesterov:true}", {"momentum": 0.9, "nesterov": True}),
        ("[{name:flip,options:{p:0.5}}]", [{"name": "flip", "options": {"p": 0.5}}]),
        ("../images/my set.zip", "../images/my set.zip"),
        ("C:/images", "C:/images"),
        ("'^(cat|dog)[.]'", "^(cat|dog)[.]"),
        ("", ""),
    ],
)
def test_a_value_survives_the_way_through_params_yaml(params, text, value):
    selection = parse([f"some.key={text}"])
    save(selection, params)
    kept = load(params).values
    found = {"some.key": value} if not isinstance(value, dict) else {f"some.key.{key}": v for key, v in value.items()}
    assert kept == found
    assert [type(entry) for entry in kept.values()] == [type(entry) for entry in found.values()]


def test_saving_keeps_the_comments_and_the_other_presets(params):
    save(Selection({"model": "resnet34"}, {"optimizer.lr": 0.1, "optimizer.options.eps": 1e-8}), params)
    text = params.read_text(encoding="utf-8")
    assert text.startswith("# what to run\nmodel: resnet34\noptimizer: null\n")
    assert "# single values" in text
    assert load(params).values == {"optimizer.lr": 0.1, "optimizer.options.eps": 1e-8}


def test_saving_again_forgets_the_values_before(params):
    save(Selection({}, {"optimizer.lr": 0.1}), params)
    save(Selection({}, {"train.epochs": 2}), params)
    assert load(params).values == {"train.epochs": 2}


def test_a_params_file_that_is_absent_selects_the_defaults(tmp_path):
    assert load(tmp_path / "params.yaml") == Selection()
    save(Selection({"model": "resnet18"}), tmp_path / "params.yaml")
    assert load(tmp_path / "params.yaml").presets == {"model": "resnet18"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [", "is not valid YAML"),
        ("- model", "should hold keys and values"),
        ("modle: resnet18", "modle is not a config group; did you mean model"),
        ("model: resnet51", r"model=resnet51 is not a preset of configs/model; did you mean resnet50"),
        ("set: 3", "set should hold keys and values"),
    ],
)
def test_a_wrong_params_file_is_told(tmp_path, text, message):
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load(path)


def test_an_empty_params_file_selects_the_defaults(tmp_path):
    (tmp_path / "params.yaml").write_text("# nothing\n", encoding="utf-8")
    assert load(tmp_path / "params.yaml") == Selection()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=resnet51"], r"did you mean resnet50d? or .*; any other timm model: model=timm model\.name=resnet51"),
        (["optimizer=adamx"], "optimizer=adamx is not a preset of configs/optimizer; did you mean adam"),
        (["model=3"], "model=3 is not a preset"),
        (["model"], "cannot read the override 'model': write key=value"),
        (["train.epochs=[1"], r"cannot read the override 'train.epochs=\[1'"),
        (["~train.epochs"], "would remove a key"),
        (["model=resnet18,resnet34"], "asks for 2 runs; add -m to run them all"),
    ],
)
def test_a_wrong_override_is_told(overrides, message):
    with pytest.raises(ValueError, match=message):
        parse(overrides)


def test_a_multirun_has_a_selection_for_each_combination():
    found = parse_multirun(["model=resnet18,resnet34", "train.seed=range(0,3)", "train.epochs=1"])
    assert len(found) == 6
    assert {(s.presets["model"], s.values["train.seed"]) for s in found} == {
        (model, seed) for model in ("resnet18", "resnet34") for seed in range(3)
    }


def test_a_new_preset_forgets_the_values_of_its_section_only():
    before = Selection({"model": "resnet18"}, {"model.stem": "plain", "optimizer.lr": 0.1})
    after = before.updated(parse(["model=resnet34", "train.epochs=2"]))
    assert after == Selection({"model": "resnet34"}, {"optimizer.lr": 0.1, "train.epochs": 2})


def test_a_new_experiment_keeps_the_values():
    before = Selection({}, {"optimizer.lr": 0.1})
    assert before.updated(Selection({"experiment": None})).values == {"optimizer.lr": 0.1}


def test_a_selection_is_described_as_it_would_be_typed():
    given = ["model=resnet50d", "train.clip=null", "model.options={drop_path_rate:0.1}", "run.wandb.tags=[a,b]"]
    selection = parse(given)
    assert selection.described() == " ".join(given)
    assert parse(selection.described().split()) == selection
    assert Selection({"model": None}).described() == "the defaults"


def test_plus_signs_of_hydra_are_understood():
    assert parse(["+optimizer.options.eps=1e-6", "++train.epochs=2"]).values == {
        "optimizer.options.eps": 1e-6,
        "train.epochs": 2,
    }


def test_infinity_and_nan_are_values():
    values = parse(["a=inf", "b=nan"]).values
    assert values["a"] == math.inf
    assert math.isnan(values["b"])


def test_the_projects_own_params_file_selects_every_group_and_is_loaded():
    params = Path(CONFIG_DIR).parent / "params.yaml"
    assert set(load(params).presets) == set(groups()) - {"sweep"}
