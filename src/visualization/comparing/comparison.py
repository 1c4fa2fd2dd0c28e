"""Groups of runs with their accuracies, costs and pairwise tests: all that the tables, figures and page show."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from src import paired
from src.config import ReportConfig
from src.config_compare import CompareConfig
from src.cost_record import CostRecord
from src.runs import Run
from src.shared_images import Answers, answers_of
from src.visualization.comparing.groups import Group, grouped


@dataclass(frozen=True, kw_only=True)
class Row:
    """A group's figures. `interval` is over images, widened to that over seeds where there are several.

    `train_s` and `train_images_per_s` are means over the runs, `train_mib` the most of them; None of soups, which are
    made of the training of other runs. `cost` is None where no run of the group was measured.
    """

    group: Group
    acc: float
    interval: tuple[float, float]
    by_seed: list[float]
    checkpoint_bytes: int | None
    train_s: float | None
    train_images_per_s: float | None
    train_mib: float | None
    cost: CostRecord | None

    @property
    def name(self) -> str:
        """The group's name."""
        return self.group.name

    @property
    def latency_ms(self) -> float | None:
        """Time of one image; None where it was not measured."""
        return None if self.cost is None else self.cost.latency_ms


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two groups on the same images: the first is ahead by `difference`, with the interval over images.

    `p` is the larger one of the test over images and, where one has several seeds, of that over seeds;
    `corrected` is after Holm's correction for all pairs. `wins` and `losses` are images that only one of two single
    runs has right, None of groups.
    """

    first: Group
    second: Group
    difference: float
    interval: tuple[float, float]
    p: float
    corrected: float
    over_seeds: bool
    wins: int | None
    losses: int | None
    level: float

    @property
    def is_noise(self) -> bool:
        """Whether chance alone explains the difference."""
        return self.corrected > 1 - self.level


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`rows` are sorted by accuracy, the best first; `settings` is the `report` section."""

    rows: list[Row]
    pairs: list[Pair]
    answers: Answers
    cfg: CompareConfig
    settings: ReportConfig

    @property
    def num_images(self) -> int:
        """Images that all runs are compared on."""
        return len(self.answers.correct)

    def pair(self, one: Group, other: Group) -> Pair:
        """The test of two groups, whichever is ahead."""
        return next(pair for pair in self.pairs if {pair.first.name, pair.second.name} == {one.name, other.name})

    @cached_property
    def unmeasured(self) -> list[str]:
        """Folders of runs, one of each group, of which inference was not measured."""
        return [row.group.runs[0].place for row in self.rows if row.latency_ms is None]

    def front(self, cost: Callable[[Row], float | None]) -> list[Row]:
        """Rows to which no other one is both at least as accurate and as cheap, the cheapest first."""
        known = [(cost(row), row) for row in self.rows]
        told = sorted(((value, row) for value, row in known if value is not None), key=lambda it: (it[0], -it[1].acc))
        found: list[Row] = []
        for _, row in told:
            if not found or row.acc > found[-1].acc:
                found.append(row)
        return found


def compared(runs: Sequence[Run], cfg: CompareConfig, settings: ReportConfig) -> Comparison:
    """The comparison of finished runs on the images that all of them were scored on.

    Raises:
        ValueError: a run was not scored, or runs cannot be compared.
    """
    answers = answers_of(runs, cfg.split)
    rows = [_row(group, answers, cfg) for group in grouped(runs, repetitions=cfg.repetitions)]
    rows.sort(key=lambda row: -row.acc)
    return Comparison(rows=rows, pairs=_pairs(rows, answers, cfg), answers=answers, cfg=cfg, settings=settings)


def _row(group: Group, answers: Answers, cfg: CompareConfig) -> Row:
    by_seed = [float(answers.of([run]).mean()) for run in group.runs]
    trained = [run.record for run in group.runs if "soup" not in run.record.facts]
    cost = next((run.cost for run in group.runs if run.cost is not None), None)
    return Row(
        group=group,
        acc=float(np.mean(by_seed)),
        interval=_interval(group, by_seed, answers, cfg),
        by_seed=by_seed,
        checkpoint_bytes=next((size for run in group.runs if (size := _weights_bytes(run))), None),
        train_s=float(np.mean([record.seconds for record in trained])) if trained else None,
        train_images_per_s=float(np.mean([record.images_per_s for record in trained])) if trained else None,
        train_mib=max((record.peak_mib for record in trained), default=None),
        cost=cost,
    )


def _interval(group: Group, by_seed: Sequence[float], answers: Answers, cfg: CompareConfig) -> tuple[float, float]:
    """Wilson's over images, and Student's over seeds taken in: seeds that agree say nothing of further images."""
    shares = answers.of(group.runs)
    number = paired.num_alone(shares, answers.groups)
    low, high = paired.share_interval(float(shares.mean()), number, level=cfg.level)
    over_seeds = paired.mean_interval(by_seed, level=cfg.level) or (low, high)
    return min(low, over_seeds[0]), max(high, over_seeds[1])


def _weights_bytes(run: Run) -> int | None:
    path = run.folder.checkpoint("best") / "model.safetensors"
    if path.exists():
        return path.stat().st_size
    return run.cost.checkpoint_bytes if run.cost is not None else None


def _pairs(rows: Sequence[Row], answers: Answers, cfg: CompareConfig) -> list[Pair]:
    """A test for each two rows, the more accurate first; the smallest probability first."""
    found = list(combinations(rows, 2))
    tests = [_tested(first, second, answers) for first, second in found]
    raised = paired.holm([p for p, _ in tests])
    pairs = [
        _pair(one, two, answers, cfg, tested=(p, over_seeds, corrected))
        for (one, two), (p, over_seeds), corrected in zip(found, tests, raised, strict=True)
    ]
    return sorted(pairs, key=lambda pair: pair.p)


def _tested(first: Row, second: Row, answers: Answers) -> tuple[float, bool]:
    """The probability, and whether seeds had a say in it: a difference has to hold over images and over seeds."""
    over_images = paired.sign_test(answers.differences(first.group.runs, second.group.runs))
    over_seeds = paired.seed_test(first.by_seed, second.by_seed)
    return max(over_images, over_seeds or 0.0), over_seeds is not None


def _pair(first: Row, second: Row, answers: Answers, cfg: CompareConfig, *, tested: tuple[float, bool, float]) -> Pair:
    differences = answers.differences(first.group.runs, second.group.runs)
    ahead = answers.of(first.group.runs) - answers.of(second.group.runs)
    are_single = len(first.by_seed) == len(second.by_seed) == 1
    p, over_seeds, corrected = tested
    return Pair(
        first=first.group,
        second=second.group,
        difference=differences.mean,
        interval=paired.difference_interval(differences, level=cfg.level, resamples=cfg.resamples, seed=cfg.seed),
        p=p,
        corrected=corrected,
        over_seeds=over_seeds,
        wins=int((ahead > 0).sum()) if are_single else None,
        losses=int((ahead < 0).sum()) if are_single else None,
        level=cfg.level,
    )
