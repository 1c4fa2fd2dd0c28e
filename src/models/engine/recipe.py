"""What stays fixed while a model is trained."""

from dataclasses import dataclass, replace

import numpy as np

from src.config_training import BreakEvenConfig, RollbackConfig
from src.features.augment import Augment
from src.features.loader import epoch_batches
from src.features.packed import PackedSplit
from src.features.preprocess import Preprocess
from src.models.distributed.team import Team
from src.models.recipes.clipping import Clip
from src.models.recipes.distillation import Teaching
from src.models.recipes.freezing import Freezing
from src.models.recipes.losses import Loss
from src.models.recipes.resizing import Sides
from src.models.recipes.schedules import Schedule
from src.models.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What stays fixed while a model is trained."""

    runtime: Runtime
    team: Team
    preprocess: Preprocess
    augment: Augment
    loss: Loss
    teaching: Teaching
    schedule: Schedule
    freezing: Freezing
    sides: Sides
    compile: bool | str
    break_even: BreakEvenConfig
    num_classes: int
    epochs: int
    batch_size: int
    micro_batch_size: int | None
    eval_batch_size: int
    max_skipped: int
    rollback: RollbackConfig
    balanced: bool
    clip: Clip
    patience: int | None
    seed: int

    def plan(self, split: PackedSplit, epoch: int) -> list[np.ndarray]:
        """The draws of each training batch of an epoch."""
        labels = split.labels if self.balanced else None
        return epoch_batches(len(split), batch_size=self.batch_size, seed=self.seed, epoch=epoch, labels=labels)

    def rate(self, step: int, *, rollbacks: int) -> float:
        """The learning rate of a step: the schedule's, lowered for each rollback."""
        return self.schedule(step) * self.rollback.factor**rollbacks

    def seen_in(self, epoch: int) -> Preprocess:
        """The way from image to input of training images in an epoch."""
        return replace(self.preprocess, img_size=self.sides.at(epoch))
