"""A project with two trained runs, and one of them in service."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from src.models.predict_model import predict_model
from src.models.train_model import train_model
from tests.models.conftest import configured, pack_drawn
from tests.models.serving.loopback import RUNS, Live, served


@pytest.fixture(scope="package")
def trained(tmp_path_factory) -> Iterator[Path]:
    """A project with two trained runs, of which the first was scored."""
    root = tmp_path_factory.mktemp("serving")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        pack_drawn(configured())
        for seed, run in enumerate(RUNS):
            train_model(configured(f"run_dir={run.path.as_posix()}", f"train.seed={seed}"))
        predict_model(configured())
        yield root


@pytest.fixture
def within(trained, monkeypatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


@pytest.fixture(scope="module")
def live(trained) -> Iterator[Live]:
    with served(configured("serve.max_pixels=1000000", "serve.max_mib=0.5")) as started:
        yield started
