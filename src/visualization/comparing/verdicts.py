"""What a comparison says, in sentences: which differences are noise, what was cheaper, what cannot be compared."""

from collections.abc import Sequence

from src.contest import probability
from src.visualization.comparing.comparison import Comparison, Pair
from src.wording import counted, listed, percent

MOST_NAMED = 4
POINTS = 100


def verdicts(comparison: Comparison) -> list[str]:
    """The sentences, the most important one first."""
    return [
        *_best(comparison),
        *_cheaper(comparison),
        *comparison.answers.notes,
        *_seeds(comparison),
        *_other_machines(comparison),
        *_unmeasured(comparison),
    ]


def pair_sentence(pair: Pair) -> str:
    """One difference in words, with its interval and probability."""
    ahead = f"{pair.first.name} is ahead of {pair.second.name} by {points(pair.difference)}"
    low, high = pair.interval
    spread = f"{pair.level:.0%} interval {POINTS * low:+.1f} to {POINTS * high:+.1f}"
    told = f"({spread}; p = {probability(pair.corrected)} after correction)"
    return f"{ahead} {told}: {'noise' if pair.is_noise else 'more than noise'}."


def points(difference: float) -> str:
    """A difference of shares in percentage points."""
    return f"{POINTS * difference:.1f} points"


def _best(comparison: Comparison) -> list[str]:
    best, *others = comparison.rows
    images = counted(comparison.num_images, "image")
    first = f"{best.name} is right on {percent(best.acc)} of {images} of {comparison.answers.split}"
    if not others:
        return [f"{first}; there is nothing to compare it with."]
    pairs = {row.name: comparison.pair(best.group, row.group) for row in others}
    level = [row.name for row in others if pairs[row.name].is_noise]
    worse = [row for row in others if not pairs[row.name].is_noise]
    said = [f"{first}, the most of {counted(len(comparison.rows), 'setting')}."]
    if level:
        said.append(f"That it is ahead of {listed(level, MOST_NAMED)} may be chance: these differences are noise.")
    if worse:
        behind = [f"{row.name} (by {points(pairs[row.name].difference)})" for row in worse]
        said.append(f"It is better than {listed(behind, MOST_NAMED)}, by more than noise.")
    return said


def _cheaper(comparison: Comparison) -> list[str]:
    """The fastest of those that cannot be told from the best."""
    best, *others = comparison.rows
    level = [row for row in others if comparison.pair(best.group, row.group).is_noise and row.latency_ms is not None]
    fastest = min(level, key=lambda row: row.latency_ms or 0.0, default=None)
    if fastest is None or best.latency_ms is None or (fastest.latency_ms or 0.0) >= best.latency_ms:
        return []
    return [
        f"Of the settings level with it {fastest.name} is the fastest, {fastest.latency_ms:.2f} ms an image where "
        f"{best.name} takes {best.latency_ms:.2f} ms."
    ]


def _seeds(comparison: Comparison) -> list[str]:
    single = [row.name for row in comparison.rows if len(row.by_seed) == 1]
    if not single or len(comparison.rows) == 1:
        return []
    all_single = len(single) == len(comparison.rows)
    who = "Each setting" if all_single else listed(single, MOST_NAMED)
    was = "was" if all_single or len(single) == 1 else "were"
    return [
        f"{who} {was} trained with one seed: the tests tell whether these very models differ on further images, not "
        "whether another seed would turn the order; repeat with -m train.seed=0,1,2."
    ]


def _other_machines(comparison: Comparison) -> list[str]:
    runs = [run for row in comparison.rows for run in row.group.runs]
    measured = {run.cost.machine for run in runs if run.cost is not None}
    trained = {
        ", ".join([run.record.device, *(run.record.environment.get(key, "") for key in ("platform", "cpus"))])
        for run in runs
    }
    said = [("inference was measured", measured), ("the runs were trained", trained)]
    return [
        f"Times are not comparable: {what} on {len(places)} kinds of machine ({listed(sorted(places), 3)})."
        for what, places in said
        if len(places) > 1
    ]


def _unmeasured(comparison: Comparison) -> list[str]:
    places = comparison.unmeasured
    if not places:
        return []
    command = measure_command(places)
    return [f"Inference of {counted(len(places), 'setting')} is not measured: run {command}"]


def measure_command(places: Sequence[str]) -> str:
    """The command that measures what inference costs in these runs."""
    return f"python -m src.models.measure_cost {' '.join(places)}"
