"""Which weights are trained in which epoch: all, a head alone, or more from stage to stage."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from src.choices import suggestion
from src.config_training import FreezeConfig
from src.features.backbones import heads_of

log = logging.getLogger(__name__)

BACKBONE = "backbone"
"""In place of names: everything but the head."""


@dataclass(frozen=True)
class Freezing:
    """Names of the weights that rest until an epoch (None: always), and modules whose statistics rest with them."""

    weights: tuple[tuple[frozenset[str], int | None], ...]
    keep_statistics: bool

    def frozen(self, epoch: int) -> frozenset[str]:
        """Names of the weights that are not trained in an epoch, counted from 0."""
        resting = [names for names, until in self.weights if until is None or epoch < until]
        return frozenset().union(*resting)

    def apply(self, model: nn.Module, epoch: int) -> bool:
        """Ready the model, in training mode, for an epoch: what rests gets no gradient and keeps its statistics.

        Returns whether other weights are trained than before.
        """
        frozen = self.frozen(epoch)
        turned = [weight for name, weight in model.named_parameters() if weight.requires_grad == (name in frozen)]
        for weight in turned:
            weight.requires_grad_(not weight.requires_grad)
            weight.grad = None
        for name, module in model.named_modules():
            if isinstance(module, _BatchNorm) and (self.keep_statistics or f"{name}.weight" in frozen):
                module.eval()
        return bool(turned)


def build_freezing(cfg: Sequence[FreezeConfig], model: nn.Module, *, keep_statistics: bool) -> Freezing:
    """The freezing that `train.freeze` and `train.keep_statistics` ask for.

    Raises:
        ValueError: a name that is none of the model's, or nothing to train in the first epoch.
    """
    rules = []
    for index, rule in enumerate(cfg):
        names = [_named(model, layer, key=f"train.freeze[{index}].layers") for layer in rule.layers]
        rules.append((frozenset().union(*names), rule.until_epoch))
    freezing = Freezing(tuple(rules), keep_statistics)
    # nothing comes to rest later on
    if freezing.frozen(0) >= {name for name, _ in model.named_parameters()}:
        raise ValueError("train.freeze leaves no weight to train in the first epoch; leave out the head")
    return freezing


def tell_trained(model: nn.Module, epoch: int) -> None:
    """Log how many of the weights are trained from this epoch on."""
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    everything = sum(weight.numel() for weight in model.parameters())
    log.info("from epoch %d on %d of %d weights are trained", epoch + 1, trained, everything)


def _named(model: nn.Module, layer: str, *, key: str) -> frozenset[str]:
    """Names of the weights in a module, or of all outside the head."""
    names = [name for name, _ in model.named_parameters()]
    if layer == BACKBONE:
        heads = tuple(f"{head}." for head in heads_of(model))
        return frozenset(name for name in names if not name.startswith(heads))
    found = frozenset(name for name in names if name == layer or name.startswith(f"{layer}."))
    if not found:
        modules = [BACKBONE, *(name for name, _ in model.named_modules() if name)]
        raise ValueError(f"{key}={layer} is no part of the network; {suggestion(layer, modules)}")
    return found
