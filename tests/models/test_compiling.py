"""A network is compiled as asked for, or where it pays; the names saved stay clean, and what fails is told."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from src.layout import RunFolder
from src.models.engine.compiling import worth_it
from src.models.engine.preparing import prepare
from src.models.signals import StopFlag
from src.models.train_model import train_model


def weights(name: str) -> dict[str, torch.Tensor]:
    return load_file(RunFolder(Path("models", name)).checkpoint("last") / "model.safetensors")


@pytest.mark.parametrize(
    ("step_s", "steps_left", "pays"), [(0.1, 1000, False), (1.0, 1000, True), (1.0, 300, False), (1.0, 301, True)]
)
def test_compiling_pays_where_what_it_usually_saves_is_more_than_it_usually_takes(step_s, steps_left, pays):
    reason = worth_it(step_s, steps_left=steps_left, gain=0.2, compile_s=60.0)
    assert (reason == "") == pays
    if not pays:
        assert f"{steps_left} steps of {step_s:.3f} s are left, of which it usually saves 20%" in reason


def test_a_short_run_is_not_compiled_and_says_why_in_one_line(project, config, caplog):
    caplog.set_level("INFO", logger="src.models.engine.compiling")
    train_model(config("train.compile=auto", "run_dir=models/auto"))
    train_model(config("run_dir=models/plain"))
    assert caplog.text.count("not compiled: 12 steps of") == 1
    one, other = (weights(name) for name in ("auto", "plain"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_without_a_compiler_the_run_goes_on_uncompiled_and_says_what_is_needed(project, config, caplog, monkeypatch):
    from torch._inductor import config as inductor

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(project / "cache"))
    training = prepare(config("train.compile=true", "train.epochs=1", "run_dir=models/plain"))
    with inductor.patch({"cpp.cxx": ("no-such-compiler",)}):
        assert training.run(StopFlag()) == "finished"
    torch._dynamo.reset()
    assert caplog.text.count("the network is not compiled (") == 1
    assert "a CPU needs a C++ compiler (g++" in caplog.text
    assert json.loads(Path("models/plain/train/run.json").read_text())["facts"]["compiled"] is False


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_compiled_run_learns_alike_and_its_weights_have_the_names_of_an_uncompiled_one(project, config, caplog):
    caplog.set_level("INFO", logger="src.models.engine.compiling")
    # no dropout, which draws other numbers there, and an optimiser that does not turn rounding into steps
    settings = ["optimizer=sgd", "optimizer.lr=0.01", "model.options.dropout=0.0"]
    plain = prepare(config(*settings, "run_dir=models/plain"))
    plain.run(StopFlag())
    training = prepare(config(*settings, "train.compile=true", "run_dir=models/compiled"))
    training.run(StopFlag())
    assert training.state.compiled is True
    assert hasattr(training.state.forward, "_orig_mod")
    assert "compiled: compiling took" in caplog.text
    one, other = (weights(name) for name in ("plain", "compiled"))
    assert one.keys() == other.keys()
    assert max(float((one[key] - other[key]).abs().max()) for key in one) < 1e-3
    for before, after in zip(plain.rows, training.rows, strict=True):
        assert after["train/loss"] == pytest.approx(before["train/loss"], rel=1e-3)
