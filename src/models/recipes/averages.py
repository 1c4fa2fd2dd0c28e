"""Averages of the weights over training, by name: what is evaluated and saved in place of the trained weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from inspect import signature
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from src.choices import bound, is_number, pick
from src.config_training import TrainConfig

Passes = Callable[[nn.Module, int], None]
"""Shows a model so many batches of training images, as an evaluation would."""


@runtime_checkable
class Average(Protocol):
    """Averaged weights: `model` is what is evaluated and saved."""

    @property
    def model(self) -> nn.Module:
        """The network with the averaged weights."""

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after step `step`."""

    def settle(self, show: Passes) -> None:
        """Make `model` ready to be evaluated, at the end of an epoch."""

    def state_dict(self) -> dict[str, Any]:
        """What has to be saved of it beside the trained weights."""

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take back what `state_dict` saved."""


class NoAverage:
    """The neutral average: the trained weights themselves."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def update(self, model: nn.Module, step: int) -> None:
        """Nothing."""

    def settle(self, show: Passes) -> None:
        """Nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the trained weights are saved anyway."""
        return {}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Nothing."""


class EmaAverage:
    """An exponential moving average; its decay rises from zero to its value, so that short runs gain too (timm)."""

    def __init__(self, model: nn.Module, *, decay: Any) -> None:
        from timm.utils import ModelEmaV3

        _check(is_number(decay) and 0 < decay < 1, f"decay={decay} should be above 0 and below 1")
        self._ema = ModelEmaV3(model, decay=decay, use_warmup=True)
        self.model: nn.Module = self._ema.module

    def update(self, model: nn.Module, step: int) -> None:
        """Blend the present weights in."""
        self._ema.update(model, step=step)

    def settle(self, show: Passes) -> None:
        """Nothing: the statistics of batch norm are averaged too."""

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights."""
        return dict(self.model.state_dict())

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take back the averaged weights."""
        self.model.load_state_dict(saved)


class SwaAverage:
    """The plain mean of the weights at the ends of the epochs after a share `start` of the run.

    Until then it is the trained network itself. Batch norm's statistics belong to no weights that were trained, so
    they are estimated anew over up to `batches` batches (Izmailov et al., Averaging Weights, 2018); those that the
    trained network keeps, frozen or by `train.keep_statistics`, are kept here too.
    """

    def __init__(self, model: nn.Module, *, start: Any, batches: Any, epochs: int, total_steps: int) -> None:
        _check(is_number(start) and 0 <= start < 1, f"start={start} should be at least 0 and below 1")
        _check(type(batches) is int and batches > 0, f"batches={batches} should be a whole number from 1 on")
        self._trained = model
        self._mean = deepcopy(model).requires_grad_(False)
        self._batches = batches
        self._epoch_steps = total_steps // epochs
        self._start_step = int(start * epochs) * self._epoch_steps
        self._count = 0

    @property
    def model(self) -> nn.Module:
        """The mean, once there is one."""
        return self._mean if self._count else self._trained

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights if the step was the last of its epoch, with the same share as each before."""
        if (step + 1) % self._epoch_steps or step < self._start_step:
            return
        self._count += 1
        for mean, weight in zip(self._mean.parameters(), model.parameters(), strict=True):
            mean.lerp_(weight, 1 / self._count)
        for kept, present in zip(self._mean.buffers(), model.buffers(), strict=True):
            kept.copy_(present)

    def settle(self, show: Passes) -> None:
        """Estimate batch norm's statistics for the mean, where the trained network estimates any."""
        pairs = zip(batch_norms(self._mean), batch_norms(self._trained), strict=True)
        norms = [mean for mean, trained in pairs if trained.training]
        if self._count and norms:
            with estimated_anew(self._mean, norms):
                show(self._mean, self._batches)

    def state_dict(self) -> dict[str, Any]:
        """The mean, and of how many it is."""
        return {"mean": self._mean.state_dict(), "count": self._count}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take back what `state_dict` saved."""
        self._mean.load_state_dict(saved["mean"])
        self._count = saved["count"]


AVERAGES: dict[str, Callable[..., Average]] = {"none": NoAverage, "ema": EmaAverage, "swa": SwaAverage}


def start_average(model: nn.Module, cfg: TrainConfig, *, total_steps: int) -> Average:
    """The average that `train.average` asks for, over a run of `total_steps` steps.

    Raises:
        ValueError: an unknown entry, an option it does not take, or one out of range.
    """
    name = cfg.average.name
    kind = pick(AVERAGES, name, key="train.average.name")
    known = {"epochs": cfg.epochs, "total_steps": total_steps}
    derived = {key: value for key, value in known.items() if key in signature(kind).parameters}
    return kind(model, **bound(kind, cfg.average.options | derived, name=name, key="train.average.options"))


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The layers that keep running statistics."""
    return [part for part in model.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]


@contextmanager
def estimated_anew(model: nn.Module, norms: list[_BatchNorm]) -> Iterator[None]:
    """Within it, batches shown to the model make up batch norm's statistics, each with the same share.

    All else is in evaluation mode: dropout would change the statistics, and take random numbers from the run.
    """
    momenta = [part.momentum for part in norms]
    model.eval()
    for part in norms:
        part.reset_running_stats()
        part.momentum = None
        part.train()
    yield
    for part, momentum in zip(norms, momenta, strict=True):
        part.momentum = momentum
    model.eval()


def _check(holds: bool, sentence: str) -> None:  # noqa: FBT001 - what has to hold reads best in the first place
    if not holds:
        raise ValueError(f"train.average.options.{sentence}")
