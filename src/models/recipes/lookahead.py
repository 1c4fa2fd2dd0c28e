"""Lookahead (Zhang et al., k steps forward, 1 step back, 2019) around any optimiser."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from src.config_training import LookaheadConfig


class Lookahead(torch.optim.Optimizer):
    """Every `every` steps of the inner optimiser the weights go back to a share `alpha` of the way they went.

    The slow weights start where training does, as in the paper; timm's wrapper takes them up after the first `every`
    steps.
    """

    def __init__(self, inner: torch.optim.Optimizer, cfg: LookaheadConfig) -> None:
        super().__init__(inner.param_groups, {})
        self.inner = inner
        self.alpha = cfg.alpha
        self.every = cfg.every
        self.steps = 0
        self.slow = [weight.detach().clone() for weight in self._weights()]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """The inner optimiser's step, and where it is the last of `every`, the way back."""
        loss = self.inner.step(closure)
        self.steps += 1
        if self.steps % self.every == 0:
            for slow, weight in zip(self.slow, self._weights(), strict=True):
                slow.lerp_(weight, self.alpha)
                weight.copy_(slow)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The inner optimiser's state, the slow weights and the number of steps."""
        return {"inner": self.inner.state_dict(), "slow": self.slow, "steps": self.steps}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` gave.

        Raises:
            KeyError: the state is that of an optimiser without lookahead.
        """
        self.inner.load_state_dict(state_dict["inner"])
        self.param_groups = self.inner.param_groups
        self.steps = state_dict["steps"]
        for slow, saved in zip(self.slow, state_dict["slow"], strict=True):
            slow.copy_(saved)

    def _weights(self) -> list[Tensor]:
        return [weight for group in self.param_groups for weight in group["params"]]
