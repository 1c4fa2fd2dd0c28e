"""Forward passes of the service: one at a time, each of the images that came while the one before it ran."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

log = logging.getLogger(__name__)

Pixels = UInt8[np.ndarray, "size size 3"]
Probs = Float[np.ndarray, " classes"]


@dataclass(frozen=True)
class _Asked:
    pixels: Pixels
    answer: "asyncio.Future[Probs]"


class Batcher:
    """Probabilities of single images, scored together where several wait; no image waits for others to come."""

    def __init__(self, score: Callable[[np.ndarray], np.ndarray], *, batch_size: int) -> None:
        """Nothing runs yet.

        Args:
            score: uint8 pixels of shape (batch, size, size, 3) to probabilities of shape (batch, classes).
            batch_size: most images in one pass.
        """
        self._score, self._batch_size = score, batch_size
        self._waiting: asyncio.Queue[_Asked] = asyncio.Queue()
        # one thread: two passes at once would share the cores and both be late
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="forward")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to score what is asked for; called within the event loop."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Score nothing more; who still waits gets no answer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._thread.shutdown(wait=False)

    async def probs(self, pixels: Pixels) -> Probs:
        """Probabilities of one packed image.

        Raises:
            RuntimeError: the forward pass failed, for want of memory as a rule.
        """
        asked = _Asked(pixels, asyncio.get_running_loop().create_future())
        self._waiting.put_nowait(asked)
        return await asked.answer

    async def _work(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < self._batch_size and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            # whoever asked has left
            if batch := [asked for asked in batch if not asked.answer.done()]:
                await self._pass(batch)

    async def _pass(self, batch: list[_Asked]) -> None:
        """Answer each of the batch, with the error where the pass fails."""
        try:
            pixels = np.stack([asked.pixels for asked in batch])
            probs = await asyncio.get_running_loop().run_in_executor(self._thread, self._score, pixels)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait get an answer and the next pass runs
            log.error("a forward pass of %d images failed: %r", len(batch), error)
            for asked in batch:
                if not asked.answer.done():
                    asked.answer.set_exception(RuntimeError(str(error) or type(error).__name__))
            return
        for asked, row in zip(batch, probs, strict=True):
            if not asked.answer.done():
                asked.answer.set_result(row)
