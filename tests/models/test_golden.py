"""Ten losses of a seeded run, so that a change of what training computes cannot go unseen."""

import pytest

from src.models.engine.preparing import prepare
from src.models.signals import StopFlag

GOLDEN = [1.1005291, 1.0974179, 1.0948856, 1.0814317, 1.0804732, 1.0684214, 1.0557582, 1.0545373, 1.0513021, 1.0639058]
BATCH = 19
RUN = [
    f"train.batch_size={BATCH}",
    "train.seed=7",
    "train.precision=fp32",
    "train.average.name=ema",
    "train.average.options.decay=0.9",
    "augment=strong",
    "schedule.warmup_epochs=0.5",
    "model.options.dropout=0.0",
    "run.device=cpu",
]


def step_losses(config, *overrides: str) -> list[float]:
    """The mean training loss of each step of a run."""
    training = prepare(config(*RUN, *overrides))
    sums = {}
    training._save_if_due = lambda state: sums.setdefault(state.step, (state.batch, float(state.tally.loss)))
    training.run(StopFlag())
    # the sums begin anew with each epoch
    before = [0.0, *(total for _, total in sums.values())]
    return [
        (total - (last if batch > 1 else 0.0)) / BATCH
        for last, (batch, total) in zip(before, sums.values(), strict=False)
    ]


def test_ten_losses_of_a_seeded_run_are_as_ever(project, config):
    assert step_losses(config) == pytest.approx(GOLDEN, rel=1e-6)


def test_another_rate_gives_other_losses(project, config):
    assert step_losses(config, "optimizer.lr=0.0021")[-1] != pytest.approx(GOLDEN[-1], rel=1e-6)
