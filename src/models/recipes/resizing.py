"""Progressive resizing: smaller images in the first epochs, which cost less, and the size that counts in the last ones.

Howard, 2018 (DAWNBench); Touvron et al., Fixing the train-test resolution discrepancy, 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from src.config_training import ResizingConfig
from src.features.backbones import fault_at


@dataclass(frozen=True)
class Sides:
    """The side of training images in px as a function of the epoch: each of `early` until an epoch, then `final`."""

    early: tuple[tuple[int, int], ...]
    final: int

    def at(self, epoch: int) -> int:
        """The side in an epoch, counted from 0."""
        return next((side for until, side in self.early if epoch < until), self.final)

    def stages(self, epochs: int) -> list[tuple[int, int]]:
        """First epoch and number of epochs of each side, in order, the last with the final one."""
        firsts = [0, *(until for until, _ in self.early)]
        ends = [*firsts[1:], epochs]
        return [(first, end - first) for first, end in zip(firsts, ends, strict=True)]


def build_sides(cfg: Sequence[ResizingConfig], model: nn.Module, *, name: str, final: int) -> Sides:
    """The sides that `train.resizing` asks for, of a network called `name` whose input has `final` px in the end.

    Raises:
        ValueError: the network takes no images of such a side.
    """
    for rule in cfg:
        if fault := fault_at(model, rule.img_size):
            raise ValueError(
                f"train.resizing: {name} cannot take images of {rule.img_size} px ({fault}); name sides that it takes, "
                "leave train.resizing out where its input has a fixed size, or, of a vision transformer, set "
                "model.options.dynamic_img_size=true"
            )
    return Sides(tuple((rule.until_epoch, rule.img_size) for rule in cfg), final)
