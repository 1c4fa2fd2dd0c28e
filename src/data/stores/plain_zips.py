"""Plain zip archives of images: not compressed, the same bytes from the same images, made from what others packed."""

import hashlib
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from src.data.stores.members import DAMAGE, damage_named, shown
from src.data.stores.zips import ZipStore
from src.logs import progress

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
CHUNK_BYTES = 2**20
DIGEST_LENGTH = 16


@dataclass(frozen=True, kw_only=True)
class ZipFacts:
    """What a zip archive's directory says: number of files, a digest of their names, sizes and checksums, a remark."""

    files: int
    digest: str
    remark: str


def zip_facts(path: Path) -> ZipFacts:
    """The facts of the zip archive at `path`, without reading its files.

    Raises:
        ValueError: it is no whole zip archive.
    """
    with damage_named(path), zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        remark = archive.comment.decode("utf-8", "replace")
    rows = sorted((info.filename, info.file_size, info.CRC) for info in infos)
    digest = hashlib.sha256("".join(f"{row}\n" for row in rows).encode("utf-8", "surrogateescape")).hexdigest()
    return ZipFacts(files=len(infos), digest=digest[:DIGEST_LENGTH], remark=remark)


def is_whole(path: Path) -> bool:
    """Whether there is a zip archive at `path` whose directory, which is written last, is there."""
    try:
        return zip_facts(path).files > 0
    except DAMAGE:
        return False


def check_zip(path: Path) -> None:
    """Nothing, where every image of the archive can be read and has its checksum.

    Raises:
        ValueError: one has not, or the archive holds what is not read from strangers.
    """
    store = ZipStore(path)
    for _ in progress(store.read(), what=f"verifying {path.name}", total=len(store.names())):
        continue


@contextmanager
def written_zip(path: Path, *, beside: Path, remark: str = "") -> Iterator[zipfile.ZipFile]:
    """An archive to write, which moves from `beside` to `path` once the block ends without a fault."""
    beside.parent.mkdir(parents=True, exist_ok=True)
    try:
        with beside.open("wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                archive.comment = remark.encode("utf-8")
                yield archive
            file.flush()
            os.fsync(file.fileno())
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Write one file, always with the same date, so that the same files make the same archive."""
    archive.writestr(zipfile.ZipInfo(name, ZIP_EPOCH), content)


def made_from(digest: str) -> str:
    """The remark in an archive that was made from another one, which has this digest."""
    return f"made from {digest}"


def is_to_be_repacked(path: Path, *, only: str | None) -> bool:
    """Whether the archive holds further archives, or more than the folder whose name `only` matches whole."""
    store = _Opened(path)
    inside = [_lies_in(name, only) for name in store.names()]
    return bool(store.listing.nested) or (any(inside) and not all(inside))


def repack(path: Path, target: Path, *, only: str | None, staging: Path) -> None:
    """Write the images of `path`, byte for byte, into one plain zip archive at `target`.

    Those inside archives in the archive take their place, below a folder of the inner archive's name. Where a folder
    matches `only`, nothing else is taken.

    Raises:
        ValueError: damage, archives three deep, or two images of one name.
    """
    seen: set[str] = set()
    remark = made_from(zip_facts(path).digest)
    with written_zip(target, beside=staging / "repacked.zip.part", remark=remark) as archive:
        for name, content in _images(path, only=only, staging=staging):
            if name in seen:
                raise ValueError(f"{path} holds two images called {shown(name)}; unpack it and sort them out")
            seen.add(name)
            add(archive, name, content)


class _Opened(ZipStore):
    """An archive whose inner archives are opened here, so that nobody need be told that they are not."""

    def _tell_of_nested(self, nested: list[str]) -> None:
        return


def _images(path: Path, *, only: str | None, staging: Path) -> Iterator[tuple[str, bytes]]:
    store = _Opened(path)
    inside = [name for name in store.names() if _lies_in(name, only)]
    if chosen := inside or store.names():
        yield from progress(store.read(chosen), what=f"reading {path.name}", total=len(chosen))
    for name in [] if inside else store.listing.nested:
        yield from _inner_images(path, name, staging)


def _inner_images(path: Path, name: str, staging: Path) -> Iterator[tuple[str, bytes]]:
    """The images of the archive `name` inside the archive `path`, which is unpacked into `staging` to be read."""
    inner = staging / "inner.zip"
    try:
        with damage_named(path, f"at {shown(name)}"):
            _extract(path, name, inner)
        store = _Opened(inner)
        if deeper := store.listing.nested:
            raise ValueError(f"{inner} holds another archive, {shown(deeper[0])}; unpack it and give the folder")
        top = PurePosixPath(name).stem
        prefix = "" if all(found.startswith(f"{top}/") for found in store.names()) else f"{top}/"
        for found, content in progress(store.read(), what=f"reading {name}", total=len(store.names())):
            yield f"{prefix}{found}", content
    except ValueError as error:
        raise ValueError(str(error).replace(str(inner), f"{path}, in {shown(name)},")) from None
    finally:
        inner.unlink(missing_ok=True)


def _extract(path: Path, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path) as archive, archive.open(name) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, CHUNK_BYTES)


def _lies_in(name: str, folder: str | None) -> bool:
    return folder is not None and any(re.fullmatch(folder, part) for part in name.split("/")[:-1])
