"""Downloads by other people's clients: each attempt in a process of its own that is watched, retried within bounds.

A client may hang, print, log or exit as it likes: it is stopped when nothing arrives any more, its output is dropped,
and what went wrong comes back as a `Fault`, which holds neither addresses nor credentials.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from socket import gaierror

from src.config import DownloadConfig
from src.logs import progress

log = logging.getLogger(__name__)

Announce = Callable[[int], None]
"""Tells how many bytes are to come, 0 where that is not known yet; either way it is a sign of life."""

Job = Callable[[Path, Announce], None]
"""Downloads into a folder; picklable, for it runs in another process."""

POLL_S = 0.1
NOTHING = -1
MEGABYTE = 10**6
BUSY = 429
CLIENT_FAULTS = (OSError, HTTPException, ValueError, RuntimeError, LookupError, TypeError, AttributeError)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why an attempt failed: `kind` is a key of `SENTENCES`, or of the offer's own; `status` that of HTTP, or 0."""

    kind: str
    status: int = 0
    detail: str = ""
    retry_after_s: float = 0.0

    @property
    def passing(self) -> bool:
        """Whether it may be gone in a while."""
        return self.kind in ("cut", "incomplete") or self.status == BUSY or self.status >= 500


class DownloadError(Exception):
    """Raised by a job that knows what is wrong."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What is downloaded: `what` it is called, the `page` a person finds it at, and sentences of its own by kind."""

    what: str
    page: str
    sentences: Mapping[str, str] = field(default_factory=dict)


SENTENCES = {
    "busy": "{what}: the server asks for patience (429){attempts}; wait some minutes and run again",
    "server": "{what}: the server fails ({status}){attempts}; run again later",
    "status": "{what}: the server refuses ({status}); look at {page}",
    "404": "{what} is not there (404): it may have been moved or withdrawn; look at {page}",
    "cut": "{what}: the connection was cut{attempts}; look at the network and run again: it goes on where it can",
    "incomplete": "{what}: what arrived is not what was published{attempts}; run again",
    "unreachable": "{what}: no way to the server ({detail}); look at the network and at the proxy settings",
    "stalled": "{what}: nothing arrived for {stall_s:g} s; run again, or raise run.download.stall_s",
    "space": "{what}: {detail}; make space and run again",
    "write": "{what}: cannot be written ({detail})",
    "package": "{what} needs a package that is not installed ({detail}); make requirements",
    "client": "{what}: its client ended with {detail}; look at {page}",
}
BY_HAND = "; or download it by hand from {page} and give data.archive=<file>"


def download(job: Job, folder: Path, *, offer: Offer, settings: DownloadConfig) -> None:
    """Nothing, once the job is done; what it left in `folder` is there for the next attempt.

    Raises:
        ValueError: it failed for good; the sentence says why and what to do.
    """
    for attempt in range(1, settings.retries + 2):
        fault = _attempt(job, folder, what=offer.what, stall_s=settings.stall_s)
        if fault is None:
            return
        if not fault.passing or attempt > settings.retries:
            raise ValueError(explained(fault, offer, attempts=attempt, stall_s=settings.stall_s))
        wait_s = max(settings.wait_s * 2 ** (attempt - 1), min(fault.retry_after_s, settings.stall_s))
        log.warning(
            "%s: %s; attempt %d of %d in %.3g s",
            offer.what,
            f"the server answers {fault.status}" if fault.status else f"{fault.kind} after {_megabytes(folder):.1f} MB",
            attempt + 1,
            settings.retries + 1,
            wait_s,
        )
        time.sleep(wait_s)


def explained(fault: Fault, offer: Offer, *, attempts: int, stall_s: float) -> str:
    """The sentence for the person at the keyboard."""
    sentences = {**SENTENCES, **offer.sentences}
    sentence = sentences.get(str(fault.status)) or sentences[_family(fault)]
    return (sentence + BY_HAND).format(
        what=offer.what,
        page=offer.page,
        status=fault.status,
        detail=fault.detail,
        stall_s=stall_s,
        attempts=f" {attempts} times in a row" if attempts > 1 else "",
    )


