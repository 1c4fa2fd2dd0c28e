"""A service that follows the champion: once another run is promoted, it answers, without a break."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from src.champion import current
from src.layout import CHAMPION, RunFolder, run_folder
from src.models.checkpoint import FACTS_FILE, load_facts
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
    _passed_over: Path | None = None
    _digest: str = ""

    async def run(self) -> None:
        """Never returns; a champion that cannot be served is told once and passed over."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                fresh = await asyncio.to_thread(self._fresh)
            except Exception as error:  # noqa: BLE001 - out of memory, another version: the service goes on and follows on
                if str(error) != self._told:
                    log.warning("the champion cannot be served, the one before it goes on: %s", error)
                self._told = str(error)
                continue
            self._told = ""
            if fresh is not None:
                await self.service.change(fresh)

    def _fresh(self) -> Engine | None:
        """The engine of a champion that is not served yet; None where there is no such one."""
        folder, which = champion_checkpoint()
        place, digest = folder.checkpoint(which), load_facts(folder.checkpoint(which)).sha256
        engine = self.service.engine
        if (place, digest) in ((engine.checkpoint, engine.sha256), (self._passed_over, self._digest)):
            return None
        self._passed_over, self._digest = place, digest
        return self.load(folder, which)


def champion_checkpoint() -> tuple[RunFolder, str]:
    """The champion's run and which of its checkpoints was promoted, `best` or `last`.

    Raises:
        ValueError: there is no champion, or its weights are gone or others by now.
    """
    folder, champion = run_folder(CHAMPION), current()
    assert champion is not None
    for which in ("best", "last"):
        place = folder.checkpoint(which)
        if (place / FACTS_FILE).exists() and load_facts(place).sha256 == champion.checkpoint:
            return folder, which
    raise ValueError(f"the champion {champion.run} holds other weights than it was promoted with")
