"""What a cross-validation knows of each image: the prediction of a network that was not trained on it."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from src.artifacts import UNLABELLED, Manifest, Predictions
from src.fold_predictions import KFoldPredictions


def out_of_fold(manifest: Manifest, folds: Mapping[str, int], runs: Sequence[Path], *, model: str) -> KFoldPredictions:
    """Predictions of every labelled image, each by the run of one fold that did not train on it.

    An image of train or val is predicted by the run in which it was val. No run trains on the other splits: their
    images are dealt over the runs in turn, so that each of them is predicted by one network too.

    Args:
        manifest: says which images are labelled, and their splits.
        folds: the fold of each image of train and val, by id.
        runs: the folder of predictions of each fold, in the order of the folds.
        model: name of the network.
    """
    used = manifest.used().sort_values("id")
    rows = used[used["label"] != UNLABELLED].reset_index(drop=True)
    fold, scored_in = rows["id"].map(folds), rows["split"].where(~rows["id"].isin(folds.keys()), "val")
    others = fold.isna()
    fold[others] = np.arange(others.sum()) % len(runs)
    probs = np.empty((len(rows), len(manifest.class_names)), dtype=np.float32)
    for number, split in product(range(len(runs)), sorted(set(scored_in))):
        here = np.flatnonzero((fold == number) & (scored_in == split))
        if len(here):
            predictions = Predictions.load(runs[number] / f"{split}.parquet")
            row_of = {image_id: row for row, image_id in enumerate(predictions.ids)}
            probs[here] = predictions.probs[[row_of[image_id] for image_id in rows["id"][here]]]
    return KFoldPredictions(
        ids=list(rows["id"]),
        splits=list(rows["split"]),
        labels=rows["label"].to_numpy(dtype=np.int64),
        folds=fold.to_numpy(dtype=np.int64),
        probs=probs,
        class_names=manifest.class_names,
        features=f"images, by {model} trained on the other folds",
        digest=manifest.digest(),
    )
