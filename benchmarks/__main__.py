"""Measure the commands a user waits for, in a fresh copy of the repository, and print a table of the figures.

usage: python -m benchmarks [name ...]        (default: all; names are the rows of `MEASUREMENTS`)

Seconds are wall-clock: the median, and the lowest and highest, of `repeats` runs. Memory is the largest resident size
of any one process. Machines differ and are noisy: compare rows of one table, not tables.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from src.logs import environment

ROOT = Path(__file__).resolve().parents[1]
MAKE = ["make", f"PYTHON={sys.executable}"]
PYTHON = [sys.executable, "-m"]
TRAIN = "src.models.train_model"


@dataclass(frozen=True)
class Measurement:
    """A command, how often it is run, and the exit code it should have."""

    command: list[str]
    repeats: int
    code: int = 0


MEASUREMENTS = {
    "make train, nothing done before": Measurement([*MAKE, "train"], repeats=1),
    "make train, nothing changed": Measurement([*MAKE, "train"], repeats=5),
    "make report": Measurement([*MAKE, "report"], repeats=1),
    "train_model --help": Measurement([*PYTHON, TRAIN, "--help"], repeats=5),
    "a wrong key": Measurement([*PYTHON, TRAIN, "optimizer.lrr=0.1"], repeats=5, code=2),
    "an unknown backbone": Measurement([*PYTHON, TRAIN, "model=timm", "model.name=resnet19"], repeats=3, code=2),
    "pretrained weights without a network": Measurement([*PYTHON, TRAIN, "model.pretrained=true"], repeats=3, code=2),
}


def measure(measurement: Measurement, folder: Path) -> list[float]:
    """Seconds of each run of the command in the folder.

    Raises:
        RuntimeError: it did not end as it should; the message holds the end of what it printed.
    """
    seconds = []
    for _ in range(measurement.repeats):
        began = time.perf_counter()
        done = subprocess.run(measurement.command, cwd=folder, capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - began)
        if done.returncode != measurement.code:
            raise RuntimeError(f"{' '.join(measurement.command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return seconds


def fresh_copy(folder: Path) -> Path:
    """A clone of what is committed here."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


def shown(command: list[str]) -> str:
    """The command as a user types it."""
    words = [word for word in command if not word.startswith("PYTHON=")]
    return " ".join("python" if word == sys.executable else word for word in words)


def main(names: list[str]) -> None:
    """Run the named measurements, in the order of the table."""
    os.environ["WANDB_MODE"] = "offline"
    chosen = {name: MEASUREMENTS[name] for name in names} if names else MEASUREMENTS
    stamp = environment()
    print(f"{stamp['cpus']} cores, {platform.machine()}, Python {stamp['python']}, torch {stamp['torch']}\n")
    print("| what | command | n | seconds: median (lowest to highest) |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = fresh_copy(Path(scratch) / "repository")
        for name, measurement in chosen.items():
            seconds = measure(measurement, folder)
            spread = f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
            print(f"| {name} | `{shown(measurement.command)}` | {len(seconds)} | {spread} |", flush=True)
        metrics = folder / "models" / "pipeline" / "metrics.json"
        if metrics.exists():
            print(f"\ntest accuracy: {json.loads(metrics.read_text())['test']['acc']:.4f}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"largest process: {peak:.0f} MiB")


if __name__ == "__main__":
    main(sys.argv[1:])
