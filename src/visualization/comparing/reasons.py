"""What differs between two runs, in lines of text."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from src.artifacts import ordered_splits
from src.config_compare import CompareConfig
from src.contest import contest
from src.runs import Run
from src.trees import differences
from src.visualization.comparing.groups import ACTING_ALONE
from src.wording import counted

ACTING_ON_NOTHING = ("run_dir", "run.", "report.", "compare.", "labels.", "sweep")
MOST_DIFF_LINES = 60
HIGHER_IS_BETTER = ("acc", "balanced_acc", "macro_f1")
LOSS = "loss"
COSTS = {"seconds": "s", "images_per_s": "images/s", "peak_mib": "MiB", "num_params": "", "epochs": "", "steps": ""}


def report(first: Run, second: Run, cfg: CompareConfig) -> Iterator[str]:
    """The lines: settings, data, code, machine, metrics."""
    yield f"from {first.place} to {second.place}"
    for title, lines in (
        ("settings", list(settings(first, second))),
        ("data", list(data(first, second))),
        ("code", list(code(first, second))),
        ("machine", list(machine(first, second))),
        ("metrics", list(metrics(first, second))),
        ("verdict", list(verdict(first, second, cfg))),
    ):
        yield ""
        yield title
        yield from (f"  {line}" for line in lines or ["no difference"])


def settings(first: Run, second: Run) -> Iterator[str]:
    """Keys that act on the result and differ; those that do not act are counted."""
    found = differences(first.record.config, second.record.config)
    acting = {key: pair for key, pair in found.items() if key in ACTING_ALONE or not key.startswith(ACTING_ON_NOTHING)}
    yield from (f"{key}: {_text(old)} -> {_text(new)}" for key, (old, new) in acting.items())
    if others := [key for key in found if key not in acting]:
        yield f"(and {', '.join(others)}, which change no result)"


def data(first: Run, second: Run) -> Iterator[str]:
    """Digests, classes and the numbers of scored images where they differ."""
    one, two = first.record, second.record
    if one.data_digest != two.data_digest:
        yield f"digest: {one.data_digest} -> {two.data_digest}: images, labels or splits are others"
    if one.class_names != two.class_names:
        gone = sorted(set(one.class_names) - set(two.class_names))
        new = sorted(set(two.class_names) - set(one.class_names))
        yield f"classes: {len(one.class_names)} -> {len(two.class_names)}; gone: {_names(gone)}; new: {_names(new)}"
    for split in _splits(first, second):
        counts = [run.metrics.get(split, {}).get("num_images") for run in (first, second)]
        if counts[0] != counts[1]:
            yield f"{split}: {_text(counts[0])} -> {_text(counts[1])} labelled images"


def code(first: Run, second: Run) -> Iterator[str]:
    """Commits, and how the uncommitted changes of the two runs differ."""
    commits = [run.record.git.get("commit", "") for run in (first, second)]
    if commits[0] != commits[1]:
        yield f"commit: {commits[0][:12] or 'none'} -> {commits[1][:12] or 'none'}"
        if all(commits):
            yield f"see: git diff {commits[0][:12]} {commits[1][:12]} -- src configs"
    old, new = (run.record.git.get("dirty_diff", "").splitlines() for run in (first, second))
    if old == new:
        if old:
            yield f"both with the same uncommitted changes ({counted(len(old), 'line')} of diff)"
        return
    yield "uncommitted changes of the second against those of the first:"
    lines = list(difflib.unified_diff(old, new, lineterm="", n=1))[2:]
    yield from lines[:MOST_DIFF_LINES]
    if len(lines) > MOST_DIFF_LINES:
        yield f"and {len(lines) - MOST_DIFF_LINES} lines more"


def machine(first: Run, second: Run) -> Iterator[str]:
    """Device and versions where they differ."""
    one = {"device": first.record.device, **first.record.environment}
    two = {"device": second.record.device, **second.record.environment}
    yield from (f"{key}: {_text(old)} -> {_text(new)}" for key, (old, new) in differences(one, two).items())


def metrics(first: Run, second: Run) -> Iterator[str]:
    """Figures of each split and of training, with their movement."""
    for split in _splits(first, second):
        old, new = first.metrics.get(split, {}), second.metrics.get(split, {})
        for name in (*HIGHER_IS_BETTER, LOSS):
            if name in old and name in new:
                yield _moved(f"{split}/{name}", old[name], new[name])
            elif name in old or name in new:
                yield f"{split}/{name}: {_text(old.get(name))} -> {_text(new.get(name))}"
    for name, unit in COSTS.items():
        old, new = getattr(first.record, name), getattr(second.record, name)
        if old != new:
            yield f"{name}: {old:,g} -> {new:,g} {unit}".rstrip()


def verdict(first: Run, second: Run, cfg: CompareConfig) -> Iterator[str]:
    """Whether the accuracies differ by more than chance, on the images that both were scored on."""
    try:
        found = contest(second, first, cfg)
    except ValueError as error:
        yield f"not tested: {error}"
        return
    yield from found.notes
    yield f"{found.outcome}: {found.numbers}"


def _moved(name: str, old: float, new: float) -> str:
    better = (new < old) if name.endswith(LOSS) else (new > old)
    word = "" if new == old else ", better" if better else ", worse"
    return f"{name}: {old:.4f} -> {new:.4f} ({new - old:+.4f}{word})"


def _splits(first: Run, second: Run) -> list[str]:
    return ordered_splits(_scored(first.metrics) | _scored(second.metrics))


def _scored(found: Mapping[str, Any]) -> set[str]:
    """The entries that are splits: further keys of the file are none of ours."""
    return {name for name, figures in found.items() if isinstance(figures, Mapping) and "acc" in figures}


def _text(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _names(names: list[str]) -> str:
    return ", ".join(names) or "none"
