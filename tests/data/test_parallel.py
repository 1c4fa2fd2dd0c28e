import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from src.data import checks, parallel
from src.data.archives import open_images
from src.data.checks import inspect_all
from src.data.parallel import mapped, mapped_by_processes
from tests.data.drawn import folder_of, labelled, settings

FILES = [(f"{number:03d}", bytes([number % 256]) * (number % 7)) for number in range(300)]


def length(name, content):
    return name, len(content)


def process_of(name, content):
    return os.getpid()


def fail_at(name, content):
    if name == "200":
        raise ValueError("a bad one")
    return name


def die_at(name, content):
    if name == "200":
        os.kill(os.getpid(), signal.SIGKILL)
    return name


@pytest.mark.parametrize("by", [mapped, mapped_by_processes])
def test_results_come_in_order_and_none_is_lost(by):
    assert list(by(length, iter(FILES), workers=3)) == [length(*file) for file in FILES]


@pytest.mark.parametrize("by", [mapped, mapped_by_processes])
def test_an_error_in_the_work_comes_out(by):
    with pytest.raises(ValueError, match="a bad one"):
        list(by(fail_at, iter(FILES), workers=2))


@pytest.mark.parametrize("by", [mapped, mapped_by_processes])
def test_no_files_have_no_results(by):
    assert list(by(length, [], workers=2)) == []


def test_no_more_than_so_many_bytes_are_taken_ahead(monkeypatch):
    monkeypatch.setattr(parallel, "BYTES_IN_FLIGHT", 100)
    taken = []

    def files():
        for number in range(50):
            taken.append(number)
            yield str(number), bytes(30)

    found = mapped(length, files(), workers=8)
    for done in range(1, 20):
        next(found)
        assert len(taken) <= done + 4


def test_the_work_is_done_by_other_processes():
    found = set(mapped_by_processes(process_of, iter(FILES), workers=2))
    assert found
    assert os.getpid() not in found


def test_a_process_that_is_killed_is_told_of_and_not_waited_for():
    with pytest.raises(ValueError, match=r"one of 2 processes that decode images was killed, .*; give a smaller run\."):
        list(mapped_by_processes(die_at, iter(FILES), workers=2))


def test_files_are_checked_by_processes_as_by_one_thread(tmp_path, monkeypatch):
    store = open_images(folder_of(tmp_path, labelled({"cat": 70, "dog": 70}) | {"cat/bad.png": b"", "dog/x.png": b"x"}))
    one = list(inspect_all(store, store.names(), cfg=settings(), workers=1))
    monkeypatch.setattr(checks, "FEW", 0)
    assert list(inspect_all(store, store.names(), cfg=settings(), workers=2)) == one


def test_who_stops_early_does_not_wait_for_what_was_still_to_be_done(monkeypatch):
    held, done = threading.Event(), []

    class Pool(ThreadPoolExecutor):
        """Lets the work go on only once the pool was told to stop."""

        def shutdown(self, wait=True, *, cancel_futures=False):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            held.set()
            super().shutdown(wait=wait)

    def work(name, content):
        if name:
            held.wait()
        done.append(name)

    monkeypatch.setattr(parallel, "ThreadPoolExecutor", Pool)
    found = mapped(work, ((number, b"") for number in range(100)), workers=1)
    next(found)
    found.close()
    assert len(done) <= 2


ENDLESS = """
from itertools import repeat
from src.data.parallel import mapped_by_processes
from tests.data.test_parallel import process_of

for process in mapped_by_processes(process_of, repeat(("a", b"")), workers=2):
    print(process, flush=True)
"""


def alive(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    # one that has ended and that nobody has asked after is not at work
    return state != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_the_one_that_asked_for_the_work(how):
    with subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asking:
        assert asking.stdout is not None
        working = {int(asking.stdout.readline()) for _ in range(200)}
        asking.send_signal(how)
        asking.stdout.close()
        asking.wait(timeout=60)
    deadline = time.monotonic() + 60
    while any(alive(process) for process in working) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert working
    assert not any(alive(process) for process in working)
