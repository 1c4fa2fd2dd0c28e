"""The facts of every file as one table, and a cache of them, so that only what has changed is read again."""

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from src.config_data import DataConfig
from src.data.archives import ImageStore
from src.data.checks import CHECKS_VERSION, Checked
from src.data.perceptual import THUMBNAIL_BYTES
from src.files import write_atomically

log = logging.getLogger(__name__)

MOMENTS = tuple(f"{moment}_{channel}" for moment in ("mean", "std") for channel in "rgb")
PLAIN = {
    "sha256": pa.string(),
    "bytes": pa.int64(),
    "format": pa.string(),
    "mode": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "turned": pa.bool_(),
    "phash": pa.uint64(),
    "thumbnail": pa.binary(THUMBNAIL_BYTES),
}
"""What a column holds as `Checked` has it, in the order of its fields, `name` left out."""
SCHEMA = pa.schema(
    [("path", pa.string()), *PLAIN.items(), *[(name, pa.float32()) for name in MOMENTS], ("reason", pa.string())]
)
STAMPS = pa.schema([("path", pa.string()), ("stamped_bytes", pa.int64()), ("stamp", pa.int64())])
CACHED = pa.schema([*SCHEMA, *list(STAMPS)[1:]])
FACTS_COLUMNS = ("id", *SCHEMA.names)

ROWS_AT_ONCE = 2_000
"""Rows of a part of the cache: no more work than that is lost by a kill."""


def facts_table(checked: Iterable[Checked], ids: Mapping[str, str]) -> pd.DataFrame:
    """The columns `FACTS_COLUMNS` of each file, in the order of the ids; `reason` is "" where it is good.

    Args:
        checked: taken one by one: a million of them need not lie in memory.
        ids: the id of each name.
    """
    items = iter(checked)
    parts = [_part(rows) for rows in iter(lambda: list(islice(items, ROWS_AT_ONCE)), [])]
    table = pa.Table.from_batches(parts, SCHEMA)
    id_column = pa.array((ids[name.as_py()] for name in table["path"]), pa.string(), size=len(table))
    order = pc.sort_indices(id_column)
    columns = {"id": id_column} | dict(zip(table.column_names, table.columns, strict=True))
    del parts, table, id_column
    # one column after the other, so that no second copy of the whole is made
    sorted_columns = {name: _as_series(columns.pop(name).take(order)) for name in FACTS_COLUMNS}
    pa.default_memory_pool().release_unused()
    return pd.DataFrame(sorted_columns, copy=False)


