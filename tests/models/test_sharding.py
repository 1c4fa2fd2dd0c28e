"""Weights that are parted over the processes are trained as whole ones are, and what is saved of them is whole."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from src.compose import compose
from src.layout import RunFolder
from src.models import checkpoint
from src.models.distributed.sharding import repeated_blocks
from src.models.distributed.team import ALONE
from src.models.engine.resume import ResumeFolder
from src.models.signals import StopFlag
from src.selection import parse
from tests.models.conftest import FAST
from tests.models.ranks import on_ranks, trained
from tests.models.test_team import VIT

SHARDED = "run.sharding=fsdp"


def weights(name: str) -> dict[str, torch.Tensor]:
    return load_file(RunFolder(Path("models") / name).checkpoint("last") / "model.safetensors")


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], *, atol: float) -> None:
    assert one.keys() == other.keys()
    for key, weight in one.items():
        torch.testing.assert_close(other[key], weight, rtol=1e-4, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "further"), [("adamw", ()), ("sgd_nesterov", ("train.gradient_checkpointing=true",))]
)
def test_losses_and_weights_are_those_of_whole_weights(project, optimizer, further):
    settings = [*VIT, "augment=strong", f"optimizer={optimizer}", "optimizer.lr=0.002", *further]
    rows = on_ranks(2, trained, project, *settings, "run_dir=models/whole")
    parted = on_ranks(2, trained, project, *settings, SHARDED, "run_dir=models/parted")
    assert len(rows[0]) == 3
    for one, other in zip(rows[0], parted[0], strict=True):
        for key in ("train/loss", "val/loss", "val/acc"):
            assert other[key] == pytest.approx(one[key], rel=1e-5)
    # AdamW divides by a gradient that is zero but for rounding, that of the keys' bias: only the losses are alike
    if optimizer == "sgd_nesterov":
        close(weights("whole"), weights("parted"), atol=1e-5)


def sizes(team: Any, *overrides: str) -> tuple[int, int]:
    """Numbers that this process keeps of weights and of the optimiser's state after a step, and that there are."""
    from src.models.distributed.sharding import local
    from src.models.engine.preparing import prepare
    from tests.models.conftest import configured

    training = prepare(configured(*overrides, "train.epochs=1", "schedule.warmup_epochs=0.0"), team)
    training.run(StopFlag())
    state = training.state
    state.optimizer.zero_grad()
    kept = [value for entries in state.optimizer.state.values() for value in entries.values() if value.ndim]
    state.model.reshard()
    own = [*state.model.parameters(), *kept]
    return sum(local(value).numel() for value in own), sum(value.numel() for value in own)


def test_each_process_keeps_its_share_of_weights_and_of_the_optimisers_numbers(project):
    answers = on_ranks(2, sizes, project, *VIT, SHARDED, "run_dir=models/parted")
    assert answers[0][1] == answers[1][1]
    assert sum(kept for kept, _ in answers) == answers[0][1]
    for kept, everything in answers:
        assert kept < 0.6 * everything


def test_a_checkpoint_of_parted_weights_is_loaded_by_a_process_alone(project):
    on_ranks(2, trained, project, *VIT, SHARDED, "run_dir=models/parted")
    loaded = checkpoint.load(RunFolder(Path("models/parted")).checkpoint("best"), torch.device("cpu"))
    assert loaded.model(torch.zeros(1, 3, 12, 12)).shape == (1, 3)
    assert not any(isinstance(weight, torch.distributed.tensor.DTensor) for weight in loaded.model.parameters())


def stopped(team: Any, step: int, *overrides: str) -> str:
    """Why a run ended that was asked to stop at a step."""
    from src.models.engine.preparing import prepare
    from tests.models.conftest import configured

    training = prepare(configured(*overrides), team)
    stop = StopFlag()
    before = type(team).agree

    def agree(self: Any, flag: StopFlag) -> str:
        flag.signal = "SIGTERM" if training.state.step >= step else ""
        return before(self, flag)

    type(team).agree = agree
    try:
        return training.run(stop)
    finally:
        type(team).agree = before


@pytest.mark.slow
@pytest.mark.parametrize("then", [2, 3])
def test_a_run_that_was_stopped_goes_on_with_any_number_of_processes(project, then):
    settings = [*VIT, "optimizer=sgd", "optimizer.lr=0.02"]
    on_ranks(2, trained, project, *settings, SHARDED, "run_dir=models/whole")
    answers = on_ranks(2, stopped, project, 7, *settings, SHARDED, "run_dir=models/broken")
    assert answers == ["SIGTERM", "SIGTERM"]
    saved = ResumeFolder(RunFolder(Path("models/broken")).resume).load()
    assert saved is not None
    assert saved["state"]["position"]["step"] == 7
    on_ranks(then, trained, project, *settings, SHARDED, "run_dir=models/broken")
    if then == 2:
        assert all(torch.equal(weights("broken")[key], weight) for key, weight in weights("whole").items())
    close(weights("whole"), weights("broken"), atol=1e-5)


@pytest.mark.slow
def test_a_run_of_parted_weights_goes_on_with_whole_ones_on_one_process(project):
    settings = [*VIT, "optimizer=sgd", "optimizer.lr=0.02"]
    trained(ALONE, *settings, "run_dir=models/whole")
    on_ranks(2, stopped, project, 7, *settings, SHARDED, "run_dir=models/broken")
    trained(ALONE, *settings, "run_dir=models/broken")
    close(weights("whole"), weights("broken"), atol=1e-5)


def refusal(team: Any, *overrides: str) -> str:
    """What is said when the run is prepared."""
    from src.models.engine.preparing import prepare
    from tests.models.conftest import configured

    try:
        prepare(configured(*overrides), team)
    except ValueError as error:
        return str(error)
    return ""


def test_batch_norm_is_refused(project):
    (said, _) = on_ranks(2, refusal, project, *FAST, SHARDED)
    assert "run.sharding=fsdp is for networks without batch norm" in said


def test_a_process_alone_is_refused(project):
    assert "parts the weights over several processes, and this is one alone; set run.devices=2" in refusal(
        ALONE, *VIT, SHARDED
    )


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["optimizer=lamb"], "optimizer.name=lamb"),
        (["optimizer.lookahead={alpha: 0.5, every: 6}"], "optimizer.lookahead"),
        (["train.compile=true"], "train.compile=true"),
        (["train=ema"], "train.average.name=ema"),
        (["train.clip={name: value, options: {limit: 1.0}}"], "train.clip.name=value"),
        (["train.freeze=[{layers: [backbone], until_epoch: 1}]"], "train.freeze"),
        (["train.micro_batch_size=8"], "train.micro_batch_size=8"),
        (["train.precision=fp16"], "train.precision=fp16"),
        (["run.devices=1"], "run.devices=1"),
    ],
)
def test_what_does_not_go_with_it_is_refused_before_anything_starts(overrides, named):
    with pytest.raises(ValueError, match=rf"run\.sharding=fsdp keeps slices of weights.*{named}"):
        compose(parse([SHARDED, *overrides]))


def test_the_innermost_repeated_layers_are_the_blocks():
    block = [nn.Sequential(nn.Linear(2, 2), nn.GELU()) for _ in range(4)]
    stages = nn.Sequential(nn.Sequential(*block[:2]), nn.Sequential(*block[2:]))
    model = nn.Sequential(nn.Conv2d(3, 2, 1), stages, nn.Linear(2, 2))
    assert repeated_blocks(model) == block
    assert repeated_blocks(nn.Linear(2, 2)) == []
