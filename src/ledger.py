"""What is known of each run folder, also of runs that did not come to their end."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.artifacts import RunRecord
from src.champion import current
from src.files import read_json
from src.layout import RunFolder
from src.metrics_log import read_metrics

PLAN_FILE, LOCK_FILE = "plan.json", "lock"


def entries(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """An entry for each run folder, the newest first."""
    champion = current()
    best = champion and Path(champion.run).resolve()
    found = [entry(RunFolder(path)) | {"is_champion": path.resolve() == best} for path in paths]
    return sorted(found, key=lambda one: str(one["began"]), reverse=True)


def entry(folder: RunFolder) -> dict[str, Any]:
    """Folder, start, network, data, accuracies, seconds and state of one run; None for what is not known."""
    record, plan = _record(folder), _plan(folder)
    config: Mapping[str, Any] = record.config if record else plan.get("config", {})
    scored = read_json(folder.metrics, made_by="predict_model") if folder.metrics.exists() else {}
    return {
        "run": folder.path.as_posix(),
        "began": began(record.run_id if record else str(plan.get("run_id", "")), folder.train),
        "network": config.get("model", {}).get("name", "?"),
        "data": config.get("data", {}).get("name", "?"),
        "data_digest": record.data_digest if record else str(plan.get("data_digest", "")),
        "val_acc": record.best.get("val/acc") if record else _last_val_acc(folder),
        "test_acc": scored.get("test", {}).get("acc"),
        "seconds": record.seconds if record else None,
        "state": state(folder, record),
    }


def state(folder: RunFolder, record: RunRecord | None) -> str:
    """How the run stands: finished, training, stopped (the same command goes on), or failed."""
    if record is not None:
        return "finished" if record.stopped == "finished" else f"finished by {record.stopped}"
    if _is_held(folder.resume / LOCK_FILE):
        return "training"
    if any(folder.resume.glob("state-*.pt")):
        return "stopped"
    return "failed" if folder.train.is_dir() else "empty"


def began(run_id: str, folder: Path) -> str:
    """When the run began, in UTC: by its id, else by the age of its folder."""
    try:
        moment = time.strptime(run_id[:15], "%Y%m%d-%H%M%S")
    except ValueError:
        moment = time.gmtime(folder.stat().st_mtime)
    return time.strftime("%Y-%m-%d %H:%M", moment)


def _record(folder: RunFolder) -> RunRecord | None:
    return RunRecord.load(folder.train) if (folder.train / "run.json").exists() else None


def _plan(folder: RunFolder) -> dict[str, Any]:
    path = folder.resume / PLAN_FILE
    return read_json(path, made_by="train_model") if path.exists() else {}


def _last_val_acc(folder: RunFolder) -> float | None:
    rows = read_metrics(folder.metrics_log) if folder.metrics_log.exists() else []
    return rows[-1].get("val/acc") if rows else None


def _is_held(lock: Path) -> bool:
    """Whether a living process holds the run."""
    from filelock import FileLock, Timeout

    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
