"""Train a network on the packed data and keep its best and its last checkpoint."""

import os

from src.cli import run_verb
from src.config import LINEAR_PROBE, Config
from src.models.distributed.launch import is_launcher, run_ranks, stop_of_rank


def train_model(cfg: Config) -> None:
    """Write `<run folder>/train`: checkpoints, metrics of each epoch and the record of the run.

    What is cheap and can fail comes first: the model, the optimiser and the run folder before any pixel is read. With
    `run.devices` it starts that many processes of itself, of which the first writes; torchrun may start them too. With
    `run.slurm` it is submitted as a job.

    Raises:
        ValueError: settings that cannot be met, absent or other data, a loss that is no longer finite, a process of
            the team that was killed.
        SystemExit: after Ctrl-C (130), or SIGTERM and SIGUSR1 (75: run the same command again), once the state is
            saved.
    """
    if cfg.run.slurm is not None:
        from src.models.slurm import submit

        submit("src.models.train_model", cfg, cfg.run.slurm)
        return
    if cfg.model.name == LINEAR_PROBE:
        from src.models.probing.fitting import train_probe

        world = os.environ.get("WORLD_SIZE", "1")
        if world != "1":
            raise ValueError(
                f"model.name={LINEAR_PROBE} is fitted by one process and {world} were started; "
                "run it without torchrun: python -m src.models.train_model ..."
            )
        train_probe(cfg)
        return
    if is_launcher(cfg.run.devices, os.environ):
        run_ranks("src.models.train_model", cfg)
        return
    from src.models.distributed.team import joined
    from src.models.engine.preparing import prepare
    from src.models.signals import STOPPING, exit_code

    with stop_of_rank(os.environ) as stop, joined(cfg.run.device, os.environ) as team:
        stopped = prepare(cfg, team).run(stop)
    if stopped in STOPPING:
        raise SystemExit(exit_code(stopped))


if __name__ == "__main__":
    run_verb(train_model, about=__doc__)
