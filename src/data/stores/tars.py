"""Images in a tar archive, plain or compressed, read once from front to back and never further than its limits."""

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from src.data.stores.base import ImageStore
from src.data.stores.members import (
    Budget,
    Refused,
    damage_named,
    link_refused,
    refuse_oversized,
    refuse_repeated,
    safe_name,
    shown,
)

COMPRESSIONS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
MAGIC_BYTES = 6
SKIPPED_BYTES = 2**20
BLOCK_BYTES = 512
MAX_HEADER_BYTES = 2**18
"""A header that carries a long name or attributes: four times what Linux allows an attribute."""

MAX_DIGITS = 20
"""Of the length of a record in such a header."""

PAX_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


class TarStore(ImageStore):
    """A tar archive, plain or compressed."""

    kind = "tar"

    def _files(self) -> Iterator[tuple[str, int]]:
        seen: set[str] = set()
        for name, member, _ in self._walk():
            refuse_repeated(name, seen, self.location)
            seen.add(name)
            yield name, member.size

    def _contents(self, wanted: frozenset[str]) -> Iterator[tuple[str, bytes]]:
        # to the end even where the last of them lies before it: only there is the checksum of the archive compared
        for name, member, stream in self._walk() if wanted else ():
            if name not in wanted:
                continue
            refuse_oversized(name, member.size, self.location)
            with damage_named(self.location, f"at {shown(name)}"):
                content = stream.read(member.size)
                if len(content) != member.size:
                    raise EOFError(f"it ends after {len(content):,} of {member.size:,} bytes")
            yield name, content

    def _walk(self) -> "Iterator[tuple[str, tarfile.TarInfo, _Forward]]":
        """Every file with the stream, which stands at its first byte."""
        with damage_named(self.location):
            stream = _Forward(self.location)
        with closing(stream):
            with damage_named(self.location):
                archive = _StrictTar(fileobj=stream, mode="r")  # type: ignore[arg-type]
            while (member := self._next(archive, stream)) is not None:
                stream.last = name = safe_name(member.name, self.location)
                if member.isreg():
                    yield name, member, stream
                elif not member.isdir():
                    raise link_refused(self.location, name)

    def _next(self, archive: "_StrictTar", stream: "_Forward") -> tarfile.TarInfo | None:
        with damage_named(self.location, f"after {shown(stream.last)}" if stream.last else ""):
            member = archive.next()
            # the archive keeps every member it has seen, which nobody asks for here
            archive.members = []  # type: ignore[attr-defined]
        return member


class _Forward:
    """The unpacked bytes of a tar archive as a file that goes forward only; `last` is the member seen last."""

    def __init__(self, location: Path) -> None:
        self.location = location
        self.last = ""
        self._file = _decompressed(location)
        self._budget = Budget(location)

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._budget.spend(len(data), self.last)
        return data

    def tell(self) -> int:
        return self._budget.spent

    def seek(self, position: int) -> None:
        """Skip forward; tarfile's own stream would go on for ever behind the end of a cut archive."""
        if position < self.tell():
            raise tarfile.StreamError("a size that leads backwards")
        while position > self.tell():
            if not self.read(min(SKIPPED_BYTES, position - self.tell())):
                raise EOFError("it ends inside a member")

    def close(self) -> None:
        self._file.close()


class _StrictHeader(tarfile.TarInfo):
    """A header that says so when it is broken; by itself tarfile takes a broken one for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_StrictHeader":
        if buf and not any(buf):
            # whole or cut, such a block holds nothing
            raise tarfile.EOFHeaderError("end of file header")  # type: ignore[attr-defined]
        return super().frombuf(buf, encoding, errors)

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_StrictHeader":
        assert isinstance(archive, _StrictTar)
        try:
            header = super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            archive.ended = True
            raise
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            if archive.ended:
                raise
            raise tarfile.ReadError("it ends without the mark of its end") from None
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None
        archive.ended = False
        return header

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """The member that follows this header; the hook that tarfile has for subclasses."""
        assert isinstance(archive.fileobj, _Forward)
        if self.size < 0:
            raise tarfile.ReadError(f"a size of {self.size}")
        if self.type in (*PAX_HEADERS, *LONG_NAMES) and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes, where {MAX_HEADER_BYTES:,} are allowed")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise _sparse_refused(archive.fileobj.location, self.name)
        if self.type in PAX_HEADERS:
            return self._with_records(archive, archive.fileobj)
        return super()._proc_member(archive)  # type: ignore[misc]

    def _with_records(self, archive: tarfile.TarFile, stream: _Forward) -> tarfile.TarInfo:
        """The member that follows, with the name and size that the records of this pax header give it.

        tarfile's own reading of them takes time with the square of their length, and believes in sparse files.
        """
        records = _pax_records(stream.read(_whole_blocks(self.size))[: self.size])
        try:
            member = self.fromtarfile(archive)
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None
        if self.type == tarfile.XGLTYPE:
            return member
        member.name = records.get("path", member.name)
        if any(key.startswith("GNU.sparse.") for key in records):
            raise _sparse_refused(stream.location, records.get("GNU.sparse.name", member.name))
        if "size" in records:
            member.size = int(records["size"])
            archive.offset = member.offset_data + (_whole_blocks(member.size) if member.isreg() else 0)
        if member.size < 0:
            raise tarfile.ReadError(f"a size of {member.size}")
        return member


class _StrictTar(tarfile.TarFile):
    """A tar archive read to the last byte: what follows its mark of the end is either more members or damage."""

    tarinfo = _StrictHeader
    ignore_zeros = True
    encoding = "utf-8"
    ended = False


def _pax_records(content: bytes) -> dict[str, str]:
    """Keys and values of a pax header, whose records read `<length> <key>=<value>` and a line feed.

    Raises:
        tarfile.ReadError: one is damaged.
    """
    records: dict[str, str] = {}
    while content:
        digits, _, _ = content[:MAX_DIGITS].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        key, equals, value = content[len(digits) + 1 : length].partition(b"=")
        if length > len(content) or not equals or not value.endswith(b"\n"):
            raise tarfile.ReadError(f"a record of a pax header that begins with {content[:MAX_DIGITS]!r}")
        records[key.decode("utf-8", "surrogateescape")] = value[:-1].decode("utf-8", "surrogateescape")
        content = content[length:]
    return records


def _whole_blocks(num_bytes: int) -> int:
    return -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES


def _decompressed(location: Path) -> IO[bytes]:
    """The file's content; read through these openers rather than through tarfile's own, which skip the checksums."""
    with location.open("rb") as file:
        head = file.read(MAGIC_BYTES)
    opener = next((opener for magic, opener in COMPRESSIONS.items() if head.startswith(magic)), None)
    return location.open("rb") if opener is None else opener(location)


def _sparse_refused(location: Path, name: str) -> Refused:
    return Refused(
        f"{location} holds {shown(name)} as a sparse file, which is not read; pack it again without --sparse"
    )
