"""Work on the contents of files by many threads or processes, with a bound on the bytes in flight."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import chain
from multiprocessing import get_context, parent_process
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
File = tuple[str, bytes]

BYTES_IN_FLIGHT = 64 * 2**20
FUTURES_PER_WORKER = 16
FILES_PER_BATCH = 64
BYTES_PER_BATCH = 2**20


def mapped(function: Callable[[str, bytes], Result], files: Iterable[File], *, workers: int | None) -> Iterator[Result]:
    """`function(name, content)` of each file, in order; `workers` threads (None: one per core).

    Decoders release the interpreter lock, so threads use all cores. What waits is bounded, so memory stays flat
    however large the data set is.
    """
    threads = workers or os.cpu_count() or 1
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    sized = (((name, content), len(content)) for name, content in files)
    return _in_order(pool, lambda file: function(*file), sized, most=FUTURES_PER_WORKER * threads)


def mapped_by_processes(
    function: Callable[[str, bytes], Result], files: Iterable[File], *, workers: int
) -> Iterator[Result]:
    """`function(name, content)` of each file, in order, by so many processes; it and its results can be pickled.

    For work of which much is Python: threads would wait for each other there. Starting takes about a second.

    Raises:
        ValueError: a process was killed.
    """
    # not by fork: a copy of a process that has threads may hang
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_outlive_nobody)
    sized = ((batch, sum(len(content) for _, content in batch)) for batch in _batches(files))
    most = FUTURES_PER_WORKER * workers
    try:
        yield from chain.from_iterable(_in_order(pool, partial(_each, function), sized, most=most))
    except BrokenProcessPool:
        raise ValueError(
            f"one of {workers} processes that decode images was killed, most likely for want of memory; "
            "give a smaller run.workers"
        ) from None


def _in_order(
    pool: Executor, function: Callable[[Item], Result], sized: Iterable[tuple[Item, int]], *, most: int
) -> Iterator[Result]:
    """`function(item)` of each pair of an item and its bytes; at most so many wait, of at most so many bytes."""
    waiting: deque[tuple[int, Future[Result]]] = deque()
    num_bytes = 0
    try:
        for item, size in sized:
            waiting.append((size, pool.submit(function, item)))
            num_bytes += size
            while waiting and (num_bytes > BYTES_IN_FLIGHT or len(waiting) > most):
                freed, future = waiting.popleft()
                num_bytes -= freed
                yield future.result()
        while waiting:
            yield waiting.popleft()[1].result()
    finally:
        # whoever stops early does not wait for what was still to be done
        pool.shutdown(cancel_futures=True)


def _batches(files: Iterable[File]) -> Iterator[list[File]]:
    """The files in lists of which each is worth the way to another process."""
    batch: list[File] = []
    num_bytes = 0
    for file in files:
        batch.append(file)
        num_bytes += len(file[1])
        if len(batch) == FILES_PER_BATCH or num_bytes >= BYTES_PER_BATCH:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


def _each(function: Callable[[str, bytes], Result], batch: list[File]) -> list[Result]:
    return [function(name, content) for name, content in batch]


def _outlive_nobody() -> None:
    """Leave Ctrl-C to the process that asked for the work, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked_by = parent_process()
    assert asked_by is not None, "in a process of a pool only"

    def follow() -> None:
        asked_by.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
