"""Every target of the Makefile is told by `make` alone and runs; those that need long or a network say so."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import ROOT, Project, copy_project, environment

TEXT = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = {name for line in re.findall(r"^\.PHONY: (.*)$", TEXT, re.M) for name in line.split()}

# where each target is run for real
RUN_HERE = {"help", "format", "clean", "doctor", "test", "test-all", "lint", "requirements", "create_environment"}
RUN_ELSEWHERE = {
    "data": "tests/test_pipeline_dvc.py",
    "features": "tests/test_pipeline_dvc.py",
    "train": "tests/test_pipeline_dvc.py",
    "predict": "tests/test_pipeline_dvc.py",
    "report": "tests/test_pipeline_dvc.py",
    "reset-params": "tests/test_pipeline_dvc.py",
    "sweep": "tests/models/test_sweep.py",
    "plan": "tests/models/test_plan_run.py",
    "compare": "tests/test_compare_targets.py",
    "cost": "tests/test_compare_targets.py",
    "why": "tests/test_compare_targets.py",
    "runs": "tests/test_compare_targets.py",
    "promote": "tests/test_compare_targets.py",
}
# checked by `make --dry-run` alone, and why
DRY_ONLY = {
    "docs": "the documentation has a test of its own that builds it",
    "notebooks": "calls the test of the notebooks",
    "bench": "measures speed for minutes",
    "serve": "answers until Ctrl-C; tests/models/serving/test_process.py runs the command",
    "monitor": "tests/visualization/test_monitor.py runs the verb",
    "relabel": "serves a page until Ctrl-C; tests/visualization/test_relabel.py runs the command",
    "verify": "tests/test_storage.py runs the command",
    "label-issues": "tests/test_pipeline_dvc.py runs its stages",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return copy_project(tmp_path_factory.mktemp("make") / "project")


def test_make_alone_prints_help_and_needs_no_python():
    done = subprocess.run(
        ["make", "PYTHON=/no/such/python", "BASE_PYTHON=/no/such/python"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("Image classification")
    assert "Nothing to be done" not in done.stdout


def test_help_tells_every_target_and_no_other():
    told = set(re.findall(r"(?:^ {2}|; )make ([\w-]+) ", subprocess.check_output(["make"], cwd=ROOT, text=True), re.M))
    assert told == TARGETS - {"help"}


def test_every_target_is_run_by_a_test():
    assert RUN_HERE | set(RUN_ELSEWHERE) | set(DRY_ONLY) == TARGETS
    for target, path in RUN_ELSEWHERE.items():
        assert f'.make("{target}"' in (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_target_expands_to_commands_of_the_given_interpreter(target):
    command = ["make", "--dry-run", target, f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    if target not in ("help", "create_environment", "requirements"):
        assert sys.executable in done.stdout
        assert "src.install" not in done.stdout


def test_no_recipe_calls_a_tool_that_windows_lacks():
    recipes = [line for line in TEXT.splitlines() if line.startswith("\t")]
    words = set(re.findall(r"[\w./-]+", " ".join(re.sub(r'-c ".*"', "", line) for line in recipes)))
    assert (
        words & {"sed", "find", "which", "tput", "grep", "rm", "mkdir", "touch", "cp", "mv", "cat", "test", "awk"}
        <= set()
    )
    assert not any(token in line for line in recipes for token in ("&&", "||", "2>", "; then"))


@pytest.mark.skipif(os.name == "nt", reason="names the interpreter as Linux and macOS have it")
def test_without_an_interpreter_the_environment_is_made_first(project):
    said = project.run("make", "--dry-run", "train")
    assert said.index("-m venv .venv") < said.index("-m src.install") < said.index('".venv/bin/python" -m src.pipeline')
    (project.root / ".venv").mkdir()
    (project.root / ".venv" / "installed.txt").touch()
    try:
        said = project.run("make", "--dry-run", "train")
        assert said.strip() == '".venv/bin/python" -m src.pipeline repro predict_model'
        os.utime(project.root / "requirements.txt")
        os.utime(project.root / ".venv" / "installed.txt", (1, 1))
        assert "-m src.install" in project.run("make", "--dry-run", "train")
    finally:
        (project.root / ".venv" / "installed.txt").unlink()
        (project.root / ".venv").rmdir()


def test_an_old_python_is_refused_before_anything_is_made(project, tmp_path):
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\necho 'Python 3.11 or newer is needed and python3.9 is 3.9.1' >&2\nexit 1\n")
    old.chmod(0o755)
    said = project.run("make", "requirements", f"BASE_PYTHON={old}", ok=False)
    assert "Python 3.11 or newer is needed" in said
    assert not (project.root / ".venv").exists()


def test_format_mends_the_style(project):
    path = project.root / "src" / "choices.py"
    tidy = path.read_text(encoding="utf-8")
    path.write_text(tidy + "\n\nX   = 'a'\n", encoding="utf-8")
    project.make("format")
    assert path.read_text(encoding="utf-8") == tidy + '\n\nX = "a"\n'
    path.write_text(tidy, encoding="utf-8")


@pytest.mark.parametrize("target", ["test", "test-all"])
def test_pytest_is_called_and_ends_with_its_summary(project, target):
    said = project.make(target, "tests/test_choices.py --no-cov -p no:cacheprovider")
    assert re.search(r"\d+ passed in [\d.]+s\s*$", said)


def test_a_failing_test_fails_make(project):
    (project.root / "tests" / "test_bad.py").write_text("def test_bad():\n    assert False\n", encoding="utf-8")
    try:
        assert "1 failed" in project.make("test", "tests/test_bad.py", ok=False)
    finally:
        (project.root / "tests" / "test_bad.py").unlink()


def test_too_little_coverage_fails_make(project):
    said = project.make("test-all", "tests/test_choices.py", ok=False)
    assert "total of" in said or "Required test coverage of 90" in said


def test_clean_removes_caches(project):
    (project.root / ".mypy_cache").mkdir(exist_ok=True)
    assert ".mypy_cache" in project.make("clean")
    assert not (project.root / ".mypy_cache").exists()


def test_requirements_with_an_interpreter_installs_nothing(project):
    assert project.make("requirements").strip() == "everything that requirements.txt pins is installed"


@pytest.mark.slow
def test_doctor_finds_nothing_in_the_way(project):
    said = project.make("doctor")
    assert "ok       torch" in said
    assert "nothing stands in the way" in said


@pytest.mark.slow
def test_lint_is_clean_and_finds_a_fault(project):
    project.make("lint")
    path = project.root / "src" / "choices.py"
    tidy = path.read_text(encoding="utf-8")
    path.write_text(tidy + "\n\ndef f(a):\n    print(a)\n", encoding="utf-8")
    said = project.make("lint", ok=False)
    assert "ANN001" in said
    assert "T201" in said
    path.write_text(tidy, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="names the interpreter as Linux and macOS have it")
def test_the_environment_is_made_once_and_then_found(tmp_path):
    if subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "iniconfig"], cwd=tmp_path, check=False
    ).returncode:
        pytest.skip("no package index within reach")
    project = copy_project(tmp_path / "project")
    (project.root / "requirements.txt").write_text("iniconfig\n", encoding="utf-8")
    setup = "from setuptools import setup\nsetup(name='image-classification', version='0', packages=['src'])\n"
    (project.root / "setup.py").write_text(setup, encoding="utf-8")
    base = f"BASE_PYTHON={Path(sys.executable).resolve()}"
    said = project.run("make", "requirements", base)
    assert said.startswith("installing into .venv")
    project.run(".venv/bin/python", "-c", "import iniconfig, src")
    stamp = (project.root / ".venv/installed.txt").stat().st_mtime_ns
    assert "installing" not in project.run("make", "requirements", base)
    assert (project.root / ".venv/installed.txt").stat().st_mtime_ns == stamp
    (project.root / ".venv/left-over").touch()
    project.run("make", "create_environment", base)
    assert not (project.root / ".venv/left-over").exists()
    assert (project.root / ".venv/installed.txt").exists()


def test_the_ci_script_lints_and_runs_every_test():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    assert lines[-2:] == ["make lint", "make test-all"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_environment_of_these_tests_finds_the_interpreter_first():
    assert environment()["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
