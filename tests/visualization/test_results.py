import numpy as np
import pytest

from src.files import read_json, write_json
from src.layout import PIPELINE_RUN, RunFolder
from src.visualization.reporting.evidence import gather, mistakes_of, unsure_hits_of
from src.visualization.reporting.figures import PANELS
from src.visualization.reporting.results import abstention_text, calibration_text, cell, figure_table, interval_text
from src.visualization.theme import PRINT

RUN = RunFolder(PIPELINE_RUN)


@pytest.fixture
def evidence_of(drawn_run, cfg):
    def draw(**changes):
        drawn_run(**changes)
        return gather(RUN, cfg.report)

    return draw


def test_all_splits_stand_side_by_side_with_the_gap_to_train(evidence_of):
    evidence = evidence_of(scores_train=True)
    table = figure_table(evidence)
    assert table["splits"] == ["train", "val", "test"]
    accuracy = next(row for row in table["rows"] if row["name"] == "Accuracy")
    shares = [f"{100 * evidence.metrics[split]['acc']:.1f} %" for split in table["splits"]]
    assert [cell.value for cell in accuracy["cells"]] == shares
    gap = evidence.metrics["train"]["acc"] - evidence.metrics["test"]["acc"]
    assert accuracy["gap"] == f"{100 * gap:+.1f}"
    assert accuracy["cells"][0].interval == ""
    assert " to " in accuracy["cells"][2].interval


def test_a_gap_is_positive_where_train_is_better_whichever_way_a_figure_goes(evidence_of):
    evidence = evidence_of(scores_train=True)
    better = {"acc": 0.9, "loss": 0.25, "brier": 0.1, "ece": 0.01, "aurc": 0.02, "mcc": 0.8}
    worse = {"acc": 0.8, "loss": 0.75, "brier": 0.3, "ece": 0.03, "aurc": 0.05, "mcc": 0.7}
    evidence.metrics["train"] |= better
    evidence.metrics["test"] |= worse
    gaps = {row["name"]: row["gap"] for row in figure_table(evidence)["rows"]}
    told = {"Accuracy": "+10.0", "Log loss": "+0.500", "Brier score": "+0.200", "Calibration error": "+0.020"}
    told |= {"Area under risk-coverage": "+0.030", "Matthews correlation": "+0.100"}
    assert {name: gaps[name] for name in told} == told


def test_without_train_there_is_no_gap(evidence_of):
    table = figure_table(evidence_of())
    assert table["splits"] == ["val", "test"]
    assert not table["has_gap"]
    assert {row["gap"] for row in table["rows"]} == {""}


def test_train_alone_is_never_told_as_the_result(evidence_of):
    evidence = evidence_of(scores_train=True, unlabelled=("test", "val"))
    assert set(evidence.metrics) == {"train"}
    assert evidence.scored is None


def test_a_figure_that_no_split_has_is_no_row_and_one_that_a_split_lacks_has_its_reason(evidence_of):
    evidence = evidence_of()
    assert "Label among the first 3" not in [row["name"] for row in figure_table(evidence)["rows"]]
    lacking = {"roc_auc": None, "undefined": {"roc_auc": "one class"}}
    assert (cell(lacking, "roc_auc").value, cell(lacking, "roc_auc").reason) == ("–", "one class")


def test_an_interval_of_no_width_is_not_told():
    assert interval_text({"interval": {"acc": {"low": 1.0, "high": 1.0}}}, "acc") == ""
    assert interval_text({"interval": {"acc": {"low": 0.9, "high": 0.95}}}, "acc") == "90.0 to 95.0 %"
    assert interval_text({"interval": {"loss": {"low": 0.25, "high": 0.5}}}, "loss") == "0.250 to 0.500"


def test_the_temperature_of_the_checkpoint_that_predicted_is_told(evidence_of):
    evidence = evidence_of(temperature=1.5)
    text = calibration_text(evidence)
    assert "fitted on 9 images of val, is 1.50: the network is too sure of itself" in text
    assert f"{evidence.metrics['test']['calibrated']['ece']:.3f}" in text
    facts = read_json(RUN.checkpoint("best") / "model.json", made_by="")
    write_json(RUN.checkpoint("best") / "model.json", facts | {"sha256": "of other weights"})
    assert gather(RUN, evidence.settings).calibration == {}


def test_a_checkpoint_without_a_temperature_says_why(evidence_of):
    assert calibration_text(evidence_of()) == "No temperature: it was not asked for."


def test_the_threshold_is_told_with_what_became_of_it(evidence_of):
    evidence = evidence_of()
    told = evidence.metrics["test"]["abstention"]
    if told["threshold"] is None:
        evidence.metrics["test"]["abstention"] = {"target_risk": 0.1, "threshold": 0.9, "coverage": 0.4, "risk": 0.05}
    assert "On test that is" in abstention_text(evidence)
    evidence.metrics["test"]["abstention"] = {"target_risk": 0.1, "threshold": 0.9, "coverage": 0.0, "risk": None}
    assert "no image of test has as much" in abstention_text(evidence)
    evidence.metrics["test"] |= {"abstention": {"threshold": None}, "undefined": {"abstention": "there is no val"}}
    assert abstention_text(evidence) == "No threshold: there is no val."


def test_unsure_hits_are_right_and_come_with_the_least_sure_first(evidence_of):
    scored = evidence_of().scored
    hits = unsure_hits_of(scored, 4)
    assert all(hit.label == hit.pred for hit in hits)
    assert [hit.prob for hit in hits] == sorted(hit.prob for hit in hits)
    right = scored.labels == scored.preds
    assert hits[0].prob == pytest.approx(scored.probs.max(axis=1)[right].min())
    assert not {hit.id for hit in hits} & {mistake.id for mistake in mistakes_of(scored)}


def test_the_calibration_panel_has_the_calibrated_curve_only_where_there_is_a_temperature(evidence_of):
    plain, mended = (PANELS["calibration"](evidence_of(temperature=each), PRINT) for each in (None, 2.0))
    assert [line.get_label() for line in mended.axes[0].lines][-1] == "calibrated"
    assert "calibrated" not in [line.get_label() for line in plain.axes[0].lines]


def test_the_risk_panel_ends_at_the_share_of_mistakes_and_its_area_is_the_figure_told(evidence_of):
    evidence = evidence_of()
    curve = PANELS["abstention"](evidence, PRINT).axes[0].lines[0]
    assert np.asarray(curve.get_ydata())[-1] == pytest.approx(1 - evidence.metrics["test"]["acc"])
    # as it is drawn, corners included
    x, y = curve.get_path().vertices.T
    assert x[0] == 0
    assert np.trapezoid(y, x) == pytest.approx(evidence.metrics["test"]["aurc"])
