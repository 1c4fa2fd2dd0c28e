"""Tell why two runs differ: their settings, their data, their code, their machines, and how the metrics moved.

usage: python -m src.visualization.why <run> <run>
       make why ARGS="<run> <run>"
"""

import sys
from collections.abc import Iterator

from src.arguments import run_on_runs
from src.config import Config


def why(cfg: Config, words: list[str]) -> None:
    """Print what differs from the first run to the second.

    Raises:
        ValueError: not two runs, or one that was not trained to its end.
    """
    from src.runs import chosen, load

    first, second = (load(folder) for folder in chosen(words, least=2, most=2))
    from src.visualization.comparing.reasons import report

    lines: Iterator[str] = report(first, second, cfg.compare)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    run_on_runs(why, about=__doc__ or "")
