import shutil
import subprocess
import sys
import time

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from src.layout import RunFolder
from src.metrics_log import write_metrics
from src.models.sweeping.search_results import importances, results
from src.models.sweeping.study import PRUNERS, SAMPLERS, Design, best_of, ended, next_trial, open_study
from src.models.sweeping.trials import Watch
from src.schema import Component
from tests.project import ROOT

SPACE = {"optimizer.lr": FloatDistribution(1e-4, 1.0, log=True), "augment": CategoricalDistribution(["none", "light"])}
LISTED = {"train.seed": CategoricalDistribution([0, 1, 2]), "augment": CategoricalDistribution(["none", "light"])}
SAMPLER_OPTIONS = {"tpe": {"seed": 3, "startup_trials": 3}, "random": {"seed": 3}, "grid": {}}
PRUNER_OPTIONS = {
    "none": {},
    "median": {"startup_trials": 1, "warmup_epochs": 0},
    "asha": {"min_epochs": 1, "factor": 2},
}


def design(sampler: str = "tpe", pruner: str = "none") -> Design:
    return Design(**rules(sampler, pruner))


def rules(sampler: str = "tpe", pruner: str = "none") -> dict:
    return {
        "space": LISTED if sampler == "grid" else SPACE,
        "metric": "val/acc",
        "sampler": Component(name=sampler, options=SAMPLER_OPTIONS[sampler]),
        "pruner": Component(name=pruner, options=PRUNER_OPTIONS[pruner]),
    }


def searched(folder, chosen: Design, number: int, *, broken_at: int | None = None) -> list[dict]:
    """The points of a search whose value is known at once, with a kill in trial `broken_at`."""
    folder.mkdir(parents=True, exist_ok=True)
    study = open_study(folder, chosen, most=number)
    while len(ended(study)) < number:
        trial = next_trial(study, chosen)
        if trial.number == broken_at:
            return [found.params for found in study.trials]
        study.tell(trial, trial.params.get("optimizer.lr", 0.5))
    return [found.params for found in study.trials]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_that_goes_on_proposes_what_an_unbroken_one_does(tmp_path, sampler):
    chosen = design(sampler)
    whole = searched(tmp_path / "whole", chosen, 6)
    assert searched(tmp_path / "whole", chosen, 6) == whole
    searched(tmp_path / "broken", chosen, 6, broken_at=4)
    assert searched(tmp_path / "broken", chosen, 6) == whole
    assert len({tuple(point.values()) for point in whole}) == 6


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_killed_at_random_moments_loses_no_trial_and_proposes_no_other(tmp_path, sampler):
    whole = searched(tmp_path / "whole" / "study", design(sampler), 6)
    rng = np.random.default_rng(0)
    folder = tmp_path / "killed" / "study"
    script = (
        "import sys; from pathlib import Path; from tests.models.test_study import design, searched; "
        "print(flush=True); searched(Path(sys.argv[1]), design(sys.argv[2]), 6)"
    )
    kills, longest_s = 0, 0.6
    for _ in range(100):
        child = subprocess.Popen(
            [sys.executable, "-c", script, str(folder), sampler], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(rng.uniform(0, longest_s))
        child.kill()
        child.communicate()
        kills += child.returncode < 0
        if kills == 5:
            break
        if child.returncode == 0:
            # it came to its end before its kill: from the start, and sooner
            shutil.rmtree(folder)
            longest_s *= 0.7
    assert kills == 5
    assert searched(folder, design(sampler), 6) == whole


def test_another_seed_proposes_other_points(tmp_path):
    other = rules() | {"sampler": Component(name="tpe", options={"seed": 4, "startup_trials": 3})}
    assert searched(tmp_path / "a", design(), 4) != searched(tmp_path / "b", Design(**other), 4)


def test_a_grid_tries_every_combination_once_and_can_be_cut_and_extended(tmp_path):
    chosen = design("grid")
    first = searched(tmp_path / "grid", chosen, 4)
    assert first == chosen.points()[:4]
    assert searched(tmp_path / "grid", chosen, 6) == chosen.points()
    assert len(chosen.points()) == 6


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"metric": "val/ac"}, r"sweep.options.metric=val/ac is unknown; did you mean val/acc"),
        ({"metric": "test/acc"}, r"sweep.options.metric=test/acc is unknown"),
        ({"sampler": Component(name="tpee", options={})}, r"sampler.name=tpee is unknown; did you mean tpe\?"),
        ({"sampler": Component(name="random", options={"sed": 1})}, r"random takes no sed; did you mean seed\?"),
        ({"sampler": Component(name="random", options={"seed": "x"})}, r"options.seed=x should be a valid integer"),
        ({"sampler": Component(name="random", options={})}, r"sweep.options.sampler.options: random needs seed"),
        ({"pruner": Component(name="meadian", options={})}, r"pruner.name=meadian is unknown; did you mean median\?"),
        ({"pruner": Component(name="asha", options={"min_epochs": 1, "factor": 1})}, r"factor=1 should be greater"),
        (
            {"sampler": Component(name="grid", options={})},
            r"grid takes choices only, and optimizer.lr has low and high",
        ),
    ],
)
def test_a_wrong_rule_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        Design(**rules() | changed)


