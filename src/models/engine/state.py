"""Everything that changes while a model is trained."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from src.models.distributed.sharding import parted_numbers, parted_weights, whole
from src.models.engine.nonfinite import Guard
from src.models.engine.tally import Tally
from src.models.recipes.averages import Average

POSITION = ("step", "epoch", "batch", "epochs_without_gain")


@dataclass
class TrainState:
    """Model, optimiser, scaler, average and position of a run.

    `model` is the plain module, whose names are those saved; `forward` is its view that is called in a step. `step`
    counts optimiser steps from the start, `batch` those of the present epoch, `tally` what they summed up to; `guard`
    keeps out gradients that are not finite; `fitting` is the size of a pass that was found to fit into memory, and the
    one that was asked for then; `good` is all of this at the end of the last good epoch, on the CPU, and `rollbacks`
    how often the run went back to it; `compiled` whether `forward` is, None if not decided.
    """

    model: nn.Module
    forward: nn.Module
    average: Average
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    tally: Tally
    guard: Guard = field(default_factory=Guard)
    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: dict[str, float] = field(default_factory=dict)
    epochs_without_gain: int = 0
    fitting: dict[str, int | None] | None = None
    good: dict[str, Any] | None = None
    rollbacks: int = 0
    compiled: bool | None = None

    def is_best(self, metrics: dict[str, float]) -> bool:
        """Whether `val/acc` (ties: `val/loss`) is better than in any epoch before; counts the epochs when it is not."""
        better = _rank(metrics) > _rank(self.best) if self.best else True
        self.epochs_without_gain = 0 if better else self.epochs_without_gain + 1
        if better:
            self.best = {"epoch": float(self.epoch), **metrics}
        return better

    def end_epoch(self) -> None:
        """Move on to the next epoch."""
        self.epoch += 1
        self.batch = 0
        self.tally = Tally.empty(self.tally.loss.device)

    def keep_good(self) -> None:
        """Make the present the state to go back to."""
        self.good = _copied(self._present())

    def go_back(self) -> None:
        """Return to the last good state, once more; steps are counted on from there."""
        assert self.good is not None, "kept at the start"
        self._take(_copied(self.good))
        self.guard = Guard()
        self.rollbacks += 1

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain types and tensors; loading it back is exact to the bit. A meeting if sharded."""
        return {**self._present(), "good": self.good, "rollbacks": self.rollbacks, "compiled": self.compiled}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take back what `state_dict` saved.

        Raises:
            ValueError: it is the state of another model or optimiser, or was saved by an earlier version.
        """
        try:
            self._take(saved)
            self.good, self.rollbacks, self.compiled = saved["good"], saved["rollbacks"], saved["compiled"]
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"the saved state is that of another model or version: {' '.join(str(error).split())}"
            ) from None

    def _present(self) -> dict[str, Any]:
        return {
            "model": whole(self.model.state_dict()),
            "average": self.average.state_dict(),
            "optimizer": whole(self.optimizer.state_dict()),
            "scaler": self.scaler.state_dict(),
            "tally": self.tally.state_dict(),
            "skipped": self.guard.in_a_row.cpu(),
            "fitting": self.fitting,
            "position": {name: getattr(self, name) for name in POSITION},
            "best": self.best,
            "rng": {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()},
        }

    def _take(self, saved: dict[str, Any]) -> None:
        self.model.load_state_dict(parted_weights(saved["model"], self.model))
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(parted_numbers(saved["optimizer"], self.optimizer))
        self.scaler.load_state_dict(saved["scaler"])
        self.guard = Guard(saved["skipped"])
        self.fitting = saved["fitting"]
        for name, value in saved["position"].items():
            setattr(self, name, value)
        self.tally = Tally.restored(saved["tally"], self.tally.loss.device)
        self.best = saved["best"]
        torch.set_rng_state(saved["rng"]["cpu"])
        if len(saved["rng"]["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(saved["rng"]["cuda"])


def _copied(tree: Any) -> Any:
    """The same of plain types and tensors, each tensor a copy on the CPU."""
    if isinstance(tree, torch.Tensor):
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


def _rank(metrics: dict[str, Any]) -> tuple[float, float]:
    # Without a validation split the newest epoch counts as the best.
    if "val/acc" not in metrics:
        return (float(metrics["epoch"]), 0.0)
    return (metrics["val/acc"], -metrics["val/loss"])
