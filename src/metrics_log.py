"""The rows of a training run in a local file: a JSON object per line, the record that every tracker is a view of."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.files import write_atomically


class JsonlTracker:
    """A JSON object per row in one file, on disk before `log` returns.

    Rows after `resume_step` are dropped, so that a resumed run writes each step once. NaN and infinities become null.
    """

    def __init__(self, path: Path, *, resume_step: int = 0) -> None:
        kept = [row for row in read_metrics(path) if row["step"] <= resume_step] if path.exists() else []
        write_atomically(path, b"".join(_line(row) for row in kept))
        self._file = path.open("ab", buffering=0)

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Append one row and wait until the disk has it."""
        self._file.write(_line({"step": step, **metrics}))
        os.fsync(self._file.fileno())

    def summary(self, metrics: Mapping[str, float]) -> None:
        """Nothing: the figures of the whole run stand in `run.json`."""

    def show(self, pictures: Mapping[str, bytes], tables: Mapping[str, Any], *, step: int) -> None:
        """Nothing: pictures stand in the run's report."""

    def keep(self, folder: Path) -> None:
        """Nothing: the weights are beside it."""

    def finish(self, exit_code: int = 0) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`; a last row cut off by a kill is left out, null is read as NaN.

    Raises:
        ValueError: a row before the last one is damaged.
    """
    *lines, _torn = path.read_bytes().split(b"\n")
    return [_row(line, f"{path} line {number}") for number, line in enumerate(lines, start=1)]


def write_metrics(path: Path, rows: Mapping[int, Mapping[str, float]]) -> None:
    """Make the file hold exactly these rows, given by step."""
    write_atomically(path, b"".join(_line({"step": step, **metrics}) for step, metrics in rows.items()))


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        return {"step": row["step"]} | {key: math.nan if value is None else value for key, value in row.items()}
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{where} is damaged; delete that line, or the file to start anew") from None


def _line(row: Mapping[str, float]) -> bytes:
    numbers = {key: value if isinstance(value, int) else float(value) for key, value in row.items()}
    strict = {key: value if math.isfinite(value) else None for key, value in numbers.items()}
    return json.dumps(strict, allow_nan=False).encode() + b"\n"
