"""Two machines on this one: network namespaces with a cable between them, each with a working folder of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import psutil
import pytest

from tests.project import ROOT

CABLE = "cable"


@dataclass(frozen=True)
class Host:
    """One of the machines: the name of its namespace, its address there and its working folder."""

    name: str
    address: str
    folder: Path

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """A command that runs there, with the interpreter of these tests."""
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COVERAGE_PROCESS_START": ""}
        env |= {"GLOO_SOCKET_IFNAME": CABLE}
        inside = ["ip", "netns", "exec", self.name, sys.executable, *command]
        return subprocess.Popen(inside, cwd=self.folder, env=env, stderr=subprocess.PIPE, text=True)

    def processes(self) -> list[psutil.Process]:
        """What runs there."""
        listed = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True)
        return [psutil.Process(int(pid)) for pid in listed.stdout.split() if psutil.pid_exists(int(pid))]

    def ranks(self) -> list[psutil.Process]:
        """Of these the ones that train."""
        return [process for process in self.processes() if "RANK" in process.environ()]


@contextmanager
def two_hosts(folder: Path) -> Iterator[list[Host]]:
    """Two machines with empty working folders below `folder`; what still runs there is killed at the end."""
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("machines are network namespaces, which need root and the command ip (Debian: iproute2)")
    mark = token_hex(3)
    hosts = [Host(f"host{at}-{mark}", f"10.77.0.{at}", folder / f"host{at}") for at in (1, 2)]
    try:
        _wire(hosts, mark)
        yield hosts
    finally:
        for host in hosts:
            if host.folder.exists():
                for process in host.processes():
                    process.kill()
                _ip("netns", "del", host.name)


def _wire(hosts: list[Host], mark: str) -> None:
    for at, host in enumerate(hosts, start=1):
        if failed := _ip("netns", "add", host.name):
            pytest.skip(f"no network namespace can be made here: {failed}")
        host.folder.mkdir(parents=True)
        if at == 1:
            continue
        ends = [f"cable{mark}{end}" for end in (1, 2)]
        _must("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for other, end in zip(hosts, ends, strict=True):
            _must("link", "set", end, "netns", other.name, "name", CABLE)
    for host in hosts:
        _must("-n", host.name, "address", "add", f"{host.address}/24", "dev", CABLE)
        for device in ("lo", CABLE):
            _must("-n", host.name, "link", "set", device, "up")


def _ip(*arguments: str) -> str:
    """Why `ip` failed; empty where it did not."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def _must(*arguments: str) -> None:
    assert not (failed := _ip(*arguments)), f"ip {' '.join(arguments)}: {failed}"
