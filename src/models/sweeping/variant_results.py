"""What became of the variants of a comparison: a row for each run, and for each variant the mean over its seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from src.artifacts import RunRecord, ordered_splits
from src.cost_record import CostRecord
from src.files import read_json, write_atomically, write_json
from src.layout import RunFolder
from src.paired import share_interval

VARIANT_FILE = "variant.json"
RESULTS_FILE = "results.csv"
SUMMARY_FILE = "summary.json"
COSTS = ("epochs", "seconds", "images_per_s", "num_params", "peak_mib")
COST_HEADS = {"images/s": "images_per_s", "seconds": "seconds", "MiB": "peak_mib"}

Run = tuple[str, int, RunFolder]


def row_of(run: RunFolder, variant: str, seed: int) -> dict[str, Any]:
    """Accuracy of each split with its 95 % interval (Wilson, 1927), by how much train is ahead, and what it cost."""
    scored = read_json(run.metrics, made_by="predict_model")
    record = RunRecord.load(run.train)
    row: dict[str, Any] = {"variant": variant, "seed": seed}
    for split in ordered_splits(set(scored)):
        accuracy, count = scored[split]["acc"], scored[split]["num_images"]
        low, high = share_interval(accuracy, count, level=0.95)
        row |= {f"{split}/acc": accuracy, f"{split}/acc_low": low, f"{split}/acc_high": high}
        row |= {f"{split}/images": count}
    if "train" in scored:
        others = [split for split in ordered_splits(set(scored)) if split != "train"]
        row |= {f"gap/{split}": scored["train"]["acc"] - scored[split]["acc"] for split in others}
    return row | {name: getattr(record, name) for name in COSTS}


def results(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each finished run; `macs` where measure_cost has measured them."""
    rows = []
    for _, _, run in runs:
        if (run.path / VARIANT_FILE).exists():
            macs = CostRecord.load(run.cost).macs if run.cost.exists() else None
            rows.append(read_json(run.path / VARIANT_FILE, made_by="sweep") | {"macs": macs})
    return pd.DataFrame(rows)


def by_variant(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """For each variant how many runs there are, and of each figure mean, least and largest."""
    found: dict[str, dict[str, Any]] = {}
    for variant in dict.fromkeys(rows.get("variant", [])):
        own = rows[rows["variant"] == variant]
        figures = own.drop(columns=["variant", "seed"]).astype(float).dropna(axis=1)
        found[str(variant)] = {
            "n": len(own),
            "seeds": [int(seed) for seed in own["seed"]],
            "metrics": {
                str(name): {"mean": float(column.mean()), "least": float(column.min()), "largest": float(column.max())}
                for name, column in figures.items()
            },
        }
    return found


def write_results(folder: Path, runs: Sequence[Run], failed: Mapping[str, str], *, data_digest: str) -> None:
    """Write `results.csv` and `summary.json` of what is finished so far."""
    rows = results(runs)
    write_atomically(folder / RESULTS_FILE, rows.to_csv(index=False, lineterminator="\n").encode("utf-8"))
    facts = {"runs": len(runs), "finished": len(rows), "failed": dict(failed), "data_digest": data_digest}
    write_json(folder / SUMMARY_FILE, facts | {"variants": by_variant(rows)})


def results_text(folder: Path, runs: Sequence[Run], failed: Mapping[str, str]) -> str:
    """The table of the variants, what failed, and where all of it lies."""
    rows = results(runs)
    lines = [_table(rows).to_string(index=False, na_rep="-")] if len(rows) else []
    lines.append(f"{len(rows)} of {len(runs)} runs finished")
    lines += [f"{name} failed: {reason}" for name, reason in failed.items()]
    if failed:
        lines.append("the same command does again what failed, and nothing else")
    page = RunFolder(folder).report / "index.html"
    if page.exists():
        lines.append(f"page     {page.as_posix()}")
    lines.append(f"results  {(folder / RESULTS_FILE).as_posix()}, {SUMMARY_FILE} beside it")
    return "\n".join(lines) + "\n"


def _table(rows: pd.DataFrame) -> pd.DataFrame:
    """A line for each variant: accuracies (of one run with its interval, of several the span), gap and costs."""
    lines = []
    for variant, found in by_variant(rows).items():
        own, metrics = rows[rows["variant"] == variant], found["metrics"]
        line: dict[str, Any] = {"variant": variant, "n": found["n"]}
        for split in [name.removesuffix("/acc") for name in metrics if name.endswith("/acc")]:
            line[split] = _accuracy(own, metrics, split)
        if "gap/test" in metrics:
            line["gap"] = f"{metrics['gap/test']['mean']:.3f}"
        line["weights"] = f"{metrics['num_params']['mean'] / 1e6:.2f} M"
        if "macs" in metrics:
            line["MACs"] = f"{metrics['macs']['mean'] / 1e6:.1f} M"
        line |= {head: f"{metrics[key]['mean']:.0f}" for head, key in COST_HEADS.items()}
        lines.append(line)
    return pd.DataFrame(lines)


def _accuracy(own: pd.DataFrame, metrics: Mapping[str, Any], split: str) -> str:
    figure = metrics[f"{split}/acc"]
    if len(own) == 1:
        low, high = own.iloc[0][f"{split}/acc_low"], own.iloc[0][f"{split}/acc_high"]
    else:
        low, high = figure["least"], figure["largest"]
    return f"{figure['mean']:.4f} ({low:.3f} to {high:.3f})"
