"""The share of time that training waits for data is measured, and where it is large one line says what to change."""

import pytest

from src.models.engine import waiting
from src.models.engine.preparing import prepare
from src.models.engine.waiting import Timed, advice
from src.models.signals import StopFlag


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def passes(self, seconds):
        self.now += seconds


def slow_items(clock, *, wait_s, count=3):
    for number in range(count):
        clock.passes(wait_s)
        yield number


@pytest.mark.parametrize(("wait_s", "work_s", "share"), [(1.0, 3.0, 0.25), (0.0, 3.0, 0.0), (2.0, 0.0, 1.0)])
def test_the_share_is_that_of_the_time_between_asking_for_an_item_and_having_it(wait_s, work_s, share):
    clock = Clock()
    items = Timed(slow_items(clock, wait_s=wait_s), clock=clock)
    for _ in items:
        clock.passes(work_s)
    assert items.seconds == 3 * wait_s
    assert items.share(since=0.0) == pytest.approx(share)


def test_where_nothing_was_done_nothing_was_waited_for():
    assert Timed([], clock=Clock()).share(since=0.0) == 0.0


def test_advice_names_the_share_the_limit_and_what_to_change():
    said = advice(0.43, seconds=60.0, most=0.2, batch_size=256, side=224)
    assert "waits for data 43% of the time (run.max_wait_share=0.2)" in said
    assert "36.8 MiB of a batch" in said
    assert all(key in said for key in ("features.size", "224 px", "data/processed", "run.workers"))
    assert advice(0.2, seconds=60.0, most=0.2, batch_size=256, side=224) == ""


def test_a_wait_of_less_than_a_second_is_not_worth_a_word():
    assert advice(0.9, seconds=1.0, most=0.2, batch_size=256, side=224) == ""
    assert advice(0.9, seconds=1.2, most=0.2, batch_size=256, side=224) != ""


def test_a_run_tells_its_share_each_epoch_and_gives_advice_once(project, config, caplog, monkeypatch):
    monkeypatch.setattr(waiting, "LEAST_S", 0.0)
    training = prepare(config("run.max_wait_share=0.0"))
    training.run(StopFlag())
    assert all(0 < row["train/wait_share"] <= 1 for row in training.rows)
    assert caplog.text.count("training waits for data") == 1


def test_a_run_that_may_wait_gives_none(project, config, caplog):
    prepare(config("run.max_wait_share=1.0")).run(StopFlag())
    assert "training waits for data" not in caplog.text
