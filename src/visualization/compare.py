"""Compare finished runs: accuracy with its uncertainty, cost, and which differences are noise.

usage: python -m src.visualization.compare <run> ... [section.key=value ...]
       make compare ARGS="<run> ..."

A run is a run folder, a folder with runs below it (a sweep, models/runs), the name of either, an experiment of DVC, or
`champion`. Prints a table in Markdown and writes reports/compare/: index.html, table.csv, table.md, comparison.json.
What can be set is the section `compare` of the configuration, such as compare.split=val compare.name=backbones.
"""

import logging
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from src.arguments import run_on_runs
from src.config import Config
from src.layout import RunFolder

if TYPE_CHECKING:
    from src.visualization.comparing.comparison import Comparison

log = logging.getLogger(__name__)


def compare(cfg: Config, words: list[str]) -> None:
    """Write the comparison of the runs that the words name, and print its table.

    Raises:
        ValueError: a word that names nothing, or runs that cannot be compared.
    """
    from src.runs import chosen, load
    from src.visualization.comparing.comparison import compared
    from src.visualization.comparing.tables import as_markdown

    comparison = compared([load(folder) for folder in chosen(words, least=1)], cfg.compare, cfg.report)
    written = write(comparison, RunFolder(Path(cfg.compare.name)))
    sys.stdout.write(f"{as_markdown(comparison)}\npage  {written.as_posix()}\n")


def write(comparison: "Comparison", place: RunFolder) -> Path:
    """The page, which stands with its tables and figures in the folders of that name."""
    from src.files import replace_files, write_atomically, write_json
    from src.visualization.comparing.figures import drawings
    from src.visualization.comparing.page import page
    from src.visualization.comparing.tables import as_csv, as_markdown, as_tree
    from src.visualization.rendering import png

    html = page(comparison, written=datetime.now())
    figures = {f"{name}.png": png(draw, comparison) for name, draw in drawings(comparison).items()}
    replace_files(place.figures, figures)
    write_atomically(place.report / "table.csv", as_csv(comparison))
    write_atomically(place.report / "table.md", as_markdown(comparison).encode("utf-8"))
    write_json(place.report / "comparison.json", as_tree(comparison))
    index = place.report / "index.html"
    write_atomically(index, html.encode("utf-8"))
    return index


if __name__ == "__main__":
    run_on_runs(compare, about=__doc__ or "")
