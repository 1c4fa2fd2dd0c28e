"""What this machine has, what is missing and what to do: `make doctor`, a line per finding.

Ends with exit code 1 where a problem keeps the pipeline from running; a note is only worth knowing.
"""

import json
import netrc
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from src.wording import counted

PROJECT_ROOT = Path(__file__).resolve().parents[1]

GIB = 2**30
MIN_PYTHON = (3, 11)
MIN_DISK_GIB, GOOD_DISK_GIB = 1, 10
GOOD_MEMORY_GIB = 2
TORCH_TIMEOUT_S = 180
MOST_SHOWN = 4

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;#]+)\s*(?:;\s*([^#]+))?")

# runs in a process of its own: a broken installation is reported, not raised
TORCH_PROBE = """
import json, torch, torchvision, timm
found = {"torch": torch.__version__, "torchvision": torchvision.__version__, "timm": timm.__version__}
found["cuda"] = [
    [torch.cuda.get_device_name(index), torch.cuda.get_device_properties(index).total_memory]
    for index in range(torch.cuda.device_count())
]
found["mps"] = torch.backends.mps.is_available()
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Finding:
    """One line: `state` is ok, note or problem."""

    state: Literal["ok", "note", "problem"]
    what: str
    text: str


def examine(root: Path, environ: Mapping[str, str], home: Path) -> list[Finding]:
    """Everything there is to say about this machine and this checkout."""
    checks: dict[str, Callable[[], list[Finding]]] = {
        "python": python,
        "packages": lambda: packages(root / "requirements.txt"),
        "torch": lambda: networks(sys.executable),
        "memory": machine,
        "disk": lambda: disk(root),
        "keys": lambda: [wandb_key(environ, home), kaggle_key(environ, home), hub(environ)],
        "params": lambda: [configuration(root)],
        "git": lambda: [git(root)],
        "pipeline": lambda: [pipeline(root)],
    }
    return [finding for what, check in checks.items() for finding in _examined(what, check)]


def _examined(what: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return check()
    except ImportError as error:
        return [Finding("problem", what, f"cannot be examined ({error}); run: make requirements")]


def python() -> list[Finding]:
    """The interpreter's version and place."""
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info >= MIN_PYTHON:
        return [Finding("ok", "python", found)]
    return [Finding("problem", "python", f"{found}; 3.11 or newer is needed: make create_environment BASE_PYTHON=...")]


def packages(requirements: Path) -> list[Finding]:
    """Whether what is installed is what was tested."""
    absent, other = [], []
    pins = pinned(requirements.read_text(encoding="utf-8"))
    for name, wanted in pins.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            absent.append(name)
            continue
        if found != wanted:
            other.append(f"{name} {found} (tested: {wanted})")
    findings = [Finding("problem", "packages", f"not installed: {_some(absent)}; run: make requirements")] * bool(
        absent
    )
    findings += [Finding("note", "packages", f"other than tested: {_some(other)}")] * bool(other)
    return findings or [Finding("ok", "packages", f"all {len(pins)} as pinned in {requirements.name}")]


def pinned(requirements: str) -> dict[str, str]:
    """Package names to pinned versions, of those that this platform needs."""
    from packaging.markers import Marker

    matches = [match for line in requirements.splitlines() if (match := PIN.match(line))]
    return {match[1]: match[2] for match in matches if not match[3] or Marker(match[3].strip()).evaluate()}


