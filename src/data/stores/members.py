"""What an archive from a stranger may hold: names that stay inside, sizes within limits, damage told in a sentence."""

import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from src.data.stores import listing

MAX_RATIO = 200
"""Unpacked bytes per byte of the archive: photographs stay near 1, masks and drawings below 100, bombs pass 1,000."""

FREE_BYTES = listing.MAX_FILE_BYTES
"""An archive that unpacks to no more than one file may have is read whatever its ratio."""

MAX_TOTAL_BYTES = 2**40
"""Unpacked bytes of one archive, seven times the whole of ImageNet."""

MAX_NAME_CHARS = 4096
"""The longest path that Linux takes: nobody can have packed a file with a longer one."""

MOST_SHOWN = 200
UNREADABLE = (FileNotFoundError, PermissionError)
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    MemoryError,
    RuntimeError,
)
"""What the readers of zip and tar raise on damaged archives, as found by feeding them some."""


class Refused(ValueError):  # noqa: N818 - a verdict on an archive
    """An archive that is not read; the message is the whole sentence."""


class Budget:
    """The bytes that an archive may still unpack to."""

    def __init__(self, location: Path) -> None:
        self.location = location
        self.spent = 0

    @cached_property
    def most(self) -> int:
        """Bytes in all, by the size of the archive."""
        return min(MAX_TOTAL_BYTES, max(FREE_BYTES, MAX_RATIO * self.location.stat().st_size))

    def spend(self, num_bytes: int, name: str) -> None:
        """Count the bytes of the member `name`.

        Raises:
            ValueError: they are more than the archive may have.
        """
        self.spent += num_bytes
        if self.spent > self.most:
            raise Refused(
                f"{self.location} unpacks to more than {self.most:,} bytes at {shown(name)}, as a decompression bomb "
                f"does (allowed: {MAX_RATIO} times its size, or {FREE_BYTES:,}, at most {MAX_TOTAL_BYTES:,}); "
                "where you trust it, unpack it and give the folder"
            )


@contextmanager
def damage_named(location: Path, where: str = "") -> Iterator[None]:
    """A context that turns what a damaged archive raises into one sentence; `where` is the member, if it is known."""
    try:
        yield
    except (*UNREADABLE, Refused):
        raise
    except DAMAGE as error:
        text = " ".join(str(error).split())[:MOST_SHOWN] or type(error).__name__
        raise Refused(f"{location} is damaged{where and ' '}{where} ({text}); download or copy it again") from None


def safe_name(name: str, location: Path) -> str:
    """The name of a member with forward slashes and without empty parts.

    Raises:
        ValueError: it leads out of the archive, or is no name of a file.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or re.match(r"[A-Za-z]:", name):
        raise Refused(
            f"{location} holds a member called {shown(name)}, which leads out of the archive; "
            "it is not read: get the archive from a source you trust"
        )
    if not parts or "\0" in name or len(name) > MAX_NAME_CHARS:
        raise Refused(
            f"{location} holds a member called {shown(name)}, which is no name of a file (1 to {MAX_NAME_CHARS:,} "
            "characters, none of them NUL); it is not read: get the archive from a source you trust"
        )
    return "/".join(parts)


def refuse_repeated(name: str, seen: Collection[str], location: Path) -> None:
    """Nothing, where the name was not seen before; ValueError where it was."""
    if name in seen:
        raise Refused(f"{location} holds two members called {shown(name)}; unpack it, sort them out, give the folder")


def refuse_oversized(name: str, num_bytes: int, location: Path) -> None:
    """Nothing, where the member may be read; ValueError for one that the listing would not have named."""
    if num_bytes > listing.MAX_FILE_BYTES:
        raise Refused(
            f"{location} holds {shown(name)} of {num_bytes:,} bytes, and no more than {listing.MAX_FILE_BYTES:,} are "
            "read: it has changed since it was listed; run make_dataset again"
        )


def link_refused(location: Path, name: str) -> Refused:
    """The error for a member that is no file."""
    return Refused(
        f"{location} holds {shown(name)}, a link or device, which is not read; "
        "pack the files themselves (tar --dereference --hard-dereference)"
    )


def shown(name: str) -> str:
    """The name in quotes, what cannot be printed escaped; of a long one the beginning."""
    return repr(name) if len(name) <= MOST_SHOWN else f"{name[:MOST_SHOWN]!r}... ({len(name):,} characters)"
