"""Predict every label by a model that saw neither the image nor its copies, for the search for wrong labels.

A logistic regression on the embeddings of a frozen network, or on the pixels, is fitted for each fold on the others.
Reads data/interim/dataset and data/processed/packed, writes data/processed/folds.
"""

import logging

from src.cli import run_verb
from src.config import Config
from src.layout import DATASET_DIR, FOLDS_DIR, PACKED_DIR

log = logging.getLogger(__name__)


def predict_folds(cfg: Config) -> None:
    """Write the predictions out of fold of all labelled images into `FOLDS_DIR`.

    Raises:
        ValueError: no packed splits of these settings, no embeddings where they are asked for, or a class with fewer
            images than there are folds.
    """
    from src.artifacts import Manifest
    from src.features.statistics import load_statistics
    from src.files import whole_folder
    from src.models.probing.fold_features import gather_labelled
    from src.models.probing.fold_regression import predict_labels

    statistics = load_statistics(PACKED_DIR, cfg.data, cfg.features)
    images = gather_labelled(PACKED_DIR, Manifest.load(DATASET_DIR), statistics, features=cfg.labels.features)
    log.info("%d labelled images, predicted from %s", len(images.ids), images.features)
    predictions = predict_labels(images, cfg.labels)
    with whole_folder(FOLDS_DIR) as fresh:
        predictions.save(fresh)
    log.info("%.1f %% of the labels are predicted out of fold; in %s", 100 * predictions.acc, FOLDS_DIR)


if __name__ == "__main__":
    run_verb(predict_folds, about=__doc__ or "")
