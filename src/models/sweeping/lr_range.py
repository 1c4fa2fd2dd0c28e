"""The learning-rate range test: the rate rises over some hundred steps, and the loss tells which rates it can take.

After Smith (Cyclical Learning Rates, 2015), with an exponential rise as in fastai. Writes `curve.csv` (a row per step)
and `proposal.json`; `curve.png` is drawn by `src.visualization.show_lr_range`.
"""

import logging
import math
import shutil
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from src.choices import is_positive
from src.config import Config
from src.features.statistics import load_statistics
from src.files import read_json, write_atomically, write_json
from src.layout import PACKED_DIR
from src.logs import progress
from src.models.children import run_child
from src.models.recipes.schedules import Schedule
from src.models.sweeping.sweep_folder import absolute_paths, changed, held, open_folder, plan_of

if TYPE_CHECKING:
    from src.features.loader import Batch
    from src.features.packed import PackedSplit
    from src.models.engine.recipe import Recipe
    from src.models.engine.state import TrainState

log = logging.getLogger(__name__)

CURVE_FILE = "curve.csv"
PROPOSAL_FILE = "proposal.json"
PICTURE_FILE = "curve.png"
DIGITS = 2

Row = tuple[int, float, float]
"""Step, rate and loss."""


def lr_range(cfg: Config, *, lowest: Any, highest: Any, steps: Any, window: Any, diverged: Any) -> None:
    """Train while the rate rises from `lowest` to `highest`, propose a rate, and tell it.

    Args:
        cfg: the run whose rate is looked for: its network, data, augmentation, loss and optimiser.
        lowest: the first rate.
        highest: the last rate, unless the loss diverges before.
        steps: how many steps lie between the two.
        window: over how many steps the loss is averaged.
        diverged: the test ends where the loss is so many times its lowest.

    Raises:
        ValueError: an option out of range, no packed data made with these settings, or a loss that never fell.
    """
    check_options(lowest=lowest, highest=highest, steps=steps, window=window, diverged=diverged)
    digest = load_statistics(PACKED_DIR, cfg.data, cfg.features)["digest"]
    folder = open_folder("lr_range", plan_of(cfg, digest))
    with held(folder) as descriptor:
        if not (folder / PROPOSAL_FILE).exists():
            curve = measure(cfg, folder, rise(lowest, highest, steps=steps), window=window, diverged=diverged)
            curve["smoothed"] = smoothed(curve["loss"].to_numpy(), window=window)
            write_atomically(folder / CURVE_FILE, curve.to_csv(index=False, lineterminator="\n").encode("utf-8"))
            write_json(folder / PROPOSAL_FILE, proposal(curve))
        reason = draw(cfg, folder, descriptor)
    sys.stdout.write(told(folder, picture=not reason))


def check_options(*, lowest: Any, highest: Any, steps: Any, window: Any, diverged: Any) -> None:
    """Nothing, where the options are in their ranges.

    Raises:
        ValueError: one is not; the message names it.
    """
    numbers = {"lowest": lowest, "highest": highest, "diverged": diverged}
    for name, value in numbers.items():
        if not is_positive(value):
            raise ValueError(f"sweep.options.{name}={value} should be a number above 0")
    if lowest >= highest:
        raise ValueError(f"sweep.options.lowest={lowest} is not below sweep.options.highest={highest}")
    if diverged <= 1:
        raise ValueError(f"sweep.options.diverged={diverged} should be above 1")
    if type(window) is not int or window < 1:
        raise ValueError(f"sweep.options.window={window} should be a whole number from 1 on")
    if type(steps) is not int or steps < 4 * window:
        raise ValueError(f"sweep.options.steps={steps} should be a whole number, at least 4 times window={window}")


def rise(lowest: float, highest: float, *, steps: int) -> Schedule:
    """The rate at each step, each the same multiple of the one before."""
    return Schedule(
        lr=highest,
        curve=lambda progress: float((lowest / highest) ** (1 - progress)),
        warmup_steps=0,
        cooldown_steps=0,
        total_steps=steps - 1,
        final=0.0,
    )


def measure(cfg: Config, folder: Path, schedule: Schedule, *, window: int, diverged: float) -> pd.DataFrame:
    """A row per step: `step`, `lr` and the `loss` of its batch before the step; ends where the loss diverges."""
    from src.models.engine.preparing import prepare
    from src.models.engine.training import Training

    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    average = {"name": "none", "options": {}}
    values = {"run_dir": str(run), "sweep": None, "train.average": average}
    training = prepare(changed(cfg, values))
    assert isinstance(training, Training), "a lone process leads"
    try:
        recipe = replace(training.recipe, schedule=schedule)
        steps = _steps(training.state, recipe, training.splits["train"])
        rows = list(_until_diverged(steps, window=window, diverged=diverged))
    finally:
        training.claim.resume.release()
        shutil.rmtree(run, ignore_errors=True)
    return pd.DataFrame(rows, columns=["step", "lr", "loss"])