def networks(interpreter: str) -> list[Finding]:
    """Whether torch, torchvision and timm import together, and the devices that torch sees."""
    try:
        done = subprocess.run(
            [interpreter, "-c", TORCH_PROBE], capture_output=True, text=True, timeout=TORCH_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return [Finding("problem", "torch", f"importing it took more than {TORCH_TIMEOUT_S} s; run: make requirements")]
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return [Finding("problem", "torch", f"does not import ({reason}); run: make requirements")]
    found = json.loads(done.stdout.splitlines()[-1])
    versions = f"{found['torch']} with torchvision {found['torchvision']} and timm {found['timm']}"
    return [Finding("ok", "torch", versions), _device(found["cuda"], mps=found["mps"])]


def _device(gpus: list[tuple[str, int]], *, mps: bool) -> Finding:
    if gpus:
        return Finding("ok", "device", ", ".join(f"{name} ({memory / GIB:.0f} GiB)" for name, memory in gpus))
    if mps:
        return Finding("ok", "device", "Apple GPU (mps)")
    return Finding("note", "device", "CPU only: torch sees no GPU")


def machine() -> list[Finding]:
    """Cores and memory."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory()
    text = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    enough = memory.available >= GOOD_MEMORY_GIB * GIB
    return [
        Finding("ok", "cores", f"{cores} ({platform.machine()}, {platform.system()})"),
        Finding("ok", "memory", text)
        if enough
        else Finding("note", "memory", f"{text}; the default run takes up to {GOOD_MEMORY_GIB} GiB"),
    ]


def disk(root: Path) -> list[Finding]:
    """Free space, and whether the folders that stages write to can be written."""
    free = shutil.disk_usage(root).free / GIB
    advice = "" if free >= GOOD_DISK_GIB else "; results of old runs: dvc gc --workspace, models/runs"
    state: Literal["ok", "note", "problem"] = "ok" if free >= GOOD_DISK_GIB else "note"
    findings = [Finding("problem" if free < MIN_DISK_GIB else state, "disk", f"{free:.1f} GiB free{advice}")]
    folders = [name for name in ("data", "models", "reports", ".dvc") if (root / name).exists()]
    shut = [name for name in folders if not os.access(root / name, os.W_OK)]
    if shut:
        findings.append(Finding("problem", "disk", f"not writable: {', '.join(shut)}; change their owner or mode"))
    return findings


def wandb_key(environ: Mapping[str, str], home: Path) -> Finding:
    """Where a key for Weights & Biases was found; the key itself is never shown."""
    if environ.get("WANDB_API_KEY"):
        return Finding("ok", "wandb", "key in WANDB_API_KEY")
    for name in (".netrc", "_netrc"):
        try:
            if (home / name).exists() and netrc.netrc(str(home / name)).authenticators("api.wandb.ai"):
                return Finding("ok", "wandb", f"key in ~/{name}")
        except (netrc.NetrcParseError, OSError) as error:
            return Finding("note", "wandb", f"~/{name} cannot be read ({type(error).__name__}); runs are kept offline")
    return Finding(
        "note", "wandb", "no key: runs are kept offline; for online runs: wandb login, or WANDB_API_KEY in .env"
    )


def kaggle_key(environ: Mapping[str, str], home: Path) -> Finding:
    """Where a Kaggle key was found; the key itself is never shown."""
    folder = Path(environ.get("KAGGLE_CONFIG_DIR") or home / ".kaggle")
    places = {
        "KAGGLE_API_TOKEN": bool(environ.get("KAGGLE_API_TOKEN")),
        str(folder / "access_token"): (folder / "access_token").exists(),
        "KAGGLE_USERNAME and KAGGLE_KEY": bool(environ.get("KAGGLE_USERNAME") and environ.get("KAGGLE_KEY")),
        str(folder / "kaggle.json"): (folder / "kaggle.json").exists(),
    }
    for place, is_there in places.items():
        if is_there:
            return Finding("ok", "kaggle", f"key in {place}")
    return Finding("note", "kaggle", "no key, needed for Kaggle data only: KAGGLE_API_TOKEN in .env")


def hub(environ: Mapping[str, str]) -> Finding:
    """Where pretrained weights come from."""
    folder = environ.get("HF_HOME") or "~/.cache/huggingface"
    if environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        return Finding("note", "weights", f"HF_HUB_OFFLINE is set: pretrained weights only from {folder}")
    return Finding("ok", "weights", f"pretrained weights are fetched from the hub into {folder}")


def configuration(root: Path) -> Finding:
    """Whether what `params.yaml` selects is a whole, valid configuration."""
    from src.compose import compose
    from src.selection import PARAMS_FILE, load

    try:
        selection = load(root / PARAMS_FILE, root / "configs")
        compose(selection, root / "configs")
    except ValueError as error:
        return Finding(
            "problem", "params", f"{' '.join(str(error).split())}; mend params.yaml or run: make reset-params"
        )
    return Finding("ok", "params", selection.described())


def git(root: Path) -> Finding:
    """The commit, and how many files differ from it."""
    if shutil.which("git") is None:
        return Finding("problem", "git", "not found, and DVC needs it; install git")
    done = subprocess.run(["git", "status", "--porcelain", "--branch"], cwd=root, capture_output=True, check=False)
    if done.returncode:
        return Finding("problem", "git", "no repository here, and DVC needs one; run: git init")
    branch, *changed = done.stdout.decode("utf-8", "replace").splitlines()
    return Finding("ok", "git", f"{branch.removeprefix('## ')}; {counted(len(changed), 'changed file')}")


def pipeline(root: Path) -> Finding:
    """Which stages are out of date, as DVC sees it."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    if not (root / "dvc.lock").exists():
        return Finding("note", "pipeline", "has not run yet; run: make train")
    try:
        with Repo(str(root)) as repo:
            # fetch_data looks at the source on every run, and so never counts as done
            stale = [stage for stage in repo.status() if stage != "fetch_data"]
    except DvcException as error:
        return Finding("problem", "pipeline", f"DVC: {' '.join(str(error).split())}")
    if stale:
        return Finding("note", "pipeline", f"out of date: {_some(stale)}; run: make train or make report")
    return Finding("ok", "pipeline", "up to date")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return ", ".join(names[:MOST_SHOWN]) + more


def main(root: Path) -> None:
    """Write the findings; exits with code 1 where one is a problem."""
    if (root / ".env").is_file():
        from src.guard import read_env_file

        read_env_file(root / ".env")
    findings = examine(root, os.environ, Path.home())
    sys.stdout.writelines(f"{found.state:<8} {found.what:<9} {found.text}\n" for found in findings)
    problems = sum(found.state == "problem" for found in findings)
    sys.stdout.write(f"problems: {problems}\n" if problems else "nothing stands in the way\n")
    if problems:
        raise SystemExit(1)


if __name__ == "__main__":
    main(PROJECT_ROOT)
