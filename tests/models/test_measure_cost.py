"""What inference costs, measured on a real checkpoint."""

import json
import sys

import pytest
import torch

from src.cost_record import CostRecord
from src.layout import RunFolder
from src.models import checkpoint, inference, runtime
from src.models.inference import macs
from src.models.measure_cost import measure, measure_cost
from src.models.train_model import train_model
from tests.test_docs import compared, dictionary, names_in

FEW = ("compare.cost.seconds=0.01", "compare.cost.batch_sizes=[1,8]", "run.device=cpu")


def test_the_costs_of_a_run_are_written_and_fit_its_checkpoint(project, config, caplog):
    cfg = config("run_dir=models/runs/a", "train.epochs=1", *FEW)
    train_model(cfg)
    measure_cost(cfg, ["a"])
    folder = RunFolder(project / "models/runs/a")
    found = CostRecord.load(folder.cost)
    weights = folder.checkpoint("best") / "model.safetensors"
    assert found.checkpoint == checkpoint.load_facts(folder.checkpoint("best")).sha256
    assert found.checkpoint_bytes == weights.stat().st_size
    assert set(found.throughput) == {"1", "8"}
    assert found.images_per_s == max(found.throughput.values()) == found.throughput[str(found.best_batch)]
    assert found.latency_ms > 0
    assert found.peak_mib > 0
    assert "MACs" in caplog.text or found.macs
    keys = names_in(json.loads(folder.cost.read_text(encoding="utf-8")))
    compared(dictionary("`<run>/cost.json`"), keys)


def test_memory_of_larger_batches_than_the_best_one_is_not_counted(project, config, monkeypatch):
    cfg = config("run_dir=models/runs/a", "train.epochs=1", *FEW)
    train_model(cfg)
    peaks = iter([10.0, 20.0])
    monkeypatch.setattr(runtime.Runtime, "peak_mib", lambda _: next(peaks))
    monkeypatch.setattr(inference, "batch_seconds", lambda *_, images, seconds: float(images**2))
    folder = RunFolder(project / "models/runs/a")
    measure(cfg, folder)
    found = CostRecord.load(folder.cost)
    assert (found.best_batch, found.peak_mib) == (1, 10.0)


def test_multiplications_are_those_counted_by_hand(project, config):
    train_model(config("run_dir=models/runs/a", "train.epochs=1"))
    place = runtime.start(config().run, "fp32")
    trained = checkpoint.load(RunFolder(project / "models/runs/a").checkpoint("best"), torch.device("cpu"))
    counted = 0

    def count(layer, inputs, output):
        nonlocal counted
        if isinstance(layer, torch.nn.Conv2d):
            kernel = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
            counted += output.numel() * kernel
        if isinstance(layer, torch.nn.Linear):
            counted += layer.in_features * layer.out_features

    for layer in trained.model.modules():
        layer.register_forward_hook(count)
    assert macs(trained, place) == counted > 0


def test_a_run_without_weights_and_a_record_of_another_version_are_named(project, config):
    with pytest.raises(ValueError, match=r"holds no checkpoint; train one with: make train"):
        measure(config(*FEW), RunFolder(project / "models/runs/none"))
    (project / "cost.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"cost.json differs in .*run measure_cost again"):
        CostRecord.load(project / "cost.json")


@pytest.mark.slow
def test_several_runs_are_measured_in_processes_of_their_own(project, config, monkeypatch, capfd):
    for name in ("a", "b", "c"):
        train_model(config(f"run_dir=models/runs/{name}", "train.epochs=1"))
    for which in ("best", "last"):
        (RunFolder(project / "models/runs/b").checkpoint(which) / "model.safetensors").unlink()
    monkeypatch.setattr(sys, "argv", ["measure_cost", "models/runs", *FEW])
    monkeypatch.setenv("PYTHONPATH", str(runtime.__file__).partition("/src/")[0])
    with pytest.raises(ValueError, match=r"1 of 3 could not be measured \(models/runs/b\): the reasons stand above"):
        measure_cost(config(*FEW), ["models/runs"])
    assert "model.safetensors does not exist" in capfd.readouterr().err
    written = sorted(path.parent.name for path in project.glob("models/runs/*/cost.json"))
    assert written == ["a", "c"]
