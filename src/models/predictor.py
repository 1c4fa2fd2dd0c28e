"""Probabilities from a trained model, for a packed split or for images as files."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from src.artifacts import UNLABELLED, Predictions
from src.features.packed import PackedSplit
from src.features.preprocess import Preprocess
from src.logs import progress
from src.models.checkpoint import TrainedModel
from src.models.runtime import Runtime
from src.models.scoring import score, split_probs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewImages:
    """Predictions of images that came as files, and those that could not be read, by name and reason."""

    predictions: Predictions
    unreadable: dict[str, str]


def predict_split(trained: TrainedModel, split: PackedSplit, runtime: Runtime, *, batch_size: int) -> Predictions:
    """Predictions of every image of a packed split, in its order.

    Raises:
        ValueError: the split has other classes than the model, or was packed in another way.
    """
    check_same_data(trained, split)
    return Predictions(
        ids=split.ids,
        paths=split.paths,
        labels=split.labels,
        probs=split_probs(trained.model, split, trained.preprocess, runtime, batch_size=batch_size),
        class_names=trained.class_names,
        split=split.name,
        checkpoint=trained.facts.sha256,
        groups=split.groups,
    )


def predict_images(
    trained: TrainedModel, location: Path, runtime: Runtime, *, batch_size: int, max_pixels: int
) -> NewImages:
    """Predictions of the images in a file, folder or archive, from the checkpoint alone.

    Raises:
        ValueError: the location does not exist, is damaged, or holds not one readable image.
    """
    names: list[str] = []
    probs: list[np.ndarray] = []
    unreadable: dict[str, str] = {}
    for group, pixels in _packed_groups(
        location, trained.preprocess, unreadable, batch_size=batch_size, most=max_pixels
    ):
        logits = score(trained.model, torch.from_numpy(pixels).to(runtime.device), trained.preprocess, runtime)
        probs.append(logits.softmax(dim=1).cpu().numpy())
        names += group
    if not names:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(unreadable.items())[:3])
        raise ValueError(
            f"predict.images={location} holds no readable image ({reasons or 'no file that could be one'})"
        )
    predictions = Predictions(
        ids=names,
        paths=names,
        labels=np.full(len(names), UNLABELLED, dtype=np.int64),
        probs=np.concatenate(probs),
        class_names=trained.class_names,
        split="new",
        checkpoint=trained.facts.sha256,
    )
    return NewImages(predictions, unreadable)


def check_same_data(trained: TrainedModel, split: PackedSplit) -> None:
    """Nothing, if the split is of the data the model was trained on.

    Raises:
        ValueError: other classes, or other images.
    """
    if split.class_names != trained.class_names:
        raise ValueError(
            f"the checkpoint knows the classes {', '.join(trained.class_names)}, the packed data "
            f"{', '.join(split.class_names)}; build the data it was trained on, or train on this one"
        )
    if split.digest != trained.facts.data_digest:
        raise ValueError(
            f"the packed data ({split.digest}) is not what the checkpoint was trained on "
            f"({trained.facts.data_digest}): a test image may have been trained on; build that data again, or train"
        )


def _packed_groups(
    location: Path, preprocess: Preprocess, unreadable: dict[str, str], *, batch_size: int, most: int
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Names and packed pixels, a batch at a time; what cannot be read goes into `unreadable`."""
    from src.data.archives import open_images
    from src.data.checks import BadImage, decode

    names: list[str] = []
    pixels: list[np.ndarray] = []
    store = open_images(location)
    unreadable |= {name: f"too large: {size:,} bytes" for name, size in store.listing.oversized.items()}
    for name, content in progress(store.read(), what="predict", total=len(store.names())):
        try:
            pixels.append(preprocess.pack(decode(content, most)))
        except BadImage as error:
            unreadable[name] = str(error)
            continue
        names.append(name)
        if len(names) == batch_size:
            yield names, np.stack(pixels)
            names, pixels = [], []
    if names:
        yield names, np.stack(pixels)
