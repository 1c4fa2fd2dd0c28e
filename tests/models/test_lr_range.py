import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from src.compose import compose
from src.features.loader import load
from src.files import read_json
from src.models.engine.loop import train_step
from src.models.engine.preparing import prepare
from src.models.engine.tally import Tally
from src.models.sweep import sweep
from src.models.sweeping.lr_range import measure, proposal, rise, smoothed
from src.selection import Selection
from src.visualization.show_lr_range import show_lr_range
from tests.models.conftest import FAST
from tests.project import ROOT
from tests.test_docs import compared, dictionary

CPU = torch.device("cpu")
TEST = ["sweep=lr_range", "sweep.options.steps=60", "sweep.options.window=5", "sweep.options.diverged=3.0"]
RISE = rise(1e-6, 10.0, steps=60)


def folder() -> Path:
    (found,) = Path("models/sweeps").iterdir()
    return found


def test_the_rate_rises_by_the_same_factor_at_each_step_between_its_two_ends():
    rates = np.array([RISE(step) for step in range(60)])
    assert rates[[0, -1]] == pytest.approx([1e-6, 10.0])
    assert np.diff(np.log(rates)) == pytest.approx(np.log(1e7) / 59)


def test_a_test_draws_its_curve_proposes_a_rate_and_leaves_no_run(project, config, capfd):
    sweep(config(*TEST))
    said = capfd.readouterr().out
    curve = pd.read_csv(folder() / "curve.csv")
    compared(dictionary("`models/sweeps/lr_range-<id>/curve.csv`"), set(curve.columns))
    assert curve["lr"].tolist() == pytest.approx([RISE(step) for step in curve["step"]])
    found = read_json(folder() / "proposal.json", made_by="")
    compared(dictionary("`models/sweeps/lr_range-<id>/proposal.json`"), set(found))
    compared(dictionary("`models/sweeps/<sweep>-<id>/sweep.json`"), set(read_json(folder() / "sweep.json", made_by="")))
    assert found["proposed"] == pytest.approx(found["minimum"] / 10, rel=0.05)
    assert f"use it         optimizer.lr={found['proposed']:.2g} in place of sweep=lr_range" in said
    assert (folder() / "curve.png").as_posix() in said
    with Image.open(folder() / "curve.png") as picture:
        assert picture.size[0] > 300
    assert not (folder() / "run").exists()
    assert not Path("models/runs").exists()


def test_the_same_command_tells_the_same_and_trains_nothing_again(project, config, capfd):
    sweep(config(*TEST))
    said = capfd.readouterr().out
    before = (folder() / "curve.csv").stat().st_mtime_ns
    sweep(config(*TEST))
    assert capfd.readouterr().out == said
    assert (folder() / "curve.csv").stat().st_mtime_ns == before


def test_the_first_losses_are_those_of_the_runs_own_first_steps(project, config):
    settings = ["augment=strong", "optimizer=sgd"]
    curve = measure(config(*settings), project / "test", RISE, window=5, diverged=3.0)
    training = prepare(config(*settings, "optimizer.lr=1e-6", "schedule=constant"))
    losses = []
    for batch in load(training.splits["train"], training.recipe.plan(training.splits["train"], 0)[:3], CPU):
        training.state.tally = Tally.empty(CPU)
        train_step(training.state, training.recipe, batch)
        losses.append(training.state.tally.means("train")["train/loss"])
    assert curve["loss"][:3].tolist() == pytest.approx(losses, rel=1e-5)


def test_the_test_ends_where_the_loss_diverges(project, config):
    settings = ["optimizer=sgd", "train.clip=null", "optimizer.weight_decay=0.0"]
    curve = measure(config(*settings), project / "test", rise(1e-3, 1e6, steps=60), window=5, diverged=3.0)
    assert 5 < len(curve) < 60
    assert np.isfinite(curve["loss"]).all()


def test_smoothing_keeps_a_constant_and_averages_around_each_step():
    assert smoothed(np.full(20, 2.0), window=5) == pytest.approx(np.full(20, 2.0))
    assert smoothed(np.arange(9.0), window=3)[1:-1] == pytest.approx(np.arange(1.0, 8.0))
    assert smoothed(np.arange(9.0), window=3)[0] == pytest.approx(0.5)


def valley(at: float) -> pd.DataFrame:
    """A loss that falls around a tenth of `at`, is least at `at` and rises after it."""
    rates = np.logspace(-6, 1, 141)
    fall = -1 / (1 + np.exp(-4 * (np.log10(rates) - np.log10(at) + 1)))
    loss = 2.3 + fall + 0.05 * np.maximum(0, np.log10(rates) - np.log10(at)) - 0.02 * (rates <= at) * rates / at
    return pd.DataFrame({"lr": rates, "smoothed": loss})


def test_proposed_is_a_tenth_of_the_rate_of_the_lowest_loss_to_two_digits():
    found = proposal(valley(0.1))
    assert found["minimum"] == pytest.approx(0.1, rel=0.5)
    assert found["steepest"] == pytest.approx(0.01, rel=0.2)
    assert found["proposed"] == float(f"{found['minimum'] / 10:.1e}")


def test_a_loss_that_never_fell_is_told():
    rising = pd.DataFrame({"lr": [0.1, 0.2, 0.3], "smoothed": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match=r"the loss never fell .* at a rate of 0.1: lower sweep.options.lowest"):
        proposal(rising)


def test_a_loss_that_still_falls_at_the_end_is_told(caplog):
    proposal(pd.DataFrame({"lr": [0.1, 0.2, 0.3], "smoothed": [3.0, 2.0, 1.0]}))
    assert "still falling at a rate of 0.3: raise sweep.options.highest" in caplog.text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lowest=0", r"sweep.options.lowest=0 should be a number above 0"),
        ("highest=a", r"sweep.options.highest=a should be a number above 0"),
        ("lowest=20.0", r"sweep.options.lowest=20.0 is not below sweep.options.highest=10.0"),
        ("diverged=1.0", r"sweep.options.diverged=1.0 should be above 1"),
        ("window=0", r"sweep.options.window=0 should be a whole number from 1 on"),
        ("steps=59", r"sweep.options.steps=59 should be a whole number, at least 4 times window=15"),
    ],
)
def test_an_option_out_of_range_is_named(config, override, message):
    with pytest.raises(ValueError, match=message):
        sweep(config("sweep=lr_range", f"sweep.options.{override}"))


def test_the_picture_can_be_drawn_again_by_its_own_verb(project, config):
    sweep(config(*TEST))
    (folder() / "curve.png").unlink()
    command = [sys.executable, "-m", "src.visualization.show_lr_range", *FAST, f"run_dir={folder()}"]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    assert (folder() / "curve.png").exists()


def test_a_picture_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"which test\? give run_dir=models/sweeps/lr_range-<id>"):
        show_lr_range(compose(Selection()))
