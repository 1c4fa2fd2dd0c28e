"""Functions and files stay small enough to be read at one sight."""

import ast
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "src").rglob("*.py"))

MOST_FILE_LINES = 300
MOST_FUNCTION_LINES = 60


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body, its docstring left out."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_and_its_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_FILE_LINES
    long = {node.name: code_lines(node) for node in functions(path) if code_lines(node) > MOST_FUNCTION_LINES}
    assert long == {}


def test_half_of_the_functions_have_less_than_ten_lines_and_nine_in_ten_less_than_thirty() -> None:
    lines = sorted(code_lines(node) for path in FILES for node in functions(path))
    assert statistics.median(lines) < 10
    assert lines[int(0.9 * len(lines))] < 30
