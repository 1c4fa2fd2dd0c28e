"""Asking a run to stop: the handler only sets a flag, the loop looks at it after each step."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPING = ("SIGINT", "SIGTERM", "SIGUSR1")
"""Ctrl-C; what a scheduler sends before it kills; what Slurm sends before a pre-emption (Windows lacks it)."""

EXIT_REQUEUE = 75
"""EX_TEMPFAIL of sysexits.h: run the same command again to go on."""


EXIT_PEER_LOST = 76
"""Of a process whose team lost another one: the reason is that one's."""


class StopFlag:
    """`signal` is the name of the signal that asked for a stop, or empty."""

    def __init__(self) -> None:
        self.signal = ""


def exit_code(stopped: str) -> int:
    """What a run that a signal stopped exits with: 130 after Ctrl-C, else the code for `run it again`."""
    return 128 + signal.SIGINT if stopped == "SIGINT" else EXIT_REQUEUE


@contextmanager
def stop_on_signals(*, echo_s: float = 0.0) -> Iterator[StopFlag]:
    """A flag that Ctrl-C, SIGTERM and SIGUSR1 set; a second one has its usual, immediate effect.

    The same one again within `echo_s` seconds is not a second one.
    """
    flag = StopFlag()
    before: dict[int, Any] = {}
    asked_at: dict[int, float] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        flag.signal = signal.Signals(number).name
        since = time.monotonic() - asked_at.setdefault(number, time.monotonic())
        if not echo_s or since >= echo_s:
            signal.signal(number, before[number])
        if since >= echo_s > 0:
            signal.raise_signal(number)

    for number in (getattr(signal, name) for name in STOPPING if hasattr(signal, name)):
        before[number] = signal.signal(number, ask)
    try:
        yield flag
    finally:
        for number, handler in before.items():
            # one of several ends now; an echo that comes late must not change how
            signal.signal(number, signal.SIG_IGN if echo_s else handler)
