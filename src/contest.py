"""One run against another on the images that both were scored on."""

from dataclasses import dataclass

import numpy as np

from src import paired
from src.config_compare import CompareConfig
from src.runs import Run
from src.shared_images import answers_of
from src.wording import counted, percent


@dataclass(frozen=True, kw_only=True)
class Contest:
    """`fixed` images the new run alone has right, `broken` ones the old run alone.

    `p` is McNemar's exact test, of images in groups that belong together the same over the groups.
    """

    split: str
    num_images: int
    num_groups: int
    new_acc: float
    old_acc: float
    fixed: int
    broken: int
    p: float
    level: float
    notes: list[str]

    @property
    def is_certain(self) -> bool:
        """Whether the difference is more than chance."""
        return self.p <= 1 - self.level

    @property
    def is_worse(self) -> bool:
        """Whether the new run is worse by more than chance."""
        return self.is_certain and self.broken > self.fixed

    @property
    def is_better(self) -> bool:
        """Whether the new run is better by more than chance."""
        return self.is_certain and self.fixed > self.broken

    @property
    def outcome(self) -> str:
        """How the new run stands."""
        if self.is_certain:
            return f"{'worse' if self.is_worse else 'better'} by more than chance"
        return "neither better nor worse by more than chance"

    @property
    def numbers(self) -> str:
        """The outcome in numbers."""
        test = "McNemar" if self.num_groups == self.num_images else f"over {counted(self.num_groups, 'group')}"
        return (
            f"{percent(self.new_acc)} against {percent(self.old_acc)} of {counted(self.num_images, 'image')} of "
            f"{self.split}, {self.fixed:,} right that were wrong and {self.broken:,} wrong that were right, "
            f"p = {probability(self.p)} ({test})"
        )


def contest(new: Run, old: Run, cfg: CompareConfig) -> Contest:
    """The new run against the old one.

    Raises:
        ValueError: one was not scored on the split, or they have no image in common.
    """
    answers = answers_of([old, new], cfg.split)
    change, differences = answers.of([new]) - answers.of([old]), answers.differences([new], [old])
    return Contest(
        split=cfg.split,
        num_images=len(change),
        num_groups=len(differences.sums),
        new_acc=float(np.mean(answers.of([new]))),
        old_acc=float(np.mean(answers.of([old]))),
        fixed=int((change > 0).sum()),
        broken=int((change < 0).sum()),
        p=paired.sign_test(differences),
        level=cfg.level,
        notes=answers.notes,
    )


def probability(p: float) -> str:
    """A probability with the digits that it deserves."""
    return "below 0.001" if p < 0.001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"
