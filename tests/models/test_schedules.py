import math
from itertools import pairwise

import pytest
import torch

from src.compose import compose
from src.config_training import ScheduleConfig
from src.models.recipes.schedules import SCHEDULES, build_schedule
from src.selection import Selection, groups

FALLING = {
    "constant": {},
    "linear": {"final": 0.1},
    "cosine": {"final": 0.1},
    "step": {"at": [0.5, 0.75], "factor": 0.1},
}
CYCLING = {
    "one_cycle": {"rise": 0.3, "start": 0.04, "final": 0.001},
    "cyclic": {"cycles": 3, "floor": 0.1, "mode": "triangular", "decay": 0.5},
}
OPTIONS = FALLING | CYCLING


def schedule(name: str, *, warmup_epochs: float = 2.0, options: dict | None = None, cooldown: tuple = (0.0, 0.0)):
    cfg = ScheduleConfig(
        name=name,
        warmup_epochs=warmup_epochs,
        cooldown_epochs=cooldown[0],
        cooldown_final=cooldown[1],
        options=OPTIONS.get(name, {}) if options is None else options,
    )
    return build_schedule(cfg, lr=0.5, epoch_steps=10, epochs=12)


def test_every_schedule_of_the_table_is_tested():
    assert set(OPTIONS) == set(SCHEDULES)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_stays_above_zero_reaches_the_peak_and_never_passes_it(name):
    rates = [schedule(name, warmup_epochs=0.0)(step) for step in range(120)]
    assert min(rates) > 0
    assert max(rates) == pytest.approx(0.5, rel=0.05)
    assert max(rates) <= 0.5


@pytest.mark.parametrize("name", FALLING)
def test_a_falling_schedule_warms_up_to_the_peak_and_never_rises_after(name):
    rates = [schedule(name)(step) for step in range(120)]
    assert rates[:20] == pytest.approx([0.5 * (step + 1) / 20 for step in range(20)])
    assert rates[20] == pytest.approx(0.5)
    assert all(later <= earlier for earlier, later in pairwise(rates[20:]))
    assert min(rates) > 0


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_cools_down_in_a_line_from_where_its_curve_ends(name):
    whole, cooled = schedule(name), schedule(name, cooldown=(3.0, 0.01))
    assert [cooled(step) for step in range(20)] == [whole(step) for step in range(20)]
    ends = whole(120)
    assert cooled(90) == pytest.approx(ends)
    fall = [cooled(step) for step in range(90, 121)]
    assert fall == pytest.approx([ends + (0.005 - ends) * step / 30 for step in range(31)])
    assert cooled(10_000) == pytest.approx(0.005)


def test_warm_up_stable_decay_is_flat_between_its_ends():
    rates = [schedule("constant", cooldown=(3.0, 0.0))(step) for step in range(120)]
    assert set(rates[20:91]) == {0.5}
    assert rates[90] > rates[91] > rates[119] > 0


def test_cool_down_equals_torch():
    constant = torch.optim.lr_scheduler.ConstantLR(optimizer := sgd(), factor=1.0)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, end_factor=0.1, total_iters=30)
    theirs = torchs(torch.optim.lr_scheduler.SequentialLR(optimizer, [constant, falling], milestones=[90]), 120)
    ours = schedule("constant", warmup_epochs=0.0, cooldown=(3.0, 0.1))
    assert [ours(step) for step in range(120)] == pytest.approx(theirs)


@pytest.mark.parametrize("preset", groups()["schedule"])
def test_every_preset_is_finite_at_every_step_and_never_above_the_peak(preset):
    ours = build_schedule(compose(Selection({"schedule": preset})).schedule, lr=0.5, epoch_steps=10, epochs=12)
    assert all(0 < ours(step) <= 0.5 for step in range(120))


def test_cosine_equals_torch():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.5)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=120, eta_min=0.05)
    ours = schedule("cosine", warmup_epochs=0.0)
    for step in range(120):
        assert ours(step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        theirs.step()


def test_linear_ends_at_its_final_share():
    assert schedule("linear")(120) == pytest.approx(0.05)


def test_rate_past_the_end_stays_at_the_last():
    assert schedule("cosine")(10_000) == pytest.approx(0.05)
    assert math.isfinite(schedule("constant", warmup_epochs=0.0)(0))


def test_unknown_schedule_and_option_are_named():
    with pytest.raises(ValueError, match=r"schedule.name=cosin is unknown; did you mean cosine"):
        schedule("cosin")
    with pytest.raises(ValueError, match=r"schedule.options.finl: cosine takes no finl; did you mean final"):
        schedule("cosine", options={"finl": 0.1, "final": 0.1})


def torchs(scheduler, steps: int) -> list[float]:
    """The rates that a scheduler of torch gives."""
    rates = []
    for _ in range(steps):
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def sgd(lr: float = 0.5) -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def test_step_equals_torch():
    theirs = torchs(torch.optim.lr_scheduler.MultiStepLR(sgd(), [60, 90], gamma=0.1), 120)
    assert [schedule("step", warmup_epochs=0.0)(step) for step in range(120)] == pytest.approx(theirs)


def test_one_cycle_equals_torch():
    # torch's last step is the end of the way, ours the one before it: 121 steps there are 120 here
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        sgd(), 0.5, total_steps=121, pct_start=37 / 121, div_factor=25, final_div_factor=40, cycle_momentum=False
    )
    ours = schedule("one_cycle", warmup_epochs=0.0)
    assert [ours(step) for step in range(120)] == pytest.approx(torchs(theirs, 120), rel=1e-6)


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
def test_cycles_equal_torch(mode):
    gamma = 0.5 ** (1 / 40)
    theirs = torch.optim.lr_scheduler.CyclicLR(
        sgd(0.05), 0.05, 0.5, step_size_up=20, mode=mode, gamma=gamma, cycle_momentum=False
    )
    ours = schedule("cyclic", warmup_epochs=0.0, options={**OPTIONS["cyclic"], "mode": mode})
    assert [ours(step) for step in range(120)] == pytest.approx(torchs(theirs, 120), rel=1e-6)


def test_an_unknown_mode_offers_the_near_one():
    with pytest.raises(ValueError, match=r"schedule.options.mode=triangle is unknown; did you mean triangular"):
        schedule("cyclic", warmup_epochs=0.0, options={**OPTIONS["cyclic"], "mode": "triangle"})(0)
