"""What the processes of a team do beside training: save at the same moment, and follow the one that writes."""

from dataclasses import dataclass
from typing import Any

import torch

from src.config import Config
from src.features.packed import PackedSplit
from src.models.distributed.sharding import whole
from src.models.distributed.team import Team
from src.models.engine.loop import Hooks, Metrics, fit
from src.models.engine.recipe import Recipe
from src.models.engine.state import TrainState
from src.models.engine.tally import Tally
from src.models.signals import STOPPING, StopFlag


class SaveClock:
    """When the state is to be saved, on the clock of the team: every `every_s` seconds."""

    def __init__(self, team: Team, every_s: float) -> None:
        self._team, self._every_s = team, every_s
        self._saved_at = team.now()

    def due(self) -> bool:
        """Whether it is time."""
        return self._team.now() - self._saved_at >= self._every_s

    def done(self) -> None:
        """Start to wait again."""
        self._saved_at = self._team.now()


@dataclass
class Follower:
    """The part of a process that writes nothing: its share of each batch, of each sum and of each saved state.

    `saved` is the state that the team goes on from; None at a start.
    """

    cfg: Config
    state: TrainState
    recipe: Recipe
    splits: dict[str, PackedSplit]
    saved: dict[str, Any] | None

    def __post_init__(self) -> None:
        """Take the place of the run that was cut short, if there is one."""
        self.saves = SaveClock(self.recipe.team, self.cfg.train.save_every_s)
        if self.saved is not None:
            self.state.load_state_dict(self.saved)
            # the first process holds the sums of all until then
            self.state.tally = Tally.empty(self.recipe.runtime.device)

    def run(self, stop: StopFlag) -> str:
        """Why the run ended; see `fit`."""
        hooks = Hooks(self._save_if_due, self._keep_epoch)
        stopped = fit(self.state, self.recipe, splits=self.splits, hooks=hooks, stop=stop)
        if stopped in STOPPING:
            whole_state(self.state, self.recipe.team)
            self._give_weights()
        else:
            whole_peak_mib(self.recipe)
        return stopped

    def _keep_epoch(self, state: TrainState, metrics: Metrics, best: bool) -> None:  # noqa: FBT001 - a callback's fact
        for _ in checkpoints_of(best=best):
            self._give_weights()
        self._save_if_due(state)

    def _give_weights(self) -> None:
        """This process's slices, to the one that writes a checkpoint."""
        whole(self.state.average.model.state_dict())

    def _save_if_due(self, state: TrainState) -> None:
        if self.saves.due():
            whole_state(state, self.recipe.team)
            self.saves.done()


def checkpoints_of(*, best: bool) -> tuple[str, ...]:
    """Which checkpoints are written after an epoch, in their order."""
    return ("best", "last") if best else ("last",)


def whole_state(state: TrainState, team: Team) -> dict[str, Any]:
    """The state to save, with the sums of all processes. A meeting."""
    return state.state_dict() | {"tally": state.tally.whole(team).state_dict()}


def whole_peak_mib(recipe: Recipe) -> float:
    """Memory of all processes at their peaks, in MiB. A meeting."""
    return float(recipe.team.sum(torch.tensor(recipe.runtime.peak_mib())))


def check_parts(recipe: Recipe, *, num_images: int) -> None:
    """Nothing, where every process has an image of each batch.

    Raises:
        ValueError: there are more processes than images in a batch.
    """
    smallest = min(recipe.batch_size, num_images)
    if recipe.team.world > smallest:
        raise ValueError(
            f"{recipe.team.world} processes cannot share a batch of {smallest} images (train.batch_size="
            f"{recipe.batch_size}, {num_images} to train on); start fewer, or raise train.batch_size"
        )
