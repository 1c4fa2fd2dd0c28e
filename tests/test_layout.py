import json
import subprocess
import sys
from pathlib import Path

from src.layout import RunFolder

PROJECT_ROOT = Path(__file__).resolve().parents[1]


def test_each_stage_of_a_run_writes_into_a_place_of_its_own():
    run = RunFolder(Path("models/runs/r1"))
    by_train = [run.checkpoint("best"), run.checkpoint("last"), run.metrics_log, run.curves]
    assert all(run.train in path.parents for path in by_train)
    outs = [run.train, run.predictions, run.metrics, run.report, run.figures]
    assert not [(a, b) for a in outs for b in outs if a in b.parents]
    assert run.report.name == run.figures.name == run.name == "r1"


def test_floor_zero_loads_neither_torch_nor_wandb():
    code = "import src.artifacts, src.metrics, src.choices, src.logs, src.layout, src.tracking, sys, json\n"
    code += "print(json.dumps([name for name in ('torch', 'timm', 'wandb') if name in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == []
