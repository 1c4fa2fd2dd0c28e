import copy
import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from src.compose import compose
from src.features.inputs import model_input, unit_images
from src.features.loader import epoch_batches, load
from src.features.packed import PackedSplit
from src.layout import PACKED_DIR, RunFolder
from src.models.engine.loop import show
from src.models.engine.preparing import prepare
from src.models.recipes.averages import AVERAGES, start_average
from src.models.signals import StopFlag
from src.models.train_model import train_model
from src.schema import Component
from src.selection import Selection
from tests.models.test_resume import assert_equal, results, stopped_after

OPTIONS = {"none": {}, "ema": {"decay": 0.9}, "swa": {"start": 0.5, "batches": 4}}
EPOCHS, EPOCH_STEPS = 4, 3


def average(model: nn.Module, name: str, **options):
    cfg = compose(Selection()).train
    component = Component(name=name, options=OPTIONS[name] | options)
    return start_average(model, replace(cfg, epochs=EPOCHS, average=component), total_steps=EPOCHS * EPOCH_STEPS)


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 100, 3))


def wander(model: nn.Module, step: int) -> None:
    """Other weights, the same for the same step."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)


def equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


def shown(model: nn.Module, most: int) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(most):
            model(torch.randn(8, 3, 12, 12, generator=generator))


def test_every_entry_of_the_table_is_tested():
    assert set(OPTIONS) == set(AVERAGES)


@pytest.mark.parametrize("name", AVERAGES)
def test_every_average_goes_on_from_its_saved_state_bit_for_bit(name):
    model = net()
    unbroken = average(model, name)
    for step in range(8):
        wander(model, step)
        unbroken.update(model, step)
    unbroken.settle(shown)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "average": unbroken.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = net(seed=1)
    resumed = average(again, name)
    again.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["average"])
    assert equal(unbroken.model, resumed.model)
    for step in range(8, 12):
        wander(model, step)
        unbroken.update(model, step)
        wander(again, step)
        resumed.update(again, step)
    for each in (unbroken, resumed):
        each.settle(shown)
    assert equal(unbroken.model, resumed.model)


@pytest.mark.parametrize("name", AVERAGES)
def test_no_average_touches_the_trained_weights_or_takes_random_numbers(name):
    model = net()
    kept = copy.deepcopy(model)
    made = average(model, name)
    before = torch.get_rng_state()
    for step in range(EPOCHS * EPOCH_STEPS):
        made.update(model, step)
    if made.model is not model:
        made.settle(shown)
    assert equal(model, kept)
    assert torch.equal(before, torch.get_rng_state())


def test_swa_is_the_trained_network_until_its_start_and_the_mean_of_epoch_ends_after():
    model = net()
    made = average(model, "swa")
    theirs = AveragedModel(model)
    for step in range(EPOCHS * EPOCH_STEPS):
        wander(model, step)
        made.update(model, step)
        if step in (8, 11):
            theirs.update_parameters(model)
        assert (made.model is model) == (step < 8)
    for mean, weight in zip(made.model.parameters(), theirs.module.parameters(), strict=True):
        assert torch.allclose(mean, weight, atol=1e-6)


def test_statistics_of_the_mean_equal_those_that_torch_estimates():
    model = net()
    made = average(model, "swa", start=0.0, batches=5)
    for step in range(6):
        wander(model, step)
        made.update(model, step)
    theirs = copy.deepcopy(made.model)
    generator = torch.Generator().manual_seed(0)
    update_bn([torch.randn(8, 3, 12, 12, generator=generator) for _ in range(5)], theirs)
    stale = made.model[1].running_mean.clone()
    made.settle(shown)
    assert not torch.equal(made.model[1].running_mean, stale)
    assert torch.equal(made.model[1].running_mean, theirs[1].running_mean)
    assert torch.equal(made.model[1].running_var, theirs[1].running_var)
    assert not any(part.training for part in made.model.modules())
    assert made.model[1].momentum == model[1].momentum


def test_statistics_that_training_keeps_are_kept_by_the_mean():
    model = net()
    made = average(model, "swa", start=0.0)
    model[1].eval()
    model[1].running_mean.fill_(0.25)
    for step in range(EPOCH_STEPS):
        wander(model, step)
        made.update(model, step)
    made.settle(shown)
    assert made.model is not model
    assert torch.equal(made.model[1].running_mean, model[1].running_mean)


def test_statistics_are_estimated_on_train_images_as_an_evaluation_sees_them(project, config):
    training = prepare(config("train=swa", "train.average.options.start=0.0", "augment=strong", "train.epochs=1"))
    training.run(StopFlag())
    recipe, split = training.recipe, training.splits["train"]
    plan = epoch_batches(len(split), batch_size=16, seed=0, epoch=0)
    means = []
    first = training.state.average.model.features[0]
    batch_norm = next(part for part in training.state.average.model.modules() if isinstance(part, nn.BatchNorm2d))
    conv = next(part for part in first.modules() if isinstance(part, nn.Conv2d)) if list(first.children()) else first
    for batch in load(split, plan, recipe.runtime.device):
        means.append(conv(model_input(unit_images(batch.images), recipe.preprocess)).mean(dim=(0, 2, 3)))
    assert torch.allclose(batch_norm.running_mean, torch.stack(means).mean(dim=0), atol=1e-5)


def test_no_more_batches_than_asked_for_are_shown(project, config):
    recipe = prepare(config()).recipe
    seen = []
    model = nn.Identity()
    model.register_forward_hook(lambda *_: seen.append(1))
    show(recipe, PackedSplit.load(PACKED_DIR / "train"), 0, model, 3)
    assert len(seen) == 3


def test_a_swa_run_that_is_cut_equals_an_unbroken_one(project, config):
    settings = ["train=swa", "train.average.options.start=0.25", "train.epochs=4", "augment=strong"]
    train_model(config(*settings, "run_dir=models/whole"))
    stopped_after(config, *settings, "run_dir=models/cut", steps=15)
    train_model(config(*settings, "run_dir=models/cut"))
    stopped_after(config, *settings, "run_dir=models/evaluated", steps=18)
    train_model(config(*settings, "run_dir=models/evaluated"))
    whole = results(RunFolder(Path("models/whole")))
    assert_equal(whole, results(RunFolder(Path("models/cut"))))
    assert_equal(whole, results(RunFolder(Path("models/evaluated"))))
    train_model(config("train.epochs=4", "augment=strong", "run_dir=models/plain"))
    plain = load_file(RunFolder(Path("models/plain")).checkpoint("last") / "model.safetensors")
    assert not torch.equal(plain["head.weight"], whole["weights"]["last"]["head.weight"])


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (Component(name="emma", options={}), r"train.average.name=emma is unknown; did you mean ema"),
        (Component(name="ema", options={}), r"train.average.options: ema needs decay"),
        (
            Component(name="ema", options={"decay": 1.0}),
            r"train.average.options.decay=1.0 should be above 0 and below 1",
        ),
        (Component(name="ema", options={"decay": "high"}), r"train.average.options.decay=high should be above 0"),
        (Component(name="none", options={"decay": 0.9}), r"train.average.options.decay: none takes no decay"),
        (
            Component(name="swa", options={"start": 1.0, "batches": 1}),
            r"train.average.options.start=1.0 should be at least 0 and below 1",
        ),
        (
            Component(name="swa", options={"start": 0.5, "batches": 0}),
            r"train.average.options.batches=0 should be a whole number from 1 on",
        ),
    ],
)
def test_a_wrong_average_is_one_sentence_that_names_it(component, message):
    cfg = replace(compose(Selection()).train, average=component)
    with pytest.raises(ValueError, match=message):
        start_average(net(), cfg, total_steps=12)
