import logging
import sys

import pytest

from src import pipeline
from src.pipeline import ARGS_VARIABLE, RESULTS, changes, main, reset, select, split_args
from src.selection import Selection, load
from tests.project import ROOT

ABSENT_FAULT = 2


@pytest.fixture
def params(tmp_path, monkeypatch):
    """The project's params.yaml in a folder of its own, which is the current one."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "params.yaml"
    path.write_bytes((ROOT / "params.yaml").read_bytes())
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  model=resnet18   train.epochs=5 ", ["model=resnet18", "train.epochs=5"]),
        ("data.path='/a b/c.zip' x=1", ["data.path='/a b/c.zip'", "x=1"]),
        ("'data.path=/a b/c' x=1", ["data.path=/a b/c", "x=1"]),
        (
            r"data.path=C:\images data.label_pattern='^(\w+)\.'",
            [r"data.path=C:\images", r"data.label_pattern='^(\w+)\.'"],
        ),
        ("a=\"b 'c' d\" e", ["a=\"b 'c' d\"", "e"]),
        ("o={a:1,b:[2,3]}", ["o={a:1,b:[2,3]}"]),
    ],
)
def test_args_are_split_at_spaces_outside_quotes(text, words):
    assert split_args(text) == words


@pytest.mark.parametrize("text", ["a='b", 'a="b c', "'"])
def test_a_quote_without_partner_is_told(text):
    with pytest.raises(ValueError, match="has a quote without its partner"):
        split_args(text)


def test_changes_are_told_with_old_and_new():
    before = Selection({"model": "resnet18", "data": None}, {"optimizer.lr": 0.1, "train.epochs": 3})
    after = Selection({"model": "resnet34", "data": None}, {"optimizer.lr": 0.2, "train.seed": 1})
    assert changes(before, after) == [
        "model: resnet18 -> resnet34",
        "optimizer.lr: 0.1 -> 0.2",
        "train.epochs: 3 -> default",
        "train.seed: default -> 1",
    ]
    assert changes(before, before) == []


def test_what_is_selected_is_kept_and_told(params, caplog):
    caplog.set_level(logging.INFO, logger="src.pipeline")
    select(["model=resnet34", "train.epochs=3"], params)
    select(["train.epochs=4"], params)
    kept = load(params)
    assert kept.presets["model"] == "resnet34"
    assert kept.values == {"train.epochs": 4}
    assert "model: default -> resnet34; train.epochs: default -> 3" in caplog.text
    assert "train.epochs: 3 -> 4" in caplog.text


def test_an_experiment_beside_a_sweep_is_remembered_with_its_values_and_the_sweep_is_not(params):
    given = ["experiment=intel_scenes", "data.subset=9", "sweep=intel_scenes", "sweep.options.seeds=[1,2]"]
    # this folder has no pipeline to run
    with pytest.raises(ValueError, match=r"(?i)dvc"):
        pipeline.sweep(given)
    kept = load(params)
    assert (kept.presets["experiment"], kept.values) == ("intel_scenes", {"data.subset": 9})
    assert "sweep" not in kept.presets


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs=0", "train.epochs=0 should be"),
        ("model=resnet51", "model=resnet51 is not a preset"),
        ("run_dir=models/x", "run_dir is not for the pipeline: the pipeline writes models/pipeline"),
        ("predict.images=a.zip", "predict.images is not for the pipeline: new images are predicted by: make predict"),
        ("data=folder", "data.name=folder needs data.path="),
    ],
)
def test_what_is_refused_leaves_the_file_untouched(params, override, message):
    before = params.read_bytes()
    with pytest.raises(ValueError, match=message):
        select([override], params)
    assert params.read_bytes() == before


def test_reset_clears_even_what_no_longer_loads(params):
    text = params.read_text(encoding="utf-8")
    params.write_text(text.replace("model: null", "model: gone").replace("set: {}", "set: {train: {epochs: 3}}"))
    with pytest.raises(ValueError, match="model=gone"):
        load(params)
    reset([])
    assert load(params) == load(ROOT / "params.yaml")
    assert params.read_text(encoding="utf-8").startswith("# What to run.")


def test_reset_takes_no_overrides(params):
    with pytest.raises(ValueError, match="reset takes no overrides, found model=resnet18"):
        reset(["model=resnet18"])


@pytest.mark.parametrize("arguments", [[], ["repro"], ["repro", "no_such_stage"], ["train"]])
def test_wrong_use_shows_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as raised:
        main(arguments, {})
    assert raised.value.code == ABSENT_FAULT
    assert (
        "usage: python -m src.pipeline repro {audit_data,show_label_issues,build_features,predict_model,visualize}"
        in (capsys.readouterr().err)
    )


def test_overrides_come_from_the_variable_that_make_sets(params):
    main(["reset"], {ARGS_VARIABLE: ""})
    with pytest.raises(SystemExit):
        main(["reset"], {ARGS_VARIABLE: "model=resnet18"})


def test_new_images_must_be_named(params, caplog):
    with pytest.raises(SystemExit) as raised:
        main(["predict", "predict.batch_size=3"], {})
    assert raised.value.code == ABSENT_FAULT
    assert 'which images? make predict ARGS="predict.images=' in caplog.text


def test_outside_a_repository_the_next_step_is_told(params, monkeypatch):
    with pytest.raises(ValueError, match=r"is no git repository, which DVC needs; run: git init"):
        pipeline.reproduce("predict_model")


def test_every_result_is_that_of_a_stage():
    import yaml

    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert set(RESULTS) <= set(stages)


def test_importing_the_pipeline_loads_neither_dvc_nor_hydra():
    import subprocess

    code = "import sys, src.pipeline; sys.exit(bool({'dvc', 'hydra', 'torch', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
