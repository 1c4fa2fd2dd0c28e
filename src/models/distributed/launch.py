"""Several processes of one verb on this machine: each knows its place in the team, and they end together.

A signal is handed on to all; where one of them fails the others are ended soon after, and its reason is told once.
Each has a pipe from the launcher as its standard input: one whose launcher is gone saves its state and stops.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import yaml

from src.config import Config, as_tree
from src.files import write_atomically
from src.models.children import CONFIG_FILE, POLL_S, STOPPED, child_environment
from src.models.signals import EXIT_PEER_LOST, StopFlag, exit_code, stop_on_signals

RENDEZVOUS_VARIABLE = "TRAIN_RENDEZVOUS_FILE"
"""The file in which the processes of one launcher find each other; torchrun names an address instead."""

GRACE_S = 1.5
"""After one process has failed the others have so long to end by themselves."""

ECHO_S = 1.0
"""A scheduler signals launcher and ranks, the launcher hands it on: the same signal again so soon is the same one."""


@dataclass
class Rank:
    """A process that was started, and the file of what it says; None for the first, which speaks for itself."""

    number: int
    process: "subprocess.Popen[bytes]"
    said: Path | None

    def tell(self) -> None:
        """Say what it said."""
        if self.said is not None:
            sys.stderr.write(self.said.read_text(encoding="utf-8", errors="replace"))


def is_launcher(devices: int | None, environ: Mapping[str, str]) -> bool:
    """Whether this process has to start others for `run.devices`, rather than being one that was started.

    Raises:
        ValueError: it was started as one of another number.
    """
    if "RANK" not in environ:
        return devices is not None and devices > 1
    world = environ["WORLD_SIZE"]
    if devices is not None and str(devices) != world:
        raise ValueError(f"run.devices={devices}, but {world} processes were started; leave run.devices out")
    return False


def run_ranks(module: str, cfg: Config) -> None:
    """Nothing, once `run.devices` processes of the verb have ended well.

    Raises:
        ValueError: one of them failed.
        SystemExit: a signal stopped them.
    """
    assert cfg.run.devices is not None, "asked for"
    with TemporaryDirectory(prefix="ranks-") as folder, stop_on_signals() as stop:
        write_atomically(Path(folder) / CONFIG_FILE, yaml.safe_dump(as_tree(cfg), sort_keys=False).encode("utf-8"))
        ranks: list[Rank] = []
        try:
            for number in range(cfg.run.devices):
                ranks.append(start_rank(module, Path(folder), number=number, world=cfg.run.devices))
            first = wait(ranks, stop)
        finally:
            end(ranks)
        codes = [rank.process.returncode for rank in ranks]
        if first is not None:
            first.tell()
            raise ValueError(reason(first, len(ranks)))
    if any(codes):
        raise SystemExit(exit_code(stop.signal) if stop.signal else next(code for code in codes if code))


def start_rank(module: str, folder: Path, *, number: int, world: int) -> Rank:
    """A process that knows its place; all but the first say what they say to a file in `folder`."""
    command = [sys.executable, "-m", module, "--config", str(folder / CONFIG_FILE)]
    place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    told = {name: str(value) for name, value in place.items()} | {RENDEZVOUS_VARIABLE: str(folder / "rendezvous")}
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // world))}
    env = threads | child_environment() | told
    if number == 0:
        return Rank(number, subprocess.Popen(command, env=env, stdin=subprocess.PIPE), None)
    said = folder / f"rank-{number}.txt"
    with said.open("wb") as file:
        return Rank(number, subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stderr=file), said)


def wait(ranks: Sequence[Rank], stop: StopFlag) -> Rank | None:
    """The first process to fail, once all have ended or have had their time to; None where none failed.

    A signal that comes here is handed on to all, once.
    """
    told = False
    failed: list[Rank] = []
    end_by = float("inf")
    while any(rank.process.poll() is None for rank in ranks) and time.monotonic() < end_by:
        if stop.signal and not told:
            tell_all(ranks, signal.Signals[stop.signal])
            told = True
        failed += [rank for rank in ranks if rank not in failed and has_failed(rank)]
        if failed and end_by == float("inf"):
            end_by = time.monotonic() + GRACE_S
        time.sleep(POLL_S)
    failed += [rank for rank in ranks if rank not in failed and has_failed(rank)]
    return first_cause(failed)


def first_cause(failed: Sequence[Rank]) -> Rank | None:
    """Of the failed processes, in the order of their ends, the one whose reason is to be told.

    The first process speaks for itself, so that a fault which all find is told once; one that only lost another has
    no reason of its own.
    """
    own = [rank for rank in failed if rank.process.returncode != EXIT_PEER_LOST]
    killed = [rank for rank in own if rank.process.returncode < 0]
    return next(iter([*killed, *sorted(own, key=lambda rank: rank.number), *failed]), None)


def has_failed(rank: Rank) -> bool:
    """Whether it has ended, neither well nor because it was asked to."""
    code = rank.process.poll()
    return code is not None and code != 0 and code not in STOPPED


def tell_all(ranks: Sequence[Rank], number: signal.Signals) -> None:
    """Send a signal to all that live."""
    for rank in ranks:
        if rank.process.poll() is None:
            rank.process.send_signal(number)


def end(ranks: Sequence[Rank]) -> None:
    """Leave none alive."""
    for rank in ranks:
        rank.process.kill()
    for rank in ranks:
        rank.process.wait()


def reason(rank: Rank, world: int) -> str:
    """Why a process failed, in a sentence."""
    code = rank.process.returncode
    who = f"process {rank.number} of {world}"
    if code < 0:
        return (
            f"{who} was ended by {signal.Signals(-code).name}: by someone, or by the system for want of memory; "
            "the same command goes on from the last saved state"
        )
    return f"{who} ended with exit code {code}; its reason stands above"


@contextmanager
def stop_of_rank(environ: Mapping[str, str]) -> Iterator[StopFlag]:
    """The flag of `stop_on_signals`; in a process that was started as one of several, echoes do not count.

    There it is also set, as if by SIGTERM, when the launcher has gone.
    """
    with stop_on_signals(echo_s=ECHO_S if "RANK" in environ else 0.0) as stop:
        if RENDEZVOUS_VARIABLE in environ:
            Thread(target=_outlive, args=(stop,), daemon=True, name="launcher").start()
        yield stop


def _outlive(stop: StopFlag) -> None:
    """Ask for a stop once standard input, a pipe from the launcher, has ended."""
    # sys.stdin would hold a lock that the interpreter wants at its end
    while os.read(0, 1):
        pass
    logging.getLogger(__name__).warning("the process that started this one has gone")
    stop.signal = stop.signal or "SIGTERM"
