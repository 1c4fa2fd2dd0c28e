from pathlib import Path

import pytest
import yaml

from src.compose import compose, compose_pipeline, composed_tree, load_composed
from src.config import as_tree
from src.selection import Selection, parse
from tests.project import ROOT, Project, copy_project


def composed(*overrides: str):
    return compose(parse(overrides))


def test_the_defaults_are_whole():
    cfg = composed()
    assert cfg.data.name == "digits"
    assert cfg.run_dir is None


def test_a_preset_and_values_are_laid_over_the_defaults():
    cfg = composed("model=resnet50d", "optimizer=sgd", "optimizer.lr=0.5", "train.epochs=7")
    assert cfg.model.name == "resnet50d"
    assert cfg.optimizer.name == "sgd"
    assert cfg.optimizer.lr == 0.5
    assert cfg.optimizer.options == {"momentum": 0.9, "nesterov": False}
    assert cfg.train.epochs == 7


def test_values_win_over_presets_in_any_order():
    assert composed("optimizer.lr=0.5", "optimizer=sgd") == composed("optimizer=sgd", "optimizer.lr=0.5")


def test_a_dict_value_replaces_the_one_of_the_preset():
    assert composed("optimizer=sgd", "optimizer.options={nesterov:false}").optimizer.options == {"nesterov": False}


def test_a_key_inside_options_is_added():
    assert composed("optimizer=sgd", "optimizer.options.dampening=0.1").optimizer.options == {
        "momentum": 0.9,
        "nesterov": False,
        "dampening": 0.1,
    }


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.lrr=0.1"], "optimizer.lrr is not a key; did you mean lr?"),
        (["optmizer.lr=0.1"], "optmizer is not a key; did you mean optimizer?"),
        (["train.epochs=many"], 'train.epochs="many" should be a valid integer'),
        (["train.epochs=2.5"], "train.epochs=2.5 should be"),
        (["optimizer.lr=-1"], "optimizer.lr=-1 should be greater than 0"),
        (["train.precision=fp8"], 'train.precision="fp8" should be'),
        (["model=timm"], "model.name has no value: give model.name=<value>"),
        (["data=folder"], "data.name=folder needs data.path="),
        (["data.path=${nowhere}"], "the configuration cannot be composed: "),
    ],
)
def test_a_wrong_setting_is_one_sentence(overrides, message):
    with pytest.raises(ValueError, match=message[:5]) as raised:
        composed(*overrides)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_all_faults_are_told_at_once():
    with pytest.raises(ValueError, match=r"^2 faults") as raised:
        composed("optimizer.lrr=0.1", "train.epochs=many")
    assert "optimizer.lrr" in str(raised.value)
    assert "train.epochs" in str(raised.value)


def test_broken_yaml_in_a_preset_is_named(tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "config.yaml").write_text("defaults: [_self_, {model: a}]\n", encoding="utf-8")
    (folder / "model").mkdir()
    (folder / "model" / "a.yaml").write_text("name: [", encoding="utf-8")
    with pytest.raises(ValueError, match=r"the configuration cannot be composed: .*a\.yaml"):
        composed_tree(Selection(), folder)


def test_a_typo_inside_a_preset_is_found(tmp_path):
    project = copy_configs(tmp_path)
    (project / "optimizer" / "adamw.yaml").write_text(
        "name: adamw\nlr: 1e-3\nweight_decay: 0.1\nweight_dekay: 0.1\nhead_scale: 1.0\nlayer_decay: null\noptions: {}\n"
    )
    with pytest.raises(ValueError, match=r"optimizer\.weight_dekay is not a key; did you mean weight_decay or"):
        compose(Selection(), project)


def test_an_experiment_overrides_values_and_presets(tmp_path):
    folder = copy_configs(tmp_path)
    (folder / "experiment").mkdir(exist_ok=True)
    (folder / "experiment" / "long.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /model: resnet34\ntrain: {epochs: 99}\n", encoding="utf-8"
    )
    cfg = compose(parse(["experiment=long"], folder), folder)
    assert cfg.model.name == "resnet34"
    assert cfg.train.epochs == 99
    assert (
        compose(parse(["experiment=long", "train.epochs=3", "model=resnet18"], folder), folder).model.name == "resnet18"
    )


def test_machine_local_settings_are_taken_where_present(tmp_path):
    folder = copy_configs(tmp_path)
    (folder / "local").mkdir(exist_ok=True)
    (folder / "local" / "default.yaml").write_text("# @package _global_\nrun: {device: cuda:1}\n", encoding="utf-8")
    assert compose(Selection(), folder).run.device == "cuda:1"


def copy_configs(tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(ROOT / "configs", tmp_path / "configs", ignore=shutil.ignore_patterns("local")))


@pytest.mark.parametrize("start", ["models/pipeline", "models/pipeline/train/best"])
def test_the_pipeline_does_not_start_from_what_it_writes_anew(start):
    selection = parse([f"train.init_from={start}"])
    with pytest.raises(ValueError, match=f"train.init_from={start} is what the pipeline writes anew.*copy that folder"):
        compose_pipeline(selection)
    compose(selection)


def test_a_composed_file_is_read_back(tmp_path):
    cfg = composed("optimizer.lr=1e-5", "model.options={drop_path_rate:0.1}")
    (tmp_path / "composed.yaml").write_text(yaml.safe_dump(as_tree(cfg)), encoding="utf-8")
    assert load_composed(tmp_path / "composed.yaml") == cfg


def test_an_absent_composed_file_names_its_maker(tmp_path):
    with pytest.raises(ValueError, match=r"composed\.yaml does not exist; run: dvc repro compose"):
        load_composed(tmp_path / "composed.yaml")


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "model: {}"])
def test_a_damaged_composed_file_is_told(tmp_path, text):
    (tmp_path / "composed.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"composed\.yaml|no value"):
        load_composed(tmp_path / "composed.yaml")


def test_the_stage_writes_the_pipelines_configuration_or_nothing(tmp_path):
    import sys

    project: Project = copy_project(tmp_path / "project")
    project.run(sys.executable, "-m", "src.compose")
    assert load_composed(project.root / "composed.yaml").run_dir == "models/pipeline"
    before = (project.root / "composed.yaml").read_bytes()
    project.edit("params.yaml", "set: {}", "set: {optimizer: {lrr: 1}}")
    said = project.run(sys.executable, "-m", "src.compose", ok=False)
    assert "compose: error: optimizer.lrr is not a key; did you mean lr?" in said
    assert "Traceback" not in said
    assert (project.root / "composed.yaml").read_bytes() == before
    assert "takes no arguments" in project.run(sys.executable, "-m", "src.compose", "model=resnet18", ok=False)
