"""A gradient that is not finite changes no weights; a run that has no other ends and says where."""

import pytest
import torch
from torch import nn

from src.features.packed import PackedSplit
from src.layout import PACKED_DIR
from src.models.engine import loop
from src.models.engine.nonfinite import Guard
from src.models.engine.preparing import prepare
from src.models.signals import StopFlag

SGD = ["optimizer=sgd", "optimizer.name=momentum", "optimizer.options.momentum=0.0", "optimizer.weight_decay=0.0"]


def spoilt(loss, *, steps):
    """The loss, no number in the steps named, counted from 0."""
    calls = iter(range(10**6))
    return lambda logits, targets: loss(logits, targets) * (float("nan") if next(calls) in steps else 1.0)


def with_loss(training, *, steps):
    object.__setattr__(training.recipe, "loss", spoilt(training.recipe.loss, steps=steps))


def test_a_step_without_a_finite_gradient_leaves_the_weights_alone_and_the_next_one_moves_them(project, config):
    training = prepare(config(*SGD, "schedule=constant"))
    with_loss(training, steps={0})
    split = PackedSplit.load(PACKED_DIR / "train")
    before = [weight.detach().clone() for weight in training.state.model.parameters()]
    moved = []
    for batch in loop.load(split, [torch.arange(16).numpy()] * 2, torch.device("cpu")):
        loop.train_step(training.state, training.recipe, batch)
        weights = list(training.state.model.parameters())
        moved.append(any(not torch.equal(one, other) for one, other in zip(before, weights, strict=True)))
    assert moved == [False, True]


def test_a_few_such_steps_are_told_and_the_loss_is_that_of_the_others(project, config, caplog):
    training = prepare(config("train.epochs=1", "train.max_skipped=3"))
    with_loss(training, steps={1, 2, 4})
    training.run(StopFlag())
    assert "the loss of 48 of 96 images was not finite and is left out" in caplog.text
    assert 0.5 < training.rows[0]["train/loss"] < 1.5


def test_many_in_a_row_end_the_run_with_step_rate_and_images(project, config):
    rate = ("schedule=constant", "optimizer.lr=0.001", "train.rollback.times=0")
    training = prepare(config("train.epochs=2", "train.max_skipped=3", *rate))
    with_loss(training, steps=set(range(2, 100)))
    with pytest.raises(
        ValueError,
        match=r"not finite in 4 steps in a row \(train.max_skipped=3\), last in step 6 \(rate 0.001, images train/",
    ):
        training.run(StopFlag())


def test_one_bad_value_spoils_the_gradient_as_a_whole():
    weights = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(1))]
    weights[0].grad, weights[1].grad = torch.ones(2), torch.tensor([1.0, float("inf"), 1.0])
    guard = Guard()
    guard.keep_out(weights)
    assert not weights[0].grad.any()
    assert not weights[1].grad.any()
    assert int(guard.in_a_row) == 1
    weights[1].grad = torch.ones(3)
    guard.keep_out(weights)
    assert weights[1].grad.tolist() == [1.0] * 3
    assert int(guard.in_a_row) == 0
