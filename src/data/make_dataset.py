"""Check every image of the source, give it a label and a split, and write the manifest.

Reads the source that data.name and data.path name; its files are never changed. Writes data/interim/dataset:
manifest.parquet and manifest.json, files.parquet (facts of every file), duplicates.csv (images that are the same),
audit.json and findings.csv (what is wrong with the data), quarantine.csv (what could not be read, and why) and
summary.json (counts).
"""

import logging

from src.cli import run_verb
from src.config import Config
from src.layout import DATASET_DIR, FACTS_CACHE, RAW_DIR

log = logging.getLogger(__name__)


def make_dataset(cfg: Config) -> None:
    """Write the manifest of the configured source into `DATASET_DIR`.

    Raises:
        ValueError: nothing usable at the source, too many bad files, or no way to label or split what is there.
    """
    from src.data.assembly import assemble, check_settings
    from src.data.audit import audit_text
    from src.data.candidates import store_of
    from src.data.facts import FactsCache
    from src.data.sources import fetch
    from src.data.summary import counts_text, quarantine_text, write_dataset

    check_settings(cfg.data)
    # costs a second where the pipeline has just done it, and a hand run needs no other command first
    store = store_of(fetch(cfg.data, RAW_DIR, download=cfg.run.download), cfg.data)
    cache = FactsCache.of(FACTS_CACHE, store, cfg.data)
    dataset = assemble(store, cfg.data, workers=cfg.run.workers, cache=cache)
    found = write_dataset(dataset, cfg.data, DATASET_DIR)
    if dataset.quarantine:
        log.warning("%s", quarantine_text(dataset.quarantine, DATASET_DIR))
    log.log(logging.WARNING if found.severities["error"] else logging.INFO, "%s", audit_text(found))
    log.info("%s", counts_text(dataset.manifest))
    log.info("data set %s is in %s", dataset.manifest.digest(), DATASET_DIR)


if __name__ == "__main__":
    run_verb(make_dataset, about=__doc__ or "")
