"""Files that are whole or untouched and folders that are whole or absent, whenever their writer is stopped."""

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

log = logging.getLogger(__name__)

PART, LOCK = ".part", ".lock"
EXCHANGES = 100
"""Attempts to take a place that other processes take at the same moment."""


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write readable JSON so that the file is either whole or untouched."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode("utf-8"))


def write_atomically(path: Path, content: bytes) -> None:
    """Write the bytes beside `path`, sync them, then take its name.

    Raises:
        OSError: the disk is full or the folder cannot be written; what was at `path` is untouched.
    """
    with whole_file(path, num_bytes=len(content)) as file:
        file.write(content)


def replace_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Make the folder hold exactly these files: all are written beside it before the first one takes its place."""
    staged = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        for name, content in contents.items():
            (staged / name).write_bytes(content)
        folder.mkdir(parents=True, exist_ok=True)
        for name in contents:
            (staged / name).replace(folder / name)
        for path in folder.iterdir():
            if path.is_file() and path.name not in contents:
                path.unlink()
    finally:
        shutil.rmtree(staged, ignore_errors=True)


@contextmanager
def whole_file(path: Path, *, num_bytes: int) -> Iterator[BinaryIO]:
    """A file beside `path` that is synced and takes its name when the block ends without a fault.

    Raises:
        OSError: the disk is full or the folder cannot be written; what was at `path` is untouched. The message tells
            `num_bytes` as what was to be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} ({num_bytes} bytes were to be written)", str(path)) from None
    finally:
        # on a disk that is mounted read-only even removing what is not there fails
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def check_space(folder: Path, num_bytes: int, *, what: str) -> None:
    """Nothing, where the disk that holds the folder, or will, has room for so many bytes.

    Raises:
        OSError: it has not; the message has the folder, the bytes needed and those free.
    """
    present = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(present).free
    if free < num_bytes:
        raise OSError(
            f"cannot write {what}: {num_bytes:,} bytes are needed and {free:,} are free on the disk of {folder}; "
            "free some of it and give the command again; what was written before is intact"
        )


def read_json(path: Path, *, made_by: str) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: the file is absent or damaged; the message names the verb that writes it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; run {made_by} first") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}); run {made_by} again") from None


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside `target` that takes its name, and its place, when the block ends without a fault.

    What an interrupted run left beside the target is put right by the next one. Of two runs at once each has a folder
    of its own, and the last to end stays.
    """
    from filelock import FileLock

    recover(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    beside = target.with_name(f".{target.name}.{token_hex(4)}{PART}")
    lock = FileLock(beside.with_suffix(LOCK))
    try:
        # held as long as this process lives: a folder whose lock is free was left by a killed one
        with suppress(OSError):
            lock.acquire()
        beside.mkdir()
        yield beside
        _exchange(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        lock.release()
        beside.with_suffix(LOCK).unlink(missing_ok=True)


def recover(target: Path) -> None:
    """Take the old folder back where a kill came between the two renames of an exchange."""
    if not target.exists() and _old(target).exists():
        log.warning("%s was being replaced when its writer was killed; the one before it is used", target)
        try:
            _old(target).rename(target)
        except OSError:
            # its writer is alive and has just put the new one there
            if not target.exists():
                raise


def _exchange(beside: Path, target: Path) -> None:
    """Put the folder in the place of the target, though another process may be doing so at this moment."""
    for attempt in range(EXCHANGES):
        shutil.rmtree(_old(target), ignore_errors=True)
        try:
            if target.exists():
                target.rename(_old(target))
            beside.rename(target)
        except OSError:
            if attempt + 1 == EXCHANGES:
                raise
            continue
        break
    shutil.rmtree(_old(target), ignore_errors=True)


def _remove_leftovers(target: Path) -> None:
    """Remove what killed processes left; what a living one is writing stays."""
    from filelock import FileLock

    start = f".{target.name}."
    for lock in [path for path in target.parent.iterdir() if path.name.startswith(start) and path.suffix == LOCK]:
        # another process holds it, or the file system knows no locks
        with suppress(OSError), FileLock(lock, timeout=0):
            shutil.rmtree(lock.with_suffix(PART), ignore_errors=True)
            lock.unlink(missing_ok=True)


def _old(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")
