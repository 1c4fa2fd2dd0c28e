"""Corrected labels: a CSV file that people and the relabel page write and that make_dataset applies.

A row says which image (`id`), its new class or `!drop` (`label`), who decided and why. Later rows win. The file is
only ever added to by this module, byte for byte as it was before: a spreadsheet's semicolons, byte order mark and line
ends stay.
"""

import csv
import logging
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np

from src.choices import suggestion
from src.files import write_atomically
from src.wording import listed

log = logging.getLogger(__name__)

DROP = "!drop"

BYTE_ORDER_MARK = "\ufeff"
DELIMITERS = (",", ";")
MOST_SHOWN = 3
LOCK_WAIT_S = 30


@dataclass(frozen=True)
class Override:
    """A correction: the image `id` gets the class called `label`, or leaves the data set where that is `!drop`."""

    id: str
    label: str
    who: str
    why: str

    @property
    def drops(self) -> bool:
        """Whether the image leaves the data set."""
        return self.label == DROP


COLUMNS = tuple(field.name for field in fields(Override))


@dataclass(frozen=True)
class _Row:
    """An override and the lines of the file, counted from 0, that it takes."""

    override: Override
    start: int
    end: int


@dataclass(frozen=True)
class _Sheet:
    """The file as it is: its lines with their ends, its delimiter, and the rows in it."""

    lines: list[str]
    delimiter: str
    rows: list[_Row]


def load_overrides(path: Path | None) -> dict[str, Override]:
    """Override of each image id; of several rows for one image the last. Empty where there is no such file.

    Raises:
        ValueError: the file is no such table; the message names the line.
    """
    if path is None or not path.exists():
        return {}
    return {row.override.id: row.override for row in _parsed(path).rows}


def add_override(path: Path, *overrides: Override) -> None:
    """Add a row for each, all or none; what stands in the file stays, and no row of another writer at work is lost.

    Raises:
        ValueError: the file was damaged by hand, a row would be refused when read, or another writer does not end;
            the file is untouched.
    """
    with _locked(path):
        sheet = _parsed(path) if path.exists() else _Sheet([",".join(COLUMNS) + "\n"], ",", [])
        before = "".join(sheet.lines)
        end = "" if before.endswith(("\n", "\r")) else "\n"
        after = before + end + "".join(_line(astuple(override), sheet.delimiter) for override in overrides)
        _checked(after, path)
        write_atomically(path, after.encode("utf-8"))


def remove_override(path: Path, *overrides: Override) -> int:
    """How many of them stood in the file: the last row that says just this is gone, and all other rows stay.

    Raises:
        ValueError: the file was damaged by hand, or another writer does not end; the file is untouched.
    """
    if not path.exists():
        return 0
    with _locked(path):
        sheet = _parsed(path)
        found = [row for row in map(partial(_last_of, sheet.rows), overrides) if row is not None]
        gone = {line for row in found for line in range(row.start, row.end)}
        if gone:
            kept = "".join(line for number, line in enumerate(sheet.lines) if number not in gone)
            write_atomically(path, kept.encode("utf-8"))
    return len(found)


def _last_of(rows: Sequence[_Row], override: Override) -> _Row | None:
    return next((row for row in reversed(rows) if row.override == override), None)


def apply_overrides(
    ids: Sequence[str],
    labels: Sequence[str | None],
    *,
    overrides: Mapping[str, Override],
    class_names: Collection[str],
) -> tuple[list[str | None], np.ndarray]:
    """The corrected label of each image, and whether it is dropped (a bool array); a dropped one keeps its label.

    An override of an image that is not there is told in a warning: the image may have left the source.

    Raises:
        ValueError: an override gives a class that is not in `class_names`.
    """
    found = [_composed(image_id) for image_id in ids]
    absent = sorted(set(overrides).difference(found))
    if absent:
        log.warning(
            "%d overridden labels are of images that are not in the source: %s; mend their ids or remove their rows",
            len(absent),
            listed([repr(image_id) for image_id in absent], MOST_SHOWN),
        )
    chosen = [overrides.get(image_id) for image_id in found]
    classes = {_composed(name): name for name in class_names}
    corrected = [
        label if override is None or override.drops else _class_of(override, classes)
        for label, override in zip(labels, chosen, strict=True)
    ]
    return corrected, np.array([override is not None and override.drops for override in chosen], dtype=bool)


def _class_of(override: Override, classes: Mapping[str, str]) -> str:
    """The name of the class as the data set spells it; `classes` maps composed names to it."""
    if _composed(override.label) not in classes:
        raise ValueError(
            f"the overridden label of {override.id!r} is {override.label!r}, which is no class of this data set; "
            f"{suggestion(override.label, [*classes, DROP])}"
        )
    return classes[_composed(override.label)]


def _composed(text: str) -> str:
    """The text in composed Unicode, as ids of images are: some systems type and store `é` as two characters."""
    return unicodedata.normalize("NFC", text)


def _parsed(path: Path) -> _Sheet:
    """What is in the file."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: not UTF-8 text; save it as 'CSV UTF-8'") from None
    return _checked(text, path)


def _checked(text: str, path: Path) -> _Sheet:
    """The rows in the text.

    Raises:
        ValueError: the header or a row is wrong; the message names the line.
    """
    lines = list(StringIO(text, newline=""))
    head = lines[0].removeprefix(BYTE_ORDER_MARK).strip() if lines else ""
    delimiter = next((mark for mark in DELIMITERS if _cells(head, mark) == COLUMNS), None)
    if delimiter is None:
        raise ValueError(
            f"{path}, line 1: found {head[:80]!r}, where the header {','.join(COLUMNS)} belongs "
            "(semicolons in place of the commas will do)"
        )
    return _Sheet(lines, delimiter, list(_rows(lines, delimiter, path)))


def _cells(line: str, delimiter: str) -> tuple[str, ...]:
    """The cells of a line without their quotation marks."""
    return tuple(cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), []))


def _rows(lines: list[str], delimiter: str, path: Path) -> Iterator[_Row]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    end = 0
    try:
        for cells in reader:
            start, end = end, reader.line_num
            if start and any(cell.strip() for cell in cells):
                yield _Row(_override(cells, f"{path}, line {start + 1}"), start, end)
    except csv.Error as error:
        raise ValueError(f"{path}, line {end + 1}: {error}; see that every quotation mark has its partner") from None


def _override(cells: list[str], where: str) -> Override:
    if len(cells) != len(COLUMNS):
        raise ValueError(
            f"{where}: {len(cells)} cells, where {len(COLUMNS)} belong ({', '.join(COLUMNS)}); "
            "put a text that holds the delimiter in quotation marks"
        )
    image_id, label, who, why = cells
    override = Override(_composed(image_id), label.strip(), who, why)
    if not override.id or not override.label:
        raise ValueError(f"{where}: no {'label' if override.id else 'id'}; give a class, or {DROP}, to an image's id")
    return override


def _line(cells: Sequence[str], delimiter: str) -> str:
    """The row as the file has it."""
    text = StringIO(newline="")
    # with both characters in the terminator the writer quotes a cell that holds either of them
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """A context in which no other process or thread that asks for it changes the file."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    try:
        with FileLock(lock, timeout=LOCK_WAIT_S):
            yield
    except Timeout:
        raise ValueError(f"another process has been writing {path} for {LOCK_WAIT_S} s; end it and try again") from None
