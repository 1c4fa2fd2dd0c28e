"""Bounds on gradients, by name; each changes the gradients of a model in place, and none waits for the device."""

from collections.abc import Callable
from functools import partial

from torch import nn

from src.choices import bound, is_positive, pick
from src.features.backbones import heads_of
from src.schema import Component

Clip = Callable[[nn.Module], None]


def norm(model: nn.Module, *, limit: float) -> None:
    """All gradients together are scaled down to the norm `limit` (Pascanu et al., 2013)."""
    nn.utils.clip_grad_norm_(model.parameters(), limit)


def value(model: nn.Module, *, limit: float) -> None:
    """Each number of a gradient is cut at `limit` and its negative."""
    nn.utils.clip_grad_value_(model.parameters(), limit)


def adaptive(model: nn.Module, *, limit: float, floor: float) -> None:
    """The gradient of each unit is scaled down to `limit` times the norm of its weights (Brock et al., NFNets, 2021).

    Weights of a norm below `floor` count as that; the head is left as it is, as in the paper.
    """
    from timm.utils import adaptive_clip_grad

    spared = {id(weight) for name in heads_of(model) for weight in model.get_submodule(name).parameters()}
    clipped = [weight for weight in model.parameters() if id(weight) not in spared]
    adaptive_clip_grad(clipped, clip_factor=limit, eps=floor)


CLIPS: dict[str, Callable[..., None]] = {"norm": norm, "value": value, "adaptive": adaptive}


def build_clip(component: Component | None) -> Clip:
    """The bound that `train.clip` asks for; None leaves gradients as they are.

    Raises:
        ValueError: an unknown entry, an option it does not take, or one that is no number above zero.
    """
    if component is None:
        return _unclipped
    function = pick(CLIPS, component.name, key="train.clip.name")
    options = bound(function, component.options, name=component.name, key="train.clip.options")
    for name, given in options.items():
        if not is_positive(given):
            raise ValueError(f"train.clip.options.{name}={given} should be a number above 0")
    return partial(function, **options)


def _unclipped(model: nn.Module) -> None:
    return
