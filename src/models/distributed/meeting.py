"""Where the processes of a team find each other, under keys that no process of an earlier start has written.

torchrun keeps one store for all the starts that `--max-restarts` allows, and with it the addresses of those who died:
a process that is started again sooner than another would read the dead one's and connect to nobody. So each tells the
first process a word of its own and waits for the answer to that word.
"""

import time
from datetime import timedelta
from secrets import token_hex

import torch.distributed as dist

POLL_S = 0.02


def meet(where: str, *, rank: int, world: int) -> dist.Store:
    """The store at `where` (`env://`, `file://...`), under a prefix that only this start of the team knows. A meeting.

    Raises:
        RuntimeError: one of the processes did not come within the store's time limit.
    """
    store, _, _ = next(dist.rendezvous(where, rank, world))
    return dist.PrefixStore(word_of_start(store, rank=rank, world=world), store)


def word_of_start(store: dist.Store, *, rank: int, world: int) -> str:
    """A word that is the same on all processes of this start and on none of another. A meeting."""
    own = token_hex(8)
    if rank > 0:
        store.set(f"hello/{rank}", own)
        word = store.get(f"answer/{own}").decode()
        store.set(f"heard/{word}/{rank}", own)
        return word
    for other in range(1, world):
        _answer(store, other, word=own)
    return own


def _answer(store: dist.Store, rank: int, *, word: str) -> None:
    """Tell a process the word, until it has heard it: what it said first may be what a dead one said."""
    heard = f"heard/{word}/{rank}"
    # torch's stubs lack the property
    patience: timedelta = store.timeout  # type: ignore[attr-defined]
    end_by = time.monotonic() + patience.total_seconds()
    while not store.check([heard]) and time.monotonic() < end_by:
        if store.check([f"hello/{rank}"]):
            store.set(f"answer/{store.get(f'hello/{rank}').decode()}", word)
        time.sleep(POLL_S)
    store.wait([heard])
