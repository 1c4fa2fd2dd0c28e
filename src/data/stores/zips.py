"""Images in a zip archive; names, sizes and places of its members are checked before any of them is read."""

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from src.data.stores import listing
from src.data.stores.base import ImageStore
from src.data.stores.listing import ignored_as
from src.data.stores.members import (
    MOST_SHOWN,
    Budget,
    Refused,
    damage_named,
    link_refused,
    refuse_oversized,
    refuse_repeated,
    safe_name,
    shown,
)

READ_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Not bzip2 and LZMA, which zip knows too and few write: zipfile unpacks them without a bound on memory."""

ENCRYPTED = 0x1
UTF8_NAME = 0x800
LOCAL_HEADER_BYTES = 30
END_RECORD = b"PK\x05\x06"
END_RECORD_BYTES = 22
MOST_COMMENT_BYTES = 2**16
ZIP64_LOCATOR = b"PK\x06\x07"
ZIP64_LOCATOR_BYTES = 20
ZIP64_END_RECORD_BYTES = 56
NUMBER_IN_ZIP64 = 0xFFFF
UNICODE_PATH = 0x7075


class ZipStore(ImageStore):
    """A zip archive."""

    kind = "zip"

    def stamps(self) -> Iterator[tuple[str, int, int]]:
        """Name, size and CRC-32 of each file that may be an image."""
        return ((name, self._members[name].file_size, self._members[name].CRC) for name in self.listing.names)

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        budget = Budget(self.location)
        members: dict[str, zipfile.ZipInfo] = {}
        for info in _infos(self.location):
            raw = _name_of(info).replace("\\", "/")
            name = safe_name(raw, self.location)
            if raw.endswith("/") and not info.file_size:
                continue
            refuse_repeated(name, members, self.location)
            self._check(info, name)
            if ignored_as(name) is None and info.file_size <= listing.MAX_FILE_BYTES:
                budget.spend(info.file_size, name)
            members[name] = info
        return members

    def _check(self, info: zipfile.ZipInfo, name: str) -> None:
        if info.flag_bits & ENCRYPTED:
            raise Refused(f"{self.location} is encrypted ({shown(name)} first); unpack it and give the folder instead")
        if info.compress_type not in READ_COMPRESSIONS:
            raise Refused(
                f"{self.location}: {shown(name)} is packed in a way that is not read; pack it again as plain zip"
            )
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise link_refused(self.location, name)

    def _files(self) -> Iterator[tuple[str, int]]:
        return ((name, info.file_size) for name, info in self._members.items())

    def _contents(self, wanted: frozenset[str]) -> Iterator[tuple[str, bytes]]:
        members = [(name, info) for name, info in self._members.items() if name in wanted]
        with damage_named(self.location):
            archive = zipfile.ZipFile(self.location)
        with archive:
            for name, info in members:
                refuse_oversized(name, info.file_size, self.location)
                with damage_named(self.location, f"at {shown(name)}"):
                    content = _content(archive, info)
                yield name, content


def _infos(location: Path) -> list[zipfile.ZipInfo]:
    """The members in the order in which they lie in the file, none reaching into the next."""
    with damage_named(location), _utf8_names(location), zipfile.ZipFile(location) as archive:
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
        end = archive.start_dir
        _refuse_lost(len(infos), location)
    _refuse_overlaps(infos, end, location)
    return infos


@contextmanager
def _utf8_names(location: Path) -> Iterator[None]:
    """A context that turns a name zipfile cannot decode into one sentence."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise Refused(
            f"{location} holds a member called {error.object[:MOST_SHOWN]!r}, which is marked as UTF-8 and is not; "
            "unpack it, rename that file, give the folder"
        ) from None


def _refuse_lost(found: int, location: Path) -> None:
    """Nothing, where the directory has as many members as the record at the end of the file says.

    A damaged length in the directory makes one entry swallow those behind it, and zipfile does not count them.
    """
    with location.open("rb") as file:
        file.seek(-min(location.stat().st_size, END_RECORD_BYTES + MOST_COMMENT_BYTES), os.SEEK_END)
        before, _, record = file.read().rpartition(END_RECORD)
    (count,) = struct.unpack_from("<H", record, 6)
    is_zip64 = count == NUMBER_IN_ZIP64 and before[-ZIP64_LOCATOR_BYTES:].startswith(ZIP64_LOCATOR)
    # some tools write the remainder of more members than the field can count
    if not is_zip64 and count != found % 2**16:
        raise zipfile.BadZipFile(f"{found:,} members in the directory and {count:,} by the record at the end")
    if not found and len(before) > ZIP64_LOCATOR_BYTES + ZIP64_END_RECORD_BYTES:
        raise zipfile.BadZipFile(f"no members in {location.stat().st_size:,} bytes")


def _refuse_overlaps(infos: Sequence[zipfile.ZipInfo], end: int, location: Path) -> None:
    """Nothing, where each member ends before the next begins.

    A bomb quotes the same bytes from thousands of members: https://www.bamsoftware.com/hacks/zipbomb/
    """
    ends = [*(info.header_offset for info in infos), end][1:]
    for info, next_start in zip(infos, ends, strict=True):
        # what is known for certain: the header of the member itself may be longer
        stop = info.header_offset + LOCAL_HEADER_BYTES + len(info.orig_filename) + info.compress_size
        if stop > next_start:
            raise Refused(
                f"{location} is damaged at {shown(_name_of(info))}, or a bomb: its {info.compress_size:,} bytes reach "
                "into what follows; download it again, from a source you trust"
            )


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The bytes of a member; unpacking ends at the declared size, whatever there is."""
    with archive.open(info) as file:
        content = file.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise zipfile.BadZipFile(f"{len(content):,} bytes in place of {info.file_size:,}")
    return content


def _name_of(info: zipfile.ZipInfo) -> str:
    """The name as it was meant: zipfile takes every name that is not marked as UTF-8 for code page 437.

    Many tools write UTF-8 without the mark, some put it into an extra field; what is no UTF-8 stays as zipfile has it.
    """
    if info.flag_bits & UTF8_NAME:
        return info.orig_filename
    raw = info.orig_filename.encode("cp437")
    for candidate in (_unicode_path(info.extra, raw), raw):
        try:
            if candidate is not None:
                return candidate.decode("utf-8")
        except UnicodeDecodeError:
            continue
    return info.orig_filename


def _unicode_path(extra: bytes, raw: bytes) -> bytes | None:
    """The name in the Info-ZIP Unicode Path field (APPNOTE 4.6.9), where it belongs to this name."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        data, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == UNICODE_PATH and len(data) > 5 and struct.unpack_from("<BL", data) == (1, zlib.crc32(raw)):
            return data[5:]
    return None
