"""Lists of images: a CSV, TSV or Parquet file that names each image, its label, and where known its split and group."""

import logging
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from src.choices import near

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

SEPARATORS = {".csv": ",", ".tsv": "\t"}
LIST_SUFFIXES = (*SEPARATORS, ".parquet")
COLUMNS = ("path", "label", "split", "group")
NEEDED = "path"


def is_list(path: Path) -> bool:
    """Whether the name is that of a list of images."""
    return path.suffix.lower() in LIST_SUFFIXES


def read_list(path: Path) -> "pd.DataFrame":
    """A row for each listed image: `path` below the list's folder, and `label`, `split`, `group`, each a str or None.

    Values are read as text: a class 007 stays 007. An empty cell is None.

    Raises:
        ValueError: no such list, an unknown or a missing column, or a path that cannot be meant; names the row.
    """
    import pandas as pd

    found = _read(path)
    _check_columns(path, [str(name) for name in found.columns])
    if found.empty:
        raise ValueError(f"{path} lists no image; it needs a row for each, with a path")
    cells = {column: [_cell(value) for value in found.get(column, [None] * len(found))] for column in COLUMNS}
    rows = enumerate(cells["path"], start=_first_row(path))
    cells["path"] = _distinct(path, [_plain(path, row, value) for row, value in rows])
    # text and None, not the missing values that pandas puts in their place
    return pd.DataFrame({column: pd.Series(values, dtype=object) for column, values in cells.items()})


def _read(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        separator = SEPARATORS[path.suffix.lower()]
        # utf-8-sig: spreadsheets write a mark before the first column's name
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; give a CSV, TSV or Parquet list of images") from None
    except (ValueError, OSError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read as a {path.suffix[1:].upper()} list of images ({text})") from None


def _check_columns(path: Path, found: list[str]) -> None:
    """Refuse what looks like a slip; say what else is not read."""
    missing = [name for name in COLUMNS if name not in found]
    others = [name for name in found if name not in COLUMNS]
    for name in others:
        if meant := near(name.lower(), missing, most=1):
            raise ValueError(f"{path} has a column {name!r}; did you mean {meant[0]!r}? rename it so, or otherwise")
    if NEEDED in missing:
        raise ValueError(f"{path} has no column {NEEDED!r}, only {', '.join(found)}; allowed: {', '.join(COLUMNS)}")
    if others:
        log.warning("%s: columns that are not read: %s", path, ", ".join(others))


def _cell(value: Any) -> str | None:
    """The text of a cell; None where it is empty."""
    if value is None or value != value:  # noqa: PLR0124 - only NaN differs from itself
        return None
    # a column of whole numbers with gaps comes as floats
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()
    return text or None


def _plain(path: Path, row: int, value: str | None) -> str:
    """The listed path with forward slashes, inside the folder of the list."""
    if value is None:
        raise ValueError(f"{path}, row {row}: no path; give the image's path below {path.parent}, or remove the row")
    plain = PurePosixPath(value.replace("\\", "/"))
    if plain.is_absolute() or ".." in plain.parts or ":" in plain.parts[0]:
        raise ValueError(
            f"{path}, row {row}: {value!r} leads out of {path.parent}; give paths below the folder of the list"
        )
    return plain.as_posix()


def _distinct(path: Path, names: list[str]) -> list[str | None]:
    seen: set[str] = set()
    for row, name in enumerate(names, start=_first_row(path)):
        if name in seen:
            raise ValueError(f"{path}, row {row}: {name!r} is listed before; remove one")
        seen.add(name)
    return [*names]


def _first_row(path: Path) -> int:
    """The number that a person sees beside the first image: in a text file the header is row 1."""
    return 1 if path.suffix.lower() == ".parquet" else 2
