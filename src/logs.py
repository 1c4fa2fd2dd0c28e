"""How progress and facts are told: log lines, progress bars, and the stamp of the environment."""

import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

Item = TypeVar("Item")

STAMPED_PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn", "hydra-core", "dvc", "wandb")


def start_logging(level: int = logging.INFO) -> None:
    """Log lines on standard error as `12:30:01 train_model: message`."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(_Formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    # A verb that is run as a module goes by the name __main__.
    for name in ("src", "__main__"):
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)


def progress(
    items: Iterable[Item] | None = None,
    *,
    what: str,
    total: int | None = None,
    unit: str = "images",
    initial: int = 0,
    shown: bool = True,
) -> Any:
    """`items` behind a bar with rate and time left; no bar where standard error is no terminal, or if not `shown`.

    Without `items` it is a bar to `update` by hand; `initial` of the total are done already.
    """
    from tqdm import tqdm

    told = {"desc": what, "total": total, "unit": f" {unit}", "initial": initial}
    return tqdm(items, **told, disable=None if shown else True, leave=False, dynamic_ncols=True)


def environment() -> dict[str, str]:
    """Versions and machine, for the record of a run."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "cpus": str(os.cpu_count())}
    for package in STAMPED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, str]:
    """The commit and the uncommitted changes against it; empty outside a git checkout."""
    commit = _git("rev-parse", "HEAD")
    return {"commit": commit, "dirty_diff": _git("diff", "HEAD", "--", ":(top)src", ":(top)configs")} if commit else {}


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], check=False, capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""


class _Handler(logging.StreamHandler[Any]):
    """Writes lines above a progress bar rather than into it."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=self.stream)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        where = record.module if record.name == "__main__" else record.name.rpartition(".")[2]
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        text = f"{self.formatTime(record, '%H:%M:%S')} {where}: {level}{record.getMessage()}"
        return text if record.exc_info is None else f"{text}\n{self.formatException(record.exc_info)}"