def _until_diverged(steps: Iterator[Row], *, window: int, diverged: float) -> Iterator[Row]:
    """The rows until the mean of the last `window` losses is `diverged` times the least one, or a loss no number."""
    recent: deque[float] = deque(maxlen=window)
    least = math.inf
    for row in steps:
        recent.append(row[2])
        mean = sum(recent) / len(recent)
        if not math.isfinite(mean):
            return
        yield row
        if mean > diverged * least:
            return
        if len(recent) == window:
            least = min(least, mean)


def _steps(state: "TrainState", recipe: "Recipe", split: "PackedSplit") -> Iterator[Row]:
    """Step, rate and loss of each step, trained as they are asked for."""
    most = recipe.schedule.total_steps + 1
    for batch in progress(_batches(state, recipe, split, most), what="lr range", total=most, unit="steps"):
        step = state.step
        yield step, recipe.schedule(step), _loss_of_step(state, recipe, batch)


def _batches(state: "TrainState", recipe: "Recipe", split: "PackedSplit", most: int) -> "Iterator[Batch]":
    """Training batches of one epoch after the other."""
    from src.features.loader import load
    from src.models.engine.loop import ready

    ready(state, recipe)
    while True:
        yield from load(split, recipe.plan(split, state.epoch)[: most - state.step], recipe.runtime.device)
        if state.step >= most:
            return
        state.end_epoch()


def _loss_of_step(state: "TrainState", recipe: "Recipe", batch: "Batch") -> float:
    from src.models.engine.loop import train_step
    from src.models.engine.tally import Tally

    state.tally = Tally.empty(recipe.runtime.device)
    train_step(state, recipe, batch)
    return state.tally.means("train")["train/loss"]


def smoothed(losses: np.ndarray, *, window: int) -> np.ndarray:
    """Means over `window` losses around each, over fewer at the ends."""
    kernel = np.ones(min(window, len(losses)))
    return np.convolve(losses, kernel, mode="same") / np.convolve(np.ones(len(losses)), kernel, mode="same")


def proposal(curve: pd.DataFrame) -> dict[str, float]:
    """Rates where the smoothed loss is lowest (`minimum`) and falls fastest before (`steepest`), and the one proposed.

    Proposed is a tenth of `minimum`: there the loss still falls well, with room below the rates that diverge.

    Raises:
        ValueError: the loss did not fall.
    """
    loss, rates = curve["smoothed"].to_numpy(), curve["lr"].to_numpy()
    lowest = int(loss.argmin())
    if lowest == 0:
        raise ValueError(
            f"the loss never fell below where it began, at a rate of {rates[0]:.2g}: lower sweep.options.lowest"
        )
    if lowest == len(loss) - 1:
        log.warning("the loss was still falling at a rate of %.2g: raise sweep.options.highest", rates[-1])
    slopes = np.gradient(loss, np.log10(rates))[: lowest + 1]
    return {
        "steepest": float(rates[slopes.argmin()]),
        "minimum": float(rates[lowest]),
        "proposed": float(f"{rates[lowest] / 10:.{DIGITS - 1}e}"),
    }


def draw(cfg: Config, folder: Path, descriptor: int | None) -> str:
    """Why `curve.png` could not be drawn; empty where it was. Drawing is the other floor's, in a process of its own."""
    drawn = changed(cfg, absolute_paths(cfg) | {"run_dir": ".", "sweep": None})
    reason = run_child("src.visualization.show_lr_range", drawn, folder=folder, held=descriptor)
    if reason:
        log.warning("the curve is not drawn: %s", reason)
    return reason


def told(folder: Path, *, picture: bool) -> str:
    """The rates found, how to use the one proposed, and where the curve lies."""
    found = read_json(folder / PROPOSAL_FILE, made_by="sweep")
    files = [CURVE_FILE, PICTURE_FILE] if picture else [CURVE_FILE]
    return (
        f"steepest fall of the loss at a rate of {found['steepest']:.2g}, lowest loss at {found['minimum']:.2g}\n"
        f"proposed       {found['proposed']:.2g}: a tenth of the rate of the lowest loss\n"
        f"use it         optimizer.lr={found['proposed']:.2g} in place of sweep=lr_range\n"
        f"curve          {', '.join((folder / name).as_posix() for name in files)}\n"
    )
