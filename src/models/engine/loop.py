"""The training algorithm: a step, an epoch, an evaluation, and the run they add up to."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from src.features.draws import AGAIN
from src.features.inputs import model_input, unit_images
from src.features.loader import Batch, all_batches, epoch_batches, load, load_parts, part_of, steps_per_epoch
from src.features.packed import PackedSplit
from src.logs import progress
from src.models.distributed.sharding import is_sharded
from src.models.engine.compiling import Trial, is_shown, settle_compiling, show_view
from src.models.engine.memory import within_memory
from src.models.engine.nonfinite import NotFiniteError
from src.models.engine.recipe import Recipe
from src.models.engine.rollback import check_scored, go_back, keep_good
from src.models.engine.state import TrainState
from src.models.engine.tally import Tally
from src.models.engine.waiting import Timed
from src.models.recipes.freezing import tell_trained
from src.models.recipes.losses import one_hot
from src.models.recipes.optimizers import set_lr
from src.models.scoring import score
from src.models.signals import StopFlag

log = logging.getLogger(__name__)

Metrics = dict[str, float]


@dataclass(frozen=True)
class Hooks:
    """What is told of a run while it goes on: after each step, and after each epoch with its metrics and if best.

    All processes are told the same at the same moment, so that a hook may be a meeting of theirs.
    """

    on_step: Callable[[TrainState], None]
    on_epoch: Callable[[TrainState, Metrics, bool], None]


def fit(state: TrainState, recipe: Recipe, *, splits: dict[str, PackedSplit], hooks: Hooks, stop: StopFlag) -> str:
    """Why training stopped: `finished`, `patience` or the name of a signal; the state is trained in place.

    Goes on from wherever the state stands. A signal ends it at the next step, or in the middle of an evaluation,
    which is then made again. Where several processes train, all of them stop at the same step.

    Raises:
        ValueError: the numbers are no longer finite, and `train.rollback` is used up.
    """
    train = splits["train"]
    per_epoch, images = steps_per_epoch(len(train), recipe.batch_size), min(recipe.batch_size, len(train))
    whole = recipe.epochs * per_epoch * images
    if state.good is None:
        keep_good(state, recipe)
    with progress(what="train", total=whole, initial=state.step * images, shown=recipe.team.leads) as bar:
        while state.epoch < recipe.epochs:
            try:
                metrics = run_epoch(state, recipe, splits, advance=bar.update, stop=stop, on_step=hooks.on_step)
            except NotFiniteError as found:
                go_back(state, recipe, found)
                bar.update(state.step * images - bar.n)
                continue
            if signal := recipe.team.agree(stop):
                return signal
            state.end_epoch()
            metrics["epoch"] = state.epoch
            is_best = state.is_best(metrics)
            keep_good(state, recipe)
            hooks.on_epoch(state, metrics, is_best)
            if recipe.patience is not None and state.epochs_without_gain >= recipe.patience:
                log.info("no better val/acc for %d epochs: stopped early", recipe.patience)
                return "patience"
    return "finished"


def run_epoch(
    state: TrainState,
    recipe: Recipe,
    splits: dict[str, PackedSplit],
    *,
    advance: Callable[[int], object],
    stop: StopFlag,
    on_step: Callable[[TrainState], None],
) -> Metrics:
    """Metrics of what is left of an epoch, its evaluation included; of a part of them once a stop is asked for.

    Raises:
        NotFiniteError: they are no longer finite.
    """
    train, val = splits["train"], splits.get("val")
    metrics = train_epoch(state, recipe, train, advance=advance, stop=stop, on_step=on_step)
    if not (signal := recipe.team.agree(stop)):
        state.average.settle(partial(show, recipe, train, state.epoch))
    if val is not None and not signal:
        metrics |= evaluate(state.average.model, recipe, val, stop=stop)
        if not recipe.team.agree(stop):
            check_scored(state, recipe, metrics)
    return metrics


def train_epoch(
    state: TrainState,
    recipe: Recipe,
    split: PackedSplit,
    *,
    advance: Callable[[int], object],
    stop: StopFlag,
    on_step: Callable[[TrainState], None],
) -> Metrics:
    """Loss, accuracy, rate, speed and waits of what is left of a pass over the split; ends early when asked to stop.

    Raises:
        NotFiniteError: gradients or losses are no longer finite.
    """
    ready(state, recipe)
    began, begun, seen = time.perf_counter(), state.batch, 0
    team = recipe.team
    plan = recipe.plan(split, state.epoch)
    if state.compiled is None and recipe.compile is not False and plan[begun:]:
        settle_view(state, recipe, split, plan)
    batches = Timed(load_parts(split, plan[begun:], recipe.runtime.device, rank=team.rank, world=team.world))
    for batch in batches:
        if team.agree(stop):
            break
        train_step(state, recipe, batch)
        seen += batch.num_global
        advance(batch.num_global)
        check_finite(state, recipe, split, plan[state.batch - 1])
        on_step(state)
    whole = state.tally.whole(team)
    metrics = whole.means("train")
    if whole.unknown and team.leads:
        log.warning("the loss of %d of %d images was not finite and is left out", whole.unknown, whole.images)
    if state.batch == len(plan) and not math.isfinite(metrics["train/loss"]):
        raise NotFiniteError(
            f"the training loss is {metrics['train/loss']} in epoch {state.epoch + 1}, "
            f"last in {last_step(state, recipe, split, plan[-1])}"
        )
    measured = {"images_per_s": seen / (time.perf_counter() - began), "train/wait_share": batches.share(since=began)}
    return metrics | {"lr": recipe.rate(state.step - 1, rollbacks=state.rollbacks)} | measured


def settle_view(state: TrainState, recipe: Recipe, split: PackedSplit, plan: list[np.ndarray]) -> None:
    """Decide, by the next batch, whether the network is compiled for the rest of the run. A meeting."""
    team, device = recipe.team, recipe.runtime.device
    (batch,) = load_parts(split, plan[state.batch : state.batch + 1], device, rank=team.rank, world=team.world)
    trial = Trial(state, recipe, partial(add_gradients, state, recipe, batch), len(batch.labels) - batch.lead)
    settle_compiling(trial, steps_left=recipe.epochs * len(plan) - state.step)


def check_finite(state: TrainState, recipe: Recipe, split: PackedSplit, draws: np.ndarray) -> None:
    """Nothing, unless gradients are no longer finite: looked at once in `train.max_skipped` steps, as it must wait.

    Raises:
        NotFiniteError: with the step, the rate and the ids of the batch.
    """
    if state.step % recipe.max_skipped == 0:
        state.guard.check(most=recipe.max_skipped, where=last_step(state, recipe, split, draws))


def last_step(state: TrainState, recipe: Recipe, split: PackedSplit, draws: np.ndarray) -> str:
    """The step that was taken last, its rate and the images of its batch."""
    ids = ", ".join(split.ids[index] for index in draws % AGAIN)
    return f"step {state.step} (rate {recipe.rate(state.step - 1, rollbacks=state.rollbacks):.2g}, images {ids})"


def ready(state: TrainState, recipe: Recipe) -> None:
    """Bring the model into training mode, with the weights frozen that rest in this epoch."""
    state.model.train()
    turned = recipe.freezing.apply(state.model, state.epoch)
    if turned:
        tell_trained(state.model, state.epoch)
    if turned or not is_shown(state):
        show_view(state, recipe)


def train_step(state: TrainState, recipe: Recipe, batch: Batch) -> None:
    """One step of the optimiser; nothing in it waits for the device.

    Where memory does not suffice, the gradients are made again in smaller passes; see `within_memory`.

    Raises:
        ValueError: a single image does not fit into memory, or one of several processes has too little.
    """
    recipe.team.reseed(recipe.seed, state.step)
    passes = partial(add_gradients, state, recipe, batch)
    num_images = len(batch.labels) - batch.lead
    within_memory(state, passes, num_images=num_images, asked=recipe.micro_batch_size, team=recipe.team)
    set_lr(state.optimizer, recipe.rate(state.step, rollbacks=state.rollbacks))
    state.scaler.unscale_(state.optimizer)
    state.guard.keep_out(state.model.parameters())
    recipe.clip(state.model)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    state.average.update(state.model, state.step)
    state.step += 1
    state.batch += 1


def add_gradients(state: TrainState, recipe: Recipe, batch: Batch, size: int) -> None:
    """Gradients and tally of a batch, from passes of `size` images.

    Each pass weighs as much as it has images, so that the gradient is that of the mean over the global batch.
    """
    images, targets = training_images(recipe, batch, epoch=state.epoch)
    preprocess = recipe.seen_in(state.epoch)
    labels = batch.labels[batch.lead :]
    parts = micro_batches(len(labels), size)
    for part in parts:
        with recipe.team.gathering(state.forward, last=part is parts[-1]):
            with recipe.runtime.autocast():
                logits = state.forward(model_input(images[part], preprocess))
                loss = recipe.teaching.taught(recipe.loss(logits, targets[part]), logits, images[part])
            # the team's gradient is the mean of its processes'
            weight = len(logits) * recipe.team.world / batch.num_global
            state.scaler.scale(loss * weight).backward()
        state.tally.add(loss, logits, labels[part])


def micro_batches(num_images: int, size: int) -> list[slice]:
    """Slices of at most `size` images that make up all of them."""
    return [slice(start, start + size) for start in range(0, num_images, size)]


def training_images(recipe: Recipe, batch: Batch, *, epoch: int) -> tuple[Tensor, Tensor]:
    """Images and targets to learn from: augmented, without the images that were only mixed in."""
    targets = one_hot(batch.labels, recipe.num_classes)
    images, targets = recipe.augment(unit_images(batch.images), targets, samples=batch.draws, epoch=epoch)
    return images[batch.lead :], targets[batch.lead :]


def evaluate(model: nn.Module, recipe: Recipe, split: PackedSplit, *, stop: StopFlag) -> Metrics:
    """`val/loss` (plain cross-entropy, in nats) and `val/acc` over every image of the split, each scored once.

    After a signal they cover only what was scored until then.
    """
    tally = Tally.empty(recipe.runtime.device)
    team = recipe.team
    team.align(model)
    rounds = all_batches(len(split), batch_size=recipe.eval_batch_size * team.world)
    plan = [part_of(samples, rank=team.rank, world=team.world) for samples in rounds]
    for batch in load(split, plan, recipe.runtime.device):
        if team.agree(stop):
            break
        if not len(batch.labels) and not is_sharded(model):
            # the last round has fewer images than there are processes; the slices of weights are put together by all
            continue
        logits = score(model, batch.images, recipe.preprocess, recipe.runtime)
        tally.add(nn.functional.cross_entropy(logits, batch.labels), logits, batch.labels)
    return tally.whole(team).means("val")


def show(recipe: Recipe, split: PackedSplit, epoch: int, model: nn.Module, most: int) -> None:
    """Run the model over up to `most` batches of the split as an evaluation would; see `Average.settle`."""
    plan = epoch_batches(len(split), batch_size=recipe.batch_size, seed=recipe.seed, epoch=epoch)
    for batch in load(split, plan[:most], recipe.runtime.device):
        with torch.no_grad(), recipe.runtime.autocast():
            model(model_input(unit_images(batch.images), recipe.preprocess))
