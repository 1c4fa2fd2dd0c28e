"""The documentation builds without a warning and says what the code does."""

import csv
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image

from src.doctor import pinned
from src.metrics_log import read_metrics
from src.selection import groups
from src.validation import section_keys
from tests.project import ROOT, Project, copy_project

DOCS = ROOT / "docs"
DICTIONARY = (ROOT / "references/data_dictionary.md").read_text(encoding="utf-8")
FAMILIES = ("MIT", "APACHE", "BSD", "MPL", "CMU")


@pytest.fixture(scope="module")
def configuration(built: Path) -> str:
    """The generated reference."""
    return (built.parent / "docs/configuration.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of HTML pages, built from a copy of what the documentation reads."""
    copy = copy_project(tmp_path_factory.mktemp("docs") / "project")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", "html"]
    done = subprocess.run(command, cwd=copy.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return copy.root / "html"


def test_every_page_is_built_and_reached(built: Path) -> None:
    pages = {path.stem for path in DOCS.glob("*.md")} | {"configuration"}
    assert pages <= {path.stem for path in built.glob("*.html")}
    toctree = (DOCS / "index.md").read_text(encoding="utf-8").partition("```{toctree}")[2]
    assert pages - {"index"} == set(re.findall(r"^(\w+)$", toctree, re.MULTILINE))


def test_reference_shows_what_stands_in_angle_brackets(built: Path) -> None:
    assert "models/runs/&lt;id&gt;" in (built / "configuration.html").read_text(encoding="utf-8")


def test_reference_has_every_key_of_the_schema(configuration: str) -> None:
    shown = set(re.findall(r"^\| `([\w.]+)` \|", configuration, re.MULTILINE))
    for section in section_keys(()):
        for name in section_keys((section,)) or [""]:
            for inner in section_keys((section, name)) or [""]:
                assert ".".join(filter(None, (section, name, inner))) in shown


def test_reference_shows_ranges_defaults_and_stages(configuration: str) -> None:
    def row(key: str) -> list[str]:
        line = re.findall(rf"^\| `{re.escape(key)}` \|.*$", configuration, re.MULTILINE)[0]
        return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]

    assert row("optimizer.lr")[1:4] == ["number", "above 0", "`0.002`"]
    assert row("data.val_share")[1:4] == ["number", "at least 0, below 1", "`0.15`"]
    assert row("train.precision")[2] == "`auto`, `fp32`, `bf16`, `fp16`"
    assert row("run.wandb.mode")[3] == '`"auto"`'
    assert row("model.mean")[1:4] == ["list of number or null", "3 of them", "`null`"]
    assert all(row(f"{section}.{section_keys((section,))[0]}")[4] for section in ("data", "model", "train"))
    for section, stages in {"data": "`fetch_data`, `make_dataset`", "train": "`train_model`", "run": "nothing"}.items():
        assert f"Re-runs: {stages}." in configuration.partition(f"## {section}\n")[2].partition("\n## ")[0]


def test_reference_has_every_preset_and_every_entry_of_the_tables(configuration: str) -> None:
    for group, presets in groups().items():
        text = configuration.partition(f"## {group}\n")[2].partition("\n## ")[0]
        assert len(presets) < 2 or all(f"| `{preset}` |" in text for preset in presets), group
    for entry in ("pad_crop", "cutmix", "bce", "cosine", "residual_cnn"):
        assert f"| `{entry}` |" in configuration


def test_stages_of_the_pipeline_page_are_those_of_dvc() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", (DOCS / "pipeline.md").read_text(encoding="utf-8"), re.MULTILINE)
    written = {stage: set(re.findall(r"`([^`]+)`", outs)) for stage, outs in rows}
    assert list(written) == list(stages)
    for stage, settings in stages.items():
        outs = [*settings.get("outs", []), *settings.get("metrics", [])]
        assert {name for out in outs for name in ([out] if isinstance(out, str) else out)} == written[stage]


def test_messages_that_troubleshooting_explains_are_those_of_the_code() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
    said = re.sub(r'"\s*\n\s*f?"', "", sources)
    ours = (DOCS / "troubleshooting.md").read_text(encoding="utf-8").partition("## Messages of other programs")[0]
    rows = re.findall(r"^\| `([^`]+)` \|", ours, re.MULTILINE)
    parts = [part.strip(" (),.") for row in rows for part in row.split("...")]
    assert len(rows) > 12
    assert [part for part in parts if part not in said] == []


# plugins of DVC for services that no test here can reach
NOT_INSTALLED = ("dvc-gs", "dvc-ssh")


def test_every_dependency_has_a_line_with_its_licence() -> None:
    text = (DOCS / "decisions.md").read_text(encoding="utf-8").partition("## What each dependency does")[2]
    rows = {name.lower(): licence for name, licence in re.findall(r"^\| ([\w.-]+) \|[^|]+\| ([^|]+) \|", text, re.M)}
    del rows["package"]
    declared = re.findall(r'"([A-Za-z0-9._-]+)[<>=]', (ROOT / "setup.py").read_text(encoding="utf-8"))
    declared = [name for name in declared if name not in NOT_INSTALLED]
    pins = pinned((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    assert {name.lower().replace("huggingface-hub", "huggingface_hub") for name in declared} <= set(rows)
    assert set(rows) <= {name.lower() for name in pins}
    for name, licence in rows.items():
        stated = stated_licence(name)
        unknown = [family for family in FAMILIES if family in licence.upper() and family not in stated]
        assert unknown == [], f"{name}: {stated[:80]}"


def stated_licence(name: str) -> str:
    """What the installed package says of its licence, in upper case."""
    facts = importlib.metadata.metadata(name)
    classifiers = [text for text in facts.get_all("Classifier") or [] if text.startswith("License")]
    return " ".join([facts.get("License-Expression") or "", facts.get("License") or "", *classifiers]).upper()


def dictionary(heading: str) -> set[str]:
    """The columns or keys that the data dictionary lists under a heading."""
    text = DICTIONARY.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))


def names_in(tree: object, prefix: str = "") -> set[str]:
    """Dotted names of everything in a JSON tree."""
    if not isinstance(tree, dict) or not tree:
        return {prefix}
    return {name for key, value in tree.items() for name in names_in(value, f"{prefix}.{key}" if prefix else str(key))}


# keys that stand only where they were asked for
NOT_ASKED_FOR = {"test.tta"}


def compared(listed: set[str], found: set[str]) -> None:
    """Each name is listed, itself or as part of a listed one, and each listed name is there."""
    listed = listed - NOT_ASKED_FOR
    patterns = {name: re.compile(re.sub(r"<\w+>", "[^.]+", re.escape(name)) + r"(\..+)?") for name in listed}
    unlisted = {name for name in found if not any(pattern.fullmatch(name) for pattern in patterns.values())}
    unseen = {name for name, pattern in patterns.items() if not any(pattern.fullmatch(each) for each in found)}
    assert (unlisted, unseen) == (set(), set())


JSON_FILES = {
    "`data/raw/source/source.json`": "data/raw/source/source.json",
    "`data/interim/dataset/manifest.json`": "data/interim/dataset/manifest.json",
    "`data/interim/dataset/summary.json`": "data/interim/dataset/summary.json",
    "`data/processed/packed/statistics.json`": "data/processed/packed/statistics.json",
    "`data/processed/packed/<split>/index.json`": "data/processed/packed/val/index.json",
    "`<run>/train/run.json`": "models/pipeline/train/run.json",
    "`<run>/train/best/model.json`": "models/pipeline/train/last/model.json",
    "`<run>/metrics.json`": "models/pipeline/metrics.json",
    "`<run>/predictions/reference.json`": "models/pipeline/predictions/reference.json",
}
CSV_FILES = {
    "`data/interim/dataset/quarantine.csv`": "data/interim/dataset/quarantine.csv",
    "`data/interim/dataset/duplicates.csv`": "data/interim/dataset/duplicates.csv",
    "`data/interim/label_issues/suspects.csv`": "data/interim/label_issues/suspects.csv",
    "`<run>/train/curves.csv`": "models/pipeline/train/curves.csv",
    "`<run>/predictions/confusion.csv`": "models/pipeline/predictions/confusion.csv",
    "`<run>/predictions/reliability.csv`": "models/pipeline/predictions/reliability.csv",
    "`<run>/predictions/risk_coverage.csv`": "models/pipeline/predictions/risk_coverage.csv",
    "`<run>/predictions/neighbours.csv`": "models/pipeline/predictions/neighbours.csv",
    "`<run>/predictions/map.csv`": "models/pipeline/predictions/map.csv",
    "`<run>/predictions/slices.csv`": "models/pipeline/predictions/slices.csv",
}
PARQUET_FILES = {
    "`data/interim/dataset/manifest.parquet`": "data/interim/dataset/manifest.parquet",
    "`data/interim/dataset/files.parquet`": "data/interim/dataset/files.parquet",
    "`<run>/predictions/<split>.parquet`": "models/pipeline/predictions/test.parquet",
}
OTHERS = {
    "`data/interim/dataset/audit.json` and `findings.csv`",
    "`data/external/labels_overrides.csv`",
    "`data/processed/folds/predictions.parquet`",
    "`<run>/train/metrics.jsonl`",
    "`<run>/train/augmented.png`",
    "`<run>/predictions/<split>.parquet`, metadata",
    "`<run>/new/<name>.csv`",
    # compared by tests/models/test_soup.py
    "`<run>/train/run.json`, `facts.soup`",
    # compared by tests/models/test_robustness.py
    "`<run>/predictions/corruptions.csv`",
    # compared by tests/features/test_embedder.py
    "`data/processed/packed/embeddings/embeddings.json`",
    # compared by tests/models: test_cross_validation.py, test_lr_range.py, test_search.py and test_variants.py
    "`models/sweeps/<sweep>-<id>/sweep.json`",
    "`models/sweeps/<comparison>-<id>/results.csv`",
    "`models/sweeps/<comparison>-<id>/summary.json`",
    "`models/sweeps/cross_validation-<id>/results.csv`",
    "`models/sweeps/cross_validation-<id>/summary.json`",
    "`models/sweeps/lr_range-<id>/curve.csv`",
    "`models/sweeps/lr_range-<id>/proposal.json`",
    "`models/sweeps/search-<id>/results.csv`",
    "`models/sweeps/search-<id>/summary.json`",
    # compared by tests/models/test_measure_cost.py, tests/test_runs.py and tests/visualization/test_compare.py
    "`<run>/cost.json`",
    "`models/champion.json`",
    # compared by tests/test_request_log.py and tests/visualization/test_monitor.py
    "`data/requests/requests.jsonl`",
    "`reports/monitor/monitor.json`",
    "`<run>/metrics.csv`",
    "`models/experiments/<name>/experiment.json`",
    "`reports/<compare>/table.csv`",
    "`reports/<compare>/comparison.json`",
}


def test_every_file_of_the_dictionary_is_compared() -> None:
    headings = set(re.findall(r"^## (.+)$", DICTIONARY, re.MULTILINE))
    assert headings == {*JSON_FILES, *CSV_FILES, *PARQUET_FILES, *OTHERS}


@pytest.mark.parametrize("heading", JSON_FILES)
def test_dictionary_has_the_keys_of_a_real_run(digits_project: Project, heading: str) -> None:
    tree = json.loads((digits_project.root / JSON_FILES[heading]).read_text(encoding="utf-8"))
    compared(dictionary(heading), names_in(tree))


@pytest.mark.parametrize("heading", CSV_FILES)
def test_dictionary_has_the_columns_of_a_real_run(digits_project: Project, heading: str) -> None:
    with (digits_project.root / CSV_FILES[heading]).open(newline="", encoding="utf-8") as file:
        compared(dictionary(heading), set(next(csv.reader(file))))


@pytest.mark.parametrize("heading", PARQUET_FILES)
def test_dictionary_has_the_columns_and_types_of_a_real_table(digits_project: Project, heading: str) -> None:
    table = pd.read_parquet(digits_project.root / PARQUET_FILES[heading])
    compared(dictionary(heading), set(table.columns))
    text = DICTIONARY.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    for name, kind in re.findall(r"^\| `([^`<]+)` \| ((?:int|float)\d+) \|", text, re.MULTILINE):
        assert str(table[name].dtype) == kind


def test_dictionary_has_the_rows_of_the_metrics_log(digits_project: Project) -> None:
    rows = read_metrics(digits_project.root / "models/pipeline/train/metrics.jsonl")
    assert len(rows) == 2
    compared(dictionary("`<run>/train/metrics.jsonl`"), set(rows[0]))


def test_the_picture_of_the_dictionary_has_the_rows_it_tells_of(digits_project: Project) -> None:
    from src.features.augment_preview import GAP, LINE, MARGIN, TILE

    with Image.open(digits_project.root / "models/pipeline/train/augmented.png") as picture:
        assert picture.height == 2 * MARGIN + LINE + 4 * TILE + 3 * GAP


def test_dictionary_has_what_predictions_carry_and_what_new_images_get(digits_project: Project) -> None:
    table = pd.read_parquet(digits_project.root / "models/pipeline/predictions/val.parquet")
    compared(dictionary("`<run>/predictions/<split>.parquet`, metadata"), set(table.attrs))
    digits_project.make("predict", "predict.images=data/raw/source/digits.zip")
    answers = pd.read_csv(digits_project.root / "models/pipeline/new/digits.csv")
    compared(dictionary("`<run>/new/<name>.csv`"), set(answers.columns))
