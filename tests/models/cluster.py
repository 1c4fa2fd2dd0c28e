"""A real Slurm of two nodes on this machine, started for a test and ended after it; all its files lie in one folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "scontrol")
INSTALL_S = 240
WAIT_S = 600
AHEAD_S = 3

SETTINGS = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,batch_sched_delay=0
MpiDefault=none
ReturnToService=2
KillWait=10
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus}
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cpus}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass
class Cluster:
    """Where it is, and what was started for it."""

    folder: Path
    started: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        """The environment in which Slurm's commands find it."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def owns(self, process: psutil.Process) -> bool:
        """Whether a process was started for it."""
        with suppress(psutil.Error):
            return process.environ().get("SLURM_CONF") == self.environ["SLURM_CONF"]
        return False

    def supervises(self, number: str) -> bool:
        """Whether something of a job is left on the nodes."""
        titles = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"]) if self.owns(process)]
        return any(title and title[0].startswith(f"slurmstepd: [{number}.") for title in titles)

    def serve(self, *command: str) -> None:
        """Start one of its services."""
        said = (self.folder / f"{Path(command[0]).name}-{len(self.started)}.txt").open("wb")
        env = os.environ | self.environ
        self.started.append(subprocess.Popen(command, env=env, stdout=said, stderr=said, start_new_session=True))

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands says."""
        env = os.environ | self.environ
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=30).stdout

    def job(self, number: str) -> Mapping[str, str]:
        """What Slurm knows of a job."""
        words = self.ask("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_for(self, number: str, *states: str) -> Mapping[str, str]:
        """The job, once it is in one of the states; one that was queued again starts as soon as nothing of it is left.

        Slurm itself waits two minutes, so that what ends the one start does not reach the next. A node compares the two
        in whole seconds ("Job credential revoked" where they are equal), so the next start is some seconds ahead.
        """
        hurried = set()

        def there() -> Mapping[str, str] | None:
            job = self.job(number)
            waits = job.get("Reason") == "BeginTime" and job["Restarts"] not in hurried
            if waits and "PENDING" not in states and not self.supervises(number):
                hurried.add(job["Restarts"])
                self.ask("scontrol", "update", f"jobid={number}", f"starttime=now+{AHEAD_S}seconds")
            return job if job.get("JobState") in states else None

        return wait(there, what=f"job {number} is none of {states}: {self.job(number)}")


def wait(there: Callable[[], object], *, what: str) -> object:
    """What `there` answers, once that is something."""
    end_by = time.monotonic() + WAIT_S
    while time.monotonic() < end_by:
        if found := there():
            return found
        time.sleep(0.2)
    raise AssertionError(what)


@contextmanager
def slurm(folder: Path) -> Iterator[Cluster]:
    """A cluster whose nodes are idle; skips the test where there can be none."""
    ready_programs()
    cluster = Cluster(folder)
    try:
        _start(cluster)
        yield cluster
    finally:
        _end(cluster)


def ready_programs() -> None:
    """Nothing, where Slurm is installed or was installed now."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("a Slurm of this test's own needs root")
    if all(shutil.which(name) for name in PROGRAMS):
        return
    if shutil.which("apt-get") is None:
        pytest.skip(f"Slurm is not installed and there is no apt-get; the test needs {', '.join(PACKAGES)}")
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES]
    for command in (["apt-get", "update"], install):
        try:
            done = subprocess.run(command, env=env, capture_output=True, timeout=INSTALL_S, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip(f"{' '.join(command)} did not end within {INSTALL_S} s")
        if done.returncode and command is install:
            pytest.skip(f"Slurm cannot be installed: {' '.join(command)} ended with {done.returncode}")


def _start(cluster: Cluster) -> None:
    folder = cluster.folder
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    (folder / "state").mkdir()
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    host = socket.gethostname().partition(".")[0]
    settings = SETTINGS.format(folder=folder, host=host, ports=free_ports(3), cpus=os.cpu_count())
    (folder / "slurm.conf").write_text(settings)
    files = [
        f"--{name}={folder}/munge.{name.partition('-')[0]}"
        for name in ("key-file", "pid-file", "log-file", "seed-file")
    ]
    cluster.serve("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files)
    wait((folder / "munge.socket").exists, what=_said(folder))
    cluster.serve("slurmctld", "-D", "-i", "-f", str(folder / "slurm.conf"))
    for name in ("one", "two"):
        cluster.serve("slurmd", "-D", "-N", name, "-f", str(folder / "slurm.conf"))
    idle = {"one idle", "two idle"}
    wait(lambda: idle == set(cluster.ask("sinfo", "-h", "-N", "-o", "%N %T").splitlines()), what=_said(folder))


def _end(cluster: Cluster) -> None:
    """Leave nothing that was started for the cluster: its services, jobs and what supervises them."""
    cluster.ask("scancel", "--user=root")
    with suppress(AssertionError):
        wait(lambda: not cluster.ask("squeue", "-h"), what="jobs do not end")
    for process in reversed(cluster.started):
        process.terminate()
    left = [process for process in psutil.process_iter() if cluster.owns(process)]
    for process in psutil.wait_procs(left, timeout=20)[1]:
        process.kill()
    for service in cluster.started:
        service.wait(20)


def _said(folder: Path) -> str:
    return "".join(path.read_text(errors="replace")[-2000:] for path in sorted(folder.glob("*.txt")))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
