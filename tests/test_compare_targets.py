"""From the pipeline's run to a page, a ledger and a champion by make alone."""

import json

import pytest

from tests.project import Project


@pytest.mark.slow
def test_runs_are_measured_compared_explained_and_promoted_by_make(digits_project: Project) -> None:
    project = digits_project
    project.make("promote", "models/pipeline")
    kept = json.loads((project.root / "models/champion.json").read_text(encoding="utf-8"))["run"]
    measured = project.make("cost", f"{kept} compare.cost.seconds=0.01 compare.cost.batch_sizes=[1,8]")
    assert "ms for one image" in measured
    said = project.make("compare", "champion models/pipeline compare.name=targets")
    assert "| baseline_cnn" in said
    assert (project.root / "reports/targets/index.html").exists()
    assert "no difference" in project.make("why", f"{kept} models/pipeline")
    assert f"{kept} *" in project.make("runs")
    refused = project.make("promote", "nothing", ok=False)
    assert "nothing is neither a run folder, nor a sweep, nor an experiment of DVC" in refused
    assert "test: accuracy" in project.run("python", "-m", "src.models.predict_model", "run_dir=champion")
