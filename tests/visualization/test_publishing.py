"""What a report adds to the views of a run."""

import pytest

from src.compose import compose
from src.layout import PIPELINE_RUN
from src.selection import Selection
from src.visualization.visualize import visualize
from tests.test_trackers import events, scalars

SMALL = {"report.samples_per_class": 2, "report.num_mistakes": 3, "report.dpi": 50, "run.trackers": ["tensorboard"]}


def test_figures_tables_and_final_metrics_reach_the_views_of_a_run(drawn_run):
    root = drawn_run()
    visualize(compose(Selection(values=SMALL)))
    values = {value.tag: value for event in events(root / PIPELINE_RUN) for value in event.summary.value}
    assert values["confusion_matrix"].image.width > 100
    assert values["mistakes"].image.width > 100
    for table, words in {
        "confusion": b"| circle | circle |",
        "per_class": b"interval.recall.low",
        "mistakes": b"| test/",
    }.items():
        assert words in values[f"{table}/text_summary"].tensor.string_val[0]
    found = {tag: (step, value) for tag, step, value in scalars(root / PIPELINE_RUN)}
    assert found["summary/test/acc"] == (40, pytest.approx(11 / 15, abs=1e-4))
    assert "summary/val/macro_f1" in found
    # further figures of a split that are no numbers stay out
    assert not any("per_class" in tag for tag in found)


def test_a_run_without_views_is_reported_all_the_same(drawn_run):
    root = drawn_run()
    visualize(compose(Selection(values=SMALL | {"run.trackers": []})))
    assert (root / "reports/pipeline/index.html").exists()
    left = {"MODEL_CARD.md", "metrics.json", "predictions", "train"}
    assert {path.name for path in (root / PIPELINE_RUN).iterdir()} == left
