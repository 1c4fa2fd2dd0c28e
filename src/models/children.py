"""Verbs as child processes in folders of their own: what stops the parent stops them, what fails in them is told."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from src.config import Config, as_tree
from src.files import write_atomically
from src.guard import EXIT_INTERRUPTED
from src.models.signals import EXIT_REQUEUE, StopFlag, exit_code, stop_on_signals
from src.selection import PROJECT_ROOT

CONFIG_FILE = "config.yaml"
OUTPUT_FILE = "output.txt"
LOGGED = re.compile(r"^\d\d:\d\d:\d\d \w+: (\w+: )?")
POLL_S = 0.1
PATIENCE_S = 30.0
STOPPED = (EXIT_INTERRUPTED, EXIT_REQUEUE)


def run_child(module: str, cfg: Config, *, folder: Path, held: int | None) -> str:
    """Why the verb failed with `folder` as its working folder; empty where it did not. It says more on standard error.

    Args:
        module: the verb, such as `src.models.train_model`.
        cfg: its configuration; relative paths in it are relative to `folder`.
        folder: where it runs.
        held: a file descriptor that the child keeps open as long as it lives.

    Raises:
        SystemExit: a signal came, here or there, and the child has ended.
    """
    command = _command(module, cfg, folder / CONFIG_FILE, named=CONFIG_FILE)
    code = _run(command, {"cwd": folder}, held=held, watch=lambda: False)
    if code in STOPPED:
        raise SystemExit(code)
    return _reason(module.rpartition(".")[2], code, "its reason stands above")


def run_watched(module: str, cfg: Config, *, folder: Path, held: int | None, watch: Callable[[], bool]) -> str:
    """Why the verb failed in the present working folder; empty where it did not. It says more in `<folder>/output.txt`.

    `watch` is asked again and again whether the verb is to be stopped; one that was stopped so has failed.

    Raises:
        SystemExit: a signal came, here or there, and the child has ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = _command(module, cfg, folder / CONFIG_FILE, named=str(folder / CONFIG_FILE))
    asked = False

    def ask() -> bool:
        nonlocal asked
        asked = watch()
        return asked

    with (folder / OUTPUT_FILE).open("ab") as output:
        place = {"stdout": output, "stderr": output}
        code = _run(command, place, held=held, watch=ask)
    if code in STOPPED and not asked:
        raise SystemExit(code)
    return _reason(module.rpartition(".")[2], code, last_line(folder / OUTPUT_FILE))


def run_on_words(module: str, words: Sequence[str], *, held: int | None) -> str:
    """Why a verb that takes runs by name failed; empty where it did not. It writes where this process does.

    Raises:
        SystemExit: a signal came, here or there, and the child has ended.
    """
    code = _run([sys.executable, "-m", module, *words], {}, held=held, watch=lambda: False)
    if code in STOPPED:
        raise SystemExit(code)
    return _reason(module.rpartition(".")[2], code, "its reason stands above")


def last_line(path: Path) -> str:
    """The last line of a verb's output, the time and place before an error left out."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
    return LOGGED.sub("", last).strip()


def _command(module: str, cfg: Config, path: Path, *, named: str) -> list[str]:
    write_atomically(path, yaml.safe_dump(as_tree(cfg), sort_keys=False).encode("utf-8"))
    return [sys.executable, "-m", module, "--config", named]


def _run(command: list[str], place: Mapping[str, Any], *, held: int | None, watch: Callable[[], bool]) -> int:
    """The exit code of a child; `place` is where it runs and writes."""
    kept = () if held is None else (held,)
    with stop_on_signals() as stop:
        child = subprocess.Popen(command, env=child_environment(), pass_fds=kept, **place)
        try:
            code = _wait(child, stop, watch)
        finally:
            # a second Ctrl-C ends the wait at once
            child.kill()
            child.wait()
    if stop.signal:
        raise SystemExit(exit_code(stop.signal))
    return code


def child_environment() -> dict[str, str]:
    """The environment in which `python -m src...` finds this project from any folder."""
    path = os.pathsep.join(filter(None, [str(PROJECT_ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path}


def _wait(child: "subprocess.Popen[bytes]", stop: StopFlag, watch: Callable[[], bool]) -> int:
    """The child's exit code; a stop that is asked for here, or by `watch`, is handed on to it once."""
    told = False
    while True:
        try:
            return child.wait(POLL_S)
        except subprocess.TimeoutExpired:
            if stop.signal and not told:
                _ask_to_stop(child, stop.signal)
                told = True
            elif not told and watch():
                return _end(child)


def _end(child: "subprocess.Popen[bytes]") -> int:
    """The exit code of a child that is asked to end, and killed where it does not."""
    child.terminate()
    try:
        return child.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _ask_to_stop(child: "subprocess.Popen[bytes]", came: str) -> None:
    """Hand a signal on as another one: a terminal sends Ctrl-C to both, and the same one twice ends a run at once."""
    if came == "SIGINT":
        child.terminate()
    else:
        child.send_signal(signal.SIGINT)


def _reason(verb: str, code: int, said: str) -> str:
    if code == 0:
        return ""
    if code < 0:
        return f"{verb} was ended by {signal.Signals(-code).name}: by someone, or by the system for want of memory"
    return f"{verb} ended with exit code {code}; {said}"
