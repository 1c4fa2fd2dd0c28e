"""Draw the page of suspect labels: data/interim/label_issues and the packed images -> reports/label_issues.html.

It shows the suspects of each split as pictures, with the label given and the one suggested, and what they mean for the
test accuracy of the run in models/pipeline, or in run_dir=<folder>, where there is one.
"""

import logging
from datetime import datetime
from pathlib import Path

from src.cli import run_verb
from src.config import Config
from src.files import write_atomically
from src.layout import LABEL_ISSUES_PAGE, PIPELINE_RUN, RunFolder

log = logging.getLogger(__name__)


def show_label_issues(cfg: Config) -> None:
    """Write the page of the suspects; the old one stays whole until the new one is.

    Raises:
        ValueError: label_issues has not run, or the packed images are of another data set.
    """
    from src.visualization.suspecting.evidence import gather
    from src.visualization.suspecting.page import page

    run = RunFolder(Path(cfg.run_dir) if cfg.run_dir is not None else PIPELINE_RUN)
    html = page(gather(run), most=cfg.labels.max_suspects, written=datetime.now())
    write_atomically(LABEL_ISSUES_PAGE, html.encode("utf-8"))
    log.info("page: %s", LABEL_ISSUES_PAGE)


if __name__ == "__main__":
    run_verb(show_label_issues, about=__doc__ or "")