class FactsCache:
    """What was found out about the files of one place, by their name, size and stamp.

    A folder of parquet files, of which the later ones hold. Any of them may be deleted: what it knew is found out
    again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, folder: Path, store: ImageStore, cfg: DataConfig) -> "FactsCache":
        """The cache below `folder` for this place, these settings and the versions of what judges images."""
        judged_by = {
            "location": str(store.location.resolve()),
            "max_pixels": cfg.max_pixels,
            "min_side": cfg.audit.min_side,
            "checks": CHECKS_VERSION,
            "packages": [version(package) for package in ("pillow", "ImageHash", "scipy")],
        }
        digest = hashlib.sha256(json.dumps(judged_by, sort_keys=True).encode("utf-8")).hexdigest()
        return cls(folder / digest[:16])

    def completed(
        self, store: ImageStore, names: Collection[str], read: Callable[[Collection[str]], Iterator[Checked]]
    ) -> Iterator[Checked]:
        """The verdict on each named file in the store's order: as known, else as `read` finds it, which is then kept.

        Raises:
            ValueError: as `read` does.
        """
        listed = _stamps_of(store)
        asked = pa.array(names, pa.string())
        stamps = listed.filter(pc.is_in(listed["path"], value_set=asked))
        known = self._table()
        rows = _rows_of(stamps, known)
        unknown = np.flatnonzero(rows < 0)
        positions = dict(zip(stamps["path"].take(unknown).to_pylist(), unknown.tolist(), strict=True))
        # what the listing does not hold is for the store to read, or to miss
        unlisted = asked.filter(pc.invert(pc.is_in(asked, value_set=stamps["path"]))).to_pylist()
        fresh = self._kept(read([*positions, *unlisted]), stamps, positions)
        begun = 0
        for checked in fresh:
            position = positions.get(checked.name, begun)
            yield from _checked(known, rows[begun:position])
            begun = max(begun, position)
            yield checked
        yield from _checked(known, rows[begun:])
        del known
        self._merge(listed["path"])

    def _kept(self, fresh: Iterator[Checked], stamps: pa.Table, positions: Mapping[str, int]) -> Iterator[Checked]:
        """What is found, after it was written down; on the way out, however that is taken, the rest is too."""
        waiting: list[Checked] = []
        try:
            for checked in fresh:
                waiting.append(checked)
                if len(waiting) == ROWS_AT_ONCE:
                    self._add(waiting, stamps, positions)
                    waiting = []
                yield checked
        finally:
            self._add(waiting, stamps, positions)

    def _add(self, found: Sequence[Checked], stamps: pa.Table, positions: Mapping[str, int]) -> None:
        """Write a part with those of the files that have a stamp."""
        stamped = [checked for checked in found if checked.name in positions]
        if not stamped:
            return
        at = stamps.take([positions[checked.name] for checked in stamped])
        table = pa.Table.from_batches([_part(stamped)])
        for column in STAMPS.names[1:]:
            table = table.append_column(column, at[column])
        self._write(table)

    def _parts(self) -> list[Path]:
        """The files, the newest first."""
        return sorted(self.folder.glob("*.parquet"), reverse=True)

    def _table(self) -> pa.Table:
        """All rows, the newest first."""
        tables = [table for table in map(_read, self._parts()) if table is not None]
        return pa.concat_tables(tables) if tables else CACHED.empty_table()

    def _write(self, table: pa.Table) -> Path:
        newest = next(iter(self._parts()), None)
        path = self.folder / f"{int(newest.stem) + 1 if newest else 0:06d}.parquet"
        content = pa.BufferOutputStream()
        pq.write_table(table, content, write_page_checksum=True)
        write_atomically(path, content.getvalue().to_pybytes())
        return path

    def _merge(self, listed: pa.ChunkedArray) -> None:
        """Put one part in the place of many, with what holds of each file that is still there."""
        parts = self._parts()
        if len(parts) > 1:
            table = self._table()
            newest = pc.index_in(listed, value_set=table["path"]).drop_null()
            self._write(table.take(newest))
            for part in parts:
                part.unlink(missing_ok=True)


def _as_series(column: pa.ChunkedArray) -> pd.Series:
    """The column for a table; bytes stay with Arrow, where a million thumbnails take half the memory."""
    if column.type == PLAIN["thumbnail"]:
        return pd.Series(pd.arrays.ArrowExtensionArray(column.cast(pa.binary()).combine_chunks()))
    return column.to_pandas()


def _part(rows: Sequence[Checked]) -> pa.RecordBatch:
    """The rows as columns of `SCHEMA`."""
    columns: list[Iterable[object]] = [[row.name for row in rows]]
    columns += [[getattr(row, name) for row in rows] for name in PLAIN]
    columns += zip(*(row.mean + row.std for row in rows), strict=True)
    columns.append([row.reason or "" for row in rows])
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _checked(table: pa.Table, rows: np.ndarray) -> Iterator[Checked]:
    """The verdicts in these rows, negative ones left out; the inverse of `_part`."""
    rows = rows[rows >= 0]
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = table.take(rows[start : start + ROWS_AT_ONCE])
        columns = [part[name].to_pylist() for name in ("path", *PLAIN)]
        moments = zip(*(part[name].to_pylist() for name in MOMENTS), strict=True)
        reasons = part["reason"].to_pylist()
        for plain, moment, reason in zip(zip(*columns, strict=True), moments, reasons, strict=True):
            yield Checked(*(*plain, moment[:3], moment[3:], reason or None))


def _stamps_of(store: ImageStore) -> pa.Table:
    """Name, size and stamp of each file in the store's listing."""
    stamps = store.stamps()
    parts = iter(lambda: list(islice(stamps, ROWS_AT_ONCE)), [])
    batches = [
        pa.RecordBatch.from_arrays(
            [pa.array(column, field.type) for column, field in zip(zip(*part, strict=True), STAMPS, strict=True)],
            schema=STAMPS,
        )
        for part in parts
    ]
    return pa.Table.from_batches(batches, STAMPS)


def _rows_of(stamps: pa.Table, known: pa.Table) -> np.ndarray:
    """The row of `known` that holds for each file; -1 where none does."""
    rows = pc.fill_null(pc.index_in(stamps["path"], value_set=known["path"]), -1).to_numpy().astype(np.int64)
    for column in STAMPS.names[1:]:
        found = np.flatnonzero(rows >= 0)
        same = known[column].to_numpy()[rows[found]] == stamps[column].to_numpy()[found]
        rows[found[~same]] = -1
    return rows


def _read(path: Path) -> pa.Table | None:
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError) as error:
        log.warning("%s is damaged (%s) and not used; what it knew is found out again", path, error)
        return None
    return table if table.schema.equals(CACHED) else None
