"""What several runs would cost, measured before any of them starts: the table of `make plan`."""

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from src.config import Config
from src.selection import PARAMS_FILE, Selection, load, parse_multirun

log = logging.getLogger(__name__)

MINUTE, HOUR = 60, 3600
Row = dict[str, Any]


def plan(overrides: Sequence[str]) -> None:
    """Print a row for each combination of the comma-separated values, the fastest first; nothing is written.

    What the overrides leave open is as `params.yaml` selects it.

    Raises:
        ValueError: a wrong override, or runs that could not be measured.
    """
    from src.compose import compose

    asked = parse_multirun(overrides)
    selected = load(Path(PARAMS_FILE))
    cfgs = [compose(selected.updated(one)) for one in asked]
    if any(cfg.sweep is not None for cfg in cfgs):
        raise ValueError("a sweep is many runs: plan one of them, without sweep=...")
    rows: list[Row] = []
    for name, cfg in zip(labels(asked), cfgs, strict=True):
        log.info("measuring %s", name)
        costs = costs_of(cfg)
        if costs is None:
            log.error("%s could not be measured: its reason stands above", name)
        else:
            rows.append({"run": name, **costs})
    sys.stdout.write(table(sorted(rows, key=lambda row: row["run_s"])))
    if len(rows) < len(cfgs):
        raise ValueError(f"{len(cfgs) - len(rows)} of {len(cfgs)} could not be measured")


def costs_of(cfg: Config) -> Row | None:
    """What a run costs, measured in a process of its own, whose memory is its own; None where that fails."""
    import yaml

    from src.config import as_tree

    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(as_tree(cfg), sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "src.models.plan_run", "--config", str(path)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
    if done.returncode < 0:
        log.error("it was killed by signal %d: by someone, or by the system for want of memory", -done.returncode)
    return json.loads(done.stdout) if done.returncode == 0 else None


def labels(selections: Sequence[Selection]) -> list[str]:
    """What each selection has that not all of them have, as it would be typed."""
    words = [_words(selection) for selection in selections]
    common = set.intersection(*map(set, words)) if len(words) > 1 else set()
    return [" ".join(word for word in given if word not in common) or "the run" for given in words]


def _words(selection: Selection) -> list[str]:
    presets = [Selection({key: value}).described() for key, value in selection.presets.items()]
    return presets + [Selection({}, {key: value}).described() for key, value in selection.values.items()]


def table(rows: Sequence[Row]) -> str:
    """The rows as text in columns; empty where there are none."""
    if not rows:
        return ""
    head = ("run", "whole run", "epoch", "images/s", "memory", "batch", "largest batch", "weights")
    lines = [head, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    batch = str(row["batch_size"])
    if row["micro_batch_size"] < row["batch_size"]:
        batch += f" ({row['micro_batch_size']} in a pass)"
    largest = "?" if row["largest_batch"] is None else f"{'about ' if row['estimated'] else ''}{row['largest_batch']}"
    return (
        row["run"],
        duration(row["run_s"]),
        duration(row["epoch_s"]),
        f"{row['images_per_s']:.0f}",
        f"{row['peak_mib']:.0f} MiB",
        batch,
        largest,
        f"{row['num_params'] / 1e6:.2f} M",
    )


def duration(seconds: float) -> str:
    """A time in the units that suit it."""
    if seconds < MINUTE:
        return f"{seconds:.1f} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min {seconds % MINUTE:.0f} s"
    return f"{seconds // HOUR:.0f} h {seconds % HOUR // MINUTE:.0f} min"
