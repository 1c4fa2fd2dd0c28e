"""Each notebook is named and kept as it should be, and runs from a clean kernel on a finished run."""

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.project import ROOT, Project

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_BYTES = 600_000

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a kernel that is the interpreter at hand, whatever kernels the machine has."""
    folder = tmp_path / "kernels/python3"
    folder.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Python 3", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    return "python3"


def test_there_is_a_notebook() -> None:
    assert NOTEBOOKS


@each_notebook
def test_notebook_is_named_and_kept_without_outputs(path: Path) -> None:
    assert re.fullmatch(r"\d+\.\d+-[a-z]{2,3}(-[a-z0-9]+)+", path.stem), "number, initials, description"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert [cell.outputs for cell in code_cells(notebook)] == [[]] * len(code_cells(notebook))
    assert {cell.execution_count for cell in code_cells(notebook)} == {None}
    assert notebook.metadata.kernelspec.name == "python3"


@each_notebook
def test_the_documentation_shows_the_notebook_as_it_is_with_small_outputs(path: Path) -> None:
    shown = ROOT / "docs/notebooks" / path.name
    own, there = (nbformat.read(each, as_version=4) for each in (path, shown))
    sources = [[(cell.cell_type, cell.source) for cell in notebook.cells] for notebook in (own, there)]
    assert sources[0] == sources[1], "run: python docs/execute_notebooks.py"
    assert any(cell.outputs for cell in code_cells(there))
    assert shown.stat().st_size < MOST_BYTES
    assert "notebooks/" + path.stem in (ROOT / "docs/notebooks.md").read_text(encoding="utf-8")


@pytest.mark.slow
@each_notebook
def test_notebook_runs_from_a_clean_kernel(path: Path, digits_project: Project, kernel: str) -> None:
    notebook = nbformat.read(digits_project.root / "notebooks" / path.name, as_version=4)
    folder = {"metadata": {"path": str(digits_project.root / "notebooks")}}
    NotebookClient(notebook, kernel_name=kernel, timeout=300, resources=folder).execute()
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    figures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(figures) == sum(cell.source.count("plt.show()") for cell in code_cells(notebook))
    assert told_accuracy(outputs) == scored_accuracy(digits_project.root)


def told_accuracy(outputs: list[nbformat.NotebookNode]) -> str:
    text = "".join(output.text for output in outputs if output.get("name") == "stdout")
    return re.findall(r"test accuracy (\S+) on", text)[0]


def scored_accuracy(root: Path) -> str:
    return f"{json.loads((root / 'models/pipeline/metrics.json').read_text(encoding='utf-8'))['test']['acc']:.4f}"
