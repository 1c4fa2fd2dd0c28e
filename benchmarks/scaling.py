"""Measure training on 1, 2 and 4 processes of this machine, and project to 64 devices on paper; prints two tables.

usage: python -m benchmarks.scaling [number of processes ...]        (default: 1 2 4)

Every process trains on as many images in a step, so that the ideal is a step that takes no longer. The numbers of
processes take turns, `ROUNDS` times. Gradients are added up once more by themselves, to tell what that costs alone.

The projection is arithmetic, no measurement: n devices that each compute a step in the time of one process, joined by
links as quick as those measured between two processes. A ring all-reduce of g bytes then takes

    2 (n - 1) latency + 2 (n - 1) / n * g / bandwidth

and hides behind the computation wholly at best, and not at all at worst.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from src.logs import environment

ROOT = Path(__file__).resolve().parents[1]
WORLDS = (1, 2, 4)
ROUNDS = 3
IMAGES = 16
WARM_UP, STEPS = 2, 6
REPEATS = 10
SETTINGS = ["model=resnet18", "optimizer=sgd", "augment=light", "run.device=cpu", "run.wandb.mode=disabled"]
DEVICES = (2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Figures:
    """Medians of a round: seconds of a step, of an all-reduce of the gradient's bytes and of one of a single number."""

    world: int
    step_s: float
    reduce_s: float
    smallest_s: float
    gradient_bytes: int


@dataclass(frozen=True)
class Link:
    """What joins two devices: seconds before the first byte, and bytes per second after it."""

    latency_s: float
    bytes_per_s: float


def link_of(pair: Figures) -> Link:
    """The link that two processes have, by the all-reduces they measured."""
    # a ring of two sends twice, and the gradient once over
    return Link(pair.smallest_s / 2, pair.gradient_bytes / max(1e-9, pair.reduce_s - pair.smallest_s))


def ring_s(devices: int, num_bytes: int, link: Link) -> float:
    """Seconds of a ring all-reduce by the latency-bandwidth model (Patarasuk and Yuan, 2009)."""
    sends = 2 * (devices - 1)
    return sends * link.latency_s + sends / devices * num_bytes / link.bytes_per_s


def projected(alone: Figures, link: Link, devices: int) -> tuple[float, float]:
    """Efficiency on so many devices, at worst (nothing hidden) and at best (all of it)."""
    reduce_s = ring_s(devices, alone.gradient_bytes, link)
    return alone.step_s / (alone.step_s + reduce_s), alone.step_s / max(alone.step_s, reduce_s)


