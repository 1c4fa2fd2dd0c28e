"""What the page of suspect labels is drawn from: the list of suspects, their pixels and a run's test predictions."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from src.artifacts import Predictions
from src.data.suspects import read_suspects
from src.features.packed import PackedSplit
from src.layout import LABEL_ISSUES_DIR, PACKED_DIR, RunFolder
from src.paired import share_interval

log = logging.getLogger(__name__)

TEST = "test"


@dataclass(frozen=True, kw_only=True)
class SuspectEvidence:
    """Suspects and counts as label_issues wrote them, the packed splits, and test predictions of a run, if any."""

    suspects: pd.DataFrame
    facts: dict[str, Any]
    packed: dict[str, PackedSplit]
    run: str
    predictions: Predictions | None


@dataclass(frozen=True, kw_only=True)
class Score:
    """Accuracy on a number of images, with its 95 % interval."""

    num_images: int
    acc: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The accuracy of a run on all test images and on those that are no suspects; None where none is left.

    `num_suspects` of them are; for `as_labelled` of those the run predicts the given label, for `as_suggested` the one
    suggested.
    """

    everything: Score
    without: Score | None
    num_suspects: int
    as_labelled: int
    as_suggested: int


def gather(run: RunFolder) -> SuspectEvidence:
    """The evidence, with the test predictions of the run where it has any of the labels at hand.

    Raises:
        ValueError: label_issues has not run, or the packed images are of another data set.
    """
    suspects, facts = read_suspects(LABEL_ISSUES_DIR)
    packed = {name: PackedSplit.load(PACKED_DIR / name) for name in facts["splits"]}
    for name, pack in packed.items():
        if pack.digest != facts["digest"]:
            raise ValueError(
                f"{LABEL_ISSUES_DIR} is of another data set than {PACKED_DIR / name}; run predict_folds and "
                "label_issues again"
            )
    predictions = _test_predictions(run, packed.get(TEST))
    return SuspectEvidence(suspects=suspects, facts=facts, packed=packed, run=run.name, predictions=predictions)


def compare(predictions: Predictions, suspects: pd.DataFrame) -> Comparison:
    """The run's accuracy with and without the suspects among its images; images without a label are not counted."""
    known = predictions.labels >= 0
    suggested = dict(zip(suspects["id"], suspects["suggested"], strict=True))
    suspect = np.array([image_id in suggested for image_id in predictions.ids], dtype=bool) & known
    right = predictions.preds == predictions.labels
    asked = [suggested[predictions.ids[position]] for position in np.flatnonzero(suspect)]
    answers = [predictions.class_names[pred] for pred in predictions.preds[suspect]]
    rest = known & ~suspect
    return Comparison(
        everything=_score(right[known]),
        without=_score(right[rest]) if rest.any() else None,
        num_suspects=int(suspect.sum()),
        as_labelled=int(right[suspect].sum()),
        as_suggested=sum(answer == wanted for answer, wanted in zip(answers, asked, strict=True)),
    )


def _score(right: np.ndarray) -> Score:
    acc = float(right.mean())
    return Score(num_images=len(right), acc=acc, interval=share_interval(acc, len(right), level=0.95))


def _test_predictions(run: RunFolder, pack: PackedSplit | None) -> Predictions | None:
    """What the run predicted for the labelled test images at hand; None where there is no such thing."""
    path = run.predictions / f"{TEST}.parquet"
    if pack is None or not (pack.labels >= 0).any() or not path.exists():
        return None
    predictions = Predictions.load(path)
    same_classes = predictions.class_names == pack.class_names
    if predictions.ids != pack.ids or not same_classes or not np.array_equal(predictions.labels, pack.labels):
        log.warning("%s is of other images or labels than %s: its accuracy is left out", path, PACKED_DIR / TEST)
        return None
    return predictions
