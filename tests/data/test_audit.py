"""Every check finds its fault, none cries without one, and the files tell all that was found."""

import json
from collections.abc import Callable

import pandas as pd
import pytest

from src.data.audit import CHECKS, MOST_IDS, audit_text
from src.data.overrides import DROP, Override
from tests.data.audited import CLASS_NAMES, DrawnSet, drawn_set
from tests.data.drawn import settings


def test_clean_data_have_no_finding():
    found = drawn_set().audit()
    assert found.findings == []
    assert found.severities == {"error": 0, "warning": 0, "info": 0}


def across(made: DrawnSet) -> list[str]:
    return [made.ids("train", "cross")[0], made.ids("test", "cross")[0]]


def leak() -> DrawnSet:
    made = drawn_set()
    made.groups = [("exact", across(made))]
    return made


def conflict() -> DrawnSet:
    made = drawn_set()
    made.groups = [("exact", [made.ids("train", "cross")[0], made.ids("train", "circle")[0]])]
    return made


def inside(kind: str) -> DrawnSet:
    made = drawn_set()
    made.groups = [(kind, made.ids("train", "cross")[:2])]
    return made


def to_predict() -> DrawnSet:
    made = drawn_set({"train": 400, "val": 300, "test": 300, "predict": 300})
    made.change(made.images["split"] == "predict", label="")
    made.groups = [("near", [made.ids("train")[0], made.ids("predict")[0]])]
    return made


def missing() -> DrawnSet:
    made = drawn_set()
    return made.change(made.of(made.ids("val", "cross")), label="square")


def uneven() -> DrawnSet:
    made = drawn_set()
    return made.change(made.of(made.ids("test", "cross")[3:]), label="square")


def changed(rows: slice, **columns) -> DrawnSet:
    made = drawn_set()
    return made.change(made.images.index[rows], **columns)


def published(**counts: int) -> DrawnSet:
    about = settings().about.__class__(classes=None, expected={"train": counts}, licence=None, home_page=None)
    return drawn_set().configured(about=about)


def darker() -> DrawnSet:
    made = drawn_set()
    for channel in "rgb":
        made.images.loc[made.images["split"] == "test", f"mean_{channel}"] *= 0.6
    return made


DARK = {"mean_r": 0.0, "mean_g": 0.0, "mean_b": 0.0, "std_r": 0.0, "std_g": 0.0, "std_b": 0.0}

FAULTS: dict[str, Callable[[], DrawnSet]] = {
    "leak": leak,
    "conflicting_labels": conflict,
    "missing_class": missing,
    "expected_counts": lambda: published(circle=334, cross=334, square=331),
    "quarantined": lambda: drawn_set(bad={"train/cross/cut.png": "truncated: 4 bytes are missing"}),
    "blank": lambda: changed(slice(0, 1), **DARK),
    "class_imbalance": uneven,
    "split_shift": darker,
    "small_split": lambda: drawn_set({"train": 200, "test": 99}),
    "overrides_unknown": lambda: drawn_set(overrides=[Override("gone.png", "cross", "Ada", "blurred")]),
    "exact_duplicates": lambda: inside("exact"),
    "near_duplicates": lambda: inside("near"),
    "predict_overlap": to_predict,
    "outlier": lambda: changed(slice(0, 1), width=1200),
    "not_compared": lambda: drawn_set({"train": 200, "test": 40}),
    "wrong_suffix": lambda: changed(slice(0, 1), format="JPEG"),
    "converted": lambda: changed(slice(0, 3), mode="L"),
    "turned": lambda: changed(slice(0, 2), turned=True),
    "overrides_applied": lambda: drawn_set(overrides=[Override("train/circle/0.png", "circle", "Ada", "round")]),
}


@pytest.mark.parametrize("kind", CHECKS)
def test_each_check_finds_its_fault_and_says_what_was_done_and_what_to_do(kind):
    finding = FAULTS[kind]().finding(kind)
    assert finding.count > 0
    assert len(finding.cases) > 0
    assert finding.severity in ("error", "warning", "info")
    for sentence in (finding.text, finding.done, finding.advice):
        assert sentence.endswith(".")
        assert sentence.strip() == sentence
        assert not {"nan", "None", "[", "{"} & set(sentence.split())


