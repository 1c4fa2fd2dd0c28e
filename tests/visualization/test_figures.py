import io
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from src.layout import PIPELINE_RUN, RunFolder
from src.visualization.rendering import png, svg
from src.visualization.reporting.confusions import confused_pairs, confusion_matrix
from src.visualization.reporting.evidence import Evidence, confusion_of, gather, mistakes_of
from src.visualization.reporting.figures import FIGURES, PANELS, class_counts, mistakes, samples, training_curves
from src.visualization.theme import PAGE, PRINT, css_variables, drawn_in

RUN = RunFolder(PIPELINE_RUN)
ODD_NAMES = ["<script>alert(1)</script>", "猫 и собака", "$\\frac{1$", "ひ" * 40, "line\nbreak"]


@pytest.fixture
def evidence(drawn_run, cfg) -> Evidence:
    drawn_run()
    return gather(RUN, cfg.report)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def lines(axes) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in axes.lines}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_becomes_a_png_that_is_not_blank(evidence, name):
    image = Image.open(io.BytesIO(png(FIGURES[name], evidence))).convert("L")
    assert min(image.size) > 50
    assert image.getextrema()[0] < 128 < image.getextrema()[1]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_takes_class_names_of_any_script_without_a_warning(drawn_run, cfg, name):
    drawn_run(class_names=ODD_NAMES)
    evidence = gather(RUN, cfg.report)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert png(FIGURES[name], evidence)


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize(
    "changes",
    [
        {"per_class": {"train": 5, "test": 4}},
        {"unlabelled": ("test", "val")},
        {"without_test_images": ("cross",)},
        {"wrong_every": 0},
        {"class_names": [f"class {number:03d}" for number in range(70)], "per_class": {"train": 1, "test": 1}},
    ],
    ids=["no val", "no labels", "a class without test images", "no mistake", "many classes"],
)
def test_every_figure_can_be_drawn_of_unusual_runs(drawn_run, cfg, name, changes):
    drawn_run(**changes)
    assert png(FIGURES[name], gather(RUN, cfg.report))


def test_sample_grid_has_the_asked_number_of_images_of_each_class(evidence):
    axes = samples(evidence, PRINT).axes[0]
    assert len(axes.images) == 3 * evidence.settings.samples_per_class
    assert [text.get_text() for text in axes.texts] == ["circle", "cross", "square"]


def test_images_of_few_pixels_are_drawn_sharp_and_photographs_smooth(drawn_run, cfg):
    drawn_run()
    small = samples(gather(RUN, cfg.report), PRINT).axes[0].images[0].get_interpolation()
    drawn_run(size=96)
    large = samples(gather(RUN, cfg.report), PRINT).axes[0].images[0].get_interpolation()
    assert (small, large) == ("nearest", "antialiased")


def test_bars_of_class_counts_are_as_wide_as_the_counts(evidence):
    axes = class_counts(evidence, PRINT).axes[0]
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in axes.containers}
    assert widths == {"train": [7, 7, 7], "val": [3, 3, 3], "test": [5, 5, 5]}
    assert [text.get_text() for text in axes.texts] == ["15", "15", "15"]


def test_unlabelled_images_have_a_bar_of_their_own(drawn_run, cfg):
    drawn_run(per_class={"train": 7, "val": 3, "test": 5, "predict": 2}, unlabelled=("predict",))
    axes = class_counts(gather(RUN, cfg.report), PRINT).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()][-1] == "(unlabelled)"
    assert axes.containers[3][3].get_width() == 6


def test_training_curves_hold_the_logged_values_and_mark_the_best_epoch(evidence):
    loss, accuracy, rate = training_curves(evidence, PRINT).axes
    assert lines(loss)["train"] == pytest.approx([1.0, 0.5, 1 / 3, 0.25])
    assert lines(accuracy)["val"] == pytest.approx([0.5, 0.5, 0.8, 0.5])
    assert lines(rate)["lr"] == pytest.approx([0.1, 0.05, 0.1 / 3, 0.025])
    best = next(line for line in accuracy.lines if line.get_label() == "best epoch")
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([3], [0.8])


def test_training_curves_without_a_val_split_show_train_alone(drawn_run, cfg):
    drawn_run(per_class={"train": 5, "test": 4})
    loss, accuracy, _ = training_curves(gather(RUN, cfg.report), PRINT).axes
    assert list(lines(loss)) == ["train"]
    assert list(lines(accuracy)) == ["train"]


def test_texts_of_the_confusion_matrix_are_its_counts_and_row_shares(evidence):
    counts = confusion_of(evidence.scored)
    shown = texts(confusion_matrix(evidence, PRINT))
    expected = []
    for row in counts:
        for number in row[row > 0]:
            expected += [str(number), f"{100 * number / row.sum():.0f} %"]
    assert shown == expected
    assert counts.sum() == 15
    assert counts.trace() < 15


@pytest.mark.parametrize(("num_classes", "texts_per_class"), [(12, 2), (20, 1), (21, 0)])
def test_confusion_matrix_drops_numbers_that_could_not_be_read(drawn_run, cfg, num_classes, texts_per_class):
    names = [f"class {number:02d}" for number in range(num_classes)]
    drawn_run(class_names=names, per_class={"train": 1, "test": 1}, wrong_every=0)
    shown = texts(confusion_matrix(gather(RUN, cfg.report), PRINT))
    assert len(shown) == texts_per_class * num_classes


def test_confused_pairs_are_wrong_cells_with_most_images_first():
    counts = np.array([[90, 2, 0], [5, 80, 1], [0, 0, 70]])
    assert confused_pairs(counts, 2) == [(1, 0, 5), (0, 1, 2)]
    assert confused_pairs(np.diag([3, 4]), 2) == []


def test_mistakes_show_the_asked_number_of_images_with_label_prediction_and_probability(evidence):
    axes = mistakes(evidence, PRINT).axes[0]
    surest = mistakes_of(evidence.scored)[0]
    assert len(axes.images) == evidence.settings.num_mistakes
    assert texts(axes.figure)[:2] == [f"{surest.label} → {surest.pred}", "95.0 %"]
    assert np.array_equal(axes.images[0].get_array(), evidence.pixels("test", [surest.id])[0])


def test_no_mistake_is_told_in_words(drawn_run, cfg):
    drawn_run(wrong_every=0)
    figure = mistakes(gather(RUN, cfg.report), PRINT)
    assert [text.get_text() for text in figure.texts] == ["No mistake on 15 images of the test split."]


@pytest.mark.parametrize("name", PANELS)
def test_every_panel_takes_its_colours_from_the_page(evidence, name):
    element = svg(PANELS[name], evidence, name=name, label="a < b")
    assert "var(--ink)" in element
    assert not [colour for colour in css_variables(PAGE) if colour in element]
    assert 'aria-label="a &lt; b"' in element
    assert "metadata" not in element


def test_settings_of_the_theme_end_with_its_context():
    import matplotlib

    before = dict(matplotlib.rcParams)
    with drawn_in(PAGE):
        assert matplotlib.rcParams["text.parse_math"] is False
    assert dict(matplotlib.rcParams) == before