def fault_of(error: BaseException) -> Fault:
    """What the exception of a client comes down to; its text is not passed on, for it may hold signed addresses."""
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, DownloadError):
            return link.fault
        if status := _status(link):
            return Fault(kind="status", status=status, retry_after_s=_retry_after(link))
    return _local_fault(chain) or Fault(kind="client", detail=type(error).__name__)


def _local_fault(chain: Sequence[BaseException]) -> Fault | None:
    """The fault where no answer of a server is to blame; None where nothing is known of it."""
    for link in chain:
        if isinstance(link, ImportError):
            return Fault(kind="package", detail=str(link.name))
        if isinstance(link, gaierror | ConnectionRefusedError):
            return Fault(kind="unreachable", detail="its name or port is not found")
        if isinstance(link, OSError) and link.filename is not None and link.strerror:
            return Fault(kind="write", detail=f"{link.strerror}: {link.filename}")
    return Fault(kind="cut") if isinstance(chain[0], OSError | HTTPException) else None


def _family(fault: Fault) -> str:
    if not fault.status:
        return fault.kind
    if fault.status == BUSY:
        return "busy"
    return "server" if fault.status >= 500 else "status"


def _attempt(job: Job, folder: Path, *, what: str, stall_s: float) -> Fault | None:
    """The fault of one attempt; None when the job ended well."""
    folder.mkdir(parents=True, exist_ok=True)
    # spawned, not forked: threads and loaded libraries of this process are nothing that a client should inherit
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(job, folder, theirs), name=f"download {what}", daemon=True)
    process.start()
    theirs.close()
    try:
        return _watched(ours, folder, what=what, stall_s=stall_s)
    finally:
        process.kill()
        process.join()
        ours.close()


def _watched(line: Connection, folder: Path, *, what: str, stall_s: float) -> Fault | None:
    seen, since = -1, time.monotonic()
    with progress(what=what, unit="MB") as bar:
        while True:
            try:
                message = line.recv() if line.poll(POLL_S) else NOTHING
            except (EOFError, OSError):
                return Fault(kind="client", detail="no result")
            if message is None or isinstance(message, Fault):
                return message
            if message > 0:
                bar.total = message // MEGABYTE
            arrived = bytes_in(folder)
            if arrived != seen or message != NOTHING:
                bar.update(arrived // MEGABYTE - bar.n)
                seen, since = arrived, time.monotonic()
            elif time.monotonic() - since > stall_s:
                return Fault(kind="stalled")


def _work(job: Job, folder: Path, line: Connection) -> None:
    """Run in the process of its own: does the job and sends what came of it."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _say_nothing()
    try:
        job(folder, line.send)
    except (*CLIENT_FAULTS, ImportError, DownloadError) as error:
        line.send(fault_of(error))
    else:
        line.send(None)


def _leave_with_parent() -> None:
    """End this process when the one that started it is gone, so that no two ever write to the same file."""
    parent = parent_process()
    assert parent is not None, "run in a process of its own"
    parent.join()
    os._exit(1)


def _say_nothing() -> None:
    """Drop what clients print: bars of their own, help texts, and addresses with signatures in them."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for number in (1, 2):
        os.dup2(nowhere, number)


def bytes_in(folder: Path) -> int:
    """Size of all files in the folder."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total


def _megabytes(folder: Path) -> float:
    return bytes_in(folder) / MEGABYTE


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it wraps, be it as cause, context, reason or argument."""
    waiting, seen = [error], set()
    while waiting:
        link = waiting.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        inner = (link.__cause__, link.__context__, getattr(link, "reason", None), *link.args)
        waiting += [found for found in inner if isinstance(found, BaseException)]


def _status(error: BaseException) -> int:
    """The HTTP status that an exception of requests or urllib carries; 0 where it carries none."""
    response = getattr(error, "response", None)
    found = getattr(response, "status_code", None) if response is not None else getattr(error, "code", None)
    return found if isinstance(found, int) and found >= 400 else 0


def _retry_after(error: BaseException) -> float:
    headers = getattr(getattr(error, "response", error), "headers", None) or {}
    try:
        return max(0.0, float(headers.get("Retry-After", 0)))
    except ValueError:
        return 0.0
