"""Removes caches and build products; data, models, reports and `.venv` stay. Needs the standard library only."""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATTERNS = (
    ".coverage*",
    ".hypothesis",
    ".import_linter_cache",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    "build",
    "docs/_build",
    "htmlcov",
    "*.egg-info",
    "*/__pycache__",
    "src/**/__pycache__",
    "tests/**/__pycache__",
)


def clean(root: Path) -> list[str]:
    """Names of what was removed."""
    found = sorted({path for pattern in PATTERNS for path in root.glob(pattern)})
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return [path.relative_to(root).as_posix() for path in found]


if __name__ == "__main__":
    sys.stdout.write(f"removed {', '.join(clean(ROOT)) or 'nothing'}\n")
