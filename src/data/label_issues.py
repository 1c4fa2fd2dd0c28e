"""Rank the labels that are probably wrong, in every split: data/interim/label_issues/suspects.csv.

Reads the predictions out of fold in data/processed/folds (predict_folds); label_issues.json beside the list counts the
suspects by split, by class and by pair of classes, and estimates the share of wrong labels.
"""

import logging

from src.cli import run_verb
from src.config import Config
from src.layout import DATASET_DIR, FOLDS_DIR, LABEL_ISSUES_DIR

log = logging.getLogger(__name__)


def label_issues(cfg: Config) -> None:
    """Write `suspects.csv` and `label_issues.json` into `LABEL_ISSUES_DIR`.

    Raises:
        ValueError: there are no predictions out of fold, or they are of another data set.
        ImportError: `labels.method` needs a package that is not installed.
    """
    from src.artifacts import Manifest
    from src.choices import pick
    from src.data.confident import METHODS
    from src.data.suspects import summary, suspects_table, write_suspects
    from src.fold_predictions import KFoldPredictions

    manifest = Manifest.load(DATASET_DIR)
    predictions = KFoldPredictions.load(FOLDS_DIR)
    if predictions.digest != manifest.digest():
        raise ValueError(f"{FOLDS_DIR} is of another data set than {DATASET_DIR}; run predict_folds again")
    verdict = pick(METHODS, cfg.labels.method, key="labels.method")(predictions.labels, predictions.probs)
    table = suspects_table(predictions, verdict)
    facts = summary(predictions, verdict, method=cfg.labels.method)
    write_suspects(table, facts | {"overrides": manifest.settings.get("overrides")}, folder=LABEL_ISSUES_DIR)
    log.info(
        "%d of %d labels are suspect (%s); about %.1f %% are estimated to be wrong; in %s",
        len(table),
        len(predictions),
        ", ".join(f"{split} {found['suspects']}" for split, found in facts["splits"].items()),
        100 * facts["estimated_noise"],
        LABEL_ISSUES_DIR,
    )


if __name__ == "__main__":
    run_verb(label_issues, about=__doc__ or "")
