"""Mistakes one by one: the image, where the network looked, and the training images that are most like it to it."""

from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from src.visualization.galleries import data_uri, is_sharp
from src.visualization.labels import shortened
from src.visualization.reporting.evidence import Answer, Evidence, mistakes_of
from src.visualization.theme import Theme

HEAT = "inferno"
STRENGTH = 0.65
MOST_NAMES = 30


@dataclass(frozen=True)
class Case:
    """A mistake with its pictures as addresses; `near` are labels and pictures of training images, nearest first."""

    answer: Answer
    picture: str
    looked: str | None
    near: list[tuple[str, str]]


def cases(evidence: Evidence, most: int) -> list[Case]:
    """The most confident mistakes of which more is known than the image, up to `most` of them."""
    scored, extras = evidence.scored, evidence.extras
    if scored is None:
        return []
    known = [answer for answer in mistakes_of(scored) if answer.id in extras.saliency or answer.id in extras.neighbours]
    shown = known[:most]
    pixels = evidence.pixels(scored.split, [answer.id for answer in shown])
    label_of = _train_labels(evidence)
    found = []
    for answer, image in zip(shown, pixels, strict=True):
        if image is None:
            continue
        ids = extras.neighbours.get(answer.id, [])
        pictures = zip(ids, evidence.pixels("train", ids), strict=True)
        near = [(label_of.get(near_id, ""), data_uri(picture)) for near_id, picture in pictures if picture is not None]
        heat = extras.saliency.get(answer.id)
        found.append(Case(answer, data_uri(image), None if heat is None else data_uri(overlaid(image, heat)), near))
    return found


def overlaid(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The image with a map of 0 to 255 laid over it: the brighter, the more it spoke for the answer; uint8."""
    share = STRENGTH * heat[..., None] / 255
    colours = matplotlib.colormaps[HEAT](heat)[..., :3] * 255
    grey = image.mean(axis=2, keepdims=True)
    mixed: np.ndarray = (grey * (1 - share) + colours * share).round().astype(np.uint8)
    return mixed


def cases_shown(evidence: Evidence, most: int) -> dict[str, Any]:
    """What the page shows of cases."""
    pack = evidence.packed["train"]
    return {"cases": cases(evidence, most), "sharp": is_sharp(pack.size)}


def embedding_map(evidence: Evidence, theme: Theme) -> Figure:
    """Images as the network sees them: near ones are alike to it; wrong ones stand out, classes at their middle."""
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    scored, places = evidence.scored, evidence.extras.places
    if scored is None or places.empty:
        axes.set_title("Images by the network's features")
        axes.text(0.5, 0.5, "No map was asked for.", ha="center", va="center", color=theme.muted)
        return figure
    row_of = {image_id: row for row, image_id in enumerate(scored.ids)}
    rows = np.array([row_of[image_id] for image_id in places["id"]])
    x, y = places["x"].to_numpy(), places["y"].to_numpy()
    labels = scored.labels[rows]
    wrong = (labels >= 0) & (labels != scored.preds[rows])
    axes.scatter(x[~wrong], y[~wrong], s=9, color=theme.first, alpha=0.45, linewidths=0, label="right")
    axes.scatter(x[wrong], y[wrong], s=20, color=theme.second, linewidths=0, label="wrong", zorder=3)
    present = np.unique(labels[labels >= 0])
    if len(present) <= MOST_NAMES:
        for label in present:
            middle = np.median(x[labels == label]), np.median(y[labels == label])
            name = shortened(scored.class_names[label], 14)
            axes.text(*middle, name, ha="center", va="center", color=theme.ink, fontweight="bold", zorder=4)
    axes.set_title(f"{len(places):,} images of {scored.split} by the network's features")
    axes.legend(loc="best")
    return figure


def _train_labels(evidence: Evidence) -> dict[str, str]:
    pack = evidence.packed["train"]
    return {image_id: pack.class_names[label] for image_id, label in zip(pack.ids, pack.labels, strict=True)}
