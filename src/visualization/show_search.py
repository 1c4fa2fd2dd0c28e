"""Draw the page of a search: models/sweeps/search-<id> -> reports/search-<id>/index.html and reports/figures/.

It shows the trials by their order, the dimensions that make a difference, and the best settings with what they cost.
The search is named by run_dir=<its folder>; without it the newest one is drawn.
"""

import logging
from datetime import datetime
from pathlib import Path

from src.cli import run_verb
from src.config import Config
from src.files import replace_files, write_atomically
from src.layout import SWEEPS_DIR, RunFolder

log = logging.getLogger(__name__)


def show_search(cfg: Config) -> None:
    """Write the page and the figures of a search; it may go on meanwhile.

    Raises:
        ValueError: there is no search there.
    """
    from src.visualization.rendering import png
    from src.visualization.searching.evidence import gather
    from src.visualization.searching.figures import SEARCH_FIGURES
    from src.visualization.searching.page import page

    found = RunFolder(Path(cfg.run_dir) if cfg.run_dir is not None else newest())
    evidence = gather(found, cfg.report)
    html = page(evidence, written=datetime.now())
    replace_files(found.figures, {f"{name}.png": png(draw, evidence) for name, draw in SEARCH_FIGURES.items()})
    index = found.report / "index.html"
    write_atomically(index, html.encode("utf-8"))
    log.info("%d figures in %s, page: %s", len(SEARCH_FIGURES), found.figures, index)


def newest() -> Path:
    """The folder of the search that was at work last.

    Raises:
        ValueError: there is none.
    """
    found = sorted(SWEEPS_DIR.glob("search-*/summary.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ValueError(f'{SWEEPS_DIR} holds no search; run one: make sweep ARGS="sweep=search"')
    return found[-1].parent


if __name__ == "__main__":
    run_verb(show_search, about=__doc__ or "")
