"""Sums over the images of a pass, kept on the device so that no step waits for them."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from src.models.distributed.team import Team


@dataclass
class Tally:
    """Summed loss, hits and images; the `unknown` of these, in batches without a finite loss, add none to the sum."""

    loss: Tensor
    hits: Tensor
    unknown: Tensor
    images: int = 0

    @classmethod
    def empty(cls, device: torch.device) -> "Tally":
        """A tally of nothing."""
        zero = torch.zeros((), device=device)
        return cls(zero, zero.clone(), zero.clone())

    def add(self, loss: Tensor, logits: Float[Tensor, "batch classes"], labels: Tensor) -> None:
        """Take in a batch's mean loss and its hits."""
        known = torch.isfinite(loss.detach())
        self.loss += torch.where(known, loss.detach() * len(labels), 0.0)
        self.unknown += ~known * len(labels)
        self.hits += (logits.detach().argmax(dim=1) == labels).sum()
        self.images += len(labels)

    def whole(self, team: Team) -> "Tally":
        """The tally of all processes together. A meeting."""
        images = torch.full_like(self.loss, self.images)
        loss, hits, unknown, images = team.sum(torch.stack([self.loss, self.hits, self.unknown, images]))
        return Tally(loss, hits, unknown, int(images))

    def means(self, split: str) -> dict[str, float]:
        """Mean loss (NaN where it is known of no image) and accuracy, named after the split. Waits for the device."""
        known = self.images - int(self.unknown)
        return {
            f"{split}/loss": float(self.loss) / known if known else math.nan if self.images else 0.0,
            f"{split}/acc": float(self.hits) / max(1, self.images),
        }

    def state_dict(self) -> dict[str, Any]:
        """The sums, to be saved."""
        sums = {name: getattr(self, name).cpu() for name in ("loss", "hits", "unknown")}
        return sums | {"images": self.images}

    @classmethod
    def restored(cls, saved: dict[str, Any], device: torch.device) -> "Tally":
        """The tally that `state_dict` saved."""
        loss, hits, unknown = (saved[name].to(device) for name in ("loss", "hits", "unknown"))
        return cls(loss, hits, unknown, saved["images"])
