"""The state of a run that has not ended, kept so that a kill at any moment costs no more than the time since it.

A state is one file whose name carries its step and the sha256 of its content. A new one is written beside the others,
synced, read back, and only then the oldest is removed: two stand there at any time, and a damaged one is told by name.
"""

import hashlib
import io
import logging
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from src.files import check_space, read_json, write_atomically, write_json
from src.trees import differences

log = logging.getLogger(__name__)

PLAN_FILE = "plan.json"
LOCK_FILE = "lock"
PID_FILE = "pid"
KEPT = 2
STATE_NAME = re.compile(r"state-(\d{12})-([0-9a-f]{64})\.pt")
MOST_NAMED = 5


class ResumeFolder:
    """States of one run, and the plan they belong to: what has to be equal for a run to go on from them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path / LOCK_FILE)

    @property
    def plan(self) -> dict[str, Any] | None:
        """The plan of the run that left its states here; None where there is none."""
        if not (self.path / PLAN_FILE).exists():
            return None
        plan: dict[str, Any] = read_json(self.path / PLAN_FILE, made_by="train_model")
        return plan

    def differences(self, plan: Mapping[str, Any]) -> str:
        """What tells the plan here from another one, as `key: here -> there`; empty where they are equal."""
        found = differences(self.plan or {}, plan)
        named = [f"{key}: {old} -> {new}" for key, (old, new) in list(found.items())[:MOST_NAMED]]
        return ", ".join(named) + (f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else "")

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Start anew under a plan: states of another one are removed."""
        for path in self._states():
            path.unlink()
        write_json(self.path / PLAN_FILE, plan)

    def save(self, state: Mapping[str, Any], *, step: int) -> None:
        """Keep the state of step `step`; the older ones go once it has been read back whole.

        Raises:
            OSError: it cannot be written; the ones before it are intact.
        """
        packed = io.BytesIO()
        torch.save(dict(state), packed)
        content = packed.getvalue()
        digest = hashlib.sha256(content).hexdigest()
        path = self.path / f"state-{step:012d}-{digest}.pt"
        check_space(self.path, len(content), what="the state of the run")
        before = [other for other in self._states() if other != path]
        write_atomically(path, content)
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise OSError(f"{path} reads back other bytes than were written: the disk is failing; older states stay")
        for old in before[: len(before) - (KEPT - 1)]:
            old.unlink()

    def load(self) -> dict[str, Any] | None:
        """The newest whole state; None where none was saved yet.

        Raises:
            ValueError: all that were saved are damaged; nothing is removed.
        """
        states = self._states()
        for path in reversed(states):
            content = path.read_bytes()
            found = STATE_NAME.fullmatch(path.name)
            assert found is not None, "only such names are listed"
            if hashlib.sha256(content).hexdigest() == found.group(2):
                state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
                return state
            log.warning("%s is damaged (its sha256 is not the one in its name); the state before it is used", path)
        if states:
            raise ValueError(
                f"all {len(states)} states in {self.path} are damaged; copy them from elsewhere, "
                f"or remove {self.path} to start anew"
            )
        return None

    def acquire(self) -> None:
        """Take the run for this process, until it ends or `release` is called.

        Raises:
            ValueError: another process is at it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(
                f"{self.path.parent} is being trained by {self._holder()}; wait for it, or stop it"
            ) from None
        write_atomically(self.path / PID_FILE, str(os.getpid()).encode())

    def clear(self) -> None:
        """Forget the states of a run that has ended, all at once, and let go of it."""
        self._lock.release()
        gone = self.path.with_name(f".{self.path.name}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        self.path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def release(self) -> None:
        """Let another process take the run."""
        self._lock.release()

    def _holder(self) -> str:
        try:
            return f"process {(self.path / PID_FILE).read_text(encoding='utf-8')}"
        except OSError:
            return "another process"

    def _states(self) -> list[Path]:
        """Files of states, the oldest first."""
        if not self.path.is_dir():
            return []
        return sorted(path for path in self.path.iterdir() if STATE_NAME.fullmatch(path.name))