@pytest.mark.parametrize("kind", CHECKS)
def test_findings_of_all_kinds_reach_both_files(kind, tmp_path):
    found = FAULTS[kind]().audit()
    found.save(tmp_path)
    told = {one["kind"]: one for one in json.loads((tmp_path / "audit.json").read_text("utf-8"))["findings"]}
    rows = pd.read_csv(tmp_path / "findings.csv", dtype=str, keep_default_na=False)
    assert set(told) == {finding.kind for finding in found.findings} == set(rows["kind"])
    for finding in found.findings:
        assert told[finding.kind]["text"] == finding.text
        assert told[finding.kind]["ids"] == finding.ids[:MOST_IDS]
        here = rows[rows["kind"] == finding.kind]
        assert list(here.columns) == ["kind", "severity", "id", "split", "label", "detail"]
        assert list(here["id"]) == list(finding.cases["id"])
        assert set(here["severity"]) == {finding.severity}


def test_errors_come_before_warnings_and_these_before_notes():
    made = conflict()
    made.bad = {"x.png": "empty file"}
    made.change(made.images.index[50:53], mode="L")
    assert [finding.severity for finding in made.audit().findings] == ["error", "warning", "info", "info"]


def test_what_was_not_found_is_told_too(tmp_path):
    leak().audit().save(tmp_path)
    told = json.loads((tmp_path / "audit.json").read_text("utf-8"))
    assert "leak" not in told["not_found"]
    assert set(told["not_found"]) == set(CHECKS) - {"leak", "exact_duplicates"}
    assert (told["error"], told["warning"], told["info"]) == (1, 0, 1)


def test_files_of_clean_data_can_be_read(tmp_path):
    drawn_set().audit().save(tmp_path)
    assert pd.read_csv(tmp_path / "findings.csv").empty
    assert json.loads((tmp_path / "audit.json").read_text("utf-8"))["findings"] == []


def test_names_with_commas_quotes_and_line_breaks_survive_the_csv(tmp_path):
    name = 'train/"a, b"\n/猫.png'
    made = drawn_set(bad={name: "damaged: , "})
    made.audit().save(tmp_path)
    rows = pd.read_csv(tmp_path / "findings.csv", dtype=str, keep_default_na=False)
    assert list(rows["id"]) == [name]


def test_figures_of_each_split_are_written(tmp_path):
    made = drawn_set({"train": 150, "test": 120})
    made.change(made.images.index[:75], width=24)
    made.audit().save(tmp_path)
    splits = json.loads((tmp_path / "audit.json").read_text("utf-8"))["splits"]
    assert list(splits) == ["train", "test"]
    assert splits["train"]["images"] == 150
    assert splits["train"]["classes"] == dict.fromkeys(CLASS_NAMES, 50)
    assert splits["train"]["width"] == [12, 12, 18, 24, 24]
    assert splits["test"]["aspect"] == [1.2] * 5
    means = made.images[made.images["split"] == "test"][["mean_r", "mean_g", "mean_b"]].mean()
    assert splits["test"]["channel_means"] == pytest.approx(list(means), abs=1e-4)


def test_images_that_are_left_out_are_in_no_figure_of_a_split(tmp_path):
    made = drawn_set()
    made.change(made.of(made.ids("train")[:9]), status="duplicate")
    assert made.audit().statistics["train"]["images"] == 391


def test_the_log_names_errors_and_warnings_and_counts_the_rest():
    made = leak()
    made.change(made.images.index[50:53], mode="L")
    text = audit_text(made.audit())
    assert text.startswith("audit: 1 error, 0 warnings, 2 notes\n")
    assert "error: 1 group of copies (2 images) stands in more than one split: 1 in train and test." in text
    assert "RGB" not in text


def test_corrections_are_told_with_their_author_and_reason():
    gone, kept = "train/circle/0.png", "train/cross/1.png"
    made = drawn_set(overrides=[Override(gone, DROP, "Ada", "blurred"), Override(kept, "cross", "Bob", "no circle")])
    made.change(made.of([gone]), status="dropped")
    finding = made.finding("overrides_applied")
    assert "2 images have a correction" in finding.text
    assert "1 with another label, 1 dropped" in finding.text
    assert list(finding.cases["detail"]) == ["!drop (Ada: blurred)", "cross (Bob: no circle)"]
