"""Training as a job of Slurm: the settings and a batch script lie in the run folder, `sbatch` takes the script.

The script starts the verb once for each process, by `srun`. So Slurm's signals reach each of them, and what they exit
with says what is next: the job is queued again to go on, the team is started again, or the job has failed.
"""

import logging
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from string import Template

import yaml

from src.config import Config, SlurmConfig, as_tree
from src.files import write_atomically
from src.guard import EXIT_INTERRUPTED
from src.layout import PIPELINE_RUN, RunFolder
from src.models.children import CONFIG_FILE, child_environment
from src.models.signals import EXIT_PEER_LOST, EXIT_REQUEUE

log = logging.getLogger(__name__)

SCRIPT_FILE = "job.sh"
OUTPUT_FILE = "output-%j.txt"
FIRST_PORT, NUM_PORTS = 20000, 20000

SCRIPT = Template("""#!/bin/bash
$options

# written by train_model when the job was submitted; sbatch takes it again as it is
cd $folder || exit 2
export PYTHONPATH=$path OMP_NUM_THREADS=$threads PYTHONUNBUFFERED=1
export MASTER_PORT=$$(($first_port + SLURM_JOB_ID % $num_ports))

place='export RANK=$$SLURM_PROCID LOCAL_RANK=$$SLURM_LOCALID WORLD_SIZE=$$SLURM_NTASKS
       export LOCAL_WORLD_SIZE=$processes MASTER_ADDR=$$SLURM_LAUNCH_NODE_IPADDR
       exec "$$@"'

for start in $$(seq 0 $restarts); do
    srun --kill-on-bad-exit=1 --cpus-per-task=$cpus bash -c "$$place" train $command
    code=$$?
    # a process was lost: those that are left say so with $lost, one that was killed exits with more
    [ "$$code" -ge $lost ] && [ "$$code" -ne $interrupted ] || break
done

if [ "$$code" -eq $requeue ] && [ "$goes_on" = yes ]; then
    echo "saved before the end of the time: queued again to go on"
    scontrol requeue "$$SLURM_JOB_ID"
fi
exit "$$code"
""")


def submit(module: str, cfg: Config, slurm: SlurmConfig) -> None:
    """Nothing, once Slurm has taken the job; for the pipeline's run, once the job has ended.

    Raises:
        ValueError: there is no Slurm here, it refuses the job, or the job failed where it was waited for.
    """
    if shutil.which("sbatch") is None:
        raise ValueError(
            "run=slurm needs sbatch, which is not on the path: give the command on a machine of the cluster where "
            "jobs are submitted, or leave run=slurm out to train here"
        )
    folder = folder_of(cfg)
    script = write_job(module, cfg, slurm, folder=folder)
    waits = folder.path == PIPELINE_RUN
    job = ["sbatch", "--parsable", *(["--wait"] if waits else []), str(script)]
    log.info("%s: %s", "submitted and waited for" if waits else "submitted", shlex.join(job))
    done = subprocess.run(job, capture_output=True, text=True, check=False)
    number = done.stdout.strip().partition(";")[0]
    if not number:
        raise ValueError(f"Slurm refused the job ({' '.join(done.stderr.split())}); see run.slurm, and {script}")
    output = script.parent / OUTPUT_FILE.replace("%j", number)
    if done.returncode:
        raise ValueError(f"job {number} ended with exit code {done.returncode}; what it said is in {output}")
    log.info("job %s: run folder %s, what it says is in %s", number, folder.path, output)


def folder_of(cfg: Config) -> RunFolder:
    """The run folder of the job, made now: each start of the job, after a pre-emption too, finds the same one."""
    from src.models.engine.run_folder import new_folder

    if named := cfg.train.resume or cfg.run_dir:
        return RunFolder(Path(named))
    return new_folder(cfg, now=datetime.now(UTC))


def write_job(module: str, cfg: Config, slurm: SlurmConfig, *, folder: RunFolder) -> Path:
    """The batch script, with the settings of the job beside it."""
    inside = replace(cfg, run_dir=str(folder.path), run=replace(cfg.run, slurm=None))
    settings = folder.job / CONFIG_FILE
    settings.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(settings, yaml.safe_dump(as_tree(inside), sort_keys=False).encode("utf-8"))
    script = folder.job / SCRIPT_FILE
    command = [sys.executable, "-m", module, "--config", str(settings)]
    options = sbatch_options(cfg, slurm, folder=folder)
    write_atomically(script, script_of(command, slurm, options=options, environ=child_environment()).encode("utf-8"))
    return script


def sbatch_options(cfg: Config, slurm: SlurmConfig, *, folder: RunFolder) -> list[str]:
    """What Slurm is asked for; `run.slurm.extra` comes last, so that it has the last word."""
    gpus = None if cfg.run.device == "cpu" else slurm.processes
    asked = {
        "job-name": folder.name,
        "nodes": slurm.nodes,
        "ntasks-per-node": slurm.processes,
        "cpus-per-task": slurm.cpus,
        "gpus-per-node": gpus,
        "partition": slurm.partition,
        "time": slurm.time,
        "mem": slurm.memory,
        "signal": f"USR1@{slurm.signal_s}",
        "output": folder.job / OUTPUT_FILE,
        "open-mode": "append",
    }
    options = [f"--{name}={value}" for name, value in asked.items() if value is not None]
    further = [f"--{name}" if value is None else f"--{name}={value}" for name, value in slurm.extra.items()]
    return [*options, "--requeue" if slurm.requeue else "--no-requeue", *further]


def script_of(command: list[str], slurm: SlurmConfig, *, options: list[str], environ: Mapping[str, str]) -> str:
    """The batch script that runs `command` in the present folder, once for each process."""
    return SCRIPT.substitute(
        options="\n".join(f"#SBATCH {shlex.quote(option)}" for option in options),
        folder=shlex.quote(str(Path.cwd())),
        path=shlex.quote(environ["PYTHONPATH"]),
        command=shlex.join(command),
        processes=slurm.processes,
        cpus=slurm.cpus,
        threads=slurm.cpus,
        restarts=slurm.restarts,
        first_port=FIRST_PORT,
        num_ports=NUM_PORTS,
        lost=EXIT_PEER_LOST,
        interrupted=EXIT_INTERRUPTED,
        requeue=EXIT_REQUEUE,
        goes_on="yes" if slurm.requeue else "no",
    )
