import json
import subprocess
import sys
from pathlib import Path

import pytest

from src import pipeline
from src.models.sweep import SWEEPS, sweep
from src.models.sweeping.sweep_folder import absolute_paths
from src.selection import groups
from tests.project import ROOT


def test_without_a_name_the_sweeps_there_are_are_told(config):
    with pytest.raises(ValueError, match=r"no sweep is chosen; give sweep=<name>, which is one of: cross_validation"):
        sweep(config())


def test_every_preset_names_an_entry_of_the_table_and_every_entry_has_a_preset(config):
    named = {config(f"sweep={preset}").sweep.name for preset in groups()["sweep"]}
    assert named == set(SWEEPS)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sweep.name=cross_validaton"], r"sweep.name=cross_validaton is unknown; did you mean cross_validation\?"),
        (["sweep.options.flods=3"], r"sweep.options.flods: cross_validation takes no flods; did you mean folds\?"),
        (["sweep.options={}"], r"sweep.options: cross_validation needs folds"),
        (["sweep.options.folds=1"], r"sweep.options.folds=1 should be a whole number from 2 on"),
        (["sweep.options.folds=2.5"], r"sweep.options.folds=2.5 should be a whole number from 2 on"),
        (["run_dir=models/mine"], r"run_dir=models/mine is for a single run; a sweep writes models/sweeps"),
        (["predict.images=new"], r"predict.images=new is for a single run; a sweep writes models/sweeps"),
        (["train.resume=models/runs/x"], r"train.resume=models/runs/x is for a single run; a sweep writes"),
    ],
)
def test_a_wrong_setting_is_said_before_anything_is_read(config, tmp_path, monkeypatch, overrides, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        sweep(config("sweep=cross_validation", *overrides))
    assert list(Path().iterdir()) == []


def test_the_sweep_itself_needs_no_torch():
    code = "import sys, src.models.sweep; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_sweep_is_not_kept_in_the_params_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = (ROOT / "params.yaml").read_bytes()
    Path("params.yaml").write_bytes(before)
    with pytest.raises(ValueError, match=r'a sweep is no stage .* run: make sweep ARGS="sweep=cross_validation"'):
        pipeline.select(["sweep=cross_validation", "model=baseline_cnn"], Path("params.yaml"))
    with pytest.raises(
        ValueError, match=r'which sweep\? make sweep ARGS="sweep=<animals_convnextv2\|augmentations\|backbones'
    ):
        pipeline.sweep(["model=baseline_cnn"])
    assert Path("params.yaml").read_bytes() == before


@pytest.mark.slow
def test_make_sweep_takes_what_params_selects_and_leaves_it_as_it_is(digits_project):
    params = (digits_project.root / "params.yaml").read_bytes()
    folds = "sweep=cross_validation sweep.options.folds=2 train.epochs=1"
    assert "n = 2 of 2 folds" in digits_project.make("sweep", folds)
    assert (digits_project.root / "params.yaml").read_bytes() == params
    (folder,) = (digits_project.root / "models" / "sweeps").iterdir()
    plan = json.loads((folder / "sweep.json").read_text())["plan"]
    assert (plan["model"]["name"], plan["train"]["epochs"]) == ("baseline_cnn", 1)
    assert json.loads((folder / "summary.json").read_text())["finished"] == 2
    said = digits_project.make("sweep", f"{folds} data.seed=3", ok=False)
    assert "was made with data.seed=0, not with data.seed=3" in said


def test_a_store_of_mlflow_is_the_same_from_any_folder(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_paths(config())["run.mlflow.store"] == str(tmp_path / "models/mlflow.db")
    assert "run.mlflow.store" not in absolute_paths(config("run.mlflow.store='http://127.0.0.1:5000'"))
