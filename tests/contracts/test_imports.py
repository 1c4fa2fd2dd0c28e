"""Imports go down only, have no cycle, are declared, and are what `dvc.yaml` says a stage depends on."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from src.doctor import pinned

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

# these act on a stage only through its params, or only tell what happens
THROUGH_PARAMS = {
    "choices",
    "cli",
    "compose",
    "config",
    "config_compare",
    "config_data",
    "config_predict",
    "config_serve",
    "config_training",
    "contradictions",
    "schema",
    "guard",
    "logs",
    "metrics_log",
    "pipeline",
    "selection",
    "trackers",
    "tracking",
    "trees",
    "validation",
    "wandb_mode",
}
# what a person installs to work on the project, or what comes with a package that is declared
NOT_DECLARED = {"src", "setuptools"}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in SOURCES}


@cache
def imports(path: Path) -> frozenset[str]:
    """Full names that a file imports anywhere in it, type-checking blocks left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return frozenset(found)


@cache
def own_imports(name: str) -> frozenset[str]:
    return frozenset(found for found in imports(MODULES[name]) if found in MODULES and found != name)


def closure(verb: str) -> set[str]:
    """Modules that running the verb can import; packages' own files hold a docstring and are left out."""
    seen: set[str] = set()
    waiting = [verb]
    while waiting:
        name = waiting.pop()
        if name not in seen and name.removeprefix("src.") not in THROUGH_PARAMS:
            seen.add(name)
            waiting += own_imports(name)
    return {name for name in seen if MODULES[name].name != "__init__.py"}


def verb_of(stage: str) -> str:
    return STAGES[stage]["cmd"].split()[2]


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "compose"])
def test_a_stage_depends_on_the_code_that_its_verb_imports(stage: str) -> None:
    modules = [MODULES[name] for name in closure(verb_of(stage))]
    # what lies beside a module and is no code, such as the templates of a page, is read by it
    beside = {
        path for module in modules for path in module.parent.iterdir() if path.is_dir() and not list(path.glob("*.py"))
    }
    read = {path for path in beside if path.name != "__pycache__" and path.parent != ROOT / "src"}
    needed = {path.relative_to(ROOT).as_posix() for path in (*modules, *read)}
    stated = {dep for dep in STAGES[stage].get("deps", []) if dep.startswith("src/")}
    assert stated == needed, f"dvc.yaml, {stage}: add {sorted(needed - stated)}, remove {sorted(stated - needed)}"


def test_compose_depends_on_its_code_and_on_every_preset() -> None:
    code, waiting = {"src.compose"}, ["src.compose"]
    while waiting:
        new = own_imports(waiting.pop()) - code - {"src.guard"}
        code |= new
        waiting += new
    assert set(STAGES["compose"]["deps"]) == {"configs", *(MODULES[name].relative_to(ROOT).as_posix() for name in code)}


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "compose"])
def test_a_verb_reads_no_section_that_its_stage_does_not_list(stage: str) -> None:
    text = MODULES[verb_of(stage)].read_text(encoding="utf-8")
    listed = set(STAGES[stage]["params"][0]["composed.yaml"])
    upstream = {"data", "features"}  # compared with what the data on disk was made with
    assert set(re.findall(r"\bcfg\.(\w+)", text)) - {"run", "run_dir"} <= listed | upstream


def test_the_packages_own_files_hold_no_code() -> None:
    for path in SOURCES:
        if path.name == "__init__.py":
            nodes = ast.parse(path.read_text(encoding="utf-8")).body
            named = [node for node in nodes if not isinstance(node, ast.Expr)]
            assert [ast.unparse(node).split(" = ")[0] for node in named] in ([], ["__version__"]), path


def test_no_import_cycle() -> None:
    state: dict[str, str] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert state.get(name) != "open", f"import cycle: {' -> '.join((*path[path.index(name) :], name))}"
        if name not in state:
            state[name] = "open"
            for target in own_imports(name):
                visit(target, (*path, name))
            state[name] = "done"

    for name in MODULES:
        visit(name, ())


def test_imports_keep_to_their_floors() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("verb", [verb_of(stage) for stage in STAGES])
def test_a_verb_imports_nothing_heavy_before_it_is_called(verb: str) -> None:
    heavy = "torch timm torchvision wandb pandas matplotlib sklearn dvc hydra"
    code = f"import sys, {verb}; sys.stdout.write(' '.join(set('{heavy}'.split()) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"pandas"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def third_party() -> dict[str, str]:
    """Distribution by name, of everything that `src` imports."""
    owners = importlib.metadata.packages_distributions()
    tops = {name.split(".")[0] for path in SOURCES for name in imports(path)}
    found = {top: owners[top][0] for top in tops if top in owners and top not in sys.stdlib_module_names}
    return {top: normal(name) for top, name in found.items() if top not in NOT_DECLARED}


def test_every_package_in_use_is_declared_and_pinned() -> None:
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    declared = {normal(name) for name in re.findall(r'"([A-Za-z0-9._-]+)[<>=]', setup)}
    pins = {normal(name) for name in pinned((ROOT / "requirements.txt").read_text(encoding="utf-8"))}
    used = set(third_party().values())
    assert used <= declared, f"setup.py: add {sorted(used - declared)}"
    # plugins of DVC for services that no test here can reach
    pins |= {"dvc-gs", "dvc-ssh"}
    assert declared <= pins, f"requirements.txt: add {sorted(declared - pins)}"


def test_pins_lie_inside_the_ranges_of_setup() -> None:
    from packaging.requirements import Requirement

    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    pins = {normal(name): pin for name, pin in pinned((ROOT / "requirements.txt").read_text(encoding="utf-8")).items()}
    ranges = [Requirement(text) for text in re.findall(r'"([A-Za-z0-9._-]+[<>=][^"]+)"', setup)]
    ranges = [requirement for requirement in ranges if normal(requirement.name) in pins]
    assert len(ranges) > 15
    assert all(pins[normal(found.name)] in found.specifier for found in ranges)
    assert not any(name.startswith(("nvidia", "cuda", "triton")) for name in pins)
