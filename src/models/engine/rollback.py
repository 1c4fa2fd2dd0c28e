"""Back to the end of the last good epoch at a lower rate, where a run has no finite numbers left to learn from."""

import logging
import math

from src.models.engine.nonfinite import NotFiniteError
from src.models.engine.recipe import Recipe
from src.models.engine.state import TrainState
from src.wording import counted

log = logging.getLogger(__name__)

ADVICE = "lower optimizer.lr, set train.clip, or use train.precision=fp32; the checkpoints before it are kept"


def keep_good(state: TrainState, recipe: Recipe) -> None:
    """Keep what the run may have to go back to: called at its start, and at the end of each epoch."""
    if state.rollbacks < recipe.rollback.times:
        state.keep_good()


def check_scored(state: TrainState, recipe: Recipe, metrics: dict[str, float]) -> None:
    """Nothing, if the validation loss is finite, or no return is asked for: then the next epochs may mend it.

    Raises:
        NotFiniteError: it is not.
    """
    if not math.isfinite(metrics.get("val/loss", 0.0)) and recipe.rollback.times:
        rate = recipe.rate(state.step - 1, rollbacks=state.rollbacks)
        told = f"after epoch {state.epoch + 1}, at step {state.step} (rate {rate:.3g})"
        raise NotFiniteError(f"the validation loss is {metrics['val/loss']} {told}")


def go_back(state: TrainState, recipe: Recipe, found: NotFiniteError) -> None:
    """Take the state back to the end of the last good epoch, from where the rate is a factor lower; say so.

    Raises:
        ValueError: `train.rollback.times` are used up; tells what was found.
    """
    most, factor = recipe.rollback.times, recipe.rollback.factor
    if state.rollbacks >= most:
        before = f" after {counted(most, 'return')} to a good epoch (train.rollback.times)" if most else ""
        raise ValueError(f"{found}{before}: {ADVICE}") from None
    step = state.step
    state.go_back()
    if state.rollbacks == most:
        # of no further use
        state.good = None
    rate, lower = (recipe.rate(state.step, rollbacks=times) for times in (state.rollbacks - 1, state.rollbacks))
    log.warning(
        "%s: back by %d steps to the end of epoch %d (step %d), and on with the rate times %g (there %.3g -> %.3g), "
        "return %d of at most %d (train.rollback)",
        *(found, step - state.step, state.epoch, state.step, factor, rate, lower, state.rollbacks, most),
    )
