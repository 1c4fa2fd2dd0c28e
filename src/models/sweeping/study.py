"""The study of a search: which point is tried next, and what became of each, in one SQLite file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState
from pydantic import ConfigDict, Field, ValidationError, validate_call

from src.choices import bound, pick
from src.schema import Component

STUDY_FILE = "study.db"
LOCK_WAIT_S = 60
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


def tpe(draw: int, *, seed: Natural, startup_trials: Positive) -> optuna.samplers.BaseSampler:
    """Near the better points so far (Bergstra et al., 2011), after `startup_trials` drawn at random."""
    return optuna.samplers.TPESampler(seed=_seed(seed, draw), n_startup_trials=startup_trials)


def random(draw: int, *, seed: Natural) -> optuna.samplers.BaseSampler:
    """Drawn at random, each on its own."""
    return optuna.samplers.RandomSampler(seed=_seed(seed, draw))


def grid(draw: int) -> optuna.samplers.BaseSampler:
    """Every combination of the choices, in their order."""
    # the points stand in the study already; nothing is drawn
    return optuna.samplers.RandomSampler(seed=draw)


def none() -> optuna.pruners.BasePruner:
    """Every trial is trained to its end."""
    return optuna.pruners.NopPruner()


def median(*, startup_trials: Natural, warmup_epochs: Natural) -> optuna.pruners.BasePruner:
    """Stops a trial that after `warmup_epochs` is worse than the median of those before it at the same epoch."""
    return optuna.pruners.MedianPruner(n_startup_trials=startup_trials, n_warmup_steps=warmup_epochs)


def asha(*, min_epochs: Positive, factor: Annotated[int, Field(ge=2)]) -> optuna.pruners.BasePruner:
    """Lets the best 1/`factor` go on after `min_epochs`, and at each multiple by `factor` (Li et al., ASHA, 2020)."""
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=min_epochs, reduction_factor=factor)


SAMPLERS: dict[str, Callable[..., optuna.samplers.BaseSampler]] = {"tpe": tpe, "random": random, "grid": grid}
"""Each takes the number of the draw, and as keyword-only arguments what may stand in `sampler.options`."""

PRUNERS: dict[str, Callable[..., optuna.pruners.BasePruner]] = {"none": none, "median": median, "asha": asha}
"""Each takes as keyword-only arguments what may stand in `pruner.options`."""

METRICS: dict[str, Literal["maximize", "minimize"]] = {"val/acc": "maximize", "val/loss": "minimize"}
"""What a search may go by, of the checkpoint that a run keeps as its best."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """How a search goes about it: what it varies and by which rules."""

    space: dict[str, BaseDistribution]
    metric: str
    sampler: Component
    pruner: Component

    def __post_init__(self) -> None:
        """Check the rules.

        Raises:
            ValueError: an entry that is in no table, an option that it does not take, a grid without choices.
        """
        pick(METRICS, self.metric, key="sweep.options.metric")
        self.new_sampler(0)
        self.new_pruner()
        if self.is_grid and (open_ended := [key for key, found in self.space.items() if not _is_listed(found)]):
            raise ValueError(
                f"sweep.options.sampler.name=grid takes choices only, and {open_ended[0]} has low and high: "
                f"list values as sweep.options.space.{open_ended[0]}.choices, or take another sampler"
            )

    @property
    def is_grid(self) -> bool:
        """Whether the points are all combinations rather than drawn."""
        return self.sampler.name == "grid"

    def points(self) -> list[dict[str, Any]]:
        """All combinations of the choices; the last dimension changes fastest."""
        choices = [found.choices for found in self.space.values() if isinstance(found, CategoricalDistribution)]
        return [dict(zip(self.space, point, strict=True)) for point in product(*choices)]

    def new_sampler(self, number: int, place: int = 0) -> optuna.samplers.BaseSampler:
        """The sampler of trial `number` for the dimension at `place` (from 1; 0: for those that are drawn together).

        Its draws depend on these and on the trials before, and on no other state.
        """
        function = pick(SAMPLERS, self.sampler.name, key="sweep.options.sampler.name")
        draw = number * (len(self.space) + 1) + place
        return _built(function, draw, given=self.sampler, key="sweep.options.sampler.options")

    def new_pruner(self) -> optuna.pruners.BasePruner:
        """The pruner."""
        function = pick(PRUNERS, self.pruner.name, key="sweep.options.pruner.name")
        return _built(function, given=self.pruner, key="sweep.options.pruner.options")


def open_study(folder: Path, design: Design, *, most: int) -> optuna.Study:
    """The study in the folder, made where it is new; of a grid its first `most` points stand in it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = f"sqlite:///{(folder / STUDY_FILE).as_posix()}"
    storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": LOCK_WAIT_S}})
    study = optuna.create_study(
        storage=storage,
        study_name=folder.name,
        direction=METRICS[design.metric],
        pruner=design.new_pruner(),
        load_if_exists=True,
    )
    if design.is_grid:
        for point in islice(design.points(), len(study.trials), most):
            study.enqueue_trial(point)
    return study


def next_trial(study: optuna.Study, design: Design) -> optuna.Trial:
    """The trial that a killed search left unfinished, with its point; else a new one."""
    left = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    number = left[0].number if left else len(study.trials)
    study.sampler = design.new_sampler(number)
    trial = optuna.Trial(study, left[0]._trial_id) if left else study.ask()
    # what is drawn together is drawn now: a kill between two dimensions must not change the second one
    assert isinstance(trial.relative_params, dict)
    for place, (key, distribution) in enumerate(design.space.items(), start=1):
        study.sampler = design.new_sampler(number, place)
        _suggest(trial, key, distribution)
    return trial


def ended(study: optuna.Study) -> Sequence[optuna.trial.FrozenTrial]:
    """The trials that are over, each once."""
    return study.get_trials(deepcopy=False, states=ENDED)


def best_of(study: optuna.Study) -> optuna.trial.FrozenTrial | None:
    """The finished trial with the best value; None where none is finished."""
    return study.best_trial if study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) else None


def _suggest(trial: optuna.Trial, key: str, found: BaseDistribution) -> None:
    """Give the trial its value of a dimension; one that it has already is kept."""
    if isinstance(found, CategoricalDistribution):
        trial.suggest_categorical(key, found.choices)
    elif isinstance(found, optuna.distributions.IntDistribution):
        trial.suggest_int(key, found.low, found.high, step=found.step, log=found.log)
    elif isinstance(found, optuna.distributions.FloatDistribution):
        trial.suggest_float(key, found.low, found.high, step=found.step, log=found.log)


def _seed(seed: int, draw: int) -> int:
    """A seed for each draw, so that a search that goes on draws what an unbroken one would."""
    return int(np.random.SeedSequence([seed, draw]).generate_state(1)[0])


def _is_listed(found: BaseDistribution) -> bool:
    return isinstance(found, CategoricalDistribution)


def _built(function: Callable[..., Any], *arguments: int, given: Component, key: str) -> Any:
    """What an entry of a table makes of its options.

    Raises:
        ValueError: an option that it does not take, one that is missing, or a wrong value.
    """
    options: Mapping[str, Any] = bound(function, given.options, name=given.name, key=key)
    try:
        return validate_call(config=ConfigDict(strict=True))(function)(*arguments, **options)
    except ValidationError as error:
        faults = [(f"{key}.{fault['loc'][-1]}={fault['input']}", fault["msg"]) for fault in error.errors()]
        raise ValueError("; ".join(f"{what} {said.removeprefix('Input ')}" for what, said in faults)) from None
