"""Steps in a process that is given too little memory, for real: its limit is set by the system."""

import ctypes
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.models.distributed.team import ALONE
from src.models.engine.memory import check_smaller, is_out_of_memory
from tests.models.ranks import on_ranks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system limits the data of a process")

# dropout draws, batch norm keeps statistics: both must be as if the step had not been tried before
NET = ["model=baseline_cnn", "model.options={width: 16, dropout: 0.3}", "model.img_size=96", "train.batch_size=96"]
SETTINGS = [*NET, "train.epochs=2", "augment=medium"]
SPARE_MIB = 130
M_MMAP_THRESHOLD = -3
MIB = 2**20


def data_bytes() -> int:
    """What counts against RLIMIT_DATA now."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData")]
    return int(line.split()[1]) * 1024


def prepared(team: Any, spare_mib: int | None, *overrides: str) -> Any:
    """A run in a process that may take so much memory more than it has."""
    import resource

    from src.models.engine.preparing import prepare
    from tests.models.conftest import configured

    # what oneDNN does where it is short of memory cannot be mended, and it is not sure to be the first that is
    torch.backends.mkldnn.set_flags(False)
    training = prepare(configured(*SETTINGS, *overrides), team)
    if spare_mib is not None:
        # every large block goes back to the system when it is free
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 65536)
        limit = data_bytes() + spare_mib * MIB
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return training


def trained(team: Any, spare_mib: int | None, *overrides: str) -> dict[str, Any]:
    """What came of a run: weights, losses, warnings, and the size of a pass that was found to fit."""
    from src.models.signals import StopFlag

    warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("src").addHandler(handler)
    training = prepared(team, spare_mib, *overrides)
    training.run(StopFlag())
    return {
        "weights": {name: tensor.tolist() for name, tensor in training.state.model.state_dict().items()},
        "losses": [(row["train/loss"], row["val/loss"]) for row in training.rows],
        "warnings": warnings,
        "fitting": training.state.fitting,
    }


def take_a_step(training: Any) -> None:
    from src.features.loader import load_parts
    from src.models.engine.loop import ready, train_step

    state, recipe, split = training.state, training.recipe, training.splits["train"]
    ready(state, recipe)
    plan = recipe.plan(split, 0)[:1]
    for batch in load_parts(split, plan, recipe.runtime.device, rank=recipe.team.rank, world=recipe.team.world):
        train_step(state, recipe, batch)


def gone_on_with(team: Any, spare_mib: int, *overrides: str) -> list[int]:
    """Images of a pass after a step, after the saved run was gone on with, and where another size is then asked for."""
    from src.models.engine.memory import pass_size

    training = prepared(team, spare_mib, *overrides)
    take_a_step(training)
    training._save_state()
    training.claim.resume.release()
    again = prepared(team, None, *overrides).state
    sizes = [(training.state, None), (again, None), (again, 64)]
    return [pass_size(state, num_images=96, asked=asked) for state, asked in sizes]


def refusal(team: Any, spare_mib: int, *overrides: str) -> str:
    """Why the first step failed."""
    try:
        take_a_step(prepared(team, spare_mib, *overrides))
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_a_run_short_of_memory_equals_one_in_smaller_passes_from_the_start(project):
    (short,) = on_ranks(1, trained, project, SPARE_MIB, "run_dir=models/short")
    size = short["fitting"]["size"]
    assert size in (12, 24, 48)
    (told,) = [line for line in short["warnings"] if "memory" in line]
    assert told == (
        f"out of memory with 96 images in a pass: from here on {size} in a pass, as many as before in a step; "
        f"train.micro_batch_size={size} begins so"
    )
    asked = f"train.micro_batch_size={size}"
    (small,) = on_ranks(1, trained, project, None, "run_dir=models/small", asked)
    assert small["fitting"] is None
    np.testing.assert_allclose(short["losses"], small["losses"], rtol=1e-6)
    for name, weights in small["weights"].items():
        np.testing.assert_allclose(short["weights"][name], weights, rtol=1e-6, atol=1e-6)


def test_the_size_that_fits_is_saved_with_the_run_until_another_is_asked_for(project):
    (sizes,) = on_ranks(1, gone_on_with, project, SPARE_MIB, "run_dir=models/short")
    assert sizes[0] in (12, 24, 48)
    assert sizes[1:] == [sizes[0], 64]


def test_a_run_that_has_no_memory_for_one_image_says_what_to_do(project):
    (said,) = on_ranks(1, refusal, project, 60, "run_dir=models/short", "model.img_size=768", "train.batch_size=4")
    assert said.startswith("out of memory with one image in a pass (")
    assert said.endswith(
        "take a smaller network or model.img_size, set train.gradient_checkpointing=true or train.precision=bf16, or "
        "lower train.batch_size"
    )


def test_one_of_several_processes_that_is_short_of_memory_names_the_setting(project):
    said = on_ranks(2, refusal, project, 40, "run_dir=models/short")
    assert "process 0 of 2 is out of memory with 48 images in a pass" in said[0]
    assert "set train.micro_batch_size=24 and give the command again" in said[0]


def test_another_error_is_not_taken_for_want_of_memory():
    with pytest.raises(RuntimeError) as wrong_shape:
        torch.zeros(2, 3) @ torch.zeros(2, 3)
    assert not is_out_of_memory(wrong_shape.value)
    with pytest.raises(RuntimeError) as too_much:
        torch.empty(2**60)
    assert is_out_of_memory(too_much.value)


def test_memory_that_ran_out_in_onednn_ends_the_run_and_names_the_setting():
    said = "could not create a primitive"
    assert is_out_of_memory(RuntimeError(said))
    with pytest.raises(
        ValueError, match=r"oneDNN is out of memory for good: set train\.micro_batch_size=24 \(48 images"
    ):
        check_smaller(48, said, ALONE)
    check_smaller(48, "can't allocate memory", ALONE)
