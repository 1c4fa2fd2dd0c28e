"""Installs what `requirements.txt` pins, and the project itself, for the interpreter that runs it: make requirements.

Needs the standard library only. Once all is there, `installed.txt` in the folder of the environment says so to make.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAMP = "installed.txt"

UNFINISHED = (
    "the install is not complete: pip's reason stands above (often no network, or less than 10 GB of free disk); "
    "mend it and run make requirements again, what was downloaded is not downloaded twice\n"
)


def install(root: Path, environment: Path) -> None:
    """Write the stamp once everything is installed; exits with pip's code where it is not."""
    (environment / STAMP).unlink(missing_ok=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        done = subprocess.run([*pip, "-r", "requirements.txt", "-e", "."], cwd=root, check=False)
    except KeyboardInterrupt:
        sys.exit("interrupted; run make requirements again, what was downloaded is not downloaded twice")
    if done.returncode:
        sys.stderr.write(UNFINISHED)
        raise SystemExit(done.returncode)
    (environment / STAMP).write_text("made by make from requirements.txt and setup.py\n", encoding="utf-8")


if __name__ == "__main__":
    install(ROOT, Path(sys.prefix))
