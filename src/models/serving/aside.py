"""Work that may hang, such as reading a disk, aside of the event loop and of the end of the process."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def aside(work: Callable[[], T], *, name: str) -> T:
    """What `work` returns or raises, from a thread of that name for which the end of the process does not wait."""
    outcome: Future[T] = Future()
    # from now on nobody can cancel it: who has left does not hear the outcome
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            found = work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where the work was asked for
            outcome.set_exception(error)
        else:
            outcome.set_result(found)

    # a pool is joined when the loop ends, however long that takes
    threading.Thread(target=run, name=name, daemon=True).start()
    return await asyncio.wrap_future(outcome)
