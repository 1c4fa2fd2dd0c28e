"""Draw the page of the data audit: data/interim/dataset and the raw images -> reports/data_audit.html.

It shows what make_dataset found in the data in plain words: what cannot be used, copies and contradicting labels as
pictures, classes, sizes and brightness of each split, outliers, and where the data come from.
"""

import logging
from datetime import datetime

from src.cli import run_verb
from src.config import Config
from src.files import write_atomically
from src.layout import DATA_AUDIT_PAGE

log = logging.getLogger(__name__)


def audit_data(cfg: Config) -> None:
    """Write the page of the data set at hand; the old one stays whole until the new one is.

    Raises:
        ValueError: make_dataset has not run, or the images have changed since.
    """
    from src.visualization.auditing.evidence import gather
    from src.visualization.auditing.page import page

    html = page(gather(), samples_per_class=cfg.report.samples_per_class, written=datetime.now())
    write_atomically(DATA_AUDIT_PAGE, html.encode("utf-8"))
    log.info("page: %s", DATA_AUDIT_PAGE)


if __name__ == "__main__":
    run_verb(audit_data, about=__doc__)
