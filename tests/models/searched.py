"""Searches over the drawn images, run for real in processes of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from src.layout import RunFolder
from tests.models.conftest import FAST
from tests.project import ROOT

DEADLINE_S = 600
SPACE = "sweep.options.space={optimizer:{lr:{choices:[0.05,0.005]}}}"
GRID = ["sweep=search", "sweep.options.sampler={name:grid,options:{}}", "sweep.options.pruner={name:none,options:{}}"]
RANDOM = ["sweep=search", "sweep.options.sampler={name:random,options:{seed:1}}", *GRID[2:]]


def command(*overrides: str) -> list[str]:
    return [sys.executable, "-m", "src.models.sweep", *FAST, "optimizer=sgd", *overrides]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run_search(*overrides: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*overrides), env=environment(), capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )


def start_search(*overrides: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command(*overrides), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(condition: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < ends, f"waited in vain for {what}"
        time.sleep(0.02)


def folder() -> Path:
    """The folder of the only search there is."""
    (found,) = Path("models/sweeps").glob("search-*")
    return found


def trial(number: int) -> RunFolder:
    return RunFolder(folder() / f"trial_{number:03d}")


def table() -> pd.DataFrame:
    return pd.read_csv(folder() / "results.csv", keep_default_na=False, na_values=[""]).set_index("trial")


def trains(number: int) -> bool:
    """Whether a trial has an epoch behind it."""
    logs = Path("models/sweeps").glob(f"search-*/trial_{number:03d}/train/metrics.jsonl")
    return any(b"\n" in path.read_bytes() for path in logs)
