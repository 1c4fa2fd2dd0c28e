"""A copy of the project in a git repository of its own, and drawn images: DVC and make run there for real."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Project:
    """Runs commands in a copy of the project and tells what they said."""

    root: Path

    def run(self, *command: str, ok: bool = True) -> str:
        """Everything the command wrote; fails where its exit code is not as expected."""
        done = subprocess.run(command, cwd=self.root, env=environment(), capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert (done.returncode == 0) == ok, f"{' '.join(command)} ended with {done.returncode}:\n{said}"
        return said

    def make(self, target: str, args: str = "", *, ok: bool = True) -> str:
        """What `make` said, with the interpreter at hand."""
        given = [f"ARGS={args}"] if args else []
        return self.run("make", target, f"PYTHON={sys.executable}", *given, ok=ok)

    def dvc(self, *arguments: str, ok: bool = True) -> str:
        """What `dvc` said."""
        return self.run(sys.executable, "-m", "dvc", *arguments, ok=ok)

    def commit(self, message: str) -> None:
        """Commit everything that git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", f"--message={message}")

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text in a file of the project."""
        text = (self.root / path).read_text(encoding="utf-8")
        assert old in text, f"{path} does not hold {old!r}"
        (self.root / path).write_text(text.replace(old, new), encoding="utf-8")


def environment() -> dict[str, str]:
    """The environment with the interpreter's folder first, a git identity and no way to a service."""
    identity = {
        f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return (
        os.environ
        | identity
        | {"PATH": path, "DVC_NO_ANALYTICS": "1", "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    )


def copy_project(folder: Path) -> Project:
    """The files that git tracks or would track, committed in a new repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    project = Project(folder)
    project.run("git", "init", "--quiet", "--initial-branch=main")
    return project


def draw_images(folder: Path, *, per_class: int = 10, size: int = 12) -> None:
    """Two classes that any network can tell apart: noise that is brighter on the left or on the right."""
    rng = np.random.default_rng(0)
    for label in ("left", "right"):
        (folder / label).mkdir(parents=True)
        for index in range(per_class):
            draw_image(folder / label / f"{index:02d}.png", rng, bright=label, size=size)


def draw_image(path: Path, rng: np.random.Generator, *, bright: str, size: int = 12) -> None:
    """One image, brighter on the `left` or on the `right`."""
    pixels = rng.integers(0, 100, (size, size, 3), dtype=np.uint8)
    half = slice(None, size // 2) if bright == "left" else slice(size // 2, None)
    pixels[:, half] += 120
    Image.fromarray(pixels).save(path)
