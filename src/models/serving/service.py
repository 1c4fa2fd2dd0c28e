"""The service behind its addresses: who is let in, what is answered, and what is kept of it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from starlette.requests import ClientDisconnect, Request

from src.config_serve import ServeConfig
from src.data.checks import BadImage
from src.models.checkpoint import WEIGHTS_FILE, load_facts
from src.models.serving.aside import aside
from src.models.serving.engine import Answer, Engine
from src.models.serving.figures import Figures
from src.models.serving.intake import Refusal, read_body
from src.models.serving.keeping import Keeper
from src.reference import DIGITS
from src.request_log import Answered

log = logging.getLogger(__name__)

LOOK_S = 2
"""Time for the disk to answer whether the weights are there."""


@dataclass(kw_only=True)
class Service:
    """A model that answers.

    Attributes:
        engine: the present one.
        cfg: its settings.
        requests: where answers are kept.
        figures: its counters.
    """

    engine: Engine
    cfg: ServeConfig
    requests: Keeper
    figures: Figures = field(default_factory=Figures)
    _num_taken: int = 0
    _look: asyncio.Task[str | None] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Within it the service answers."""
        self.engine.batcher.start()
        self.requests.start()
        try:
            yield
        finally:
            await self.engine.retire()
            await asyncio.to_thread(self.requests.close)

    async def change(self, fresh: Engine) -> None:
        """Answer with another engine from now on; what the one before it has taken it still answers."""
        before, self.engine = self.engine, fresh
        fresh.batcher.start()
        log.info("%s answers now, in place of %s", fresh.folder.path, before.folder.path)
        await before.retire()

    async def answer(self, request: Request) -> tuple[Engine, Answer]:
        """What the model says of the image in the body, and the engine that said it.

        Raises:
            Refusal: it cannot be answered; the reason says why.
        """
        try:
            with self._admitted():
                return await self._answered(request)
        except Refusal as refusal:
            self.figures.refused.labels(refusal.kind).inc()
            raise

    async def ready(self) -> str | None:
        """Why the service should not be sent images; None where all is well.

        Who asks while a look at the disk is under way hears what that one finds: at a disk that hangs one thread waits.
        """
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(aside(self._reason, name="readiness"))
        look = self._look
        if not (await asyncio.wait([look], timeout=LOOK_S))[0]:
            return f"the disk of {self.engine.checkpoint.as_posix()} has not answered for {LOOK_S} s"
        return look.result()

    def _reason(self) -> str | None:
        """What is wrong with the run folder; None where nothing is."""
        engine = self.engine
        weights = engine.checkpoint / WEIGHTS_FILE
        try:
            found = load_facts(engine.checkpoint).sha256
            if not weights.exists():
                return f"{weights} is gone; bring it back, or start the service again with another run"
        except (ValueError, OSError) as error:
            return str(error)
        if found != engine.sha256:
            return f"{engine.folder.path} holds other weights by now; start the service again"
        return None

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        """A place among the images that are taken in, before a byte of this one is read."""
        if self._num_taken >= self.cfg.max_waiting:
            raise Refusal(503, "busy", f"{self._num_taken} images wait already (serve.max_waiting); try again")
        self._num_taken += 1
        self.figures.waiting.set(self._num_taken)
        try:
            yield
        finally:
            self._num_taken -= 1
            self.figures.waiting.set(self._num_taken)

    async def _answered(self, request: Request) -> tuple[Engine, Answer]:
        try:
            content = await read_body(request, max_mib=self.cfg.max_mib, seconds=self.cfg.body_s)
            start, engine = time.perf_counter(), self.engine
            answer = await engine.answer(content)
        except ClientDisconnect:
            raise Refusal(499, "left", "the client has left") from None
        except BadImage as error:
            raise Refusal(422, "bad_image", str(error)) from None
        except RuntimeError as error:
            raise Refusal(500, "failed", f"the forward pass failed: {error}") from None
        self.figures.seconds.observe(time.perf_counter() - start)
        self._keep(engine, answer)
        return engine, answer

    def _keep(self, engine: Engine, answer: Answer) -> None:
        pred = engine.trained.class_names[answer.pred]
        self.figures.answered.labels(pred).inc()
        row = Answered(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            checkpoint=engine.sha256,
            pred=pred,
            confidence=round(float(answer.probs.max()), DIGITS),
            width=answer.width,
            height=answer.height,
            looks={name: round(value, DIGITS) for name, value in answer.looks.items()},
        )
        self.requests.keep(row)
