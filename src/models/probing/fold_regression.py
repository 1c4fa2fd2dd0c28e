"""Probabilities out of fold: a logistic regression for each fold, fitted on the others."""

import logging
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from src.config import LabelsConfig
from src.data.splits import folds_of
from src.fold_predictions import KFoldPredictions
from src.logs import progress
from src.models.probing.fold_features import LabelledImages

log = logging.getLogger(__name__)

MOST_ITERATIONS = 1000


def predict_labels(images: LabelledImages, cfg: LabelsConfig) -> KFoldPredictions:
    """The label of each image as predicted by a model that saw neither it nor its group.

    Raises:
        ValueError: a class is a single group of copies.
    """
    names = [images.class_names[label] for label in images.labels]
    num_folds = possible_folds(names, images.groups, wanted=cfg.folds)
    folds = np.array(folds_of(names, images.groups, num_folds=num_folds, seed=cfg.seed), dtype=np.int64)
    probs = out_of_fold(
        images.vectors,
        images.labels,
        folds,
        num_classes=len(images.class_names),
        regularization=cfg.regularization,
    )
    return KFoldPredictions(
        ids=images.ids,
        splits=images.splits,
        labels=images.labels,
        folds=folds,
        probs=probs,
        class_names=images.class_names,
        features=images.features,
        digest=images.digest,
    )


def possible_folds(names: Sequence[str], groups: Sequence[str], *, wanted: int) -> int:
    """As many folds as are wanted, or as the rarest class has groups of copies, so that a few rare images stop nothing.

    Raises:
        ValueError: that is a single one.
    """
    of_class: dict[str, set[str]] = defaultdict(set)
    for name, group in zip(names, groups, strict=True):
        of_class[name].add(group)
    rarest = min(of_class, key=lambda name: len(of_class[name]))
    fewest = len(of_class[rarest])
    if fewest < 2:
        raise ValueError(
            f"class {rarest!r} has only copies of one image; a label is judged by other images of its class: "
            "add some, or remove the class"
        )
    if fewest < wanted:
        log.warning("labels.folds=%d: %d are used, as class %r has %d different images", wanted, fewest, rarest, fewest)
    return min(wanted, fewest)


def out_of_fold(
    vectors: np.ndarray, labels: np.ndarray, folds: np.ndarray, *, num_classes: int, regularization: float
) -> np.ndarray:
    """Probabilities, float32 of shape (images, num_classes); the same on every call.

    Vectors are standardised by the images that are fitted on; `regularization` is the C of the regression.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probs = np.zeros((len(labels), num_classes), dtype=np.float32)
    for fold in progress(range(int(folds.max()) + 1), what="predict labels", unit="folds"):
        held_out = folds == fold
        regression = LogisticRegression(C=regularization, max_iter=MOST_ITERATIONS)
        model = make_pipeline(StandardScaler(), regression).fit(vectors[~held_out], labels[~held_out])
        probs[np.ix_(held_out, regression.classes_)] = model.predict_proba(vectors[held_out])
    return probs
