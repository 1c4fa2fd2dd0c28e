import pytest

from src.planning import duration, labels, plan, table
from src.selection import parse_multirun

ROW = {
    "run": "model=resnet18",
    "num_params": 11_180_000,
    "batch_size": 64,
    "micro_batch_size": 64,
    "largest_batch": 900,
    "estimated": True,
    "peak_mib": 812.4,
    "images_per_s": 123.4,
    "epoch_s": 61.2,
    "run_s": 7325.0,
}


def test_a_row_is_named_by_what_the_others_do_not_have():
    asked = parse_multirun(["model=resnet18,residual_cnn", "train.batch_size=32", "optimizer.lr=0.1,0.2"])
    assert labels(asked)[:2] == ["model=resnet18 optimizer.lr=0.1", "model=resnet18 optimizer.lr=0.2"]
    assert labels(parse_multirun(["model=resnet18"])) == ["model=resnet18"]
    assert labels(parse_multirun([])) == ["the run"]


def test_a_table_tells_time_memory_and_batch():
    head, row = table([ROW]).splitlines()
    assert head.split("  ")[0] == "run"
    assert [cell.strip() for cell in row.split("  ") if cell.strip()] == [
        *("model=resnet18", "2 h 2 min", "1 min 1 s", "123", "812 MiB", "64", "about 900", "11.18 M"),
    ]
    assert "64 (16 in a pass)" in table([{**ROW, "micro_batch_size": 16}])
    assert "  ?  " in table([{**ROW, "largest_batch": None}])
    assert table([]) == ""


@pytest.mark.parametrize(
    ("seconds", "told"), [(2.34, "2.3 s"), (59.99, "60.0 s"), (90, "1 min 30 s"), (5400, "1 h 30 min")]
)
def test_a_time_is_told_in_units_that_suit_it(seconds, told):
    assert duration(seconds) == told


def test_a_sweep_and_an_unknown_network_are_refused_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="a sweep is many runs"):
        plan(["sweep=lr_range"])
    with pytest.raises(ValueError, match="model=resnet19 is not a preset"):
        plan(["model=resnet18,resnet19"])
