"""One network from the weights of several: their mean, or that of those by which val gains (Wortsman et al., 2022)."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from src.artifacts import RunRecord
from src.choices import pick
from src.config import ModelConfig, SoupConfig
from src.features.backbones import build_model, without_weights
from src.features.inputs import model_input, unit_images
from src.features.loader import epoch_batches, load
from src.features.packed import PackedSplit
from src.features.preprocess import Preprocess
from src.layout import RunFolder
from src.metrics import log_loss
from src.models import checkpoint
from src.models.checkpoint import ModelFacts, TrainedModel
from src.models.predictor import check_same_data, predict_split
from src.models.recipes.averages import batch_norms, estimated_anew
from src.models.runtime import Runtime
from src.trees import differences

log = logging.getLogger(__name__)

Weights = dict[str, Tensor]
Scores = dict[str, float]

LEAST = 2
MOST_NAMED = 5
# which weights a network starts from does not change what its weights mean
STARTS = ("pretrained", "pretrained_path", "stem")


@dataclass(frozen=True)
class Ingredient:
    """The best checkpoint of a run: what it says of itself, and its weights."""

    run: str
    facts: ModelFacts
    weights: Weights


@dataclass(frozen=True)
class Pot:
    """What soups are made of and judged by: pixels of train, for statistics of batch norm, and of val, if any."""

    facts: ModelFacts
    train: PackedSplit
    val: PackedSplit | None
    runtime: Runtime
    batch_size: int
    batches: int

    def cook(self, ingredients: Sequence[Ingredient]) -> TrainedModel:
        """The network with the mean of the weights, its batch norms estimated anew where they were not all alike."""
        preprocess = Preprocess.from_tree(self.facts.preprocess)
        section = without_weights(ModelConfig(**self.facts.model))
        model = build_model(section, num_classes=len(self.facts.class_names), img_size=preprocess.img_size)
        model.load_state_dict(mean_weights([one.weights for one in ingredients]))
        model.to(self.runtime.device).to(memory_format=torch.channels_last).eval()
        if norms := moved_norms(model, ingredients):
            with estimated_anew(model, norms):
                self._show(model, preprocess)
        return TrainedModel(model, self.facts, preprocess)

    def score(self, soup: TrainedModel) -> Scores:
        """`val/acc` and `val/loss`; empty without a val split."""
        if self.val is None:
            return {}
        predictions = predict_split(soup, self.val, self.runtime, batch_size=self.batch_size)
        hits = predictions.preds == predictions.labels
        return {"val/acc": float(hits.mean()), "val/loss": log_loss(predictions.labels, predictions.probs)}

    @torch.no_grad()
    def _show(self, model: nn.Module, preprocess: Preprocess) -> None:
        plan = epoch_batches(len(self.train), batch_size=self.batch_size, seed=0, epoch=0)[: self.batches]
        for batch in load(self.train, plan, self.runtime.device):
            model(model_input(unit_images(batch.images), preprocess))


def gather(runs: Sequence[str]) -> list[Ingredient]:
    """The best checkpoints of the runs.

    Raises:
        ValueError: fewer than two, one named twice, one without a checkpoint, or networks or data that differ.
    """
    if len(runs) < LEAST or len(set(runs)) < len(runs):
        raise ValueError(f"soup.runs={list(runs)}: give at least two run folders, each once")
    found = []
    for run in runs:
        folder = RunFolder(Path(run)).checkpoint("best")
        facts = checkpoint.load_facts(folder)
        found.append(Ingredient(run, facts, checkpoint.weights_of(folder, facts)))
    for other in found[1:]:
        check_alike(found[0], other)
    return found


def check_alike(first: Ingredient, other: Ingredient) -> None:
    """Nothing, where the weights of both are those of one network for one task.

    Raises:
        ValueError: they are not; names the keys that differ.
    """
    differing = differences(_kind(first.facts), _kind(other.facts))
    named = [f"{key}: {one} -> {two}" for key, (one, two) in differing.items()]
    if not named:
        shapes = ({name: tuple(value.shape) for name, value in one.weights.items()} for one in (first, other))
        named = [f"{name}: {one} -> {two}" for name, (one, two) in differences(*shapes).items()]
    if named:
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        raise ValueError(
            f"soup.runs: {other.run} does not go with {first.run}, they differ in "
            f"{', '.join(named[:MOST_NAMED])}{more}; "
            "weights can be averaged only of runs of one network on one data set"
        )


def uniform(pot: Pot, ingredients: Sequence[Ingredient]) -> tuple[list[Ingredient], Scores]:
    """All of them, and the scores of their mean."""
    return list(ingredients), pot.score(pot.cook(ingredients))


def greedy(pot: Pot, ingredients: Sequence[Ingredient]) -> tuple[list[Ingredient], Scores]:
    """Those whose weights did not lower the mean's accuracy on val, tried in the order of their own; and its scores.

    Raises:
        ValueError: there is no val split to choose by.
    """
    if pot.val is None:
        raise ValueError("soup.method=greedy chooses by the val split, and there is none; use soup=uniform")
    alone = [(pot.score(pot.cook([one])), one) for one in ingredients]
    alone.sort(key=lambda pair: (-pair[0]["val/acc"], pair[0]["val/loss"]))
    (scores, best), *others = alone
    log.info("%s alone: val/acc %.4f", best.run, scores["val/acc"])
    taken = [best]
    for own, one in others:
        tried = pot.score(pot.cook([*taken, one]))
        better = tried["val/acc"] >= scores["val/acc"]
        log.info(
            "%s (val/acc %.4f): with it %.4f, %s",
            *(one.run, own["val/acc"], tried["val/acc"], "taken" if better else "left out"),
        )
        if better:
            taken, scores = [*taken, one], tried
    return taken, scores


METHODS: dict[str, Callable[[Pot, Sequence[Ingredient]], tuple[list[Ingredient], Scores]]] = {
    "uniform": uniform,
    "greedy": greedy,
}


def make_soup(
    cfg: SoupConfig, ingredients: Sequence[Ingredient], splits: dict[str, PackedSplit], *, runtime: Runtime, size: int
) -> tuple[TrainedModel, list[Ingredient], Scores]:
    """The soup that a section asks for, what went into it, and its scores on val; batches of `size` images.

    Raises:
        ValueError: an unknown method, data that the runs were not trained on, or no val split where one is needed.
    """
    method = pick(METHODS, cfg.method, key="soup.method")
    pot = Pot(ingredients[0].facts, splits["train"], splits.get("val"), runtime, size, cfg.batches)
    check_same_data(pot.cook(ingredients[:1]), splits["train"])
    taken, scores = method(pot, ingredients)
    return pot.cook(taken), taken, scores


def mean_weights(parts: Sequence[Weights]) -> Weights:
    """The mean of each tensor, summed in float64; of whole numbers, such as counts of batches, the first one's."""
    mean = {}
    for name, first in parts[0].items():
        if first.is_floating_point() and len(parts) > 1:
            total = sum((part[name].double() for part in parts[1:]), first.double())
            mean[name] = (total / len(parts)).to(first.dtype)
        else:
            mean[name] = first
    return mean


