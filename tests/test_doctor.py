import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from src import doctor
from tests.project import ROOT

GIB = 2**30
SECRET = "s3cret-value"


def states(findings):
    return [(finding.state, finding.what) for finding in findings]


@pytest.mark.slow
def test_this_machine_is_examined_in_full():
    found = doctor.examine(ROOT, {}, ROOT / "no-such-home")
    assert {finding.what for finding in found} >= {
        "python", "packages", "torch", "device", "cores", "memory", "disk", "wandb", "kaggle", "weights", "params",
        "git", "pipeline",
    }  # fmt: skip
    assert [finding for finding in found if finding.state == "problem" and finding.what not in ("git", "disk")] == []
    assert all(finding.text and "\n" not in finding.text for finding in found)


def test_a_missing_package_is_a_problem_and_another_version_a_note(tmp_path):
    pins = (
        f"numpy=={version('numpy')}   # a\nno-such-package==1.0\npytest==0.1\nabsent==1 ; sys_platform == 'nowhere'\n"
    )
    (tmp_path / "requirements.txt").write_text(pins)
    found = doctor.packages(tmp_path / "requirements.txt")
    assert states(found) == [("problem", "packages"), ("note", "packages")]
    assert found[0].text == "not installed: no-such-package; run: make requirements"
    assert found[1].text == f"other than tested: pytest {version('pytest')} (tested: 0.1)"


def test_packages_as_pinned_are_fine(tmp_path):
    (tmp_path / "requirements.txt").write_text(f"numpy=={version('numpy')}\n")
    assert states(doctor.packages(tmp_path / "requirements.txt")) == [("ok", "packages")]


def test_a_torch_that_does_not_import_is_reported_with_its_reason(tmp_path):
    broken = tmp_path / "python"
    broken.write_text(
        f"#!{sys.executable}\nraise SystemExit('RuntimeError: operator torchvision::nms does not exist')\n"
    )
    broken.chmod(0o755)
    (found,) = doctor.networks(str(broken))
    assert found.state == "problem"
    assert "operator torchvision::nms does not exist" in found.text
    assert "make requirements" in found.text


@pytest.mark.parametrize(
    ("gpus", "mps", "text"),
    [
        ([("H200", 139 * GIB)], False, "H200 (139 GiB)"),
        ([("A", 8 * GIB), ("B", 16 * GIB)], False, "A (8 GiB), B (16 GiB)"),
        ([], True, "Apple GPU (mps)"),
        ([], False, "CPU only: torch sees no GPU"),
    ],
)
def test_the_device_is_named(gpus, mps, text):
    assert doctor._device(gpus, mps=mps).text == text


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_a_problem(tmp_path):
    (tmp_path / "models").mkdir(mode=0o500)
    found = doctor.disk(tmp_path)
    assert ("problem", "disk") in states(found)
    assert "not writable: models" in found[-1].text


@pytest.mark.parametrize(
    ("environ", "files", "place"),
    [
        ({"WANDB_API_KEY": SECRET}, {}, "key in WANDB_API_KEY"),
        ({}, {".netrc": f"machine api.wandb.ai login user password {SECRET}\n"}, "key in ~/.netrc"),
        ({}, {"_netrc": f"machine api.wandb.ai login user password {SECRET}\n"}, "key in ~/_netrc"),
    ],
)
def test_a_wandb_key_is_found_and_never_shown(tmp_path, environ, files, place):
    write(tmp_path, files)
    found = doctor.wandb_key(environ, tmp_path)
    assert (found.state, found.text) == ("ok", place)
    assert SECRET not in found.text


@pytest.mark.parametrize(
    "files", [{}, {".netrc": "machine other.org login a password b\n"}, {".netrc": "machine ( oops"}]
)
def test_without_a_wandb_key_runs_are_kept_offline(tmp_path, files):
    write(tmp_path, files)
    found = doctor.wandb_key({}, tmp_path)
    assert found.state == "note"
    assert "kept offline" in found.text


@pytest.mark.parametrize(
    ("environ", "files", "place"),
    [
        ({"KAGGLE_API_TOKEN": SECRET}, {}, "KAGGLE_API_TOKEN"),
        ({"KAGGLE_USERNAME": "a", "KAGGLE_KEY": SECRET}, {}, "KAGGLE_USERNAME and KAGGLE_KEY"),
        ({}, {".kaggle/access_token": SECRET}, "access_token"),
        ({}, {".kaggle/kaggle.json": SECRET}, "kaggle.json"),
    ],
)
def test_a_kaggle_key_is_found_and_never_shown(tmp_path, environ, files, place):
    write(tmp_path, files)
    found = doctor.kaggle_key(environ, tmp_path)
    assert found.state == "ok"
    assert found.text.endswith(place)
    assert SECRET not in found.text


def test_without_a_kaggle_key_the_way_to_one_is_told(tmp_path):
    found = doctor.kaggle_key({"KAGGLE_USERNAME": "a"}, tmp_path)
    assert found.state == "note"
    assert "KAGGLE_API_TOKEN" in found.text


def test_the_hubs_folder_and_an_offline_hub_are_told():
    assert "/x" in doctor.hub({"HF_HOME": "/x"}).text
    assert doctor.hub({"HF_HUB_OFFLINE": "1"}).state == "note"
    assert doctor.hub({"HF_HUB_OFFLINE": "0"}).state == "ok"


def test_a_selection_that_is_not_valid_is_a_problem(tmp_path):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "params.yaml").write_text("set: {optimizer: {lrr: 1}}\n", encoding="utf-8")
    found = doctor.configuration(tmp_path)
    assert found.state == "problem"
    assert "optimizer.lrr is not a key; did you mean lr?; mend params.yaml or run: make reset-params" in found.text


def test_a_folder_that_is_no_repository_is_a_problem(tmp_path):
    found = doctor.git(tmp_path)
    assert (found.state, found.text) == ("problem", "no repository here, and DVC needs one; run: git init")
    subprocess.run(["git", "init", "-q", "-b", "trunk", str(tmp_path)], check=True)
    (tmp_path / "new").touch()
    assert doctor.git(tmp_path).text == "No commits yet on trunk; 1 changed file"


def test_a_pipeline_that_has_not_run_says_how_to_run_it(tmp_path):
    assert doctor.pipeline(tmp_path).text == "has not run yet; run: make train"


def test_a_pipeline_that_dvc_cannot_read_is_a_problem(tmp_path):
    (tmp_path / "dvc.lock").touch()
    found = doctor.pipeline(tmp_path)
    assert found.state == "problem"


def test_a_check_that_cannot_be_made_is_a_problem_and_the_others_go_on():
    def check():
        raise ImportError("No module named 'psutil'")

    (found,) = doctor._examined("memory", check)
    assert found.text == "cannot be examined (No module named 'psutil'); run: make requirements"


def test_problems_end_in_exit_code_1(tmp_path, capsys):
    (tmp_path / "requirements.txt").write_text("no-such-package==1.0\n")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    with pytest.raises(SystemExit) as raised:
        doctor.main(tmp_path)
    assert raised.value.code == 1
    out = capsys.readouterr().out
    assert "problem  packages  not installed: no-such-package; run: make requirements\n" in out
    assert out.endswith("problems: 2\n")


def write(home, files):
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
        (home / name).chmod(0o600)
