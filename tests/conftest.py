"""What tests share: real images and weights where they are at hand, and small drawn images where they are not."""

import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

from tests.project import Project, copy_project

# No test but those of the trackers starts the service of W&B.
os.environ.setdefault("WANDB_MODE", "disabled")

# What the make that runs this suite was told is not meant for the makes that tests run.
for variable in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "PIPELINE_ARGS", "ARGS"):
    os.environ.pop(variable, None)

# Of tests that run side by side each has its share of the cores.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if WORKERS > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // WORKERS)))

# The shapes and types in the signatures of the floors with tensors are checked at each call, in tests only.
install_import_hook(["src.features", "src.models"], "beartype.beartype")

PROJECT_ROOT = Path(__file__).resolve().parents[1]


LONGEST_FIRST = (
    "test_readme.py",
    "test_resume.py",
    "test_pipeline_dvc.py",
    "test_launch.py",
    "test_search.py",
    "test_cross_validation.py",
    "test_probe.py",
    "test_docs.py",
    "test_make_dataset.py",
    "test_kaggle_source.py",
    "test_relabel.py",
)
"""Files of tests that take minutes: begun last, one of them would be waited for by itself."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first; tests of one file keep their order."""
    ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The report in UTF-8: damaged archives hold names that no other process could be told."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


def _optional_file(folder_variable: str, beside: str, name: str) -> Path:
    folder = Path(os.environ.get(folder_variable, PROJECT_ROOT.parent / "shared" / beside))
    path = folder / name
    if not path.exists():
        pytest.skip(f"{name} is not at hand: set {folder_variable} to the folder that holds it")
    return path


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Path of a real image archive; skips the test when it is absent."""
    return lambda name: _optional_file("IMAGE_DATA_DIR", "data", name)


@pytest.fixture(scope="session")
def weights_file() -> Callable[[str], Path]:
    """Path of a real weight file; skips the test when it is absent."""
    return lambda name: _optional_file("IMAGE_WEIGHTS_DIR", "weights", name)


@pytest.fixture(scope="session")
def digits_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the project in which every stage has run on the digits, with a small net for two epochs."""
    project = copy_project(tmp_path_factory.mktemp("digits") / "project")
    project.commit("a fresh clone")
    project.make("report", "model=baseline_cnn model.options.width=8 train.epochs=2")
    project.make("data")
    project.make("label-issues")
    return project
