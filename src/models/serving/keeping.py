"""Answers on their way into the request log: in a thread of its own, so that a slow disk keeps nobody waiting."""

import threading
from contextlib import suppress
from queue import Full, Queue

from src.request_log import Answered, RequestLog

MOST_WAITING = 10_000
CLOSE_S = 10


class Keeper:
    """Hands answers to the log, which no other thread touches."""

    def __init__(self, log: RequestLog) -> None:
        """Nothing is written yet."""
        self._log = log
        self._waiting: Queue[Answered | None] = Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="request log", daemon=True)
        self._dropped = 0

    @property
    def failures(self) -> int:
        """Answers that were not kept, for want of a disk or because it was too slow."""
        return self._log.failures + self._dropped

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def keep(self, row: Answered) -> None:
        """Take an answer; one for which there is no room is counted and dropped."""
        try:
            self._waiting.put_nowait(row)
        except Full:
            self._dropped += 1

    def flush(self) -> None:
        """Return once all that was taken is written."""
        self._waiting.join()

    def close(self) -> None:
        """Write what was taken and end; a disk that hangs is not waited for without limit."""
        with suppress(Full):
            self._waiting.put(None, timeout=CLOSE_S)
        self._thread.join(CLOSE_S)

    def _work(self) -> None:
        while (row := self._waiting.get()) is not None:
            self._log.append(row)
            self._waiting.task_done()
        self._waiting.task_done()
