"""What was answered is kept for monitoring, and a disk that is full, wrong or slow costs no answer."""

import logging
import os

import pytest

from src.layout import REQUESTS_DIR
from src.models.serving import keeping
from src.request_log import PRESENT, Answered, RequestLog, read_requests
from tests.models.conftest import configured
from tests.models.serving.loopback import photo, served, until

pytestmark = pytest.mark.usefixtures("within")


def test_what_was_answered_is_kept_without_the_image(live):
    content = photo(1)
    found = live.predict(content).json()
    live.service.requests.flush()
    before = len(read_requests(REQUESTS_DIR, found["checkpoint"], last=None).table)
    assert live.predict(content).json()["pred"] == found["pred"]
    live.service.requests.flush()
    table = read_requests(REQUESTS_DIR, found["checkpoint"], last=None).table
    row = table.iloc[-1]
    assert len(table) == before + 1
    assert (row["pred"], row["checkpoint"], row["width"], row["height"]) == (found["pred"], found["checkpoint"], 36, 24)
    assert row["confidence"] == pytest.approx(found["prob"], abs=1e-5)
    assert 0 < row["brightness"] < 1


def test_a_log_that_cannot_be_written_costs_no_answer(tmp_path, monkeypatch, caplog, trained):
    (tmp_path / "models").symlink_to(trained / "models")
    (tmp_path / "data").write_text("a file where the folder should be")
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.WARNING), served(configured()) as live:
        assert [live.predict(photo()).status_code for _ in range(3)] == [200, 200, 200]
        live.service.requests.flush()
        assert live.count("serve_log_failures") == 3
    assert caplog.text.count("answers go on") == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes among its files")
def test_a_disk_that_hangs_keeps_nobody_waiting_and_what_it_could_not_take_is_counted(monkeypatch, tmp_path):
    monkeypatch.setattr(keeping, "MOST_WAITING", 2)
    monkeypatch.setattr(keeping, "CLOSE_S", 0.05)
    row = Answered(time="", checkpoint="", pred="", confidence=1.0, width=1, height=1, looks={})
    # who opens a pipe that nobody reads waits
    os.mkfifo(tmp_path / PRESENT)
    keeper = keeping.Keeper(RequestLog(tmp_path, most_bytes=10**6, keep=1))
    keeper.start()
    keeper.keep(row)
    until(keeper._waiting.empty, "the first answer was not taken")
    for _ in range(5):
        keeper.keep(row)
    assert keeper.failures == 3
    keeper.close()
    reader = os.open(tmp_path / PRESENT, os.O_RDONLY | os.O_NONBLOCK)
    keeper.flush()
    os.close(reader)