def curve(run: RunFolder, values: list[float]) -> None:
    write_metrics(
        run.metrics_log, {10 * epoch: {"epoch": epoch, "val/acc": value} for epoch, value in enumerate(values, 1)}
    )


def watched(study, chosen: Design, run: RunFolder, values: list[float]) -> Watch:
    """The watch over a run that has written so many epochs of ten."""
    curve(run, values)
    watch = Watch(next_trial(study, chosen), run, "val/acc", 10, None)
    watch()
    return watch


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_poor_trial_is_pruned_at_the_same_epoch_whenever_its_figures_are_read(tmp_path, pruner):
    chosen = design("random", pruner)
    study = open_study(tmp_path, chosen, most=9)
    for number in range(4):
        good = watched(
            study, chosen, RunFolder(tmp_path / f"good_{number}"), [0.5 + 0.04 * epoch for epoch in range(10)]
        )
        assert not good.pruned
        study.tell(good.trial, 0.9)
    late = watched(study, chosen, RunFolder(tmp_path / "late"), [0.1] * 10)
    study.tell(late.trial, state=TrialState.FAIL)
    run = RunFolder(tmp_path / "live")
    live = watched(study, chosen, run, [0.1])
    for epochs in range(2, 11):
        curve(run, [0.1] * epochs)
        live()
    assert (live.pruned, live.epoch) == (late.pruned, late.epoch)
    assert live.pruned == (pruner != "none")
    assert live.epoch == (10 if pruner == "none" else 1)


def test_a_kill_between_a_report_and_its_verdict_changes_neither(tmp_path):
    chosen = design("random", "median")
    study = open_study(tmp_path, chosen, most=9)
    good = watched(study, chosen, RunFolder(tmp_path / "good"), [0.9] * 10)
    study.tell(good.trial, 0.9)
    killed = next_trial(study, chosen)
    killed.report(0.1, step=1)
    again = watched(study, chosen, RunFolder(tmp_path / "poor"), [0.1, 0.1, 0.1])
    assert again.trial.number == killed.number
    assert (again.pruned, again.epoch) == (True, 1)
    assert study.trials[killed.number].intermediate_values == {1: 0.1}


def test_the_dimension_that_makes_the_difference_has_the_largest_share(tmp_path):
    chosen = design("random")
    points = searched(tmp_path / "study", chosen, 30)
    study = open_study(tmp_path / "study", chosen, most=30)
    shares = importances(study)
    assert shares["optimizer.lr"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)
    best = best_of(study)
    assert best is not None
    assert best.value == max(point["optimizer.lr"] for point in points)
    table = results(study, "val/acc")
    assert list(table["val/acc"]) == list(table["optimizer.lr"])


def test_too_few_trials_tell_no_shares_and_no_best(tmp_path):
    chosen = design("random")
    study = open_study(tmp_path, chosen, most=2)
    study.tell(next_trial(study, chosen), state=TrialState.FAIL)
    assert importances(study) == {}
    assert best_of(study) is None
    assert list(results(study, "val/acc")["state"]) == ["failed"]


def test_the_study_is_an_sqlite_file_that_optuna_opens(tmp_path):
    searched(tmp_path / "study", design(), 2)
    url = f"sqlite:///{tmp_path / 'study' / 'study.db'}"
    assert len(optuna.load_study(study_name="study", storage=url).trials) == 2
