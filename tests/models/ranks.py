"""Real processes that train together, forked from a server that has torch in it already."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from src.models.distributed.launch import RENDEZVOUS_VARIABLE
from src.models.distributed.team import joined
from src.models.signals import StopFlag
from tests.project import ROOT

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["src.models.engine.preparing", "timm"])
WAIT_S = 60


def on_ranks(world: int, action: Callable[..., Any], folder: Path, *arguments: Any) -> list[Any]:
    """What the action returned on each of `world` processes that work in `folder`; its first argument is the team."""
    answers = SERVER.Queue()
    meeting = folder / f"meeting-{world}"
    meeting.unlink(missing_ok=True)
    ranks = [
        SERVER.Process(target=_act, args=(rank, world, meeting, action, arguments, answers)) for rank in range(world)
    ]
    # the server imports before it is told where from
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    for process in ranks:
        process.start()
    found = dict(answers.get(timeout=WAIT_S) for _ in ranks)
    for process in ranks:
        process.join(WAIT_S)
    assert all(process.exitcode == 0 for process in ranks), found
    return [found[rank] for rank in range(world)]


def _act(rank: int, world: int, meeting: Path, action: Callable[..., Any], arguments: Any, answers: Any) -> None:
    import torch

    os.chdir(meeting.parent)
    torch.set_num_threads(1)
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), RENDEZVOUS_VARIABLE: str(meeting)}
    try:
        with joined("cpu", place if world > 1 else {}) as team:
            answers.put((rank, action(team, *arguments)))
    except BaseException as error:
        answers.put((rank, repr(error)))
        raise


def trained(team: Any, *overrides: str) -> list[dict[str, float]]:
    """The rows of the epochs of a run, as this process knows them."""
    from src.models.engine.preparing import prepare
    from tests.models.conftest import configured

    training = prepare(configured(*overrides), team)
    training.run(StopFlag())
    return getattr(training, "rows", [])
