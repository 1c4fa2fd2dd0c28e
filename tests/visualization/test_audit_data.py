import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from src.layout import DATA_AUDIT_PAGE, DATASET_DIR, RAW_DIR
from src.visualization.audit_data import audit_data
from tests.data.audited import drawn_set

PROJECT_ROOT = Path(__file__).resolve().parents[2]

NO_TORCH = """
import sys
from src.compose import compose
from src.selection import Selection
from src.visualization.audit_data import audit_data
audit_data(compose(Selection()))
sys.exit(", ".join(sorted({"torch", "timm", "torchvision", "wandb"} & set(sys.modules))) or 0)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose data set has a near duplicate and nothing packed."""
    monkeypatch.chdir(tmp_path)
    made = drawn_set({"train": 12, "test": 6}, groups=[("near", ["train/cross/1.png", "test/cross/1.png"])])
    made.write(DATASET_DIR, RAW_DIR / "images")
    return tmp_path


def test_the_page_is_written_and_the_log_names_it(project, cfg, caplog):
    with caplog.at_level(logging.INFO, logger="src"):
        audit_data(cfg)
    assert "Copies across splits" in DATA_AUDIT_PAGE.read_text("utf-8")
    assert str(DATA_AUDIT_PAGE) in caplog.text


def test_a_fault_leaves_the_old_page_whole(project, cfg):
    audit_data(cfg)
    before = DATA_AUDIT_PAGE.read_bytes()
    (RAW_DIR / "images/test/cross/1.png").unlink()
    with pytest.raises(ValueError, match="run make_dataset again"):
        audit_data(cfg)
    assert DATA_AUDIT_PAGE.read_bytes() == before
    assert list(DATA_AUDIT_PAGE.parent.iterdir()) == [DATA_AUDIT_PAGE]


@pytest.mark.parametrize("name", ["audit.json", "findings.csv", "duplicates.csv", "files.parquet", "summary.json"])
def test_a_file_that_is_absent_is_named_with_the_verb_that_writes_it(project, cfg, name):
    (DATASET_DIR / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} does not exist; run make_dataset first"):
        audit_data(cfg)


def test_the_page_imports_no_torch(project):
    environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert DATA_AUDIT_PAGE.exists()
