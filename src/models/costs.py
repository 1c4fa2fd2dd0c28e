"""What a run costs, from a few of its steps: memory, images/s, and the time of an epoch and of the whole."""

import logging
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import psutil
import torch

from src.config import Config
from src.features.backbones import num_params
from src.features.loader import Batch, all_batches, load, steps_per_epoch
from src.features.packed import PackedSplit
from src.models.distributed.team import ALONE
from src.models.engine.loop import ready, train_step
from src.models.engine.memory import pass_size
from src.models.engine.preparing import build_network, build_recipe, ground_of, start_state
from src.models.engine.recipe import Recipe
from src.models.engine.rollback import keep_good
from src.models.engine.state import TrainState
from src.models.runtime import MIB, seed_everything
from src.models.scoring import score

log = logging.getLogger(__name__)

# a batch norm needs more than one image
LEAST = 2


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Costs of a run on one device.

    `largest_batch` is the most images that fit in a pass, no more than there are to train on: on a GPU tried, on a CPU
    estimated (`estimated`); None where it cannot be told. `peak_mib` is memory with the run's own batch, of the GPU or
    of the process; `epoch_s` is that of an epoch with images of the
    final size, the evaluation in it.
    """

    num_params: int
    batch_size: int
    micro_batch_size: int
    largest_batch: int | None
    estimated: bool
    peak_mib: float
    images_per_s: float
    epoch_s: float
    run_s: float


def measure(cfg: Config) -> Costs:
    """The costs of the run, after `run.plan_steps` steps of it.

    Raises:
        ValueError: a setting that cannot be met, or packed data that is absent or was made with others.
    """
    ground = ground_of(cfg, ALONE)
    seed_everything(cfg.train.seed)
    model = build_network(cfg, ground)
    recipe = build_recipe(cfg, ground, model)
    state = start_state(cfg, ground, recipe, model)
    keep_good(state, recipe)
    *early, (state.epoch, last_epochs) = recipe.sides.stages(recipe.epochs)
    ready(state, recipe)
    train = ground.splits["train"]
    images = min(recipe.batch_size, len(train))
    asked = pass_size(state, num_images=images, asked=recipe.micro_batch_size)
    few = min(asked, max(LEAST, asked // 4))
    step_seconds(state, recipe, train, images=few, steps=1)
    before = recipe.runtime.peak_mib()
    step_s = step_seconds(state, recipe, train, images=images, steps=cfg.run.plan_steps)
    peak_mib = recipe.runtime.peak_mib()
    fitting = pass_size(state, num_images=images, asked=recipe.micro_batch_size)
    is_gpu = recipe.runtime.device.type == "cuda"
    if is_gpu or fitting < asked:
        largest: int | None = largest_tried(state, recipe, train, first=fitting)
    else:
        largest = largest_estimated(fitting, peak_mib, per_image=(peak_mib - before) / max(1, asked - few))
    scoring_s = evaluation_seconds(state, recipe, ground.splits.get("val"), steps=cfg.run.plan_steps)
    epoch_steps = steps_per_epoch(len(train), recipe.batch_size)
    epoch_s = epoch_steps * step_s + scoring_s
    run_s = epoch_s * last_epochs
    for state.epoch, epochs in early:
        early_s = step_seconds(state, recipe, train, images=images, steps=cfg.run.plan_steps)
        run_s += (epoch_steps * early_s + scoring_s) * epochs
    return Costs(
        num_params=num_params(model),
        batch_size=images,
        micro_batch_size=fitting,
        largest_batch=largest and min(largest, len(train)),
        estimated=not is_gpu,
        peak_mib=round(peak_mib, 1),
        images_per_s=round(images / step_s, 1),
        epoch_s=epoch_s,
        run_s=run_s,
    )


def step_seconds(state: TrainState, recipe: Recipe, split: PackedSplit, *, images: int, steps: int) -> float:
    """Median seconds of a training step of so many images, after one to warm up."""
    order = np.concatenate(recipe.plan(split, state.epoch))
    plan = list(np.resize(order, (steps + 1, images)))
    batches = load(split, plan, recipe.runtime.device)
    return _median_seconds(batches, partial(train_step, state, recipe), recipe.runtime.device)


def evaluation_seconds(state: TrainState, recipe: Recipe, split: PackedSplit | None, *, steps: int) -> float:
    """Seconds that scoring the whole split takes, by the median of some batches; 0 where there is none."""
    if split is None:
        return 0.0
    first = all_batches(len(split), batch_size=recipe.eval_batch_size)[0]
    batches = load(split, [first] * (steps + 1), recipe.runtime.device)

    def scored(batch: Batch) -> None:
        score(state.average.model, batch.images, recipe.preprocess, recipe.runtime)

    return _median_seconds(batches, scored, recipe.runtime.device) * len(split) / len(first)


def largest_tried(state: TrainState, recipe: Recipe, split: PackedSplit, *, first: int) -> int:
    """The most images in a pass that were found to fit: `first`, doubled until memory or the split is used up."""
    whole = replace(recipe, micro_batch_size=None)
    fits = first
    while state.fitting is None and fits * 2 <= len(split):
        step_seconds(state, whole, split, images=fits * 2, steps=1)
        fits = pass_size(state, num_images=fits * 2, asked=None)
    return fits


def largest_estimated(images: int, peak_mib: float, *, per_image: float) -> int | None:
    """How many images fit into what memory is free, if each takes as many MiB more; None where that is not known."""
    if per_image <= 0:
        log.info("a pass of %d images is too small to tell how much memory an image takes", images)
        return None
    free = psutil.virtual_memory().available + psutil.Process().memory_info().rss
    return max(images, images + int((free / MIB - peak_mib) / per_image))


def _median_seconds(batches: Iterable[Batch], action: Callable[[Batch], None], device: torch.device) -> float:
    """Median seconds from the end of one batch to that of the next, loading included."""
    ends = []
    for batch in batches:
        action(batch)
        wait(device)
        ends.append(time.perf_counter())
    return statistics.median(np.diff(ends))


def wait(device: torch.device) -> None:
    """Return once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
