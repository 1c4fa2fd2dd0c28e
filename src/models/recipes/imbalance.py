"""What is done for rare classes: one switch, `train.imbalance`, acts on the loss, on its weights or on the order."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from src.config_training import BalanceConfig, LossConfig, TrainConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """The loss to train with, weights of the classes in it, and whether every class is drawn equally often."""

    loss: LossConfig
    weights: np.ndarray | None = None
    balanced: bool = False


def class_counts(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Images of each class."""
    return np.bincount(labels, minlength=num_classes)


def treatment(cfg: TrainConfig, loss: LossConfig, counts: np.ndarray) -> Treatment:
    """What `train.imbalance` asks for on a training split with these counts; what auto chose is told."""
    name = chosen(cfg.balance, counts) if cfg.imbalance == "auto" else cfg.imbalance
    return TREATMENTS[name](loss, cfg.balance, counts)


def chosen(numbers: BalanceConfig, counts: np.ndarray) -> str:
    """The entry that auto stands for, told with its reason: the balanced sampler, where the classes differ enough.

    It goes with any loss, and gained most of all in the trials of docs/training.md.
    """
    ratio = float(counts.max() / max(1, counts.min()))
    acts = ratio >= numbers.auto_ratio
    name = "balanced_sampler" if acts else "none"
    log.info(
        "train.imbalance=auto: %s; the largest class has %.1f times the images of the smallest (%d and %d), "
        "%s train.balance.auto_ratio=%g",
        *(name, ratio, counts.max(), counts.min(), "not below" if acts else "below", numbers.auto_ratio),
    )
    return name


def class_weights(counts: np.ndarray, *, beta: float) -> np.ndarray:
    """Weights by the effective number of images, of mean one over the images (Cui et al., Class-Balanced Loss, 2019).

    The effective number of n images is (1 - beta ** n) / (1 - beta), of which n is the limit at one.
    """
    held = np.maximum(counts, 1).astype(np.float64)
    effective = held if beta == 1 else (1 - beta**held) / (1 - beta)
    weights = 1 / effective
    return np.asarray(weights * counts.sum() / (counts * weights).sum())


def _untreated(loss: LossConfig, numbers: BalanceConfig, counts: np.ndarray) -> Treatment:
    return Treatment(loss=loss)


def _weighted(loss: LossConfig, numbers: BalanceConfig, counts: np.ndarray) -> Treatment:
    return Treatment(loss=loss, weights=class_weights(counts, beta=numbers.beta))


def _balanced(loss: LossConfig, numbers: BalanceConfig, counts: np.ndarray) -> Treatment:
    return Treatment(loss=loss, balanced=True)


def _focal(loss: LossConfig, numbers: BalanceConfig, counts: np.ndarray) -> Treatment:
    return Treatment(loss=_with(loss, "focal", gamma=numbers.gamma))


def _adjusted(loss: LossConfig, numbers: BalanceConfig, counts: np.ndarray) -> Treatment:
    return Treatment(loss=_with(loss, "logit_adjustment", tau=numbers.tau))


def _with(loss: LossConfig, name: str, **options: Any) -> LossConfig:
    return replace(loss, name=name, options=loss.options | options)


TREATMENTS: dict[str, Callable[[LossConfig, BalanceConfig, np.ndarray], Treatment]] = {
    "none": _untreated,
    "class_weights": _weighted,
    "balanced_sampler": _balanced,
    "focal": _focal,
    "logit_adjustment": _adjusted,
}
