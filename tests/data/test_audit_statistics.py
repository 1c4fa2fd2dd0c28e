import numpy as np
import pytest

from src.config_data import AboutConfig
from src.data import summary
from src.data.auditing import counts
from src.data.auditing.counts import counts_found
from src.data.auditing.statistics import deviations
from tests.data.audited import drawn_set


def test_deviations_of_normal_values_are_standard_ones_whatever_one_outlier_is():
    values = np.random.default_rng(0).normal(5, 2, 100_001)
    for last in (values[-1], 1e9):
        values[-1] = last
        median, far = deviations(values, step=0.0)
        assert median == pytest.approx(5, abs=0.05)
        assert np.std(far[:-1]) == pytest.approx(1, abs=0.02)


def test_few_other_values_among_equal_ones_are_far_and_many_are_not():
    few = np.array([150.0] * 97 + [300.0] * 3)
    many = np.array([150.0] * 60 + [300.0] * 40)
    assert np.abs(deviations(few, step=0.01)[1]).max() > 8
    assert np.abs(deviations(many, step=0.01)[1]).max() < 8


def test_equal_values_and_differences_below_the_step_are_no_outliers():
    assert np.abs(deviations(np.full(50, 0.3), step=1 / 255)[1]).max() == 0
    assert np.abs(deviations(np.array([0.3] * 49 + [0.301]), step=1 / 255)[1]).max() < 1


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"mean_r": 1.0, "mean_g": 1.0, "mean_b": 1.0}, "brightness 1, the median is 0.49"),
        ({"std_r": 0.6, "std_g": 0.6, "std_b": 0.6}, "contrast 0.6, the median is 0.2"),
        ({"width": 120, "height": 100}, "size 109.5, the median is 10.95"),
        ({"width": 40, "height": 3}, "width by height 13.33, the median is 1.2"),
    ],
)
def test_an_outlier_is_told_by_its_quantity_and_value(columns, words):
    made = drawn_set()
    made.change(made.images.index[7:8], **columns)
    cases = made.finding("outlier").cases
    assert list(cases["id"]) == [made.images["id"][7]]
    assert cases["detail"][0].startswith(words)


def test_half_the_size_is_as_far_as_double_the_size():
    made = drawn_set()
    made.images["width"] = made.images["height"] = 100 + np.arange(1000) % 7
    made.change(made.images.index[:1], width=200, height=200).change(made.images.index[1:2], width=53, height=53)
    details = made.finding("outlier").cases["detail"]
    far = [float(detail.split("(")[1].split()[0]) for detail in details if detail.startswith("size")]
    assert far[0] == pytest.approx(far[1], rel=0.05)


def test_few_images_have_no_outliers():
    made = drawn_set({"train": 10, "test": 9})
    assert "outlier" not in made.change(made.images.index[:1], width=5000).kinds()


@pytest.mark.parametrize("seed", range(20))
def test_splits_drawn_at_random_do_not_differ(seed):
    made = drawn_set({"train": 400, "val": 200, "test": 150})
    order = np.random.default_rng(seed).permutation(len(made.images))
    made.images["split"] = made.images["split"].to_numpy()[order]
    made.images["label"] = made.images["label"].to_numpy()[order[::-1]]
    assert not {"split_shift", "class_imbalance"} & set(made.kinds())


def test_a_darker_split_differs_in_brightness_and_in_nothing_else():
    made = drawn_set({"train": 300, "val": 200, "test": 200})
    for channel in "rgb":
        made.images.loc[made.images["split"] == "test", f"mean_{channel}"] -= 0.1
    finding = made.finding("split_shift")
    assert set(finding.cases["split"]) == {"test"}
    assert {detail.split(":")[0] for detail in finding.cases["detail"]} == {"brightness", "red", "green", "blue"}


def test_a_split_too_small_to_tell_is_named_and_not_accused():
    made = drawn_set({"train": 300, "test": 30})
    for channel in "rgb":
        made.images.loc[made.images["split"] == "test", f"mean_{channel}"] -= 0.1
    assert "split_shift" not in made.kinds()
    assert "test (30 images) in brightness" in made.finding("not_compared").text


def test_other_shares_of_classes_are_a_difference():
    made = drawn_set({"train": 600, "test": 600})
    crosses = made.ids("test", "cross")
    made.change(made.of(crosses[: len(crosses) * 4 // 5]), label="circle")
    cases = made.finding("split_shift").cases
    assert [detail.split(":")[0] for detail in cases["detail"]] == ["classes"]


def test_many_classes_drawn_at_random_are_not_taken_for_other_shares():
    names = [f"c{number:03d}" for number in range(200)]
    made = drawn_set({"train": 2000, "test": 400}, class_names=names)
    rng = np.random.default_rng(0)
    made.images["label"] = rng.choice(names, len(made.images))
    assert "split_shift" not in made.kinds()
    assert "classes" in made.finding("not_compared").text


def test_images_without_a_label_go_by_the_same_name_as_in_the_summary():
    assert counts.UNLABELLED_NAME == summary.UNLABELLED_NAME


def known(**expected):
    return AboutConfig(classes=None, expected=expected, licence=None, home_page="https://example.org")


def test_what_was_cut_from_train_counts_as_train_where_counts_were_published():
    counts = {"circle": 67, "cross": 67, "square": 66}
    made = drawn_set({"train": 100, "val": 100, "test": 99})
    made.change(made.of(["train/circle/0.png"]), status="duplicate")
    test = dict.fromkeys(counts, 33)
    found = counts_found(made.images)
    counts = {name: found["train"][name] + found["val"][name] for name in counts}
    assert "expected_counts" not in made.configured(about=known(train=counts, test=test)).kinds()
    short = made.configured(about=known(train=counts, test=test | {"cross": 40})).finding("expected_counts")
    assert short.count == 1
    assert "test: 33 images of cross, 40 were published" in short.text
    assert "https://example.org" in short.advice


def test_folds_are_compared_with_train_and_val_together():
    made = drawn_set({"train": 150, "val": 60, "test": 90})
    about = known(
        train=dict.fromkeys(made.class_names, 60),
        val=dict.fromkeys(made.class_names, 10),
        test=dict.fromkeys(made.class_names, 30),
    )
    assert "expected_counts" in made.configured(about=about).kinds()
    assert "expected_counts" not in made.configured(folds=3, fold=0).kinds()


def test_a_chosen_subset_is_not_compared_with_what_was_published():
    made = drawn_set().configured(about=known(train={"circle": 5000}))
    assert "expected_counts" in made.kinds()
    assert "expected_counts" not in made.configured(subset=100).kinds()
