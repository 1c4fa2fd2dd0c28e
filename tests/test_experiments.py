"""The pipeline's run of a commit or an experiment, read from DVC's cache."""

import pytest

from src.experiments import fetched
from src.runs import chosen, load
from tests.project import Project


@pytest.fixture
def committed(digits_project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project with its results committed, as the working directory."""
    monkeypatch.chdir(digits_project.root)
    digits_project.commit("results")
    return digits_project


@pytest.mark.slow
def test_the_run_of_an_experiment_is_brought_back_whole(committed: Project) -> None:
    committed.dvc("exp", "save", "--force", "--name", "kept")
    (folder,) = chosen(["kept"], least=1)
    assert folder.path.as_posix() == "models/experiments/kept"
    here, there = load(chosen(["models/pipeline"], least=1)[0]), load(folder)
    assert there.record == here.record
    assert there.metrics == here.metrics
    test = there.predictions("test")
    assert test is not None
    assert (test.probs == here.predictions("test").probs).all()
    assert sorted(path.name for path in folder.train.iterdir() if path.is_dir()) == ["best"]
    stamp = (folder.path / "experiment.json").stat().st_mtime_ns
    assert fetched("kept") == folder
    assert (folder.path / "experiment.json").stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_a_commit_without_a_run_and_a_name_that_is_none(committed: Project) -> None:
    first = committed.run("git", "rev-list", "--max-parents=0", "HEAD").split()[0]
    with pytest.raises(ValueError, match=r"has no finished run in models/pipeline; run: dvc exp apply"):
        fetched(first)
    assert fetched("no-such-name") is None


def test_where_there_is_no_repository_nothing_is_found(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert fetched("anything") is None
