"""Answers are kept whole, in files that take turns; a full or damaged disk costs lines and is counted."""

import json
import logging
from dataclasses import asdict
from pathlib import Path

import pytest

from src import request_log
from src.request_log import PRESENT, Answered, RequestLog, older_files, read_requests
from tests.disks import small_disk
from tests.test_docs import dictionary


def answered(number: int, *, checkpoint: str = "c0ffee") -> Answered:
    return Answered(
        time=f"2026-01-01T00:00:{number:02d}",
        checkpoint=checkpoint,
        pred="Größe",
        confidence=0.5,
        width=3,
        height=4,
        looks={"brightness": 0.25},
    )


def kept(folder, *, most_bytes: int = 10**6, keep: int = 3) -> RequestLog:
    return RequestLog(folder, most_bytes=most_bytes, keep=keep)


def test_answers_are_read_back_in_their_order(tmp_path):
    log = kept(tmp_path / "requests")
    for number in range(3):
        log.append(answered(number))
    found = read_requests(tmp_path / "requests", "c0ffee", last=None)
    assert found.damaged == log.failures == 0
    assert list(found.table["time"].str[-1]) == ["0", "1", "2"]
    line = (tmp_path / "requests" / PRESENT).read_text("utf-8").splitlines()[0]
    assert set(json.loads(line)) == dictionary("`data/requests/requests.jsonl`")
    assert found.table.loc[0, ["pred", "width", "brightness"]].tolist() == ["Größe", 3, 0.25]


def test_files_take_turns_and_the_oldest_go(tmp_path):
    log = kept(tmp_path, most_bytes=1, keep=2)
    for number in range(6):
        log.append(answered(number))
    assert len(older_files(tmp_path)) == 2
    assert list(read_requests(tmp_path, "c0ffee", last=None).table["time"].str[-1]) == ["3", "4", "5"]
    assert list(read_requests(tmp_path, "c0ffee", last=2).table["time"].str[-1]) == ["4", "5"]


def test_the_newest_answers_of_a_checkpoint_are_found_behind_those_of_another(tmp_path):
    log = kept(tmp_path, most_bytes=2000, keep=9)
    for number in range(20):
        log.append(answered(number))
    for number in range(20, 50):
        log.append(answered(number, checkpoint="other"))
    assert len(older_files(tmp_path)) > 1
    found = read_requests(tmp_path, "c0ffee", last=3)
    assert list(found.table["time"].str[-2:]) == ["17", "18", "19"]
    assert found.num_others == 30


def test_a_file_that_takes_its_turn_while_the_log_is_read_is_not_missed(tmp_path, monkeypatch):
    log, listed = kept(tmp_path, most_bytes=1), []
    log.append(answered(0))

    def overtaken(folder: Path) -> list[Path]:
        found = older_files(folder)
        listed.append(found)
        if len(listed) == 1:
            log.append(answered(1))
        return found

    monkeypatch.setattr(request_log, "older_files", overtaken)
    assert list(read_requests(tmp_path, "c0ffee", last=None).table["time"].str[-1]) == ["0", "1"]


def test_a_file_that_is_removed_while_the_log_is_read_is_left_out(tmp_path, monkeypatch):
    log, oldest = kept(tmp_path, most_bytes=1), answered(0)
    for row in (oldest, answered(1), answered(2)):
        log.append(row)

    def row_of(line: str) -> object:
        for path in older_files(tmp_path)[:-1]:
            path.unlink()
        return read(line)

    read = request_log._row
    monkeypatch.setattr(request_log, "_row", row_of)
    assert list(read_requests(tmp_path, "c0ffee", last=None).table["time"].str[-1]) == ["1", "2"]


def test_a_file_that_cannot_take_its_turn_goes_on_growing(tmp_path, monkeypatch):
    log = kept(tmp_path, most_bytes=1)
    log.append(answered(0))
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(PermissionError("in use")))
    log.append(answered(1))
    assert log.failures == 0
    assert len(read_requests(tmp_path, "c0ffee", last=None).table) == 2


def test_damaged_lines_are_counted_and_the_others_read(tmp_path):
    log = kept(tmp_path)
    log.append(answered(0))
    with (tmp_path / PRESENT).open("ab") as file:
        file.write(b'\xff\xfe{"time": 3}\n[]\n{"time": "2026", "checkpoi')
    log.append(answered(1))
    found = read_requests(tmp_path, "c0ffee", last=None)
    assert list(found.table["time"].str[-1]) == ["0", "1"]
    assert found.damaged == 3


@pytest.mark.parametrize(
    "wrong", [{"confidence": "x"}, {"confidence": None}, {"looks": {"contrast": "x"}}, {"pred": []}]
)
def test_a_line_with_a_value_of_another_kind_is_damaged(tmp_path, wrong):
    kept(tmp_path).append(answered(0))
    with (tmp_path / PRESENT).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(answered(1)) | wrong) + "\n")
    found = read_requests(tmp_path, "c0ffee", last=None)
    assert (len(found.table), found.damaged) == (1, 1)
    assert found.table["confidence"].dtype == float


def test_a_full_disk_costs_lines_and_is_told_once(tmp_path, caplog):
    with small_disk(tmp_path / "disk", size="64k") as disk, caplog.at_level(logging.WARNING):
        log = kept(disk)
        filler = disk / "filler"
        log.append(answered(0))
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(bytes(10**6))
        for number in range(1, 60):
            log.append(answered(number))
        assert log.failures > 0
        filler.unlink()
        before = log.failures
        log.append(answered(99))
        assert log.failures == before
        found = read_requests(disk, "c0ffee", last=None)
    assert len(found.table) + log.failures == 61
    assert found.table["time"].iloc[-1].endswith("99")
    assert caplog.text.count("cannot be written (No space left on device); answers go on") == 1


def test_without_a_log_the_way_to_one_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"holds no requests yet; start the service \(make serve\)"):
        read_requests(tmp_path, "c0ffee", last=None)
