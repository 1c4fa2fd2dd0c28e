import json
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from src.compose import compose
from src.models.costs import MIB, largest_estimated, largest_tried, measure
from src.models.plan_run import plan_run
from src.selection import parse
from tests.models.test_memory import prepared


def files() -> dict[str, int]:
    """Every file below the working folder, with the time of its last change."""
    return {str(path): path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}


def test_a_plan_tells_the_costs_of_a_run_and_writes_nothing(project, config, capsys):
    before = files()
    plan_run(config("run.plan_steps=3"))
    assert files() == before
    costs = json.loads(capsys.readouterr().out)
    assert costs["batch_size"] == costs["micro_batch_size"] == 16
    assert costs["num_params"] == 6_187
    assert costs["epoch_s"] > 96 / costs["images_per_s"]
    assert costs["run_s"] == pytest.approx(2 * costs["epoch_s"])
    assert 50 < costs["peak_mib"] < psutil.virtual_memory().total / MIB


def test_a_batch_larger_than_the_split_is_all_of_the_split(project, config):
    costs = measure(config("run.plan_steps=1", "train.batch_size=1000", "train.micro_batch_size=10"))
    assert (costs.batch_size, costs.micro_batch_size) == (96, 10)
    assert costs.largest_batch is None or 10 <= costs.largest_batch <= 96


def test_data_made_with_other_settings_is_refused(project, config):
    with pytest.raises(ValueError, match=r"was made with data\.seed=0, not with data\.seed=3"):
        plan_run(config("data.seed=3"))


def test_a_head_on_embeddings_has_nothing_to_plan():
    with pytest.raises(ValueError, match=r"model\.name=linear_probe is fitted in seconds"):
        plan_run(compose(parse(["features=embeddings", "features.embeddings.pretrained=true"])))


def test_the_largest_batch_is_estimated_from_the_memory_that_is_free(monkeypatch):
    # what is free on this machine changes with all that runs there
    free, own = 8000, 2000
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free * MIB))
    monkeypatch.setattr(psutil.Process, "memory_info", lambda _: SimpleNamespace(rss=own * MIB))
    assert largest_estimated(10, 100.0, per_image=10.0) == 10 + (free + own - 100) // 10
    assert largest_estimated(10, 2.0 * (free + own), per_image=1.0) == 10
    assert largest_estimated(10, 100.0, per_image=0.0) is None


def tried(team: object, spare_mib: int) -> int:
    training = prepared(team, spare_mib, "run_dir=models/tried")
    training.state.model.train()
    return largest_tried(training.state, training.recipe, training.splits["train"], first=6)


@pytest.mark.skipif(sys.platform != "linux", reason="the system limits the data of a process")
@pytest.mark.slow
def test_the_largest_batch_is_found_by_doubling_until_memory_is_used_up(project):
    from tests.models.ranks import on_ranks

    assert on_ranks(1, tried, project, 2000) == [96]
    (found,) = on_ranks(1, tried, project, 100)
    assert found in (6, 12, 24)


@pytest.mark.slow
def test_make_plan_measures_each_network_and_changes_nothing(digits_project):
    digits_project.make("features")
    before = digits_project.run("git", "status", "--porcelain", "--ignored")
    said = digits_project.make("plan", "model=baseline_cnn,residual_cnn run.plan_steps=2")
    assert digits_project.run("git", "status", "--porcelain", "--ignored") == before
    rows = [line.split()[0] for line in said.splitlines() if line.startswith(("run ", "model="))]
    assert rows[0] == "run"
    assert set(rows[1:]) == {"model=baseline_cnn", "model=residual_cnn"}
    said = digits_project.make("plan", "model=baseline_cnn data.seed=3,0 run.plan_steps=1", ok=False)
    assert "was made with data.seed=0, not with data.seed=3" in said
    assert "1 of 2 could not be measured" in said
    assert "data.seed=0" in said