def measure(world: int, folder: Path) -> Figures:
    """What `world` processes measure, one thread each.

    Raises:
        RuntimeError: one of them failed.
    """
    from src.models.distributed.launch import RENDEZVOUS_VARIABLE

    with tempfile.TemporaryDirectory() as scratch:
        common = {"WORLD_SIZE": world, RENDEZVOUS_VARIABLE: Path(scratch) / "meeting", "OMP_NUM_THREADS": 1}
        started = []
        for rank in range(world):
            env = {**common, "RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": ROOT}
            command = [sys.executable, "-m", "benchmarks.scaling", "--rank", str(IMAGES * world)]
            told = {name: str(value) for name, value in env.items()}
            # a pipe: a process whose launcher is gone stops
            started.append(
                subprocess.Popen(
                    command, cwd=folder, env=os.environ | told, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
        said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError(f"one of {world} processes ended with {[process.returncode for process in started]}")
    return Figures(**json.loads(said[0].splitlines()[-1]))


def rank(batch_size: int) -> None:
    """Train some steps as one of a team, and let the first of it print the figures."""
    from src.compose import compose
    from src.features.loader import load_parts
    from src.models.distributed.team import joined
    from src.models.engine.loop import ready, train_step
    from src.models.engine.preparing import prepare
    from src.selection import parse

    cfg = compose(parse([*SETTINGS, f"train.batch_size={batch_size}", f"run_dir=runs/{batch_size}-{time.time_ns()}"]))
    with joined(cfg.run.device, os.environ) as team:
        run = prepare(cfg, team)
        train, state = run.splits["train"], run.state
        ready(state, run.recipe)
        seconds = []
        device = run.recipe.runtime.device
        batches = load_parts(train, run.recipe.plan(train, 0), device, rank=team.rank, world=team.world)
        for batch in islice(batches, WARM_UP + STEPS):
            began = time.perf_counter()
            train_step(state, run.recipe, batch)
            seconds.append(time.perf_counter() - began)
        count = sum(weight.numel() for weight in state.model.parameters())
        reduce_s, smallest_s = (reduce_seconds(size) if team.world > 1 else 0.0 for size in (count, 1))
        found = Figures(team.world, statistics.median(seconds[WARM_UP:]), reduce_s, smallest_s, 4 * count)
        if team.leads:
            print(json.dumps(asdict(found)), flush=True)


def reduce_seconds(count: int) -> float:
    """Median seconds of an all-reduce of so many numbers."""
    import torch
    import torch.distributed as dist

    gradient, seconds = torch.zeros(count), []
    for _ in range(REPEATS):
        began = time.perf_counter()
        dist.all_reduce(gradient)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def draw_data(folder: Path) -> None:
    """Packed noise of 32 px, enough for the largest team."""
    from src.compose import compose
    from src.features.packed import write_split
    from src.files import write_json
    from src.layout import PACKED_DIR
    from src.selection import parse

    cfg, rng = compose(parse(SETTINGS)), np.random.default_rng(0)
    count = IMAGES * max(WORLDS) * (WARM_UP + STEPS)
    names = [f"{index:05d}" for index in range(count)]
    rows = {"id": names, "path": names, "label": [index % 10 for index in range(count)]}
    pixels = enumerate(rng.integers(0, 255, (count, 32, 32, 3), dtype=np.uint8))
    classes = [str(label) for label in range(10)]
    write_split(folder / PACKED_DIR / "train", pixels, size=32, rows=rows, class_names=classes, digest="0" * 16)
    settings = {"data": asdict(cfg.data), "features": asdict(cfg.features)}
    facts = {"mean": [0.5] * 3, "std": [0.3] * 3, "size": 32, "counts": {"train": count}, "class_names": classes}
    write_json(folder / PACKED_DIR / "statistics.json", facts | {"digest": "0" * 16, "settings": settings})


def middle(figures: Sequence[Figures], name: str) -> float:
    """The median over the rounds."""
    return statistics.median(getattr(each, name) for each in figures)


def spread(figures: Sequence[Figures], name: str) -> str:
    """Median, lowest and highest in ms."""
    found = [1000 * getattr(each, name) for each in figures]
    return f"{statistics.median(found):.1f} ({min(found):.1f} to {max(found):.1f})"


def print_measured(found: dict[int, list[Figures]]) -> None:
    """The table of what was measured."""
    one = middle(found[min(found)], "step_s")
    print("| processes | images/s | efficiency | ms of a step | ms of an all-reduce |\n|---|---|---|---|---|")
    for world, figures in found.items():
        step_s = middle(figures, "step_s")
        reduced = spread(figures, "reduce_s") if world > 1 else "-"
        rate = f"{IMAGES * world / step_s:.1f}"
        print(f"| {world} | {rate} | {one / step_s:.2f} | {spread(figures, 'step_s')} | {reduced} |", flush=True)


def print_projected(found: dict[int, list[Figures]]) -> None:
    """The table of the projection."""
    alone, pair = (
        Figures(world, *(middle(found[world], name) for name in ("step_s", "reduce_s", "smallest_s")), bytes_of(found))
        for world in (1, 2)
    )
    link = link_of(pair)
    print(f"\nlatency {1e6 * link.latency_s:.0f} us, {link.bytes_per_s / 1e9:.2f} GB/s, {bytes_of(found)} bytes\n")
    print("| devices | ms of an all-reduce | efficiency: nothing hidden to all hidden |\n|---|---|---|")
    for devices in DEVICES:
        worst, best = projected(alone, link, devices)
        print(f"| {devices} | {1000 * ring_s(devices, bytes_of(found), link):.1f} | {worst:.2f} to {best:.2f} |")


def bytes_of(found: dict[int, list[Figures]]) -> int:
    """Bytes of the gradient."""
    return next(iter(found.values()))[0].gradient_bytes


def main(worlds: Sequence[int]) -> None:
    """Measure each number of processes in turn."""
    stamp = environment()
    print(f"{stamp['cpus']} cores, {platform.machine()}, torch {stamp['torch']}, {IMAGES} images each, n = {ROUNDS}\n")
    found: dict[int, list[Figures]] = {world: [] for world in worlds}
    with tempfile.TemporaryDirectory() as folder:
        draw_data(Path(folder))
        for _ in range(ROUNDS):
            for world in worlds:
                found[world].append(measure(world, Path(folder)))
    print_measured(found)
    if {1, 2} <= set(worlds):
        print_projected(found)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        rank(int(sys.argv[2]))
    else:
        main([int(word) for word in sys.argv[1:]] or WORLDS)
