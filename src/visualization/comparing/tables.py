"""The table of a comparison as CSV, as JSON and as Markdown."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from src.contest import probability
from src.visualization.comparing.comparison import Comparison, Pair, Row
from src.visualization.comparing.verdicts import verdicts
from src.visualization.labels import duration
from src.wording import percent

MISSING = "not measured"
MIB = 2**20

Cell = Callable[[Row], Any]

COLUMNS: dict[str, Cell] = {
    "setting": lambda row: row.name,
    "acc": lambda row: row.acc,
    "acc_low": lambda row: row.interval[0],
    "acc_high": lambda row: row.interval[1],
    "seeds": lambda row: len(row.by_seed),
    # a record counts the weights that were trained: of a probe the head alone
    "num_params": lambda row: row.cost and row.cost.num_params,
    "macs": lambda row: row.cost and row.cost.macs,
    "checkpoint_mib": lambda row: None if row.checkpoint_bytes is None else row.checkpoint_bytes / MIB,
    "train_s": lambda row: row.train_s,
    "train_images_per_s": lambda row: row.train_images_per_s,
    "train_peak_mib": lambda row: row.train_mib,
    "latency_ms": lambda row: row.latency_ms,
    "images_per_s": lambda row: row.cost and row.cost.images_per_s,
    "best_batch": lambda row: row.cost and row.cost.best_batch,
    "infer_peak_mib": lambda row: row.cost and row.cost.peak_mib,
    "runs": lambda row: " ".join(run.place for run in row.group.runs),
}
"""What the files hold, by column; None where it is not known."""

SHOWN: dict[str, tuple[str, Callable[[Any], str]]] = {
    "num_params": ("weights", lambda value: f"{value / 1e6:.2f} M"),
    "macs": ("MACs", lambda value: f"{value / 1e6:,.1f} M"),
    "checkpoint_mib": ("file", lambda value: f"{value:.1f} MiB"),
    "train_s": ("training", duration),
    "train_images_per_s": ("train images/s", lambda value: f"{value:,.0f}"),
    "train_peak_mib": ("train memory", lambda value: f"{value:,.0f} MiB"),
    "latency_ms": ("one image", lambda value: f"{value:.2f} ms"),
    "images_per_s": ("images/s", lambda value: f"{value:,.0f}"),
    "best_batch": ("at batch", str),
    "infer_peak_mib": ("memory", lambda value: f"{value:,.0f} MiB"),
}
"""What people read after the accuracy: heading and form of each cost."""


def accuracy_text(row: Row) -> str:
    """The accuracy with its interval and over how many seeds."""
    low, high = row.interval
    seeds = f", {len(row.by_seed)} seeds" if len(row.by_seed) > 1 else ""
    return f"{percent(row.acc)} ({percent(low)} to {percent(high)}{seeds})"


def cost_text(row: Row, column: str) -> str:
    """A cost as people read it."""
    value = COLUMNS[column](row)
    return MISSING if value is None else SHOWN[column][1](value)


def as_csv(comparison: Comparison) -> bytes:
    """A row per group, the best first; empty where a cost is not known."""
    table = pd.DataFrame([{name: cell(row) for name, cell in COLUMNS.items()} for row in comparison.rows])
    return table.to_csv(index=False, lineterminator="\n").encode("utf-8")


def as_tree(comparison: Comparison) -> dict[str, Any]:
    """Everything that the comparison found, for other programs."""
    rows = [
        {name: cell(row) for name, cell in COLUMNS.items() if name != "runs"}
        | {
            "runs": [run.place for run in row.group.runs],
            "acc_by_run": row.by_seed,
            "settings": row.group.settings,
        }
        for row in comparison.rows
    ]
    return {
        "split": comparison.answers.split,
        "num_images": comparison.num_images,
        "level": comparison.cfg.level,
        "verdicts": verdicts(comparison),
        "settings": rows,
        "pairs": [_pair(pair) for pair in comparison.pairs],
    }


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "first": pair.first.name,
        "second": pair.second.name,
        "difference": pair.difference,
        "low": pair.interval[0],
        "high": pair.interval[1],
        "p": pair.p,
        "p_corrected": pair.corrected,
        "over_seeds": pair.over_seeds,
        "wins": pair.wins,
        "losses": pair.losses,
        "is_noise": pair.is_noise,
    }


def as_markdown(comparison: Comparison) -> str:
    """The sentences, the table of settings and that of their differences."""
    head = ["setting", f"{comparison.answers.split} accuracy", *(name for name, _ in SHOWN.values())]
    rows = [[row.name, accuracy_text(row), *(cost_text(row, column) for column in SHOWN)] for row in comparison.rows]
    parts = ["\n".join(f"- {sentence}" for sentence in verdicts(comparison)), _table(head, rows)]
    if comparison.pairs:
        parts.append(_table(PAIR_HEAD, [pair_cells(pair) for pair in comparison.pairs]))
    return "\n\n".join(parts) + "\n"


PAIR_HEAD = ["ahead", "behind", "difference", "interval", "p", "p corrected", "verdict"]


def pair_cells(pair: Pair) -> list[str]:
    """One difference as people read it."""
    low, high = pair.interval
    return [
        pair.first.name,
        pair.second.name,
        f"{100 * pair.difference:+.1f}",
        f"{100 * low:+.1f} to {100 * high:+.1f}",
        probability(pair.p),
        probability(pair.corrected),
        "noise" if pair.is_noise else "real",
    ]


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns are also aligned for a terminal."""
    cells = [[cell.replace("|", "\\|") for cell in line] for line in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [f"| {' | '.join(map(str.ljust, line, widths))} |" for line in cells]
    return "\n".join([lines[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines[1:]])
