"""Optimisers by name, through timm's factory, with options that the named optimiser really takes."""

from collections.abc import Collection
from inspect import Parameter, signature
from typing import Any

import torch
from torch import nn

from src.choices import suggestion
from src.config_training import OptimizerConfig
from src.features.backbones import heads_of
from src.models.recipes.lookahead import Lookahead

GIVEN_APART = ("params", "lr", "weight_decay")


def build_optimizer(cfg: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser that a section asks for.

    Raises:
        ValueError: an unknown optimiser, or an option it does not take.
    """
    from timm.optim import create_optimizer_v2

    check_optimizer(cfg)
    inner = create_optimizer_v2(parameter_groups(model, cfg), cfg.name, lr=cfg.lr, weight_decay=0.0, **cfg.options)
    return inner if cfg.lookahead is None else Lookahead(inner, cfg.lookahead)


def check_optimizer(cfg: OptimizerConfig) -> None:
    """Nothing, where there is such an optimiser and it takes the options.

    timm's factory drops what an optimiser does not take without a word.

    Raises:
        ValueError: there is none, or it does not.
    """
    from timm.optim import list_optimizers

    names = [str(name) for name in list_optimizers()]
    if cfg.name not in names:
        raise ValueError(f"optimizer.name={cfg.name} is unknown; {suggestion(cfg.name, names)}")
    allowed = accepted_options(cfg.name)
    for option in cfg.options:
        if option not in allowed:
            raise ValueError(f"optimizer.options.{option}: {cfg.name} takes no {option}; {suggestion(option, allowed)}")


def parameter_groups(model: nn.Module, cfg: OptimizerConfig) -> list[dict[str, Any]]:
    """Groups of the trainable weights with their own `weight_decay` and `lr_scale`; the head stands apart.

    What the model names itself (position embeddings and the like) is not decayed, nor are biases and norms unless
    `decay_norms` is set. With `layer_decay` the rate falls from layer to layer towards the input (Bao et al., BEiT,
    2022).
    """
    from timm.optim import param_groups_layer_decay, param_groups_weight_decay

    own: Any = model
    spared = own.no_weight_decay() if hasattr(model, "no_weight_decay") else set()
    # timm 1.0.20 knows no such argument, and spares them
    rules: dict[str, Any] = {"no_weight_decay_list": spared}
    if cfg.decay_norms:
        rules["weight_decay_exclude_1d"] = False
    if cfg.layer_decay is None:
        groups = param_groups_weight_decay(model, cfg.weight_decay, **rules)
    else:
        groups = param_groups_layer_decay(model, cfg.weight_decay, layer_decay=cfg.layer_decay, **rules)
    head = {id(weight) for name in heads_of(model) for weight in model.get_submodule(name).parameters()}
    return [part for group in groups for part in _parted(group, head, cfg.head_scale)]


def _parted(group: dict[str, Any], head: Collection[int], scale: float) -> list[dict[str, Any]]:
    """The group's weights outside the head and, with a rate of their own, those in it."""
    common = {"lr_scale": 1.0} | group
    inside = [weight for weight in group["params"] if id(weight) in head]
    outside = [weight for weight in group["params"] if id(weight) not in head]
    parts = [common | {"params": outside}, common | {"params": inside, "lr_scale": common["lr_scale"] * scale}]
    return [part for part in parts if part["params"]]


def accepted_options(name: str) -> list[str]:
    """Names of the arguments of the optimiser called `name`, less those that have keys of their own."""
    from timm.optim import get_optimizer_class

    parameters = signature(get_optimizer_class(name, bind_defaults=False)).parameters.values()
    named = [entry.name for entry in parameters if entry.kind is not Parameter.VAR_KEYWORD]
    return [option for option in named if option not in GIVEN_APART]


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group the rate `lr`, times the group's own scale where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
