"""A service that follows the champion: once another run is promoted, it answers, without a break."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from src.layout import CHAMPION, RunFolder, run_folder
from src.models.checkpoint import load_facts
from src.models.serving.engine import Engine
from src.models.serving.service import Service

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0

Loader = Callable[[RunFolder], Engine]
"""The engine of a run folder."""


@dataclass
class Following:
    """Looks for a new champion again and again.

    `load` makes the engine of a run folder.
    """

    service: Service
    load: Loader
    _told: str = ""

    async def run(self) -> None:
        """Never returns; a champion that cannot be loaded is told once and passed over."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                fresh = await asyncio.to_thread(self._fresh)
            except (ValueError, OSError) as error:
                if str(error) != self._told:
                    log.warning("the champion cannot be served, the one before it goes on: %s", error)
                self._told = str(error)
                continue
            self._told = ""
            if fresh is not None:
                await self.service.change(fresh)

    def _fresh(self) -> Engine | None:
        folder = run_folder(CHAMPION)
        facts = load_facts(folder.checkpoint(self.service.which))
        return None if facts.sha256 == self.service.engine.sha256 else self.load(folder)
