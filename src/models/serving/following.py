"""A service that follows the champion: once another run is promoted, it answers, without a break."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from src.champion import reigning
from src.layout import RunFolder
from src.models.serving.aside import aside
from src.models.serving.engine import Engine
from src.models.serving.service import Service

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0

Loader = Callable[[RunFolder, str], Engine]
"""The engine of a run folder and its `best` or `last` checkpoint."""


@dataclass
class Following:
    """Looks for a new champion again and again.

    `load` makes the engine of a checkpoint.
    """

    service: Service
    load: Loader
    _told: str = ""
    _tried: tuple[str, str, str] | None = None

    async def run(self) -> None:
        """Never returns; a champion that cannot be served is told once and passed over until it is promoted again."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                fresh = await aside(self._fresh, name="champion")
            except Exception as error:  # noqa: BLE001 - out of memory, another version: the service goes on and follows on
                reason = str(error) or type(error).__name__
                if reason != self._told:
                    log.warning("the champion cannot be served, the one before it goes on: %s", reason)
                self._told = reason
                continue
            self._told = ""
            if fresh is not None:
                await self.service.change(fresh)

    def _fresh(self) -> Engine | None:
        """The engine of a champion that is not served yet; None where there is no such one."""
        champion, engine = reigning(), self.service.engine
        folder, which = champion.located()
        if (folder.checkpoint(which), champion.checkpoint) == (engine.checkpoint, engine.sha256):
            # one that failed before may come again, and there may be room for it by then
            self._tried = None
            return None
        wanted = (champion.run, champion.checkpoint, champion.promoted)
        if wanted == self._tried:
            return None
        self._tried = wanted
        return self.load(folder, which)
