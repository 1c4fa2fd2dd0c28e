"""Runs the notebooks and keeps them with what they show for these pages: python docs/execute_notebooks.py.

They run in this project, on the run in models/pipeline, so `make report` comes first. `notebooks/` itself stays without
outputs; a test compares the code of both.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parent / "notebooks"
SHOWN = HERE / "notebooks"
PATIENCE_S = 600


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, and without what tells when and where it ran."""
    notebook = nbformat.read(path, as_version=4)
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=PATIENCE_S, resources=folder, record_timing=False).execute()
    notebook.metadata = nbformat.read(path, as_version=4).metadata
    return notebook


def main() -> None:
    """Write `docs/notebooks/`."""
    SHOWN.mkdir(exist_ok=True)
    for path in sorted(SOURCES.glob("*.ipynb")):
        nbformat.write(executed(path), SHOWN / path.name)
        sys.stdout.write(f"{path.name}\n")


if __name__ == "__main__":
    main()
