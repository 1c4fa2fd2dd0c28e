"""The sweep file for Weights & Biases: what its agent would run is a command that this project takes."""

import subprocess
import sys
from itertools import product

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from src.compose import compose
from src.models.sweeping.study import METRICS
from src.selection import parse
from tests.project import ROOT, environment

SWEEP = yaml.safe_load((ROOT / "references/wandb_sweep.yaml").read_text(encoding="utf-8"))


def words(values: dict[str, object]) -> list[str]:
    """The command line that wandb's agent makes of the file and of values that the server proposed."""
    filled = create_sweep_command_args({"args": {key: {"value": value} for key, value in values.items()}})
    filled |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [SWEEP["program"]]}
    found: list[str] = []
    for word in create_sweep_command(list(SWEEP["command"])):
        found += filled[word[2:-1]] if word.startswith("${") else [word]
    return found


def ends(parameter: dict) -> list[object]:
    return parameter["values"] if "values" in parameter else [float(parameter["min"]), float(parameter["max"])]


POINTS = [
    dict(zip(SWEEP["parameters"], point, strict=True)) for point in product(*map(ends, SWEEP["parameters"].values()))
]


def test_the_metric_is_one_that_runs_log_and_its_direction_is_right():
    assert f"{SWEEP['metric']['goal']}" == METRICS[SWEEP["metric"]["name"]]
    assert (ROOT / SWEEP["program"]).exists()


@pytest.mark.parametrize("point", POINTS[::3], ids=str)
def test_the_command_of_the_agent_composes_to_what_was_proposed(point):
    env, interpreter, flag, module, *given = words(point)
    assert (env, interpreter, flag, module) == ("/usr/bin/env", "python", "-m", "src.models.train_model")
    cfg = compose(parse(given))
    assert cfg.optimizer.lr == point["optimizer.lr"]
    assert cfg.optimizer.weight_decay == point["optimizer.weight_decay"]
    assert cfg.augment == compose(parse([f"augment={point['augment']}"])).augment


def test_the_command_runs():
    command = [sys.executable if word == "python" else word for word in words(POINTS[0])]
    done = subprocess.run([*command, "--cfg"], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["optimizer"]["lr"] == POINTS[0]["optimizer.lr"]
