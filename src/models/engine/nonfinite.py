"""Numbers that are not finite: zeros take the place of such gradients, and the steps that had them are counted."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from src.models.distributed.sharding import full, local


class NotFiniteError(ValueError):
    """The run has no finite numbers left to learn from; says which, and in which step."""


@dataclass
class Guard:
    """`in_a_row` is how many of the last steps had a gradient that is not finite; kept on the device.

    Gradients of several processes are added up before it looks, so that all of them find the same.
    """

    in_a_row: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))

    def keep_out(self, weights: Iterable[nn.Parameter]) -> None:
        """Make a gradient that is not finite one of zeros, whole, and count it; nothing waits for the device."""
        grads = [weight.grad for weight in weights if weight.grad is not None]
        bad = ~torch.isfinite(full(nn.utils.get_total_norm(grads)))
        for grad in grads:
            local(grad).masked_fill_(bad, 0.0)
        self.in_a_row = (self.in_a_row.to(bad.device) + 1) * bad

    def check(self, *, most: int, where: str) -> None:
        """Nothing, while fewer than `most` steps in a row were left out. Waits for the device.

        Raises:
            NotFiniteError: so many were, or more; `where` names the last one.
        """
        if (found := int(self.in_a_row)) >= most:
            raise NotFiniteError(
                f"the gradient was not finite in {found} steps in a row (train.max_skipped={most}), last in {where}"
            )
