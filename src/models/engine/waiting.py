"""How long a loop waits for its data, and what to change where that is long."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
Clock = Callable[[], float]

# seconds of an epoch: less is not worth a word, whatever share it is
LEAST_S = 1.0


class Timed(Generic[Item]):
    """The items, and the `seconds` that whoever takes them has waited for the next one so far."""

    def __init__(self, items: Iterable[Item], *, clock: Clock = time.perf_counter) -> None:
        self._items, self._clock = items, clock
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Item]:
        """The items, each timed."""
        began = self._clock()
        for item in self._items:
            self.seconds += self._clock() - began
            yield item
            began = self._clock()

    def share(self, *, since: float) -> float:
        """Share of the time since then that was spent waiting, 0 to 1."""
        return min(1.0, self.seconds / max(self._clock() - since, 1e-9))


def advice(share: float, *, seconds: float, most: float, batch_size: int, side: int) -> str:
    """What to change where an epoch of so many seconds waits for more than the share `most`, else nothing."""
    if share <= most or share * seconds < LEAST_S:
        return ""
    mib = batch_size * side * side * 3 / 2**20
    return (
        f"training waits for data {share:.0%} of the time (run.max_wait_share={most:g}): reading the {mib:.3g} MiB of "
        f"a batch takes longer than training on it; try a smaller features.size (the packed side is {side} px), a "
        "faster disk under data/processed, or, on a CPU, a core left to the reader: run.workers=<cores - 1>"
    )
