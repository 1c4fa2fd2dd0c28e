"""Learning rates as pure functions of the step: nothing to save, nothing to restore."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from src.choices import bound, pick
from src.config_training import ScheduleConfig


def constant(progress: float) -> float:
    """One, whatever the progress."""
    return progress**0


def linear(progress: float, *, final: float) -> float:
    """From one to `final` in a straight line."""
    return 1.0 + (final - 1.0) * progress


def cosine(progress: float, *, final: float) -> float:
    """From one to `final` along half a cosine (Loshchilov and Hutter, 2017)."""
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))


def step(progress: float, *, at: Sequence[float], factor: float) -> float:
    """One, times `factor` from each of the points `at` of the way on."""
    return float(factor ** sum(progress >= point for point in at))


def one_cycle(progress: float, *, rise: float, start: float, final: float) -> float:
    """Up from `start` to one over the first `rise` of the way, down to `final`, both along half a cosine.

    After Smith and Topin, Super-Convergence, 2018; its warm-up is its own, so `schedule.warmup_epochs` is 0.
    """
    if progress < rise:
        return cosine(1 - progress / rise, final=start)
    return cosine((progress - rise) / (1 - rise), final=final)


def cyclic(progress: float, *, cycles: int, floor: float, mode: str, decay: float) -> float:
    """`cycles` triangles between `floor` and one (Smith, Cyclical Learning Rates, 2015).

    `mode` says how high they rise: `triangular`: all alike; `triangular2`: each half as high as the one before;
    `exp_range`: the height shrinks by the factor `decay` over each cycle.
    """
    heights = pick(CYCLES, mode, key="schedule.options.mode")
    position = min(progress, 1.0) * cycles
    cycle = min(int(position), cycles - 1)
    height = heights(cycle, position, decay)
    return floor + (1.0 - floor) * height * (1.0 - abs(2.0 * (position - cycle) - 1.0))


CYCLES: dict[str, Callable[[int, float, float], float]] = {
    "triangular": lambda cycle, position, decay: 1.0,
    "triangular2": lambda cycle, position, decay: 0.5**cycle,
    "exp_range": lambda cycle, position, decay: float(decay**position),
}

SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "step": step,
    "one_cycle": one_cycle,
    "cyclic": cyclic,
}


@dataclass(frozen=True)
class Schedule:
    """The rate at each step of a run: a linear warm-up from near zero, a curve of the table, a linear cool-down.

    The cool-down falls from where the curve ends to `lr * final` at the end of the run; with a constant curve this is
    warm-up, stable, decay (Zhai et al., Scaling Vision Transformers, 2022).
    """

    lr: float
    curve: Callable[[float], float]
    warmup_steps: int
    cooldown_steps: int
    total_steps: int
    final: float

    def __call__(self, step: int) -> float:
        """The learning rate of step `step`, counted from zero."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        begin = self.total_steps - self.cooldown_steps
        if step > begin and self.cooldown_steps:
            fallen = min(1.0, (step - begin) / self.cooldown_steps)
            return self.lr * (self.curve(1.0) + (self.final - self.curve(1.0)) * fallen)
        length = max(1, begin - self.warmup_steps)
        return self.lr * self.curve(min(1.0, (step - self.warmup_steps) / length))


def build_schedule(cfg: ScheduleConfig, *, lr: float, epoch_steps: int, epochs: int) -> Schedule:
    """The schedule that a section asks for, over `epochs` epochs of `epoch_steps` steps.

    Raises:
        ValueError: an unknown schedule, or an option it does not take.
    """
    function = pick(SCHEDULES, cfg.name, key="schedule.name")
    options = bound(function, cfg.options, name=cfg.name, key="schedule.options")
    return Schedule(
        lr=lr,
        curve=lambda progress: function(progress, **options),
        warmup_steps=round(cfg.warmup_epochs * epoch_steps),
        cooldown_steps=round(cfg.cooldown_epochs * epoch_steps),
        total_steps=epochs * epoch_steps,
        final=cfg.cooldown_final,
    )
