"""The way into a verb, with the verbs themselves run as a person would."""

import logging
import subprocess
import sys

import pytest
import yaml

from src import cli
from src.compose import compose
from src.config import Config, as_tree
from src.guard import EXIT_FAULT
from src.selection import parse
from tests.project import ROOT, environment

VERBS = [
    "src.data.fetch_data",
    "src.data.make_dataset",
    "src.features.build_features",
    "src.models.train_model",
    "src.models.predict_model",
    "src.models.soup_models",
    "src.visualization.visualize",
]
HEAVY = ["torch", "torchvision", "timm", "pandas", "pyarrow", "scipy", "sklearn", "matplotlib", "wandb", "dvc"]


class Recorder:
    """A verb that keeps what it is called with; fails on request."""

    __module__ = __name__

    def __init__(self, fault: Exception | None = None) -> None:
        self.cfgs: list[Config] = []
        self.fault = fault

    def __call__(self, cfg: Config) -> None:
        self.cfgs.append(cfg)
        if self.fault is not None and cfg.train.seed == 1:
            raise self.fault


def call(monkeypatch: pytest.MonkeyPatch, verb: Recorder, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["train_model.py", *arguments])
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        cli.run_verb(verb, about="Train.")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_overrides_reach_the_verb_as_a_configuration(monkeypatch):
    verb = Recorder()
    call(monkeypatch, verb, "model=resnet34", "train.epochs=3")
    assert verb.cfgs == [compose(parse(["model=resnet34", "train.epochs=3"]))]


def test_a_composed_file_reaches_the_verb(monkeypatch, tmp_path):
    verb, cfg = Recorder(), compose(parse(["train.epochs=3"]))
    path = tmp_path / "composed.yaml"
    path.write_text(yaml.safe_dump(as_tree(cfg)), encoding="utf-8")
    call(monkeypatch, verb, "--config", str(path))
    assert verb.cfgs == [cfg]


def test_a_multirun_calls_the_verb_for_each_combination(monkeypatch):
    verb = Recorder()
    call(monkeypatch, verb, "-m", "train.seed=0,1", "model=resnet18,resnet34")
    assert [(cfg.train.seed, cfg.model.name) for cfg in verb.cfgs] == [
        (0, "resnet18"),
        (0, "resnet34"),
        (1, "resnet18"),
        (1, "resnet34"),
    ]


def test_a_run_that_fails_does_not_stop_the_others(monkeypatch, capsys):
    verb = Recorder(ValueError("the loss is no longer finite"))
    with pytest.raises(SystemExit) as raised:
        call(monkeypatch, verb, "-m", "train.seed=0,1,2")
    assert raised.value.code == EXIT_FAULT
    assert len(verb.cfgs) == 3
    text = said(capsys)
    assert "run 2 of 3 failed: the loss is no longer finite" in text
    assert "1 of 3 runs failed: 2" in text


def test_one_wrong_combination_stops_a_multirun_before_its_first_run(monkeypatch, capsys):
    verb = Recorder()
    with pytest.raises(SystemExit):
        call(monkeypatch, verb, "-m", "train.epochs=2,0")
    assert verb.cfgs == []
    assert "train.epochs=0 should be greater than or equal to 1" in said(capsys)


def test_the_configuration_is_printed_and_nothing_is_run(monkeypatch, capsys):
    verb = Recorder()
    call(monkeypatch, verb, "--cfg", "train.epochs=3")
    assert verb.cfgs == []
    assert yaml.safe_load(capsys.readouterr().out) == as_tree(compose(parse(["train.epochs=3"])))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--verbose"], "unknown flags --verbose; allowed: -m, --cfg, --config FILE, --help"),
        (["--config"], "--config takes one file and no overrides"),
        (["--config", "a.yaml", "train.epochs=3"], "--config takes one file and no overrides"),
        (["--config", "absent.yaml"], "absent.yaml does not exist"),
        (["model=resnet18,resnet34"], "asks for 2 runs; add -m"),
        (["-m", "--cfg"], "unknown flags -m --cfg"),
    ],
)
def test_wrong_arguments_end_in_a_sentence_and_code_2(monkeypatch, capsys, arguments, message):
    verb = Recorder()
    with pytest.raises(SystemExit) as raised:
        call(monkeypatch, verb, *arguments)
    assert raised.value.code == EXIT_FAULT
    assert verb.cfgs == []
    assert message in said(capsys)


def test_a_verb_without_a_file_goes_by_its_modules_name():
    assert cli._module_name(Recorder()) == __name__


@pytest.mark.parametrize("verb", VERBS)
def test_help_names_the_verb_every_preset_and_every_flag(verb):
    done = run(verb, "--help")
    assert done.returncode == 0
    assert f"usage: python -m {verb} " in done.stdout
    for word in ("resnet50d", "-m, --multirun", "--cfg", "--config FILE", "experiment"):
        assert word in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_a_wrong_key_is_refused_before_torch_is_loaded(verb):
    done = run(verb, "optimizer.lrr=1", wrap="import sys; sys.modules['torch'] = sys.modules['timm'] = None\n")
    assert done.returncode == EXIT_FAULT
    assert done.stderr.strip().endswith(
        f"{verb.rpartition('.')[2]}: error: optimizer.lrr is not a key; did you mean lr?"
    )


@pytest.mark.parametrize("override", ["optimizer.lrr=1", "train.epochs=many", "data.folds=5", "model=resnet19"])
def test_a_wrong_setting_is_refused_before_anything_that_takes_seconds_is_loaded(override):
    done = run("src.models.train_model", override, wrap=f"import sys; sys.modules |= dict.fromkeys({HEAVY})\n")
    assert done.returncode == EXIT_FAULT, done.stderr
    assert "Traceback" not in done.stderr


def run(verb: str, *arguments: str, wrap: str = "") -> "subprocess.CompletedProcess[str]":
    """The verb as `python -m` runs it, after the statements of `wrap`."""
    code = f"{wrap}import runpy; runpy.run_module({verb!r}, run_name='__main__', alter_sys=True)"
    command = [sys.executable, "-c", code, *arguments] if wrap else [sys.executable, "-m", verb, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
