"""A store of files that may be images: a folder or a single file, and what archives have in common with them."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import ClassVar

from src.data.stores.listing import Listing, folder_entries
from src.data.stores.members import refuse_oversized
from src.wording import listed

log = logging.getLogger(__name__)

MOST_SHOWN = 3


class ImageStore(ABC):
    """Files that may be images, by name."""

    kind: ClassVar[str]

    def __init__(self, location: Path) -> None:
        self.location = location

    @cached_property
    def listing(self) -> Listing:
        """Everything in the store, in its order; of a compressed tar this takes one pass over the archive."""
        listing = Listing()
        for name, num_bytes in self._files():
            listing.add(name, num_bytes)
        self._tell_of_nested(listing.nested)
        return listing

    def names(self) -> list[str]:
        """Names, with forward slashes, of the files that may be images, in the store's order."""
        return list(self.listing.names)

    def read(self, names: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Name and content of the named files, or of all that may be images, in the store's order.

        Raises:
            ValueError: a name is not there (any more), or the archive is damaged.
        """
        missing = set(self.listing.names if names is None else names)
        for name, content in self._contents(frozenset(missing)):
            missing.discard(name)
            yield name, content
        if missing:
            raise ValueError(
                f"{len(missing)} images are not in {self.location}, {min(missing)!r} first: it has changed since it "
                "was listed; run make_dataset again"
            )

    def stamps(self) -> Iterator[tuple[str, int, int]]:
        """Name, size and stamp of each file that may be an image, in the store's order.

        As long as size and stamp stay, so does the content. Members of an archive with no checksum of their own all
        have those of the archive.
        """
        size, stamp = _stamp(self.location)
        return ((name, size, stamp) for name in self.listing.names)

    @abstractmethod
    def _files(self) -> Iterator[tuple[str, int | None]]:
        """Name and size of every file; None in place of the size for a link or device that is not followed."""

    @abstractmethod
    def _contents(self, wanted: frozenset[str]) -> Iterator[tuple[str, bytes]]:
        """Name and content of those of the wanted files that are there."""

    def _tell_of_nested(self, nested: list[str]) -> None:
        if nested:
            log.warning(
                "%s holds archives, which are not opened (%s); where they hold images, unpack them there",
                self.location,
                listed(nested, MOST_SHOWN),
            )


class FileStore(ImageStore):
    """A single image file."""

    kind = "file"

    def _files(self) -> Iterator[tuple[str, int]]:
        yield self.location.name, self.location.stat().st_size

    def _contents(self, wanted: frozenset[str]) -> Iterator[tuple[str, bytes]]:
        if self.location.name in wanted:
            refuse_oversized(self.location.name, self.location.stat().st_size, self.location)
            yield self.location.name, self.location.read_bytes()


class FolderStore(ImageStore):
    """A folder; links are read only where they lead to a file inside it."""

    kind = "folder"

    def stamps(self) -> Iterator[tuple[str, int, int]]:
        """Name, size and stamp of each file, of which a change touches no other."""
        return ((name, *_stamp(self.location / name)) for name in self.listing.names)

    def _files(self) -> Iterator[tuple[str, int | None]]:
        for name, entry in sorted(folder_entries(self.location), key=itemgetter(0)):
            yield name, entry.stat().st_size if self._is_inside(entry) else None

    def _contents(self, wanted: frozenset[str]) -> Iterator[tuple[str, bytes]]:
        for name in sorted(wanted):
            path = self.location / name
            if path.is_file():
                refuse_oversized(name, path.stat().st_size, self.location)
                yield name, path.read_bytes()

    def _is_inside(self, entry: "os.DirEntry[str]") -> bool:
        if not entry.is_symlink():
            return entry.is_file()
        try:
            target = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError):
            # leads nowhere, or in a circle, which Python 3.11 calls a RuntimeError
            return False
        return target.is_file() and target.is_relative_to(self.location.resolve())


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of the last change in ns; a tool may set back the time of the content, not that of the inode."""
    try:
        found = path.stat()
    except FileNotFoundError:
        # reading it will say so
        return -1, 0
    return found.st_size, max(found.st_mtime_ns, found.st_ctime_ns)
