"""Sources that are at hand: the digits that scikit-learn carries, and the user's own folder, archive or list."""

import hashlib
import os
import zipfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from src.config import DownloadConfig
from src.config_data import DataConfig
from src.data.archives import open_images
from src.data.fetching.record import Source, zip_source
from src.data.lists import LIST_SUFFIXES, is_list, read_list
from src.data.stores.listing import folder_entries, ignored_as
from src.data.stores.plain_zips import DIGEST_LENGTH, add, is_whole
from src.files import write_atomically

DIGITS_FILE = "digits.zip"
GREY_LEVELS = 16

Facts = tuple[str, int, int]
"""Name, size and time of change of a file; a size of -1 where there is none."""


def digits(cfg: DataConfig, raw_dir: Path, _settings: DownloadConfig) -> Source:
    """The 1,797 digits that scikit-learn carries, as a zip of greyscale PNG files in a folder for each class."""
    path = raw_dir / DIGITS_FILE
    if not is_whole(path):
        write_atomically(path, _digits_zip())
    return zip_source(cfg, path)


def folder(cfg: DataConfig, raw_dir: Path, _settings: DownloadConfig) -> Source:
    """The folder, archive or list at `data.path`, where it lies: nothing is copied."""
    assert cfg.path is not None, "the configuration was validated"
    location = Path(cfg.path).expanduser()
    if is_list(location) and not location.is_dir():
        rows = sorted(_listed_facts(location))
        return _local(cfg, location.parent, kind="list", rows=[*rows, _facts_of(location, "")], files=len(rows))
    if not location.exists():
        raise ValueError(
            f"data.path={cfg.path} does not exist; give a folder, a zip or tar archive, "
            f"or a list ({', '.join(LIST_SUFFIXES)}) of images"
        )
    store = open_images(location)
    if store.kind == "file":
        raise ValueError(
            f"data.path={cfg.path} is a single file and neither archive nor list; give a folder, a zip or tar archive, "
            f"or a list ({', '.join(LIST_SUFFIXES)}) of images"
        )
    if store.kind != "folder":
        return _local(cfg, location, kind=store.kind, rows=[_facts_of(location, "")], files=1)
    _refuse_own_output(location, raw_dir)
    rows = sorted(_file_facts(name, entry) for name, entry in folder_entries(location) if _counts(name))
    if not rows:
        raise ValueError(f"data.path={cfg.path} is an empty folder; put images there, a folder for each class")
    return _local(cfg, location, kind=store.kind, rows=rows, files=len(rows))


def _local(cfg: DataConfig, location: Path, *, kind: str, rows: Iterable[Facts], files: int) -> Source:
    rows = list(rows)
    digest = hashlib.sha256("".join(f"{row}\n" for row in rows).encode("utf-8", "surrogateescape")).hexdigest()
    return Source(
        name=cfg.name,
        location=location.as_posix(),
        kind=kind,
        files=files,
        bytes=sum(max(0, size) for _, size, _ in rows),
        digest=digest[:DIGEST_LENGTH],
    )


def _listed_facts(path: Path) -> Iterator[Facts]:
    """The facts of each file that the list names; one that is not there is told when images are read."""
    for name in read_list(path)["path"]:
        yield _facts_of(path.parent / name, name)


def _facts_of(path: Path, name: str) -> Facts:
    try:
        facts = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return name, -1, 0
    return name, facts.st_size, facts.st_mtime_ns


def _counts(name: str) -> bool:
    return ignored_as(name) != "hidden"


def _file_facts(name: str, entry: "os.DirEntry[str]") -> Facts:
    try:
        facts = entry.stat()
    except FileNotFoundError:
        facts = entry.stat(follow_symlinks=False)
    return name, facts.st_size, facts.st_mtime_ns


def _refuse_own_output(location: Path, raw_dir: Path) -> None:
    if raw_dir.resolve().is_relative_to(location.resolve()):
        raise ValueError(
            f"data.path={location} holds {raw_dir}, which the pipeline writes; "
            "move the images to a folder of their own, such as data/external/images"
        )


def _digits_zip() -> bytes:
    """The same bytes on every call: members in order, all with one date."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / GREY_LEVELS)).astype(np.uint8)
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for index, (pixels, label) in enumerate(zip(images, bunch.target, strict=True)):
            drawn = BytesIO()
            Image.fromarray(pixels).save(drawn, "PNG")
            add(archive, f"{label}/{index:04d}.png", drawn.getvalue())
    return packed.getvalue()
