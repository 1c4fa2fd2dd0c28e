"""Runs that DVC keeps: the pipeline's run of an experiment or of a commit, brought into a folder of its own."""

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from src.files import read_json, whole_folder, write_json
from src.layout import EXPERIMENTS_DIR, PIPELINE_RUN, RunFolder

if TYPE_CHECKING:
    from dvc.repo import Repo

log = logging.getLogger(__name__)

ORIGIN_FILE = "experiment.json"


def fetched(name: str) -> RunFolder | None:
    """The run of an experiment or commit, in models/experiments/<name>; None where DVC and git know none of that name.

    It is read from DVC's cache and taken anew only where the name means another commit than before.

    Raises:
        ValueError: the commit has no finished run, or the cache lacks its files; says what to do.
    """
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            commit = _commit(repo, name)
            return None if commit is None else _taken(repo, name, commit)
    except NotDvcRepoError:
        return None


def _commit(repo: "Repo", name: str) -> str | None:
    """The full hash of the commit that an experiment's name, a branch, a tag or a short hash means."""
    from dvc.scm import RevError, resolve_rev

    experiments = repo.experiments.ls(all_commits=True)
    hashes = {name: commit for found in experiments.values() for name, commit in found}
    try:
        return str(hashes.get(name) or resolve_rev(repo.scm, name))
    except RevError:
        return None


def _taken(repo: "Repo", name: str, commit: str) -> RunFolder:
    folder = EXPERIMENTS_DIR / name.replace("/", "-")
    origin = folder / ORIGIN_FILE
    if not origin.exists() or read_json(origin, made_by="compare")["commit"] != commit:
        with whole_folder(folder) as fresh:
            _copy(repo, name, commit, fresh)
            write_json(fresh / ORIGIN_FILE, {"name": name, "commit": commit})
        log.info("%s (%s) is in %s", name, commit[:10], folder)
    return RunFolder(folder)


def _copy(repo: "Repo", name: str, commit: str, folder: Path) -> None:
    """Bring the run of the commit into the folder, the last checkpoint left out.

    Raises:
        ValueError: there is none, or DVC's cache lacks its files.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    source = PIPELINE_RUN.as_posix()
    advice = f"dvc exp apply {name}, then dvc repro"
    try:
        kept = DVCFileSystem(repo.root_dir, rev=commit)
        if not kept.exists(f"{source}/train/run.json"):
            raise ValueError(f"{name} has no finished run in {source}; run: {advice}")
        for part in ("train", "predictions", "metrics.json"):
            if kept.exists(f"{source}/{part}"):
                kept.get(f"{source}/{part}", str(folder / part), recursive=True)
    except (DvcException, OSError) as error:
        raise ValueError(f"DVC's cache lacks the run of {name} ({error}); run: dvc pull, or {advice}") from None
    shutil.rmtree(folder / "train" / "last", ignore_errors=True)
