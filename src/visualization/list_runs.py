"""The ledger: every run of the project with its time, network, data, accuracy and how it ended.

usage: python -m src.visualization.list_runs [<folder> ...]
       make runs

Printed as a table, the newest first; runs that are training, were stopped or failed are in it too.
"""

import sys
from pathlib import Path
from typing import Any

from src.arguments import run_on_runs
from src.config import Config


def list_runs(_cfg: Config, words: list[str]) -> None:
    """Print a line for each run folder below the given folders, else for every one of the project.

    Raises:
        ValueError: a folder that does not exist.
    """
    from src.ledger import entries
    from src.runs import everywhere, run_folders_below

    absent = [word for word in words if not Path(word).is_dir()]
    if absent:
        raise ValueError(f"{', '.join(absent)} is no folder; give run folders or folders of runs, or none for all")
    paths = [path for word in words for path in run_folders_below(Path(word))] if words else everywhere()
    found = entries(paths)
    sys.stdout.write(table(found) if found else "no runs yet; train one: make train\n")


def table(found: list[dict[str, Any]]) -> str:
    """The entries as text in columns."""
    head = ("run", "began", "network", "data", "val", "test", "training", "state")
    lines = [head, *map(_cells, found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def _cells(entry: dict[str, Any]) -> tuple[str, ...]:
    from src.visualization.labels import duration
    from src.wording import percent

    accs = [percent(entry[key]) if entry[key] is not None else "-" for key in ("val_acc", "test_acc")]
    time = "-" if entry["seconds"] is None else duration(entry["seconds"])
    name = f"{entry['run']} *" if entry["is_champion"] else entry["run"]
    data = f"{entry['data']} {entry['data_digest'][:6]}".strip()
    return (name, entry["began"], entry["network"], data, *accs, time, entry["state"])


if __name__ == "__main__":
    run_on_runs(list_runs, about=__doc__ or "")
