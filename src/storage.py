"""Compare what DVC keeps, in its cache and in remotes that are folders, with the hashes it is kept under.

`python -m src.storage` names what differs; `python -m src.storage remove` removes it, so that it can be fetched or made
again. DVC itself takes a cached file on trust: a flipped bit is checked out, called up to date, and pushed on.
"""

import hashlib
import json
import logging
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import yaml

from src.guard import EXIT_FAULT, run_guarded
from src.logs import progress
from src.wording import listed

log = logging.getLogger("src.storage")

USAGE = "usage: make verify [ARGS=remove], or python -m src.storage [remove]\n"
OBJECTS = "files/md5"
OBJECT = re.compile(r"[0-9a-f]{2}/[0-9a-f]{30}(\.dir)?")
LISTING = ".dir"
MOST_SHOWN = 3


def check(root: Path) -> None:
    """Say that all objects are sound.

    Raises:
        ValueError: some are not; names them and the command that removes them.
    """
    found = {place: damaged(folder) for place, folder in places(root).items()}
    bad = [path for paths in found.values() for path in paths]
    if bad:
        shown = listed([path.as_posix() for path in bad], MOST_SHOWN)
        raise ValueError(
            f"DVC keeps damaged files ({shown}), whose content does not have the hash in their name; "
            "run: make verify ARGS=remove (python -m src.storage remove)"
        )
    log.info("every file in %s has the hash it is kept under", " and in ".join(found))


def remove(root: Path) -> None:
    """Remove the damaged objects, the copies of them in the workspace, and say how to get them back."""
    for place, folder in places(root).items():
        bad = damaged(folder)
        if not bad:
            log.info("nothing to remove from %s: every file has the hash it is kept under", place)
            continue
        hashes = {hash_in_name(path) for path in bad}
        if place == "the cache":
            gone = [*bad, *damaged_copies(root, folder, hashes)]
            advice = "fetch them with dvc pull, or make them with dvc repro where no remote has them"
        else:
            # while the listing of a folder is there DVC believes that its files are too, and pushes none of them
            gone = [*bad, *(path for path in listings_of(folder, hashes) if path not in bad)]
            advice = "send them again with dvc push from a clone that has them"
        for path in gone:
            path.unlink()
        log.warning("removed from %s: %s; %s", place, ", ".join(path.as_posix() for path in gone), advice)


def places(root: Path) -> dict[str, Path]:
    """Where DVC keeps objects on this machine: its cache, and remotes that are folders."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        found = {"the cache": Path(repo.cache.local.path)}
        for name, settings in repo.config["remote"].items():
            folder = Path(settings["url"]) / OBJECTS
            if "://" not in settings["url"] and folder.is_dir():
                found[f"the remote {name}"] = folder
    return found


def damaged(folder: Path) -> list[Path]:
    """Objects below `folder` whose content has another hash than their name says."""
    paths = [path for path in sorted(folder.glob("*/*")) if OBJECT.fullmatch(path.relative_to(folder).as_posix())]
    shown = progress(paths, what="checking", unit="files")
    return [path for path in shown if md5_of(path) != hash_in_name(path).removesuffix(LISTING)]


def damaged_copies(root: Path, cache: Path, hashes: Collection[str]) -> list[Path]:
    """Files of the workspace that should have one of the hashes by `dvc.lock`, and have another content."""
    kept = (root / path for path, md5 in tracked_files(root, cache) if md5 in hashes)
    return [path for path in kept if path.is_file() and md5_of(path) not in hashes]


def tracked_files(root: Path, cache: Path) -> Iterator[tuple[str, str]]:
    """Path and hash of every file that is an output of a stage, as far as the cache can tell."""
    lock = root / "dvc.lock"
    stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"] if lock.exists() else {}
    for out in (out for stage in stages.values() for out in stage.get("outs", [])):
        path, md5 = out["path"], out.get("md5", "")
        if md5.endswith(LISTING):
            yield from ((f"{path}/{row['relpath']}", row["md5"]) for row in listing(cache / md5[:2] / md5[2:]))
        else:
            yield path, md5


def listings_of(folder: Path, hashes: Collection[str]) -> list[Path]:
    """Objects that list a folder with a file of one of the hashes."""
    return [path for path in sorted(folder.glob(f"*/*{LISTING}")) if any(row["md5"] in hashes for row in listing(path))]


def listing(path: Path) -> list[dict[str, str]]:
    """Hash and relative path of each file in a folder that DVC keeps; nothing where that cannot be read."""
    try:
        return list(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return []


def hash_in_name(path: Path) -> str:
    """The hash that an object is kept under; `.dir` at its end marks the listing of a folder."""
    return path.parent.name + path.name


def md5_of(path: Path) -> str:
    """The hash that DVC uses, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def main(arguments: Sequence[str]) -> None:
    """Run what the arguments ask for."""
    actions = {(): check, ("remove",): remove}
    action = actions.get(tuple(arguments))
    if action is None:
        sys.stderr.write(USAGE)
        raise SystemExit(EXIT_FAULT)
    run_guarded(lambda: action(Path()))


if __name__ == "__main__":
    main(sys.argv[1:])
