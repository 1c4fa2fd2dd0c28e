"""The folder of a sweep: named after what it depends on, held by one process, and its runs' configurations."""

import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from src.artifacts import RunRecord
from src.config import Config, as_tree
from src.files import read_json, write_json
from src.layout import SWEEPS_DIR, RunFolder
from src.logs import git_state
from src.models.children import run_watched
from src.trees import flat
from src.validation import validate

log = logging.getLogger(__name__)

SWEEP_FILE = "sweep.json"
LOCK_FILE = ".lock"
ENDED = ("finished", "patience")

# what acts on weights and scores; `run` and the sections of later verbs do not
PLANNED = ("data", "features", "model", "augment", "loss", "optimizer", "schedule", "train", "sweep")
PATHS = (
    "data.path",
    "data.archive",
    "data.overrides",
    "model.pretrained_path",
    "train.init_from",
    "train.distillation.teacher",
    "features.embeddings.pretrained_path",
    "run.mlflow.store",
)


def plan_of(cfg: Config, data_digest: str) -> dict[str, Any]:
    """Everything that the results of a sweep depend on, the code left out."""
    tree = as_tree(cfg)
    plan = {name: tree[name] for name in PLANNED} | {"checkpoint": cfg.predict.checkpoint, "data_digest": data_digest}
    weights = Path(cfg.model.pretrained_path or "")
    if weights.is_file():
        plan["pretrained_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    return plan


def open_folder(name: str, plan: Mapping[str, Any]) -> Path:
    """`models/sweeps/<name>-<fingerprint of the plan>`, made where it is new."""
    fingerprint = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
    folder = SWEEPS_DIR / f"{name}-{fingerprint[:12]}"
    code = git_state()
    if not (folder / SWEEP_FILE).exists():
        write_json(folder / SWEEP_FILE, {"plan": plan, "git": code})
    elif (then := read_json(folder / SWEEP_FILE, made_by="sweep")["git"]) != code:
        commits = [state.get("commit", "")[:12] or "none" for state in (then, code)]
        log.warning(
            "%s was begun with other code (commit %s then, %s now, or other uncommitted changes); runs that are "
            "finished are kept as they are: remove the folder to run all of them again",
            *(folder, *commits),
        )
    return folder


def changed(cfg: Config, values: Mapping[str, Any]) -> Config:
    """The configuration with other values at dotted keys."""
    return validate(changed_tree(cfg, values))


def changed_tree(cfg: Config, values: Mapping[str, Any]) -> dict[str, Any]:
    """The same as plain nested dicts, not yet validated.

    Raises:
        ValueError: a key leads into a value that holds no keys.
    """
    tree = as_tree(cfg)
    for key, value in values.items():
        *parents, last = key.split(".")
        section = tree
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise ValueError(f"{key} is not a key: {parent} is {section!r} and holds no {last}")
        section[last] = value
    return tree


def absolute_paths(cfg: Config) -> dict[str, str]:
    """Values that name the same files from any working folder, by dotted key."""
    given = flat(as_tree(cfg))
    paths = {key: str(given[key]) for key in PATHS if given.get(key) is not None}
    # the address of a server is the same from anywhere
    return {key: str(Path(path).expanduser().absolute()) for key, path in paths.items() if "://" not in path}


def is_trained(run: RunFolder) -> bool:
    """Whether the run has come to its end; one that a signal stopped has not."""
    return (run.train / "run.json").exists() and RunRecord.load(run.train).stopped in ENDED


def remove_stray(run: RunFolder) -> None:
    """Remove what a killed run left without a state to go on from: it is of no use and in the way."""
    if not run.resume.exists():
        shutil.rmtree(run.train, ignore_errors=True)


def train_once(cfg: Config, run: RunFolder, *, held: int | None, watch: Callable[[], bool] = lambda: False) -> str:
    """Why training failed, see `run_watched`; empty where it came to its end, now or in an earlier sweep."""
    if is_trained(run):
        return ""
    remove_stray(run)
    return run_watched("src.models.train_model", cfg, folder=run.path, held=held, watch=watch)


def train_and_score(cfg: Config, run: RunFolder, *, held: int | None) -> str:
    """Why training or scoring a run failed; empty where both are done, now or in an earlier sweep.

    Raises:
        SystemExit: a signal stopped it.
    """
    if reason := train_once(cfg, run, held=held):
        return reason
    if run.metrics.exists():
        log.info("%s is finished already", run.path)
        return ""
    return run_watched("src.models.predict_model", cfg, folder=run.path, held=held, watch=lambda: False)


@contextmanager
def held(folder: Path) -> Iterator[int | None]:
    """A descriptor that keeps other processes out of the folder until it is closed, in children that have it too.

    Where the process that held the folder was killed and its last run goes on, that run is waited for.

    Raises:
        ValueError: another sweep is at work there.
    """
    if sys.platform == "win32":
        # descriptors are not handed to children there
        yield None
        return
    with (folder / LOCK_FILE).open("a+", encoding="utf-8") as file:
        _lock(file, folder)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file.fileno()


def _lock(file: IO[str], folder: Path) -> None:
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip()
        if _is_alive(holder):
            raise ValueError(f"process {holder} is at work in {folder}; wait for it, or stop it") from None
        log.warning("%s: the sweep there was killed and its last run goes on; waiting for that run to end", folder)
        fcntl.flock(file, fcntl.LOCK_EX)


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
