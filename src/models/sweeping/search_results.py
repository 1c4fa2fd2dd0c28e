"""What a search found, as a table, a summary, the best configuration and a text."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import yaml
from optuna.trial import FrozenTrial, TrialState

from src.config import Config, as_tree
from src.files import write_atomically, write_json
from src.models.sweeping.search_space import overrides
from src.models.sweeping.study import best_of, ended
from src.models.sweeping.trials import COSTS

STATES = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
RESULTS_FILE = "results.csv"
SUMMARY_FILE = "summary.json"
BEST_FILE = "best.yaml"
COUNTS = ("best_epoch", "epochs", "num_params")
MOST_SHOWN = 30


def results(study: optuna.Study, metric: str) -> pd.DataFrame:
    """A row for each trial that is over, by its number from 1; empty cells where a figure does not apply."""
    table = pd.DataFrame([_row(trial, metric) for trial in ended(study)])
    return table.astype(dict.fromkeys(COUNTS, "Int64"))


def _row(trial: FrozenTrial, metric: str) -> dict[str, Any]:
    facts: dict[str, Any] = dict.fromkeys(("best_epoch", *COSTS, "reason")) | trial.user_attrs
    head = {"trial": trial.number, "state": STATES[trial.state], metric: trial.value}
    return head | trial.params | facts


def importances(study: optuna.Study) -> dict[str, float]:
    """Share of each dimension in the differences between finished trials (PED-ANOVA: Watanabe et al., 2023).

    Empty where there are too few of them to tell.
    """
    with warnings.catch_warnings():
        # it warns where it can tell nothing, and calls all dimensions equal
        warnings.simplefilter("error")
        try:
            return optuna.importance.get_param_importances(study)
        except (ValueError, RuntimeError, UserWarning):
            return {}


def write_results(study: optuna.Study, folder: Path, best_cfg: Config | None, *, facts: Mapping[str, Any]) -> None:
    """Write `results.csv`, `summary.json` and, once a trial is finished, `best.yaml`."""
    table = results(study, facts["metric"])
    write_atomically(folder / RESULTS_FILE, table.to_csv(index=False, lineterminator="\n").encode("utf-8"))
    best = best_of(study)
    told = {
        "direction": study.direction.name.lower(),
        "states": {name: int((table["state"] == name).sum()) for name in STATES.values()},
        "best": None if best is None else {"trial": best.number, "value": best.value, "params": best.params},
        "importances": importances(study),
    }
    write_json(folder / SUMMARY_FILE, {**facts, **told})
    if best_cfg is not None:
        text = yaml.safe_dump(as_tree(best_cfg), sort_keys=False)
        write_atomically(folder / BEST_FILE, text.encode("utf-8"))


def results_text(study: optuna.Study, folder: Path, *, metric: str) -> str:
    """The best trials with what they cost, what failed, the best settings, and where all of it lies."""
    table = results(study, metric)
    lines = [*_best_rows(table, study, metric), counts_text(table)]
    failed = table[table["state"] == "failed"]
    lines += [f"trial {row['trial']} failed: {row['reason']}" for row in failed.head(MOST_SHOWN).to_dict("records")]
    if best := best_of(study):
        lines += [
            f"best           trial {best.number}: {overrides(best.params)}",
            f"again          python -m src.models.train_model --config {(folder / BEST_FILE).as_posix()}",
            f"its test score python -m src.models.predict_model run_dir={folder.as_posix()}/trial_{best.number:03d}",
            f"plots          python -m src.visualization.show_search run_dir={folder.as_posix()}",
        ]
    else:
        lines.append(f"no trial was finished; mend what failed, remove {folder.as_posix()} and start again")
    lines.append(f"results        {(folder / RESULTS_FILE).as_posix()}, summary.json beside it")
    return "\n".join(lines) + "\n"


def counts_text(table: pd.DataFrame) -> str:
    """How many trials ended in which way."""
    counts = {state: int((table["state"] == state).sum()) for state in STATES.values()}
    return f"{len(table)} trials: {', '.join(f'{number} {state}' for state, number in counts.items())}"


def _best_rows(table: pd.DataFrame, study: optuna.Study, metric: str) -> list[str]:
    """The finished trials as lines, the best first; empty where there is none."""
    finished = table[table["state"] == "finished"]
    if not len(finished):
        return []
    ranked = finished.sort_values(metric, ascending=study.direction.name == "MINIMIZE", kind="stable")
    shown = ranked.drop(columns=["state", "reason", "best_epoch"])
    left_out = len(shown) - MOST_SHOWN
    text = shown.head(MOST_SHOWN).to_string(index=False, float_format=_rounded, na_rep="-")
    return [text, *([f"and {left_out} more in {RESULTS_FILE}"] if left_out > 0 else [])]


def _rounded(number: float) -> str:
    return f"{number:.4g}" if abs(number) < 1000 else f"{number:,.0f}"
