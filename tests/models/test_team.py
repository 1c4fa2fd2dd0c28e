"""Several processes train and score as one would."""

from typing import Any

import pytest

from src.models.distributed.team import ALONE, own_device
from src.models.engine.teamwork import SaveClock
from src.models.signals import StopFlag
from tests.models.ranks import on_ranks, trained

# a net whose output for an image does not depend on the other images of its batch
VIT = [
    "model=timm",
    "model.name=vit_tiny_patch16_224",
    "model.options={patch_size: 4, depth: 2, embed_dim: 48, num_heads: 2}",
    "model.img_size=12",
    "train.epochs=3",
    # no number of processes divides it
    "train.batch_size=19",
    "train.eval_batch_size=4",
    "optimizer.lr=0.002",
    "schedule.warmup_epochs=1.0",
]


@pytest.mark.parametrize("augment", ["none", "strong"])
def test_the_losses_of_every_epoch_are_those_of_one_process(project, augment):
    found = {}
    for world in (1, 2, 4):
        rows = on_ranks(world, trained, project, *VIT, f"augment={augment}", f"run_dir=models/{world}")
        found[world] = [[row[key] for key in ("train/loss", "val/loss", "val/acc")] for row in rows[0]]
    assert len(found[1]) == 3
    for world in (2, 4):
        for one, other in zip(found[1], found[world], strict=True):
            assert other == pytest.approx(one, rel=1e-5)


def scored(team: Any, *overrides: str) -> dict[str, float]:
    """What the evaluation of an untrained net says on this process."""
    from src.models.engine.loop import evaluate
    from src.models.engine.preparing import prepare
    from tests.models.conftest import configured

    training = prepare(configured(*overrides), team)
    return evaluate(training.state.average.model, training.recipe, training.splits["val"], stop=StopFlag())


def test_each_image_is_scored_once_by_any_number_of_processes(project):
    # 30 images in rounds of 7 for each process: no number divides both
    settings = [*VIT, "train.eval_batch_size=7"]
    (one,) = on_ranks(1, scored, project, *settings)
    for world in (2, 3, 4):
        for answer in on_ranks(world, scored, project, *settings, f"run_dir=models/{world}"):
            assert answer["val/acc"] == one["val/acc"]
            assert answer["val/loss"] == pytest.approx(one["val/loss"], rel=1e-6)


@pytest.mark.parametrize("size", [1, 4, 18])
def test_micro_batches_add_up_to_the_whole_batch(project, config, size):
    whole = trained(ALONE, *VIT, "augment=strong", "run_dir=models/whole")
    parts = trained(ALONE, *VIT, "augment=strong", "run_dir=models/parts", f"train.micro_batch_size={size}")
    for one, other in zip(whole, parts, strict=True):
        assert other["train/loss"] == pytest.approx(one["train/loss"], rel=1e-6)
        assert other["val/loss"] == pytest.approx(one["val/loss"], rel=1e-6)


def test_micro_batches_of_several_processes_add_up_to_the_whole_batch(project):
    whole = trained(ALONE, *VIT, "augment=strong", "run_dir=models/whole")
    rows = on_ranks(2, trained, project, *VIT, "augment=strong", "run_dir=models/parts", "train.micro_batch_size=4")
    for one, other in zip(whole, rows[0], strict=True):
        assert other["train/loss"] == pytest.approx(one["train/loss"], rel=1e-5)
        assert other["val/loss"] == pytest.approx(one["val/loss"], rel=1e-5)


PARTS = {
    "what rests at first, lookahead, swa": [
        "train.freeze=[{layers: [backbone], until_epoch: 1}]",
        "optimizer.lookahead={alpha: 0.5, every: 2}",
        *("train=swa", "train.average.options.start=0.3", "train.epochs=3"),
    ],
    "rare classes, ema, adaptive clipping": [
        *("train=ema", "train.average.options.decay=0.9", "train.epochs=3", "train.imbalance=balanced_sampler"),
        "train.clip={name: adaptive, options: {limit: 0.01, floor: 1e-3}}",
        "train.micro_batch_size=4",
    ],
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_a_recipe_act_together_on_several_processes_as_on_one(project, name):
    settings = [*VIT, "augment=strong", *PARTS[name]]
    whole = trained(ALONE, *settings, "run_dir=models/whole")
    rows = on_ranks(2, trained, project, *settings, "run_dir=models/parts")
    for one, other in zip(whole, rows[0], strict=True):
        for key in ("train/loss", "val/loss"):
            assert other[key] == pytest.approx(one[key], rel=1e-5)


def due_at_once(team: Any) -> bool:
    """Whether a state that was not saved yet is due at the first step."""
    clock = SaveClock(team, 60.0)
    team.agree(StopFlag())
    return clock.due()


def test_several_processes_wait_as_long_as_one_before_they_save(tmp_path):
    for world in (1, 2):
        assert on_ranks(world, due_at_once, tmp_path) == [False] * world


def test_a_device_of_one_process_is_refused_to_several():
    with pytest.raises(
        ValueError, match=r"run.device=cuda:0 is one device, and there are several processes|finds none"
    ):
        own_device("cuda:0", local_rank=1)
