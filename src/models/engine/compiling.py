"""Whether the network is compiled (torch.compile): as asked for, or where that pays over the run, by measurement.

It is the view called in a step that is compiled, never the network itself, whose names are those saved.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from src.models.engine.memory import Before, is_out_of_memory, within_memory
from src.models.engine.recipe import Recipe
from src.models.engine.state import TrainState

log = logging.getLogger(__name__)

TIMED = 3
MOST_SAID = 200
NEEDS = "a CPU needs a C++ compiler (g++, clang++, or cl on Windows), a GPU Triton"


@dataclass(frozen=True)
class Trial:
    """Passes over one batch of a run, to be timed; what they leave in the state is taken back."""

    state: TrainState
    recipe: Recipe
    passes: Callable[[int], None]
    num_images: int

    def seconds(self, *, times: int) -> float:
        """The least seconds that the gradients of the batch took."""
        return min(self._once() for _ in range(times))

    def _once(self) -> float:
        before = Before.of(self.state)
        began = time.perf_counter()
        asked, team = self.recipe.micro_batch_size, self.recipe.team
        within_memory(self.state, self.passes, num_images=self.num_images, asked=asked, team=team)
        # waits for the device
        float(self.state.tally.loss)
        took = time.perf_counter() - began
        before.restore(self.state)
        return took


def settle_compiling(trial: Trial, *, steps_left: int) -> None:
    """Decide whether the rest of the run, so many steps, is compiled, and say why; the decision stays in the state.

    Where several processes train, the first one's figures count. A meeting.
    """
    trial.state.compiled = _decided(trial, steps_left=steps_left)
    show_view(trial.state, trial.recipe)


def show_view(state: TrainState, recipe: Recipe) -> None:
    """Make anew the view that is called in a step: of the team's, and compiled where that was decided."""
    # the old one goes first: it would still gather the gradients
    state.forward = state.model
    called = cast(nn.Module, torch.compile(state.model)) if state.compiled else state.model
    state.forward = recipe.team.view(called)


def is_shown(state: TrainState) -> bool:
    """Whether the view is compiled if the state says so; not after a resume."""
    return not state.compiled or hasattr(getattr(state.forward, "module", state.forward), "_orig_mod")


def worth_it(step_s: float, *, steps_left: int, gain: float, compile_s: float) -> str:
    """Why compiling does not pay before it is tried; empty where it may.

    By the share `gain` of a step that it usually saves, and the seconds `compile_s` that it usually takes.
    """
    saving_s = gain * step_s * steps_left
    if saving_s > compile_s:
        return ""
    return (
        f"{steps_left} steps of {step_s:.3f} s are left, of which it usually saves {gain:.0%}, {saving_s:.0f} s, "
        f"and it usually takes {compile_s:.0f} s"
    )


def _decided(trial: Trial, *, steps_left: int) -> bool:
    asked, usual, share = trial.recipe.compile, trial.recipe.break_even, trial.recipe.team.share
    trial.seconds(times=1)
    step_s = share(trial.seconds(times=TIMED))
    reason = worth_it(step_s, steps_left=steps_left, gain=usual.usual_gain, compile_s=usual.usual_s)
    if asked == "auto" and reason:
        log.info("not compiled: %s (train.compile=auto)", reason)
        return False
    began = time.perf_counter()
    trial.state.compiled = True
    show_view(trial.state, trial.recipe)
    if failure := _failure(trial):
        log.warning("the network is not compiled (%s); %s; the run goes on without", failure, NEEDS)
        return False
    compile_s = time.perf_counter() - began
    compiled_s = share(trial.seconds(times=TIMED))
    kept = asked is True or compiled_s < step_s
    log.info(
        "%s: compiling took %.1f s, and a step takes %.3f s in place of %.3f s: %.0f s saved over %d steps",
        "compiled" if kept else "not compiled",
        *(compile_s, compiled_s, step_s, (step_s - compiled_s) * steps_left, steps_left),
    )
    return kept


def _failure(trial: Trial) -> str:
    """What torch says of a network that it cannot compile; empty where it can."""
    before = Before.of(trial.state)
    try:
        trial.seconds(times=1)
    except (RuntimeError, ImportError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        before.restore(trial.state)
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return (lines or [type(error).__name__])[0][:MOST_SAID]
    return ""
