"""The side of training images is a function of the epoch; evaluations have the one of the input."""

from pathlib import Path

import pytest

from src.layout import RunFolder
from src.models import costs
from src.models.distributed.team import ALONE
from src.models.engine.preparing import prepare
from src.models.recipes.resizing import Sides
from src.models.signals import StopFlag
from src.models.train_model import train_model
from tests.models.ranks import on_ranks, trained
from tests.models.test_resume import assert_equal, results, stopped_after
from tests.models.test_team import VIT

GROWING = ["train.epochs=3", "train.resizing=[{until_epoch: 1, img_size: 8}, {until_epoch: 2, img_size: 10}]"]


def test_each_side_holds_until_its_epoch_and_the_final_one_after():
    sides = Sides(((2, 96), (5, 128)), 160)
    assert [sides.at(epoch) for epoch in range(7)] == [96, 96, 128, 128, 128, 160, 160]
    assert sides.stages(7) == [(0, 2), (2, 3), (5, 2)]
    assert Sides((), 160).stages(7) == [(0, 7)]
    assert Sides((), 160).at(0) == 160


def test_training_images_grow_from_epoch_to_epoch_and_evaluations_have_the_final_side(project, config):
    training = prepare(config(*GROWING))
    seen: list[tuple[bool, int]] = []
    training.state.model.register_forward_pre_hook(
        lambda model, inputs: seen.append((model.training, inputs[0].shape[-1]))
    )
    training.run(StopFlag())
    assert [side for trains, side in seen if trains] == [8] * 6 + [10] * 6 + [12] * 6
    assert {side for trains, side in seen if not trains} == {12}


def test_a_growing_run_that_was_stopped_equals_an_unbroken_one(project, config):
    train_model(config(*GROWING, "run_dir=models/whole"))
    stopped_after(config, *GROWING, "run_dir=models/cut", steps=8)
    train_model(config(*GROWING, "run_dir=models/cut"))
    assert_equal(results(RunFolder(Path("models/whole"))), results(RunFolder(Path("models/cut"))))


def test_several_processes_grow_images_as_one_does(project):
    # patches that are counted anew at each side
    options = "model.options={patch_size: 4, depth: 2, embed_dim: 48, num_heads: 2, dynamic_img_size: true}"
    settings = [*VIT, options, "train.resizing=[{until_epoch: 1, img_size: 8}]", "augment=strong"]
    whole = trained(ALONE, *settings, "run_dir=models/whole")
    rows = on_ranks(2, trained, project, *settings, "run_dir=models/parts")
    for one, other in zip(whole, rows[0], strict=True):
        assert other["train/loss"] == pytest.approx(one["train/loss"], rel=1e-5)


def test_a_network_whose_input_has_a_fixed_size_is_refused(project, config):
    with pytest.raises(
        ValueError,
        match=r"train.resizing: vit_tiny_patch16_224 cannot take images of 8 px \(.*\); .*dynamic_img_size=true",
    ):
        prepare(config(*VIT, "train.resizing=[{until_epoch: 1, img_size: 8}]"))


def test_a_plan_measures_each_side_and_adds_up_their_epochs(project, config, monkeypatch):
    measured = []
    step_seconds = costs.step_seconds

    def watched(state, recipe, split, *, images, steps):
        measured.append(recipe.sides.at(state.epoch))
        step_seconds(state, recipe, split, images=images, steps=steps)
        return float(recipe.sides.at(state.epoch))

    monkeypatch.setattr(costs, "step_seconds", watched)
    monkeypatch.setattr(costs, "evaluation_seconds", lambda *given, **more: 1.0)
    found = costs.measure(config(*GROWING, "run.plan_steps=1"))
    assert measured == [12, 12, 8, 10]
    assert found.epoch_s == 6 * 12 + 1
    assert found.run_s == 6 * (8 + 10 + 12) + 3
