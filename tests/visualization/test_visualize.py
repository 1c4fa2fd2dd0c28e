import dataclasses
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from src.files import replace_files
from src.layout import PACKED_DIR, PIPELINE_RUN, RunFolder
from src.visualization.reporting.figures import FIGURES
from src.visualization.visualize import visualize

RUN = RunFolder(PIPELINE_RUN)
PROJECT_ROOT = Path(__file__).resolve().parents[2]

NO_TORCH = """
import sys
from src.compose import compose
from src.selection import Selection
from src.visualization.visualize import visualize
visualize(compose(Selection()))
sys.exit(", ".join(sorted({"torch", "timm", "torchvision", "wandb"} & set(sys.modules))) or 0)
"""


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_gets_its_figures_and_its_page_and_the_log_names_them(drawn_run, cfg, caplog):
    root = drawn_run()
    with caplog.at_level(logging.INFO, logger="src"):
        visualize(cfg)
    expected = {f"figures/pipeline/{name}.png" for name in FIGURES} | {"pipeline/index.html"}
    assert set(files(root / "reports")) == expected
    assert str(RUN.report / "index.html") in caplog.text


def test_run_dir_names_the_run_to_report(drawn_run, cfg):
    root = drawn_run()
    shutil.copytree(RUN.path, "models/runs/second")
    visualize(dataclasses.replace(cfg, run_dir="models/runs/second"))
    assert "Run second:" in (root / "reports/second/index.html").read_text("utf-8")
    assert not (root / "reports/pipeline").exists()


def test_a_fault_half_way_leaves_the_old_page_and_figures_whole(drawn_run, cfg):
    root = drawn_run()
    visualize(cfg)
    before = files(root / "reports")
    pixels = PACKED_DIR / "train" / "images-000.npy"
    pixels.write_bytes(pixels.read_bytes()[:200])
    with pytest.raises(ValueError, match="run build_features again"):
        visualize(cfg)
    assert files(root / "reports") == before


def test_replaced_files_are_all_that_is_left_in_the_folder(tmp_path):
    folder = tmp_path / "figures"
    replace_files(folder, {"a.png": b"old", "gone.png": b"old"})
    replace_files(folder, {"a.png": b"new", "b.png": b"new"})
    assert files(tmp_path) == {"figures/a.png": b"new", "figures/b.png": b"new"}


def test_a_report_imports_no_torch(drawn_run):
    root = drawn_run()
    environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert (root / "reports/pipeline/index.html").exists()
