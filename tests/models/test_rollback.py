"""A run whose numbers are no longer finite goes back to its last good epoch, learns on at a lower rate, or ends."""

import json
from pathlib import Path

import pytest
import torch

from src.layout import RunFolder
from src.metrics_log import read_metrics
from src.models.engine.preparing import prepare
from src.models.signals import StopFlag
from src.models.train_model import train_model
from tests.models.conftest import configured
from tests.models.ranks import on_ranks
from tests.models.test_resume import assert_equal, results, stopped_after

# the rate is one at which weights overflow in the first step, and its second lowering one at which the net learns
EXPLODING = [
    *("optimizer=sgd", "optimizer.lr=1e30", "schedule=constant", "train.clip=null", "train.max_skipped=2"),
    *("train.rollback={times: 2, factor: 1e-16}", "optimizer.weight_decay=0.0", "train.epochs=3"),
]
# two good epochs, then a rate that makes weights overflow: two returns bring it down again
LATE = [
    *("optimizer=sgd", "optimizer.lr=0.01", "schedule=step", "schedule.warmup_epochs=0.0", "train.clip=null"),
    *("train.max_skipped=2", "train.rollback={times: 2, factor: 1e-10}", "optimizer.weight_decay=0.0"),
    *("schedule.options={at: [0.5], factor: 1e20}", "train.epochs=4"),
]


def record(folder: str) -> dict:
    return json.loads(Path(folder, "train/run.json").read_text())


def test_a_run_whose_rate_makes_weights_overflow_learns_at_a_lower_one_and_says_so_once(project, config, caplog):
    train_model(config(*EXPLODING, "run_dir=models/saved"))
    rows = read_metrics(RunFolder(Path("models/saved")).metrics_log)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["val/acc"] > 0.5
    assert rows[-1]["lr"] == pytest.approx(0.01)
    assert record("models/saved")["facts"]["rollbacks"] == 2
    told = [line.getMessage() for line in caplog.records if "train.rollback" in line.getMessage()]
    assert len(told) == 2
    assert "back by 4 steps to the end of epoch 0 (step 0), and on with the rate times 1e-16" in told[0]
    assert "(there 1e+30 -> 1e+14), return 1 of at most 2" in told[0]
    assert "return 2 of at most 2" in told[1]


def test_it_goes_back_to_the_end_of_the_last_good_epoch_and_keeps_what_was_learnt_until_then(project, config, caplog):
    train_model(config(*LATE, "train.epochs=2", "schedule.options.factor=1.0", "run_dir=models/half"))
    train_model(config(*LATE, "run_dir=models/late"))
    half, late = (read_metrics(RunFolder(Path("models", name)).metrics_log) for name in ("half", "late"))
    assert [row["epoch"] for row in late] == [1, 2, 3, 4]
    assert [row["train/loss"] for row in late[:2]] == [row["train/loss"] for row in half]
    assert caplog.text.count("to the end of epoch 2 (step 12)") == record("models/late")["facts"]["rollbacks"] == 2
    assert late[-1]["train/loss"] < half[-1]["train/loss"]


@pytest.mark.parametrize("steps", [1, 3, 9])
def test_a_run_stopped_around_a_return_equals_an_unbroken_one(project, config, steps):
    settings = [*EXPLODING, "augment=strong", "model.options.dropout=0.2", "train=ema", "train.epochs=3"]
    train_model(config(*settings, "run_dir=models/whole"))
    stopped_after(config, *settings, "run_dir=models/cut", steps=steps)
    train_model(config(*settings, "run_dir=models/cut"))
    assert_equal(results(RunFolder(Path("models/whole"))), results(RunFolder(Path("models/cut"))))
    assert record("models/whole")["facts"]["rollbacks"] == record("models/cut")["facts"]["rollbacks"] == 2


def test_returns_that_do_not_help_end_in_an_error_with_step_rate_and_images(project, config):
    with pytest.raises(
        ValueError,
        match=r"not finite in 3 steps in a row \(train.max_skipped=2\), last in step 4 \(rate 2.5e\+29, images "
        r"train/.*\) after 2 returns to a good epoch \(train.rollback.times\): lower optimizer.lr, set train.clip",
    ):
        train_model(config(*EXPLODING, "train.rollback={times: 2, factor: 0.5}"))


def test_a_loss_that_is_not_finite_at_the_end_of_an_epoch_goes_back_too(project, config, caplog):
    train_model(config(*EXPLODING, "train.max_skipped=100", "run_dir=models/saved"))
    assert record("models/saved")["facts"]["rollbacks"] == 2
    assert "the validation loss is nan after epoch 1, at step 6 (rate 1e+30): back by 6 steps" in caplog.text


def test_an_evaluation_that_stays_without_a_finite_loss_ends_the_run(project, config):
    ends = r"validation loss is nan after epoch 1, at step 6 \(rate .*\) after 1 return to a good epoch .*: lower optim"
    with pytest.raises(ValueError, match=ends):
        train_model(config(*EXPLODING, "train.max_skipped=100", "train.rollback={times: 1, factor: 0.5}"))


def test_without_a_single_known_loss_in_an_epoch_the_error_says_where_it_was(project, config):
    training = prepare(config(*EXPLODING, "train.max_skipped=100", "train.rollback.times=0"))
    spoil = training.recipe.loss
    object.__setattr__(training.recipe, "loss", lambda logits, targets: spoil(logits, targets) * float("nan"))
    with pytest.raises(ValueError, match=r"loss is nan in epoch 1, last in step 6 \(rate 1e\+30, images train/.*lower"):
        training.run(StopFlag())


def ranks_of(team, *overrides: str) -> tuple[int, list[float]]:
    training = prepare(configured(*overrides), team)
    training.run(StopFlag())
    weights = [float(weight.detach().double().sum()) for weight in training.state.model.parameters()]
    return training.state.rollbacks, weights


def test_several_processes_go_back_together_and_stay_alike(project):
    first, second = on_ranks(2, ranks_of, project, *EXPLODING)
    assert first == second
    assert first[0] == 2


def test_what_is_kept_is_a_copy_that_training_does_not_touch(project, config):
    training = prepare(config("optimizer=adamw"))
    state = training.state
    training.run(StopFlag())
    before = {name: tensor.clone() for name, tensor in state.good["model"].items()}
    state.go_back()
    moments = [entry["exp_avg"] for entry in state.optimizer.state.values()]
    kept = [entry["exp_avg"].clone() for entry in state.good["optimizer"]["state"].values()]
    for tensor in [*moments, *state.model.parameters()]:
        tensor.detach().add_(1.0)
    assert all(torch.equal(before[name], state.good["model"][name]) for name in before)
    left = [entry["exp_avg"] for entry in state.good["optimizer"]["state"].values()]
    assert all(torch.equal(one, other) for one, other in zip(kept, left, strict=True))
