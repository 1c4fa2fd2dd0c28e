import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from src.files import whole_folder

PROJECT_ROOT = Path(__file__).resolve().parents[1]
WRITER = """
import sys
from pathlib import Path
from src.files import whole_folder
for number in range(int(sys.argv[3])):
    with whole_folder(Path(sys.argv[1])) as folder:
        for part in ("a", "b"):
            (folder / part).write_text(f"{sys.argv[2]} {number}")
        print("written", flush=True)
        if sys.argv[4] == "wait":
            sys.stdin.read()
"""


def writer(target, name, *, times=1, waits=False):
    """A process that replaces the folder so many times; one that waits does so inside it until its input ends."""
    command = [sys.executable, "-c", WRITER, str(target), name, str(times), "wait" if waits else "go"]
    return subprocess.Popen(command, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_a_whole_folder_replaces_the_old_one(tmp_path):
    target = tmp_path / "data"
    for content in ("one", "two"):
        with whole_folder(target) as folder:
            (folder / f"{content}.txt").write_text(content)
    assert names(tmp_path) == ["data", "two.txt"]


def test_an_interrupted_folder_leaves_the_old_one_and_nothing_beside_it(tmp_path):
    target = tmp_path / "data"
    with whole_folder(target) as folder:
        (folder / "one.txt").write_text("one")

    def interrupted():
        with whole_folder(target) as folder:
            (folder / "half.txt").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == ["data", "one.txt"]


def test_leftovers_of_a_killed_run_are_removed(tmp_path):
    killed = writer(tmp_path / "data", "killed", waits=True)
    assert killed.stdout.readline() == "written\n"
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert len(names(tmp_path)) == 4
    with whole_folder(tmp_path / "data") as folder:
        (folder / "one.txt").write_text("one")
    assert names(tmp_path) == ["data", "one.txt"]


def test_what_another_process_is_writing_stays_and_the_last_to_end_wins(tmp_path):
    slow = writer(tmp_path / "data", "slow", waits=True)
    assert slow.stdout.readline() == "written\n"
    with whole_folder(tmp_path / "data") as folder:
        (folder / "a").write_text("quick")
    assert (tmp_path / "data/a").read_text() == "quick"
    slow.communicate("")
    assert slow.returncode == 0
    assert [(tmp_path / "data" / part).read_text() for part in ("a", "b")] == ["slow 0", "slow 0"]
    assert names(tmp_path) == ["a", "b", "data"]


def test_many_writers_at_once_all_succeed_and_leave_one_whole_folder(tmp_path):
    writers = [writer(tmp_path / "data", f"writer {number}", times=20) for number in range(4)]
    for one in writers:
        one.communicate("")
    assert [one.returncode for one in writers] == [0, 0, 0, 0]
    first, second = ((tmp_path / "data" / part).read_text() for part in ("a", "b"))
    assert first == second
    assert names(tmp_path) == ["a", "b", "data"]


def test_the_folder_before_is_taken_back_where_a_kill_came_between_two_renames(tmp_path, caplog):
    (tmp_path / ".data.old").mkdir()
    (tmp_path / ".data.old/one.txt").write_text("one")

    def failing():
        with whole_folder(tmp_path / "data"):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        failing()
    assert names(tmp_path) == ["data", "one.txt"]
    assert "the one before it is used" in caplog.text
