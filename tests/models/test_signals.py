"""Signals ask for a stop; what becomes of those that come again."""

import os
import signal

import pytest

from src.models.signals import stop_on_signals

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of another kind")


@pytest.fixture(autouse=True)
def handlers():
    """Put back what handled the signal before."""
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_an_echo_that_comes_after_the_end_changes_nothing():
    with stop_on_signals(echo_s=1.0) as flag:
        os.kill(os.getpid(), signal.SIGUSR1)
    assert flag.signal == "SIGUSR1"
    # the usual effect would end this process
    os.kill(os.getpid(), signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN


def test_a_lone_process_gets_its_usual_handlers_back():
    before = signal.getsignal(signal.SIGUSR1)
    with stop_on_signals() as flag:
        os.kill(os.getpid(), signal.SIGUSR1)
    assert flag.signal == "SIGUSR1"
    assert signal.getsignal(signal.SIGUSR1) == before
