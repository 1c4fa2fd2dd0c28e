"""A linear head on the frozen features that build_features keeps: fitted in seconds, saved as a whole network.

What comes out is the frozen network with the fitted head in its place, a checkpoint like any other: it predicts from
pixels and needs neither the features nor the file its weights came from.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from src.choices import bound, is_number, is_positive
from src.config import LINEAR_PROBE, EmbeddingsConfig, ModelConfig
from src.features.backbones import build_model, heads_of
from src.features.embedder import backbone_config, weights_digest
from src.features.embeddings import Embeddings
from src.logs import progress
from src.metrics import log_loss

log = logging.getLogger(__name__)

Metrics = dict[str, float]

TINY = 1e-6


@dataclass(frozen=True)
class Head:
    """Weights of shape (classes, dim) and a bias of shape (classes,), float32: logits are a linear map of a vector."""

    weight: np.ndarray
    bias: np.ndarray

    def probs(self, vectors: np.ndarray) -> np.ndarray:
        """Probabilities, float32 of shape (vectors, classes)."""
        logits = vectors @ self.weight.T + self.bias
        unnormalised = np.exp(logits - logits.max(axis=1, keepdims=True))
        found: np.ndarray = unnormalised / unnormalised.sum(axis=1, keepdims=True)
        return found


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """What `model.options` says.

    Values of C to choose from, the power of the standard deviation that each number of a vector is divided by (1
    standardises, 0 leaves them as they are), folds where there is no val split, most iterations.
    """

    regularization: Any
    scaling: Any
    folds: Any
    max_iterations: Any


def probe_options(options: Mapping[str, Any]) -> ProbeOptions:
    """The options of a linear probe.

    Raises:
        ValueError: one is absent, not taken, or of no use.
    """
    found = ProbeOptions(**bound(ProbeOptions, options, name=LINEAR_PROBE, key="model.options"))
    strengths = found.regularization
    if not isinstance(strengths, list) or not strengths or not all(is_positive(value) for value in strengths):
        raise ValueError(f"model.options.regularization={strengths} should be a list of numbers above 0")
    if not is_number(found.scaling) or not 0 <= found.scaling <= 1:
        raise ValueError(f"model.options.scaling={found.scaling} should be a number from 0 to 1")
    for name, least in (("folds", 2), ("max_iterations", 1)):
        value = getattr(found, name)
        if type(value) is not int or value < least:
            raise ValueError(f"model.options.{name}={value} should be a whole number from {least} on")
    return found


def fit_head(train: Embeddings, val: Embeddings | None, options: ProbeOptions, *, seed: int) -> tuple[Head, float]:
    """The head fitted to train, and the C it was fitted with: chosen on val, or out of fold on train.

    It is the smallest whose loss lies within one standard error of the least (Breiman et al., Classification and
    Regression Trees, 1984). Each number of a vector is centred and divided by a power of its standard deviation over
    train, which is folded into the head. The same on every call.

    Raises:
        ValueError: a class of train has fewer images than there are folds.
    """
    vectors, labels = np.asarray(train.vectors), train.labels
    shift, scale = vectors.mean(axis=0), vectors.std(axis=0) ** options.scaling + TINY
    standard = (vectors - shift) / scale
    strengths = list(options.regularization)
    if len(strengths) > 1:
        if val is not None:
            cuts = [Cut(standard, labels, (np.asarray(val.vectors) - shift) / scale, val.labels)]
        else:
            cuts = _folds(standard, labels, options, seed=seed)
        tried = progress(strengths, what="choose C", unit="values")
        strengths = [_within_an_error({strength: _losses(cuts, strength, options) for strength in tried})]
    fitted = _fitted(standard, labels, strengths[0], options)
    weight = fitted.weight / scale
    return Head(weight.astype(np.float32), (fitted.bias - weight @ shift).astype(np.float32)), float(strengths[0])


def scores(head: Head, split: Embeddings, name: str) -> Metrics:
    """`<name>/loss` (cross-entropy in nats) and `<name>/acc` over a split whose images are all labelled."""
    probs = head.probs(np.asarray(split.vectors))
    return {
        f"{name}/loss": log_loss(split.labels, probs),
        f"{name}/acc": float((probs.argmax(axis=1) == split.labels).mean()),
    }


def probed_network(cfg: EmbeddingsConfig, head: Head, *, facts: Mapping[str, Any]) -> tuple[nn.Module, ModelConfig]:
    """The frozen network with the head in its place, in evaluation mode, and the section that builds it.

    `facts` are those that stand beside the features.

    Raises:
        ValueError: its weights are no longer those that the features came from, or it does not end in a linear layer.
    """
    asked = backbone_config(cfg)
    model = build_model(asked, num_classes=len(head.bias), img_size=facts["img_size"]).eval()
    heads = heads_of(model)
    if weights_digest(model, without=heads) != facts["weights"]:
        raise ValueError(
            f"the weights of features.embeddings.name={cfg.name} have changed since the features were made; "
            "run build_features again"
        )
    layer = model.get_submodule(heads[0]) if len(heads) == 1 else None
    if not isinstance(layer, nn.Linear) or layer.weight.shape != head.weight.shape:
        raise ValueError(
            f"features.embeddings.name={cfg.name} does not end in one linear layer, so no head can be put in its "
            "place; take another network for model=linear_probe"
        )
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.weight))
        layer.bias.copy_(torch.from_numpy(head.bias))
    return model, asked


@dataclass(frozen=True)
class Cut:
    """Vectors and labels to fit, vectors and labels to judge by."""

    vectors: np.ndarray
    labels: np.ndarray
    others: np.ndarray
    other_labels: np.ndarray


def _folds(vectors: np.ndarray, labels: np.ndarray, options: ProbeOptions, *, seed: int) -> list[Cut]:
    """Each fold of train, held out once."""
    from sklearn.model_selection import StratifiedKFold

    fewest = int(np.bincount(labels).min())
    if fewest < options.folds:
        raise ValueError(
            f"model.options.folds={options.folds}, but a class of train has {fewest} images; lower it, give "
            "data.val_share, or a single value of model.options.regularization"
        )
    folds = StratifiedKFold(options.folds, shuffle=True, random_state=seed).split(vectors, labels)
    return [Cut(vectors[fit], labels[fit], vectors[out], labels[out]) for fit, out in folds]


def _losses(cuts: Sequence[Cut], strength: float, options: ProbeOptions) -> np.ndarray:
    """Cross-entropy of each image that was held out, in nats."""
    losses = []
    for cut in cuts:
        probs = _fitted(cut.vectors, cut.labels, strength, options).probs(cut.others)
        losses.append(-np.log(np.maximum(probs[np.arange(len(probs)), cut.other_labels], TINY)))
    return np.concatenate(losses)


def _within_an_error(losses: Mapping[float, np.ndarray]) -> float:
    """The smallest C whose mean loss is within one standard error of the least."""
    least = min(losses.values(), key=np.mean)
    highest = least.mean() + least.std() / np.sqrt(len(least))
    return min(strength for strength, found in losses.items() if found.mean() <= highest)


def _fitted(vectors: np.ndarray, labels: np.ndarray, strength: float, options: ProbeOptions) -> Head:
    """A multinomial logistic regression."""
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(C=strength, max_iter=options.max_iterations).fit(vectors, labels)
    if len(found.coef_) > 1:
        return Head(found.coef_, found.intercept_)
    # of two classes scikit-learn keeps the log-odds of the second
    halves = np.array([[-0.5], [0.5]])
    return Head(halves * found.coef_, halves[:, 0] * found.intercept_)
