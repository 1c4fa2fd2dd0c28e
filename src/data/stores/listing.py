"""Which files of a folder or an archive may be images, and how they are listed."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath

MAX_FILE_BYTES = 256 * 2**20
"""A file declared larger is not read: no camera writes such images, and a decompression bomb looks like that."""

JUNK_NAMES = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "TFRecords"})
ARCHIVE_SUFFIXES = frozenset({".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz"})
UNREAD_ARCHIVES = frozenset({".rar", ".7z", ".zst"})
TEXT_SUFFIXES = frozenset({".txt", ".csv", ".tsv", ".json", ".jsonl", ".md", ".rst", ".xml", ".html", ".htm", ".log"})
CODE_SUFFIXES = frozenset({".yaml", ".yml", ".toml", ".ini", ".py", ".ipynb", ".sh", ".bat"})
OTHER_SUFFIXES = frozenset(
    {".pdf", ".doc", ".docx", ".xls", ".xlsx", ".mat", ".npy", ".npz", ".pkl", ".h5", ".parquet"}
)
RECORD_SUFFIXES = frozenset({".tfrecord", ".tfrecords", ".tfrec"})
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov"})
DOCUMENT_SUFFIXES = (
    TEXT_SUFFIXES | CODE_SUFFIXES | OTHER_SUFFIXES | RECORD_SUFFIXES | VIDEO_SUFFIXES | {".db", ".sqlite"}
)
IGNORED_SUFFIXES = DOCUMENT_SUFFIXES | ARCHIVE_SUFFIXES | UNREAD_ARCHIVES


@dataclass
class Listing:
    """What a store holds: `names` may be images, `oversized` are not read, `ignored` counts the rest by suffix.

    `nested` names those of the ignored that are archives themselves.
    """

    names: list[str] = field(default_factory=list)
    oversized: dict[str, int] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    nested: list[str] = field(default_factory=list)

    def add(self, name: str, num_bytes: int | None) -> None:
        """Sort one file into its place; a size of None marks a link or device that is not followed."""
        kind = ignored_as(name) or ("link or device" if num_bytes is None else None)
        if kind is not None:
            self.ignored[kind] += 1
            if kind in ARCHIVE_SUFFIXES | UNREAD_ARCHIVES:
                self.nested.append(name)
        elif num_bytes is not None and num_bytes > MAX_FILE_BYTES:
            self.oversized[name] = num_bytes
        else:
            self.names.append(name)


def folder_entries(folder: Path) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """Posix name below `folder` and directory entry of everything in it that is no folder; links are not followed."""
    waiting = [("", str(folder))]
    while waiting:
        prefix, path = waiting.pop()
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((f"{prefix}{entry.name}/", entry.path))
                else:
                    yield prefix + entry.name, entry


def ignored_as(name: str) -> str | None:
    """Under what a file is counted that is no candidate (`hidden` or its suffix); None for one that may be an image."""
    parts = name.split("/")
    if any(part.startswith(".") or part in JUNK_NAMES for part in parts):
        return "hidden"
    suffix = PurePosixPath(parts[-1]).suffix.lower()
    return suffix if suffix in IGNORED_SUFFIXES else None


def common_root(names: Iterable[str]) -> str:
    """The folder prefix, ending in a slash or empty, that all names share and that says nothing about any of them.

    Where all files lie in one folder its name is kept, for it may be a class.
    """
    folders = {tuple(name.split("/")[:-1]) for name in names}
    if len(folders) < 2:
        return ""
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
    return "".join(f"{parts[0]}/" for parts in shared)
