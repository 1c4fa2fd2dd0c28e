"""Training losses: from logits and soft targets to one number per image, by name."""

from collections.abc import Callable
from functools import partial
from inspect import signature

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from src.choices import bound, pick
from src.config_training import LossConfig

Logits = Float[Tensor, "batch classes"]
Targets = Float[Tensor, "batch classes"]
PerImage = Float[Tensor, " batch"]
Loss = Callable[[Logits, Targets], Float[Tensor, ""]]

SMALLEST = torch.finfo(torch.float32).eps


def cross_entropy(logits: Logits, targets: Targets, *, smoothing: float) -> PerImage:
    """Cross-entropy in nats, a share `smoothing` of each target spread over all classes."""
    return F.cross_entropy(logits.float(), targets, label_smoothing=smoothing, reduction="none")


def bce(logits: Logits, targets: Targets, *, smoothing: float) -> PerImage:
    """Mean binary cross-entropy of each class against the rest (Wightman et al., ResNet strikes back, 2021)."""
    losses = F.binary_cross_entropy_with_logits(logits.float(), _smooth(targets, smoothing), reduction="none")
    return losses.mean(dim=1)


def focal(logits: Logits, targets: Targets, *, gamma: float, smoothing: float) -> PerImage:
    """Cross-entropy times (1 - p) ** gamma: what is nearly right counts less (Lin et al., Focal Loss, 2017).

    Over the softmax, as there is one class to an image; for two classes it is their sigmoid form, for `gamma` of zero
    cross-entropy.
    """
    log_probs = F.log_softmax(logits.float(), dim=1)
    # the power's slope at zero is infinite for a gamma below one
    missing = (1 - log_probs.exp()).clamp(min=SMALLEST)
    return -(_smooth(targets, smoothing) * missing**gamma * log_probs).sum(dim=1)


def logit_adjustment(
    logits: Logits, targets: Targets, *, tau: float, smoothing: float, log_priors: Float[Tensor, " classes"]
) -> PerImage:
    """Cross-entropy of logits + tau * log share of train (Menon et al., Long-tail learning, 2021).

    What is learnt are logits as if all classes were equally frequent; nothing is added when they are used.
    """
    return cross_entropy(logits.float() + tau * log_priors, targets, smoothing=smoothing)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "bce": bce,
    "focal": focal,
    "logit_adjustment": logit_adjustment,
}


def build_loss(
    cfg: LossConfig, *, counts: np.ndarray, weights: np.ndarray | None = None, device: torch.device | None = None
) -> Loss:
    """The mean loss that a section asks for.

    `counts` are the images of each class in train; `weights` of each class, if any, weigh an image by its target.

    Raises:
        ValueError: an unknown loss, or an option it does not take.
    """
    function = pick(LOSSES, cfg.name, key="loss.name")
    derived = {"log_priors": log_priors(counts).to(device)} if "log_priors" in signature(function).parameters else {}
    per_image = partial(function, **bound(function, cfg.options | derived, name=cfg.name, key="loss.options"))
    if weights is None:
        return lambda logits, targets: per_image(logits, targets).mean()
    by_class = torch.tensor(weights, dtype=torch.float32, device=device)
    return lambda logits, targets: (per_image(logits, targets) * (targets @ by_class)).mean()


def log_priors(counts: np.ndarray) -> Float[Tensor, " classes"]:
    """Logarithms of the classes' shares; a class without images counts as if it had one."""
    held = np.maximum(counts, 1)
    return torch.tensor(np.log(held / held.sum()), dtype=torch.float32)


def one_hot(labels: Int[Tensor, " batch"], num_classes: int) -> Targets:
    """Targets of one at the label and zero elsewhere, float32."""
    return F.one_hot(labels, num_classes).float()


def _smooth(targets: Targets, smoothing: float) -> Targets:
    return targets * (1 - smoothing) + smoothing / targets.shape[1]
