"""What came to the service and what it answered: a JSON object per line, in files that take turns."""

import json
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

log = logging.getLogger(__name__)

PRESENT = "requests.jsonl"


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One image that was answered.

    Attributes:
        time: of the answer, UTC, ISO 8601.
        checkpoint: digest of the weights that answered.
        pred: the class named.
        confidence: its probability.
        width: px, after the EXIF turn, and so is `height`.
        looks: measures of the packed image (`src/features/appearance.py`).
    """

    time: str
    checkpoint: str
    pred: str
    confidence: float
    width: int
    height: int
    looks: dict[str, float]


class RequestLog:
    """Appends to the newest file of a folder; no fault of the disk reaches the one who asks.

    `failures` counts lines that could not be written.
    """

    def __init__(self, folder: Path, *, most_bytes: int, keep: int) -> None:
        """No file is opened yet.

        Args:
            folder: of the files.
            most_bytes: size at which the newest file becomes an older one.
            keep: older files that stay.
        """
        self.folder, self.most_bytes, self.keep = folder, most_bytes, keep
        self.failures = 0

    def append(self, row: Answered) -> None:
        """Write a line, or count a failure."""
        line = (json.dumps(asdict(row), ensure_ascii=False) + "\n").encode("utf-8")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # another service may be turning it, or someone is reading it on Windows: then it grows a little longer
            with suppress(OSError):
                self._turn()
            with self._present.open("ab") as file:
                # what a full disk cut short must not swallow the line after it
                start = b"" if file.tell() == 0 or self._ends_whole() else b"\n"
                file.write(start + line)
        except OSError as error:
            if not self.failures:
                reason = error.strerror or error
                log.warning("the request log %s cannot be written (%s); answers go on", self._present, reason)
            self.failures += 1

    @property
    def _present(self) -> Path:
        return self.folder / PRESENT

    def _ends_whole(self) -> bool:
        with self._present.open("rb") as file:
            file.seek(-1, 2)
            return file.read() == b"\n"

    def _turn(self) -> None:
        """Put the newest file among the older ones where it is full, and remove the oldest."""
        if not self._present.exists() or self._present.stat().st_size < self.most_bytes:
            return
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        self._present.rename(self.folder / f"requests-{stamp}.jsonl")
        for path in older_files(self.folder)[: -self.keep]:
            path.unlink()


def older_files(folder: Path) -> list[Path]:
    """Files that are full, the oldest first."""
    return sorted(folder.glob("requests-*.jsonl"))


@dataclass(frozen=True)
class Requests:
    """Answers of one checkpoint as a table, oldest first: the fields of `Answered`, and the looks by name.

    `num_others` counts answers of other checkpoints among what was read, `damaged` lines that could not be.
    """

    table: pd.DataFrame
    num_others: int
    damaged: int


def read_requests(folder: Path, checkpoint: str, *, last: int | None) -> Requests:
    """The newest `last` answers of the checkpoint in the folder (None: all).

    Raises:
        ValueError: nothing was logged there.
    """
    newest, older = _newest_lines(folder)
    if not newest and not older:
        raise ValueError(f"{folder} holds no requests yet; start the service (make serve) and send it images")
    own: list[dict[str, Any]] = []
    num_others = damaged = 0
    for lines in chain([newest], map(_lines, reversed(older))):
        rows, bad = _rows(lines)
        found = [row for row in rows if row["checkpoint"] == checkpoint]
        own, num_others, damaged = found + own, num_others + len(rows) - len(found), damaged + bad
        if last is not None and len(own) >= last:
            break
    table = pd.DataFrame(own if last is None else own[-last:])
    return Requests(table, num_others, damaged)


def _newest_lines(folder: Path) -> tuple[list[str], list[Path]]:
    """Lines of the newest file, and the files that came before it, though the service may be turning them."""
    while True:
        older = older_files(folder)
        lines = _lines(folder / PRESENT)
        # else a file took its turn meanwhile, and would be missed
        if older_files(folder) == older:
            return lines, older


def _lines(path: Path) -> list[str]:
    """Lines of a file; none where it is not there, as the oldest one may just have been removed."""
    with suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as file:
        return list(file)
    return []


def _rows(lines: Iterable[str]) -> tuple[list[dict[str, Any]], int]:
    """The lines as columns, and how many are damaged."""
    found = list(map(_row, lines))
    rows = [row for row in found if row is not None]
    return rows, len(found) - len(rows)


def _row(line: str) -> dict[str, Any] | None:
    """The line as columns; None where it is damaged."""
    try:
        found = asdict(Answered(**json.loads(line)))
        numbers = {"confidence": found["confidence"]} | found.pop("looks")
        row = found | {name: float(value) for name, value in numbers.items()}
    except (ValueError, TypeError, AttributeError):
        return None
    return row if all(isinstance(row[name], str) for name in ("time", "checkpoint", "pred")) else None
