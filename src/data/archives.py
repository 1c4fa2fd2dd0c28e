"""One reader for images in a folder, a zip or tar archive, or a single file; nothing is ever unpacked to disk."""

from pathlib import Path

from src.data.stores.base import FileStore, FolderStore, ImageStore
from src.data.stores.listing import ARCHIVE_SUFFIXES, DOCUMENT_SUFFIXES, UNREAD_ARCHIVES
from src.data.stores.tars import COMPRESSIONS, TarStore
from src.data.stores.zips import ZipStore

__all__ = ["ImageStore", "open_images"]


def open_images(location: Path) -> ImageStore:
    """A reader for the folder, archive or image at `location`.

    Raises:
        ValueError: there is nothing there, or nothing that can be read.
    """
    if not location.exists():
        raise ValueError(f"{location} does not exist; give a folder, a zip or tar archive, or an image file")
    if location.is_dir():
        return FolderStore(location)
    with location.open("rb") as file:
        head = file.read(512)
    suffix = location.suffix.lower()
    if suffix in UNREAD_ARCHIVES or suffix in DOCUMENT_SUFFIXES:
        raise ValueError(f"{location} is a {suffix} file; allowed: a folder, a zip or tar archive, or an image file")
    if head.startswith(b"PK") or suffix == ".zip":
        return ZipStore(location)
    if suffix in ARCHIVE_SUFFIXES or head[257:262] == b"ustar" or head.startswith(tuple(COMPRESSIONS)):
        return TarStore(location)
    return FileStore(location)
