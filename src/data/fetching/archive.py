"""Sources that are one zip archive, downloaded or handed over by the user: checked, made plain, then put in place."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from src.config_data import DataConfig
from src.data.fetching.record import Source, staging_dir, zip_source
from src.data.stores.plain_zips import (
    CHUNK_BYTES,
    check_zip,
    is_to_be_repacked,
    is_whole,
    made_from,
    repack,
    zip_facts,
)
from src.logs import progress

log = logging.getLogger(__name__)

DOWNLOADED = "download.zip"
HTML_HEADS = (b"<!doctype html", b"<html")


def from_archive(
    cfg: DataConfig, raw_dir: Path, *, get: Callable[[Path], None], page: str, only: str | None = None
) -> Source:
    """The source at `raw_dir/<name>.zip`, from `data.archive` or else from what `get` downloads to a path.

    The archive is kept as it came, unless it holds further archives, or more than the folder that `only` matches:
    then its images are put, byte for byte, into one plain zip. What is there already is not fetched again.

    Raises:
        ValueError: no archive, or none that is whole.
    """
    target, staging = raw_dir / f"{cfg.name}.zip", staging_dir(cfg, raw_dir)
    whole = is_whole(target)
    if target.exists() and not whole:
        log.warning("%s is damaged; it is fetched again", target)
    if cfg.archive is not None:
        given = given_archive(cfg, page)
        if not whole or not _is_made_from(target, given):
            _take(given, target, staging=staging, only=only)
    elif not whole:
        _download(get, target, staging=staging, only=only)
    shutil.rmtree(staging, ignore_errors=True)
    return zip_source(cfg, target)


def given_archive(cfg: DataConfig, page: str) -> Path:
    """The file that `data.archive` names.

    Raises:
        ValueError: there is none, or it is no zip archive.
    """
    assert cfg.archive is not None, "asked for only where it is given"
    given = Path(cfg.archive).expanduser()
    if not given.is_file():
        raise ValueError(f"data.archive={cfg.archive} is no file; give the archive that {page} offers")
    if not is_whole(given):
        raise ValueError(
            f"data.archive={cfg.archive} {_found_instead(given)}; data={cfg.name} takes the one that {page} offers; "
            f"images of your own: data=folder data.path={cfg.archive}"
        )
    return given


def _download(get: Callable[[Path], None], target: Path, *, staging: Path, only: str | None) -> None:
    arrived = staging / DOWNLOADED
    if not is_whole(arrived):
        staging.mkdir(parents=True, exist_ok=True)
        get(arrived)
    try:
        if not is_whole(arrived):
            raise ValueError(f"what was downloaded {_found_instead(arrived)}; look at it in a browser, and run again")
        _take(arrived, target, staging=staging, only=only)
    except ValueError:
        # bytes that arrived whole and are wrong are of no use to the next attempt
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _take(archive: Path, target: Path, *, staging: Path, only: str | None) -> None:
    """Put a checked archive in place of `target`; one that is to be repacked is checked while it is read."""
    if is_to_be_repacked(archive, only=only):
        repack(archive, target, only=only, staging=staging)
        return
    check_zip(archive)
    target.parent.mkdir(parents=True, exist_ok=True)
    if archive.parent == staging:
        archive.replace(target)
    else:
        _copy(archive, target, beside=staging / "copy.zip.part")


def _copy(source: Path, target: Path, *, beside: Path) -> None:
    beside.parent.mkdir(parents=True, exist_ok=True)
    try:
        with source.open("rb") as original, beside.open("wb") as file:
            chunks = iter(lambda: original.read(CHUNK_BYTES), b"")
            for chunk in progress(chunks, what=f"copying {source.name}", unit="MiB"):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _is_made_from(target: Path, archive: Path) -> bool:
    """Whether `target` holds what `archive` holds, by their directories."""
    facts, digest = zip_facts(target), zip_facts(archive).digest
    return digest == facts.digest or facts.remark == made_from(digest)


def _found_instead(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(256).lstrip().lower()
    if head.startswith(HTML_HEADS):
        return "is a web page and no archive: a log-in or a proxy answered in place of the server"
    return "is a zip archive that is not whole" if head.startswith(b"pk") else "is no zip archive"
