"""Processes that are started again find each other, not those that died."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from src.models.distributed.meeting import word_of_start

WORLD = 3
PATIENCE_S = 120


@pytest.fixture
def store():
    return dist.HashStore()


def wait_while(so: Callable[[], object]) -> None:
    end_by = time.monotonic() + PATIENCE_S
    while so():
        assert time.monotonic() < end_by
        time.sleep(0.001)


def test_all_processes_of_a_start_have_one_word(store):
    with ThreadPoolExecutor() as threads:
        words = list(threads.map(lambda rank: word_of_start(store, rank=rank, world=WORLD), range(WORLD)))
    assert len(set(words)) == 1


def test_one_that_is_started_again_before_the_first_process_waits_for_it(store):
    words = []
    with ThreadPoolExecutor() as threads:
        for _ in range(2):
            said = {rank: store.get(f"hello/{rank}") if words else b"" for rank in (1, 2)}
            later = [threads.submit(word_of_start, store, rank=rank, world=WORLD) for rank in (1, 2)]
            # the others are there, and what they read is all that the start before has left
            wait_while(
                lambda said=said: any(
                    not store.check([f"hello/{rank}"]) or store.get(f"hello/{rank}") == said[rank] for rank in said
                )
            )
            first = word_of_start(store, rank=0, world=WORLD)
            assert [other.result(timeout=PATIENCE_S) for other in later] == [first, first]
            words.append(first)
    assert words[0] != words[1]


def test_the_first_process_that_is_started_again_before_another_waits_for_it(store):
    words = []
    with ThreadPoolExecutor() as threads:
        for _ in range(2):
            first = threads.submit(word_of_start, store, rank=0, world=2)
            # it has answered what the dead one said
            wait_while(lambda: words and store.get(f"answer/{store.get('hello/1').decode()}").decode() == words[0])
            assert not first.done()
            words.append(word_of_start(store, rank=1, world=2))
            assert first.result(timeout=PATIENCE_S) == words[-1]
    assert words[0] != words[1]


def test_a_process_that_does_not_come_is_not_waited_for_without_end(store):
    store.set_timeout(timedelta(seconds=0.2))
    with pytest.raises(RuntimeError, match="Wait timeout"):
        word_of_start(store, rank=0, world=2)
