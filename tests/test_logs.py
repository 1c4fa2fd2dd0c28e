import logging
import os
import platform
import pty
import subprocess
import sys
import termios
import warnings
from pathlib import Path

import pytest

from src import logs

PROJECT_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def own_root_logger():
    """Puts the root logger back as it was."""
    root, own = logging.getLogger(), logging.getLogger("src")
    before = (root.handlers[:], root.level, own.level)
    yield
    root.handlers[:], level, own_level = before
    root.setLevel(level)
    own.setLevel(own_level)
    logging.captureWarnings(False)


@pytest.mark.usefixtures("own_root_logger")
def test_a_line_tells_time_place_and_text_and_a_level_only_where_it_matters(capsys):
    logs.start_logging()
    log = logging.getLogger("src.models.train_model")
    log.info("%d epochs", 3)
    log.warning("slow disk")
    log.debug("not shown")
    first, second = capsys.readouterr().err.splitlines()
    assert first[2] == first[5] == ":"
    assert first[8:] == " train_model: 3 epochs"
    assert second[8:] == " train_model: warning: slow disk"


@pytest.mark.usefixtures("own_root_logger")
def test_libraries_are_heard_from_warnings_on(capsys):
    logs.start_logging()
    logging.getLogger("timm").info("loading")
    logging.getLogger("timm").warning("no weights")
    assert "loading" not in (told := capsys.readouterr().err)
    assert "timm: warning: no weights" in told


@pytest.mark.usefixtures("own_root_logger")
def test_a_traceback_follows_its_line(capsys):
    logs.start_logging()
    try:
        int("x")
    except ValueError:
        logging.getLogger("src.cli").exception("failed")
    told = capsys.readouterr().err
    assert "cli: error: failed\nTraceback" in told
    assert told.rstrip().endswith("invalid literal for int() with base 10: 'x'")


@pytest.mark.usefixtures("own_root_logger")
def test_starting_twice_tells_each_line_once(capsys):
    logs.start_logging()
    logs.start_logging()
    logging.getLogger("src.cli").info("once")
    assert capsys.readouterr().err.count("once") == 1


@pytest.mark.usefixtures("own_root_logger")
def test_warnings_of_python_become_lines(capsys):
    logs.start_logging()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old option", stacklevel=1)
    assert "warning: " in (told := capsys.readouterr().err)
    assert "old option" in told


def test_no_bar_is_drawn_where_the_output_is_no_terminal(capsys):
    assert list(logs.progress(range(3), what="reading")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_bar_with_rate_is_drawn_at_a_terminal():
    screen, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    code = "from src.logs import progress\nfor _ in progress(range(3), what='reading', unit='files'): pass"
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, stderr=terminal, check=True, timeout=60)
    os.close(terminal)
    shown = os.read(screen, 1 << 16).decode()
    os.close(screen)
    assert "reading:" in shown
    assert "files/s" in shown


def test_the_stamp_names_machine_and_versions():
    stamp = logs.environment()
    assert stamp["python"] == platform.python_version()
    assert {"platform", "cpus", "torch", "numpy", "wandb"} <= stamp.keys()
    assert all(isinstance(value, str) for value in stamp.values())


def test_a_package_that_is_absent_is_left_out_of_the_stamp(monkeypatch):
    monkeypatch.setattr(logs, "STAMPED_PACKAGES", ("numpy", "no-such-package"))
    assert "numpy" in (stamp := logs.environment())
    assert "no-such-package" not in stamp


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A git checkout with one commit, as working folder."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("lr = 1\n")
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "one"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_clean_checkout_is_a_commit_without_a_difference(checkout):
    state = logs.git_state()
    assert len(state["commit"]) == 40
    assert state["dirty_diff"] == ""


def test_uncommitted_changes_are_kept_with_the_commit(checkout):
    (checkout / "src" / "a.py").write_text("lr = 2\n")
    assert "-lr = 1\n+lr = 2" in logs.git_state()["dirty_diff"]


def test_outside_a_checkout_the_state_is_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert logs.git_state() == {}


def test_without_git_the_state_is_empty(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert logs.git_state() == {}
