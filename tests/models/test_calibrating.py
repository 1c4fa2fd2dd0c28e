"""What a run writes of calibration into its checkpoints when it has ended."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from src.calibration import calibrate
from src.features.packed import PackedSplit
from src.files import read_json, write_json
from src.layout import PACKED_DIR, RunFolder
from src.models import checkpoint
from src.models.evaluating.calibrating import calibrate_checkpoints
from src.models.runtime import Runtime
from src.models.scoring import split_probs
from src.models.train_model import train_model

CPU = torch.device("cpu")
RUN = RunFolder(Path("models/mine"))


def train(config, *overrides: str) -> None:
    train_model(config(f"run_dir={RUN.path}", *overrides))


def test_each_checkpoint_has_the_temperature_of_its_own_probabilities_on_val(project, config):
    train(config, "train.epochs=3")
    val = PackedSplit.load(PACKED_DIR / "val")
    for which in ("best", "last"):
        trained = checkpoint.load(RUN.checkpoint(which), CPU)
        probs = split_probs(trained.model, val, trained.preprocess, Runtime(CPU, None), batch_size=64)
        assert trained.facts.calibration == calibrate(val.labels, probs).as_tree()


def test_the_weights_are_untouched_and_plain_probabilities_stay(project, config):
    train(config)
    before = checkpoint.load(RUN.checkpoint("best"), CPU)
    calibrate_checkpoints(RUN, PackedSplit.load(PACKED_DIR / "val"), CPU, batch_size=8)
    after = checkpoint.load(RUN.checkpoint("best"), CPU)
    assert after.facts.sha256 == before.facts.sha256
    assert all(torch.equal(before.model.state_dict()[key], value) for key, value in after.model.state_dict().items())


def test_a_run_without_val_says_so_and_has_no_temperature(project, config, caplog):
    shutil.rmtree(PACKED_DIR / "val")
    facts = json.loads((PACKED_DIR / "statistics.json").read_text())
    del facts["counts"]["val"]
    write_json(PACKED_DIR / "statistics.json", facts)
    with caplog.at_level("INFO"):
        train(config)
    found = checkpoint.load_facts(RUN.checkpoint("best"))
    assert found.temperature is None
    assert found.calibration["reason"] == "there is no val split to fit it on"
    assert "no temperature, there is no val split to fit it on" in caplog.text


def test_a_checkpoint_of_before_there_was_a_calibration_still_loads(project, config):
    train(config)
    path = RUN.checkpoint("best") / "model.json"
    content = read_json(path, made_by="")
    del content["calibration"]
    write_json(path, content)
    assert checkpoint.load(RUN.checkpoint("best"), CPU).facts.temperature is None


@pytest.mark.parametrize("which", ["best", "last"])
def test_a_temperature_is_no_part_of_the_weights_that_another_run_starts_from(project, config, which):
    train(config)
    facts = checkpoint.load_facts(RUN.checkpoint(which))
    assert set(facts.calibration) >= {"temperature", "reason", "num_images", "ece_before"}
    train_model(config("run_dir=models/second", f"train.init_from={RUN.checkpoint(which)}"))