def moved_norms(model: nn.Module, ingredients: Sequence[Ingredient]) -> list[_BatchNorm]:
    """Batch norms whose statistics are not the same in all ingredients: the mean of them belongs to no weights."""
    names = {id(part): name for name, part in model.named_modules()}
    keys = {f"{names[id(norm)]}.running_mean": norm for norm in batch_norms(model)}
    first = ingredients[0].weights
    return [norm for key, norm in keys.items() if any(not torch.equal(first[key], o.weights[key]) for o in ingredients)]


def soup_facts(soup: TrainedModel, taken: Sequence[Ingredient], scores: Scores) -> ModelFacts:
    """What travels with the soup's weights: as of its first ingredient, with the soup's own scores."""
    step, epoch = (max(getattr(one.facts, key) for one in taken) for key in ("step", "epoch"))
    return replace(soup.facts, step=step, epoch=epoch, metrics=scores, sha256="", calibration={})


def started_from(taken: Sequence[Ingredient]) -> dict[str, str]:
    """Where the weights that training of the runs started from came from, see `src.features.origin`."""
    folders = [RunFolder(Path(one.run)).train for one in taken]
    told = [RunRecord.load(folder).facts.get("weights") for folder in folders if (folder / "run.json").exists()]
    apart: list[dict[str, str]] = []
    for one in told:
        if one and one not in apart:
            apart.append(one)
    return {key: "; ".join(one[key] for one in apart if key in one) for key in dict.fromkeys(chain(*apart))}


def _kind(facts: ModelFacts) -> dict[str, Any]:
    model = asdict(without_weights(ModelConfig(**facts.model)))
    return {
        "model": {key: value for key, value in model.items() if key not in STARTS},
        "class_names": facts.class_names,
        "preprocess": facts.preprocess,
        "data_digest": facts.data_digest,
    }
