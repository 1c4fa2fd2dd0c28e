"""A training run from its configuration: parts built in the order of their cost, nothing trained yet."""

import logging
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from src.config import Config
from src.features.augment import build_augment
from src.features.backbones import build_model, check_name, input_facts, num_params
from src.features.loader import steps_per_epoch
from src.features.packed import PackedSplit, drawn_share, part_of
from src.features.preprocess import Preprocess
from src.features.statistics import load_statistics
from src.layout import PACKED_DIR
from src.logs import git_state
from src.models import checkpoint, runtime
from src.models.checkpoint import ModelFacts
from src.models.distributed.team import ALONE, Team
from src.models.engine.recipe import Recipe
from src.models.engine.recomputing import recompute
from src.models.engine.run_folder import claim, plan_of, resumed_config
from src.models.engine.state import TrainState
from src.models.engine.tally import Tally
from src.models.engine.teamwork import Follower, check_parts
from src.models.engine.training import Training
from src.models.recipes.averages import start_average
from src.models.recipes.clipping import build_clip
from src.models.recipes.distillation import build_teaching
from src.models.recipes.freezing import build_freezing
from src.models.recipes.imbalance import class_counts, treatment
from src.models.recipes.losses import build_loss
from src.models.recipes.optimizers import build_optimizer, check_optimizer
from src.models.recipes.resizing import build_sides
from src.models.recipes.schedules import build_schedule

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What a run stands on: the machine, the team, the packed data and the way from image to input."""

    place: runtime.Runtime
    team: Team
    statistics: dict[str, Any]
    splits: dict[str, PackedSplit]
    preprocess: Preprocess

    @property
    def class_names(self) -> list[str]:
        """Names by index of the output."""
        names: list[str] = self.statistics["class_names"]
        return names


def prepare(cfg: Config, team: Team = ALONE) -> Training | Follower:
    """The run that the configuration asks for: of the whole team, or this process's part in it.

    Raises:
        ValueError: a setting that cannot be met, or packed data that is absent or was made with others.
        OSError: the run folder cannot be written.
    """
    cfg = team.share(resumed_config(cfg) if team.leads else cfg)
    check_name(cfg.model)
    check_optimizer(cfg.optimizer)
    ground = ground_of(cfg, team)
    runtime.seed_everything(cfg.train.seed)
    model = build_network(cfg, ground)
    recipe = build_recipe(cfg, ground, model)
    check_parts(recipe, num_images=len(ground.splits["train"]))
    state = start_state(cfg, ground, recipe, model)
    log.info(
        "%s: %.2f M weights, input %d px", cfg.model.name, num_params(state.model) / 1e6, ground.preprocess.img_size
    )
    if not team.leads:
        return Follower(cfg, state, recipe, ground.splits, team.share(None))
    plan = plan_of(cfg, ground.statistics["digest"])
    if recipe.teaching.digest:
        plan["teacher_sha256"] = recipe.teaching.digest
    claimed = claim(cfg, plan, now=datetime.now(UTC))
    team.share(claimed.state and claimed.state["state"])
    return Training(cfg, state, recipe, ground.splits, claimed, facts_of(cfg, ground))


def ground_of(cfg: Config, team: Team) -> Ground:
    """The machine and the data of a run.

    Raises:
        ValueError: no such device, or packed data that is absent or was made with other settings.
    """
    place = runtime.start(cfg.run, cfg.train.precision, device=team.device)
    statistics = load_statistics(PACKED_DIR, cfg.data, cfg.features)
    splits = {name: PackedSplit.load(PACKED_DIR / name) for name in ("train", "val") if name in statistics["counts"]}
    if "val" not in splits:
        log.warning("there is no val split: the last epoch counts as the best; set data.val_share to hold one out")
    if cfg.train.share < 1:
        train = splits["train"]
        splits["train"] = part_of(train, drawn_share(train.labels, cfg.train.share, seed=cfg.train.seed))
        log.info("train.share=%g: %d of %d training images", cfg.train.share, len(splits["train"]), len(train))
    preprocess = preprocess_of(cfg, statistics)
    return Ground(place=place, team=team, statistics=statistics, splits=splits, preprocess=preprocess)


def build_network(cfg: Config, ground: Ground) -> nn.Module:
    """The network on its device, with the weights that it starts from.

    Raises:
        ValueError: an unknown network or option, or weights that cannot be had or do not fit.
    """
    model = build_model(cfg.model, num_classes=len(ground.class_names), img_size=ground.preprocess.img_size)
    if cfg.train.init_from is not None:
        facts = checkpoint.start_from(model, Path(cfg.train.init_from), class_names=ground.class_names)
        if others := checkpoint.other_inputs(facts, cfg.model, ground.preprocess):
            start = cfg.train.init_from
            log.warning("train.init_from=%s was trained on other inputs than this run: %s", start, "; ".join(others))
    layout = torch.channels_last if cfg.train.channels_last else torch.contiguous_format
    return model.to(ground.place.device).to(memory_format=layout)


def build_recipe(cfg: Config, ground: Ground, model: nn.Module) -> Recipe:
    """The fixed parts of the run.

    Raises:
        ValueError: an unknown entry of a table, an option it does not take, or a teacher of other classes.
    """
    train = ground.splits["train"]
    counts = class_counts(train.labels, len(ground.class_names))
    treated = treatment(cfg.train, cfg.loss, counts)
    epoch_steps = steps_per_epoch(len(train), cfg.train.batch_size)
    return Recipe(
        runtime=ground.place,
        team=ground.team,
        preprocess=ground.preprocess,
        augment=build_augment(cfg.augment, seed=cfg.train.seed, img_size=ground.preprocess.img_size),
        loss=build_loss(treated.loss, counts=counts, weights=treated.weights, device=ground.place.device),
        teaching=build_teaching(
            cfg.train.distillation,
            class_names=ground.class_names,
            preprocess=ground.preprocess,
            device=ground.place.device,
        ),
        schedule=build_schedule(cfg.schedule, lr=cfg.optimizer.lr, epoch_steps=epoch_steps, epochs=cfg.train.epochs),
        freezing=build_freezing(cfg.train.freeze, model, keep_statistics=cfg.train.keep_statistics),
        sides=build_sides(cfg.train.resizing, model, name=cfg.model.name, final=ground.preprocess.img_size),
        num_classes=len(ground.class_names),
        epochs=cfg.train.epochs,
        batch_size=cfg.train.batch_size,
        micro_batch_size=cfg.train.micro_batch_size,
        eval_batch_size=cfg.train.eval_batch_size,
        balanced=treated.balanced,
        clip=build_clip(cfg.train.clip),
        max_skipped=cfg.train.max_skipped,
        rollback=cfg.train.rollback,
        compile=cfg.train.compile,
        break_even=cfg.train.break_even,
        patience=cfg.train.patience,
        seed=cfg.train.seed,
    )


def start_state(cfg: Config, ground: Ground, recipe: Recipe, model: nn.Module) -> TrainState:
    """The state of the run before its first step. A meeting.

    Raises:
        ValueError: an unknown optimiser or average, an option it does not take, or a network that cannot be what
            `train.gradient_checkpointing` asks for.
    """
    model, forward = ground.team.spread(model, sync_bn=cfg.train.sync_bn, sharded=cfg.run.sharding == "fsdp")
    if cfg.train.gradient_checkpointing:
        recompute(model, name=cfg.model.name)
    return TrainState(
        model=model,
        forward=forward,
        average=start_average(model, cfg.train, total_steps=recipe.schedule.total_steps),
        optimizer=build_optimizer(cfg.optimizer, model),
        scaler=ground.place.grad_scaler(),
        tally=Tally.empty(ground.place.device),
    )


def preprocess_of(cfg: Config, statistics: dict[str, Any]) -> Preprocess:
    """The way from image to input: packed as the data was, then as the backbone wants it."""
    channels = {"mean": statistics["mean"], "std": statistics["std"]}
    facts = input_facts(cfg.model, packed_size=statistics["size"], statistics=channels)
    return Preprocess(
        size=statistics["size"],
        resize=cfg.features.resize,
        interpolation=cfg.features.interpolation,
        img_size=facts.img_size,
        input_interpolation=facts.interpolation,
        mean=facts.mean,
        std=facts.std,
    )


def facts_of(cfg: Config, ground: Ground) -> ModelFacts:
    """What travels with the weights, before the first step."""
    return ModelFacts(
        model=asdict(cfg.model),
        class_names=ground.class_names,
        preprocess=ground.preprocess.as_tree(),
        data_digest=ground.statistics["digest"],
        data_settings=ground.statistics["settings"],
        git_commit=git_state().get("commit", ""),
        step=0,
        epoch=0,
        metrics={},
    )
