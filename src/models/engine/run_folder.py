"""Which folder a run writes into: a new one, or that of a run which a kill or a signal cut short."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from src.config import Config
from src.layout import RUNS_DIR, RunFolder
from src.models.engine.resume import PLAN_FILE, ResumeFolder
from src.validation import validate

log = logging.getLogger(__name__)

# what changes the weights; `run` and the sections of later stages do not
PLANNED = ("data", "features", "model", "augment", "loss", "optimizer", "schedule", "train")
# how a step is computed, not what it computes
NOT_PLANNED = ("resume", "micro_batch_size", "gradient_checkpointing")
ALL = 1000


@dataclass(frozen=True)
class Claim:
    """A run folder that this process holds: its id, and the state to go on from (None at a start)."""

    folder: RunFolder
    run_id: str
    resume: ResumeFolder
    state: dict[str, Any] | None


def plan_of(cfg: Config, data_digest: str) -> dict[str, Any]:
    """What must be equal for a run to go on: the sections that act on weights, and the data."""
    tree = asdict(cfg)
    sections = {name: tree[name] for name in PLANNED}
    sections["train"] = {key: value for key, value in sections["train"].items() if key not in NOT_PLANNED}
    return {"config": sections, "data_digest": data_digest}


def resumed_config(cfg: Config) -> Config:
    """The configuration itself; where `train.resume` names a run, that of the run, with `run` as it is here.

    Raises:
        ValueError: no unfinished run there.
    """
    if cfg.train.resume is None:
        return cfg
    folder = RunFolder(Path(cfg.train.resume))
    plan = ResumeFolder(folder.resume).plan
    if plan is None:
        raise ValueError(
            f"train.resume={cfg.train.resume} holds no unfinished run ({folder.resume / PLAN_FILE} is absent); "
            "a finished one is the start of another by train.init_from=<checkpoint folder>"
        )
    tree = asdict(cfg) | plan["config"]
    here = {key: getattr(cfg.train, key) for key in NOT_PLANNED} | {"resume": None}
    resumed = validate(tree | {"train": plan["config"]["train"] | here})
    return replace(resumed, run_dir=cfg.train.resume)


def claim(cfg: Config, plan: Mapping[str, Any], *, now: datetime) -> Claim:
    """The folder of this run, held for this process: the one to go on in where the same run was cut short.

    Raises:
        ValueError: `run_dir` holds another run, or another process trains there.
        OSError: the folder cannot be made.
    """
    if cfg.run_dir is not None:
        return _claim_named(RunFolder(Path(cfg.run_dir)), cfg, plan, now=now)
    for folder in _unfinished():
        resume = ResumeFolder(folder.resume)
        # another process may be at it: then this is a second run of the same settings
        with suppress(ValueError):
            if not resume.differences({**plan, "run_id": _run_id(resume)}):
                resume.acquire()
                return _claimed(folder, resume)
    return _begun(new_folder(cfg, now=now), cfg, plan, now=now)


def _claim_named(folder: RunFolder, cfg: Config, plan: Mapping[str, Any], *, now: datetime) -> Claim:
    resume = ResumeFolder(folder.resume)
    has_files = folder.train.exists() and any(folder.train.iterdir())
    if resume.plan is not None:
        differing = resume.differences({**plan, "run_id": _run_id(resume)})
        if not differing:
            resume.acquire()
            return _claimed(folder, resume)
        if has_files:
            raise ValueError(
                f"run_dir={folder.path} holds an unfinished run with other settings ({differing}); finish it with "
                f"train.resume={folder.path}, name another folder, or remove this one"
            )
        log.warning("%s: the unfinished run there is not gone on with, it differs in %s", folder.path, differing)
    elif has_files:
        raise ValueError(f"run_dir={cfg.run_dir} already holds a run; name another folder, or remove {folder.train}")
    return _begun(folder, cfg, plan, now=now)


def _begun(folder: RunFolder, cfg: Config, plan: Mapping[str, Any], *, now: datetime) -> Claim:
    folder.train.mkdir(parents=True, exist_ok=True)
    resume = ResumeFolder(folder.resume)
    resume.acquire()
    run_id = f"{now:%Y%m%d-%H%M%S}-{cfg.model.name}-{token_hex(2)}"
    resume.begin({**plan, "run_id": run_id})
    return Claim(folder, run_id, resume, None)


def _claimed(folder: RunFolder, resume: ResumeFolder) -> Claim:
    folder.train.mkdir(parents=True, exist_ok=True)
    state = resume.load()
    return Claim(folder, _run_id(resume), resume, state)


def _run_id(resume: ResumeFolder) -> str:
    return str((resume.plan or {}).get("run_id", ""))


def _unfinished() -> Iterator[RunFolder]:
    """Runs without a name of their own that left a plan, the newest first."""
    for path in sorted(RUNS_DIR.glob("*"), reverse=True):
        folder = RunFolder(path)
        if (folder.resume / PLAN_FILE).exists():
            yield folder


def new_folder(cfg: Config, *, now: datetime) -> RunFolder:
    """A new folder under `models/runs`, never one that another run has."""
    stem = f"{now:%Y%m%d-%H%M%S}-{cfg.model.name}"
    for number in range(1, ALL):
        folder = RunFolder(RUNS_DIR / (stem if number == 1 else f"{stem}-{number}"))
        try:
            folder.train.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise OSError(f"{RUNS_DIR} has {ALL} runs called {stem}")
