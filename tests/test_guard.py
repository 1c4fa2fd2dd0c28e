import errno
import logging
import os
import subprocess
import sys

import pytest

from src.files import write_atomically
from src.guard import EXIT_FAULT, EXIT_INTERRUPTED, read_env_file, run_guarded
from tests import disks


def fail(error: BaseException):
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize("error", [ValueError("a is b; give c"), FileNotFoundError("no file"), ImportError("no wandb")])
def test_a_fault_a_person_can_mend_is_one_sentence_and_code_2(monkeypatch, caplog, error):
    monkeypatch.setattr(sys, "argv", ["/project/src/models/train_model.py"])
    with pytest.raises(SystemExit) as raised:
        run_guarded(fail(error))
    assert raised.value.code == EXIT_FAULT
    assert [(record.name, record.getMessage()) for record in caplog.records] == [("src.train_model", str(error))]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    with disks.small_disk(tmp_path / "small", size="64k") as folder:
        yield folder


def test_a_full_disk_is_told_with_file_size_and_way_out_and_the_old_file_stays(small_disk, caplog):
    path = small_disk / "table.csv"
    write_atomically(path, b"old")
    with pytest.raises(SystemExit):
        run_guarded(lambda: write_atomically(path, bytes(100_000)))
    assert caplog.messages == [
        f"{path}: no space left on device (100000 bytes were to be written); free some of the disk "
        "(make doctor tells how much is left) and give the command again; what was finished before is as it was"
    ]
    assert path.read_bytes() == b"old"


def test_a_folder_that_cannot_be_written_is_told_with_the_way_out(small_disk, caplog):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(SystemExit):
        run_guarded(lambda: write_atomically(small_disk / "table.csv", b"new"))
    assert len(caplog.messages) == 1
    assert "table.csv: read-only file system (3 bytes were to be written); mount that disk for writing" in caplog.text


def test_the_traceback_is_there_on_wish(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match="a is b"):
        run_guarded(fail(ValueError("a is b")))


def test_our_own_mistakes_keep_their_traceback():
    with pytest.raises(AssertionError):
        run_guarded(fail(AssertionError("a bug")))


def test_an_interrupt_has_its_own_code(caplog):
    with pytest.raises(SystemExit) as raised:
        run_guarded(fail(KeyboardInterrupt()))
    assert raised.value.code == EXIT_INTERRUPTED
    assert "interrupted" in caplog.text


def test_what_succeeds_returns(monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", logging.getLogger().handlers[:])
    ran = []
    run_guarded(lambda: ran.append(1))
    assert ran == [1]


def test_variables_of_the_env_file_are_set_unless_they_are_already(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.delenv("KAGGLE_API_TOKEN", raising=False)
    text = "# keys\nKAGGLE_API_TOKEN='a b#c'\nWANDB_PROJECT=other\nexport HF_HOME_TEST=/x\n\n"
    (tmp_path / ".env").write_text(text, encoding="utf-8")
    try:
        read_env_file(tmp_path / ".env")
        assert os.environ["KAGGLE_API_TOKEN"] == "a b#c"
        assert os.environ["WANDB_PROJECT"] == "mine"
        assert os.environ["HF_HOME_TEST"] == "/x"
    finally:
        os.environ.pop("KAGGLE_API_TOKEN", None)
        os.environ.pop("HF_HOME_TEST", None)


def test_an_absent_env_file_is_no_fault(tmp_path):
    before = dict(os.environ)
    read_env_file(tmp_path / ".env")
    assert dict(os.environ) == before


def test_a_file_that_may_not_be_read_is_told_with_the_way_out(caplog):
    with pytest.raises(SystemExit):
        run_guarded(fail(PermissionError(errno.EACCES, os.strerror(errno.EACCES), "photos/a.jpg")))
    assert caplog.messages[0].startswith("photos/a.jpg: permission denied; change the owner or mode of it")
