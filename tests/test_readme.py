"""Every command of the README runs, in its order, as a reader would type it; one that cannot says why."""

import re
import shlex
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from src.compose import compose
from src.pipeline import split_args
from src.selection import groups, parse_multirun
from tests.project import ROOT, Project, copy_project, draw_image, environment

README = (ROOT / "README.md").read_text(encoding="utf-8")

NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
LINK = re.compile(r"\]\(([^)#\s]+)")
CLASSES = {"cat": "left", "dog": "right"}
PER_CLASS = 12


@dataclass(frozen=True)
class Command:
    """One line of a bash block; `not_run` is the reason given above the block, or empty."""

    line: int
    text: str
    not_run: str = ""


def commands(markdown: str) -> list[Command]:
    """The commands of all bash blocks, in order."""
    lines = markdown.splitlines()
    found: list[Command] = []
    reason: str | None = None
    for number, text in enumerate(lines, start=1):
        if reason is None and text == "```bash":
            above = NOT_RUN.fullmatch(lines[number - 2])
            reason = above[1] if above else ""
        elif text == "```":
            reason = None
        elif reason is not None and text:
            found.append(Command(number, text, reason))
    return found


COMMANDS = commands(README)


def overrides(text: str) -> list[str]:
    """The Hydra overrides that a command hands on, to make, to a verb or to DVC."""
    words = shlex.split(text)
    if words[0] == "make":
        given = [word.removeprefix("ARGS=") for word in words if word.startswith("ARGS=")]
        # some targets take run folders besides
        return [word for args in given for word in split_args(args) if "=" in word]
    if words[0] == "dvc":
        chosen = [after for word, after in pairwise(words) if word == "-S"]
        return [word.removeprefix("++set.") for word in chosen]
    if words[:2] == ["python", "-m"] and words[2].startswith("src."):
        return [word for word in words[3:] if "=" in word]
    return []


def test_a_block_is_run_unless_the_line_above_it_says_why_not() -> None:
    text = "<!-- not run: needs a network -->\n```bash\none\n\ntwo\n```\n\n```bash\nthree\n```\n```text\nfour\n```\n"
    assert commands(text) == [
        Command(3, "one", "needs a network"),
        Command(5, "two", "needs a network"),
        Command(9, "three"),
    ]
    assert len([command for command in COMMANDS if not command.not_run]) > 25


@pytest.mark.parametrize("command", [c for c in COMMANDS if overrides(c.text)], ids=lambda c: f"line {c.line}")
def test_overrides_of_a_command_make_a_valid_configuration(command: Command) -> None:
    given = overrides(command.text)
    if any(override.startswith("data.path=") for override in given):
        assert any(override.startswith(("data=folder", "experiment=")) for override in given)
    for selection in parse_multirun(given):
        compose(selection)


def test_every_target_that_is_named_exists_and_every_target_is_named() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name for line in re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE) for name in line.split()}
    named = set(re.findall(r"`make ([\w-]+)", README)) | {
        shlex.split(command.text)[1] for command in COMMANDS if command.text.startswith("make ")
    }
    assert named == targets - {"help"}


def test_every_network_preset_is_named() -> None:
    text = README.partition("Presets: ")[2].partition("Any other model of timm")[0]
    assert set(re.findall(r"`(\w+)`", text)) == set(groups()["model"]) - {"timm"}


def test_every_file_that_is_linked_exists() -> None:
    linked = [link for link in LINK.findall(README) if "://" not in link]
    absent = [link for link in linked if not (ROOT / link).exists()]
    assert absent == []
    assert len(linked) >= 6


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy in which a run takes one epoch unless a command says otherwise, with the images that commands name."""
    copy = copy_project(tmp_path_factory.mktemp("readme") / "project")
    default = copy.root / "configs/train/default.yaml"
    default.write_text(re.sub(r"^epochs: \d+$", "epochs: 1", default.read_text(), flags=re.MULTILINE))
    copy.commit("a fresh clone")
    (copy.root / ".git/info/exclude").write_text("/photos*\n/pets*\n/new\n/weights*\n/answers*\n")
    draw_files(copy.root)
    return copy


def draw_files(root: Path) -> None:
    """`photos`, `photos.zip`, `pets.tar.gz`, `new` with a damaged file, and `weights.safetensors`."""
    rng = np.random.default_rng(0)
    for label, bright in CLASSES.items():
        (root / "photos" / label).mkdir(parents=True)
        for index in range(PER_CLASS):
            draw_image(root / f"photos/{label}/{index}.png", rng, bright=bright, size=32)
    drawn = sorted((root / "photos").glob("*/*.png"))
    with zipfile.ZipFile(root / "photos.zip", "w") as archive:
        for path in drawn:
            archive.write(path, path.relative_to(root))
    with tarfile.open(root / "pets.tar.gz", "w:gz") as packed:
        for path in drawn:
            packed.add(path, f"train/{path.parent.name}.{path.stem}.jpg")
    rows = [f"{path.relative_to(root).as_posix()},{path.parent.name}" for path in drawn]
    (root / "photos.csv").write_text("\n".join(["path,label", *rows]) + "\n", encoding="utf-8")
    (root / "new").mkdir()
    draw_image(root / "new/one.jpg", rng, bright="left", size=40)
    (root / "new/two.jpg").write_bytes((root / "new/one.jpg").read_bytes()[:400])
    draw_weights(root / "weights.safetensors")


def draw_weights(path: Path) -> None:
    """Random weights of mobilenetv2_100 with a head of five classes."""
    import timm
    from safetensors.torch import save_file

    save_file(timm.create_model("mobilenetv2_100", num_classes=5).state_dict(), path)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: f"line {c.line}: {c.text}")
def test_command_runs(project: Project, command: Command) -> None:
    if command.not_run:
        pytest.skip(f"{command.text}: {command.not_run}")
    text = re.sub(r"^make\b", f'make PYTHON="{sys.executable}"', command.text)
    done = subprocess.run(
        text, shell=True, cwd=project.root, env=environment(), capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Traceback" not in said


@pytest.mark.slow
def test_commands_leave_what_the_readme_says(project: Project) -> None:
    answers = (project.root / "answers.csv").read_text(encoding="utf-8").splitlines()
    assert len(answers) == 2
    assert answers[0].startswith("id,pred,prob,prob_cat,prob_dog")
    assert (project.root / "reports/pipeline/index.html").exists()
    assert (project.root / "reports/first/index.html").exists()
    assert (project.root / "models/runs/first/new/new.csv").exists()
    assert len(list((project.root / "models/runs").glob("*-residual_cnn*"))) == 2
    assert project.dvc("queue", "status").count("Success") == 2
    assert (project.root / "docs/_build/html/index.html").exists()
    assert not (project.root / "models/pipeline/wandb").exists()
