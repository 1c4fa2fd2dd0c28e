"""What stands beside predictions to make them plain: training images near to each, a map of all, where it looked."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor, nn

from src.artifacts import Predictions
from src.config_predict import ExplainConfig
from src.features.backbones import heads_of

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 1024
TINY = 1e-12


@dataclass
class Taken:
    """Features that went into the head of a network, collected pass by pass."""

    parts: list[np.ndarray] = field(default_factory=list)

    def vectors(self) -> np.ndarray:
        """Float32 of shape (images, dim)."""
        return np.concatenate(self.parts)

    def __call__(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Keep the input of the head: one vector for each image, the mean over what else it has."""
        vectors = inputs[0].detach().float()
        vectors = vectors.flatten(2).mean(dim=2) if vectors.ndim > 2 else vectors
        self.parts.append(vectors.cpu().numpy())


@contextmanager
def features_taken(model: nn.Module, *, wanted: bool) -> Iterator[Taken | None]:
    """Within it the features of every pass are collected; None where they are not wanted or there is no single head."""
    heads = heads_of(model)
    if not wanted or len(heads) != 1:
        yield None
        return
    taken = Taken()
    handle = model.get_submodule(heads[0]).register_forward_pre_hook(taken)
    try:
        yield taken
    finally:
        handle.remove()


def write_explanations(
    vectors: Mapping[str, np.ndarray], splits: Mapping[str, Predictions], told: str, folder: Path, cfg: ExplainConfig
) -> None:
    """Write `neighbours.csv` and `map.csv` of the split `told`, where features are known."""
    if told not in vectors:
        return
    if cfg.neighbours and "train" in vectors:
        table = neighbours(vectors[told], vectors["train"], cfg.neighbours)
        ids, number = splits[told].ids, table.places.shape[1]
        frame = pd.DataFrame(
            {
                "id": np.repeat(ids, number),
                "rank": np.tile(np.arange(1, number + 1), len(ids)),
                "neighbour": np.array(splits["train"].ids, dtype=object)[table.places.ravel()],
                "similarity": table.similarity.ravel().round(4),
            }
        )
        frame.to_csv(folder / "neighbours.csv", index=False)
    if cfg.map != "none":
        places(vectors[told], splits[told], cfg).to_csv(folder / "map.csv", index=False)


@dataclass(frozen=True)
class Near:
    """Places of the nearest training images and their cosine similarity, both (images, number), the nearest first."""

    places: np.ndarray
    similarity: np.ndarray


def neighbours(vectors: np.ndarray, train: np.ndarray, number: int) -> Near:
    """The `number` training images whose features point the most alike; fewer where there are fewer."""
    number = min(number, len(train))
    ours, theirs = _unit(vectors), _unit(train)
    found = []
    for start in range(0, len(ours), ROWS_AT_ONCE):
        similarity = ours[start : start + ROWS_AT_ONCE] @ theirs.T
        top = np.argpartition(-similarity, number - 1, axis=1)[:, :number]
        values = np.take_along_axis(similarity, top, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        found.append((np.take_along_axis(top, order, axis=1), np.take_along_axis(values, order, axis=1)))
    return Near(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def places(vectors: np.ndarray, split: Predictions, cfg: ExplainConfig) -> pd.DataFrame:
    """Where images lie on a plane, at most `max_points` of them drawn at random: columns id, split, x and y."""
    rng = np.random.default_rng(cfg.seed)
    drawn = np.sort(rng.permutation(len(vectors))[: cfg.max_points])
    plane = MAPS[cfg.map](vectors[drawn].astype(np.float64), cfg.seed)
    ids = [split.ids[row] for row in drawn]
    return pd.DataFrame({"id": ids, "split": split.split, "x": plane[:, 0].round(5), "y": plane[:, 1].round(5)})


def principal_plane(vectors: np.ndarray, seed: int) -> np.ndarray:
    """The two directions of largest variance; each points where its largest weight is positive."""
    if min(vectors.shape) < 2:
        return np.zeros((len(vectors), 2))
    centred = vectors - vectors.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    plane: np.ndarray = centred @ (directions * np.sign(largest)).T
    return plane


def neighbour_plane(vectors: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton, 2008), begun from the principal plane."""
    from sklearn.manifold import TSNE

    if min(vectors.shape) < 3:
        return principal_plane(vectors, seed)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    found: np.ndarray = TSNE(2, init="pca", perplexity=perplexity, random_state=seed).fit_transform(vectors)
    return found


MAPS = {"pca": principal_plane, "tsne": neighbour_plane}


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), TINY)
    return unit
