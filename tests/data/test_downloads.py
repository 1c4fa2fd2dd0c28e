"""Watched attempts, with jobs of this project's own in place of a client; the real clients have tests of their own."""

import errno
import os
import signal
import sys
import urllib.error
from email.message import Message
from functools import partial
from http.client import IncompleteRead
from pathlib import Path
from socket import gaierror

import pytest

from src.config import DownloadConfig
from src.data.fetching.downloads import SENTENCES, DownloadError, Fault, Offer, bytes_in, download, explained, fault_of

OFFER = Offer(what="scenes", page="https://example.org/scenes")
QUICK = DownloadConfig(retries=2, wait_s=0.01, stall_s=30.0)


def count(folder: Path) -> int:
    with (folder / "attempts").open("a") as file:
        file.write("x")
    return len((folder / "attempts").read_text())


def done(folder, announce):
    announce(3)
    (folder / "file").write_bytes(b"abc")
    sys.stdout.write("a client's bar")
    os.write(2, b"a client's help text")


def failing(error, times, folder, announce):
    if count(folder) <= times:
        raise error
    done(folder, announce)


def killed(folder, announce):
    count(folder)
    os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


def silent(folder, announce):
    count(folder)
    signal.pause() if hasattr(signal, "pause") else input()


def attempts(folder):
    return len((folder / "attempts").read_text())


def test_a_job_leaves_its_file_and_what_it_prints_is_dropped(tmp_path, capfd):
    download(done, tmp_path / "staging", offer=OFFER, settings=QUICK)
    assert (tmp_path / "staging/file").read_bytes() == b"abc"
    assert bytes_in(tmp_path / "staging") == 3
    captured = capfd.readouterr()
    assert "client" not in captured.out + captured.err


def test_a_passing_fault_is_tried_again_with_doubled_waits(tmp_path, caplog):
    download(partial(failing, ConnectionResetError("gone"), 2), tmp_path, offer=OFFER, settings=QUICK)
    assert attempts(tmp_path) == 3
    assert [record.getMessage().rpartition(" in ")[2] for record in caplog.records] == ["0.01 s", "0.02 s"]


def test_a_fault_that_stays_ends_after_the_configured_attempts(tmp_path):
    with pytest.raises(ValueError, match="scenes: the connection was cut 3 times in a row; look at the network"):
        download(partial(failing, ConnectionResetError("gone"), 99), tmp_path, offer=OFFER, settings=QUICK)
    assert attempts(tmp_path) == 3


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImportError("No module named kaggle", name="kaggle"), r"not installed \(kaggle\); make requirements"),
        (DownloadError(Fault(kind="space", detail="20.0 GB are needed below x")), "20.0 GB are needed below x; make"),
        (KeyError("odd"), "its client ended with KeyError; look at https://example.org/scenes"),
    ],
)
def test_a_fault_for_good_is_told_at_once(tmp_path, error, said):
    with pytest.raises(ValueError, match=said):
        download(partial(failing, error, 99), tmp_path, offer=OFFER, settings=QUICK)
    assert attempts(tmp_path) == 1


def test_a_client_that_dies_is_told(tmp_path):
    with pytest.raises(ValueError, match="its client ended with no result"):
        download(killed, tmp_path, offer=OFFER, settings=QUICK)


@pytest.mark.slow
def test_a_client_that_does_nothing_is_stopped(tmp_path):
    patience = DownloadConfig(retries=2, wait_s=0.01, stall_s=5.0)
    with pytest.raises(ValueError, match=r"nothing arrived for 5 s; run again, or raise run\.download\.stall_s"):
        download(silent, tmp_path, offer=OFFER, settings=patience)
    assert attempts(tmp_path) == 1


def wrapped(inner: BaseException) -> Exception:
    outer = OSError("outer text")
    outer.__context__ = inner
    return outer


def http_error(status: int, retry_after: str | None = None) -> urllib.error.HTTPError:
    headers = Message()
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    return urllib.error.HTTPError("https://example.org/?signature=secret", status, "text", headers, None)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (http_error(404), Fault(kind="status", status=404)),
        (http_error(429, "7"), Fault(kind="status", status=429, retry_after_s=7.0)),
        (http_error(503, "Wed, 21 Oct 2015 07:28:00 GMT"), Fault(kind="status", status=503)),
        (urllib.error.URLError(gaierror("no name")), Fault(kind="unreachable", detail="its name or port is not found")),
        (wrapped(ConnectionRefusedError()), Fault(kind="unreachable", detail="its name or port is not found")),
        (TimeoutError(), Fault(kind="cut")),
        (IncompleteRead(b""), Fault(kind="cut")),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "raw/file"),
            Fault(kind="write", detail=f"{os.strerror(errno.ENOSPC)}: raw/file"),
        ),
        (ValueError("https://example.org/?signature=secret"), Fault(kind="client", detail="ValueError")),
    ],
)
def test_the_fault_behind_an_exception_is_found_and_its_text_left_out(error, fault):
    assert fault_of(error) == fault


@pytest.mark.parametrize("kind", SENTENCES)
def test_every_sentence_names_what_and_a_way_out(kind):
    fault = Fault(kind=kind, detail="a detail")
    said = explained(fault, OFFER, attempts=2, stall_s=5.0)
    assert said.startswith("scenes")
    assert said.endswith("or download it by hand from https://example.org/scenes and give data.archive=<file>")
    assert "{" not in said


def test_only_what_may_be_gone_in_a_while_is_tried_again():
    passing = {status for status in range(400, 600) if Fault(kind="status", status=status).passing}
    assert passing == {429, *range(500, 600)}
    assert [kind for kind in SENTENCES if Fault(kind=kind).passing] == ["cut", "incomplete"]
