"""Runs compared: which are one setting, what is noise, what it costs, what cannot be compared, and the page."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from src.paired import mean_interval
from src.runs import chosen, load
from src.visualization.compare import compare
from src.visualization.comparing.comparison import compared
from src.visualization.comparing.figures import drawings
from src.visualization.comparing.groups import grouped
from src.visualization.comparing.tables import cost_text
from src.visualization.comparing.verdicts import verdicts
from tests.compared import config_tree, right_on, write_cost, write_run
from tests.test_docs import dictionary
from tests.visualization.browser import Browser, browser_path
from tests.visualization.page_parser import PageParser

NUMBER = 600
PAGE = Path("reports/compare/index.html")
ATTACK = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings():
    """The configuration that compare gets, small figures."""
    from src.compose import compose
    from src.selection import parse

    return lambda *overrides: compose(parse(["report.dpi=60", *overrides]))


def write_three(*, costs: bool = True) -> None:
    """Two networks that are alike and one that is worse, the first with three seeds."""
    shared = right_on(0.9, NUMBER)
    for seed in (0, 1, 2):
        hits = shared ^ right_on(0.01, NUMBER, seed=seed + 1)
        write_run(f"models/runs/a{seed}", hits, "model=resnet18", f"train.seed={seed}")
    write_run("models/runs/b", shared ^ right_on(0.01, NUMBER, seed=7), "model=baseline_cnn", num_params=500)
    write_run("models/runs/c", right_on(0.6, NUMBER, seed=3), "model=vgg11_bn", seconds=99.0)
    if costs:
        for name, latency_ms in (("a0", 9.0), ("b", 2.0), ("c", 20.0)):
            write_cost(load(chosen([name], least=1)[0]).folder, latency_ms=latency_ms)


def comparison(cfg, *words):
    return compared([load(folder) for folder in chosen(words, least=1)], cfg.compare, cfg.report)


def test_runs_that_differ_in_their_seed_alone_are_one_setting():
    write_three(costs=False)
    groups = grouped([load(folder) for folder in chosen(["models/runs"], least=1)], repetitions=["train.seed"])
    assert {group.name: group.seeds for group in groups} == {
        "resnet18": [0, 1, 2],
        "baseline_cnn": [0],
        "vgg11_bn": [0],
    }


def test_folds_are_repetitions_and_what_changes_no_weights_tells_nothing_apart():
    for fold in (0, 1):
        write_run(f"models/runs/f{fold}", right_on(0.8, 60), "data.folds=2", f"data.fold={fold}", "report.dpi=100")
    write_run("models/runs/g", right_on(0.8, 60), "data.folds=2", "data.fold=1", "run.workers=1")
    runs = [load(folder) for folder in chosen(["models/runs"], least=3)]
    assert len(grouped(runs, repetitions=["train.seed", "data.fold"])) == 1
    assert len(grouped(runs, repetitions=["train.seed"])) == 2


def test_a_setting_is_named_by_what_tells_it_from_the_others():
    for name, lr, epochs in (("x", "0.1", 3), ("y", "0.1", 5), ("z", "0.2", 5)):
        write_run(f"models/runs/{name}", right_on(0.8, 60), f"optimizer.lr={lr}", f"train.epochs={epochs}")
    groups = grouped([load(folder) for folder in chosen(["models/runs"], least=3)], repetitions=["train.seed"])
    assert [group.name for group in groups] == [
        "optimizer.lr=0.1, train.epochs=3",
        "optimizer.lr=0.1, train.epochs=5",
        "optimizer.lr=0.2, train.epochs=5",
    ]


def test_two_runs_of_one_seed_and_settings_have_names_of_their_own():
    for name in ("x", "y"):
        write_run(f"models/runs/{name}", right_on(0.8, 60), "model=resnet18")
    write_run("models/runs/z", right_on(0.8, 60), "model=resnet18", "run.devices=2")
    names = [group.name for group in grouped([load(f) for f in chosen(["models/runs"], least=3)], repetitions=[])]
    assert names == ["run.devices=null", "run.devices=2"]


def test_noise_is_called_noise_and_a_real_difference_is_told_with_its_size(settings):
    write_three()
    found = comparison(settings(), "models/runs")
    by_names = {frozenset((pair.first.name, pair.second.name)): pair for pair in found.pairs}
    assert by_names[frozenset(("resnet18", "baseline_cnn"))].is_noise
    worse = by_names[frozenset(("resnet18", "vgg11_bn"))]
    assert not worse.is_noise
    assert worse.difference == pytest.approx(0.3, abs=0.02)
    assert worse.interval[0] < worse.difference < worse.interval[1]
    said = " ".join(verdicts(found))
    assert re.search(r"^resnet18 is right on \d\d\.\d % of 600 images of test, the most of 3 settings\.", said)
    assert "That it is ahead of baseline_cnn may be chance: these differences are noise." in said
    assert re.search(r"It is better than vgg11_bn \(by \d\d\.\d points\), by more than noise\.", said)
    assert (
        "Of the settings level with it baseline_cnn is the fastest, 2.00 ms an image where resnet18 takes 9.00 ms."
        in said
    )
    assert "baseline_cnn and vgg11_bn were trained with one seed" in said


def test_a_difference_between_repetitions_must_hold_over_seeds_too(settings):
    base = right_on(0.7, NUMBER)
    for seed, share in enumerate((0.0, 0.0, 0.25)):
        write_run(
            f"models/runs/a{seed}", base | right_on(share, NUMBER, seed=9), "model=resnet18", f"train.seed={seed}"
        )
        write_run(f"models/runs/b{seed}", base, "model=baseline_cnn", f"train.seed={seed}")
    (pair,) = comparison(settings(), "models/runs").pairs
    assert pair.over_seeds
    # over images alone it would be far below
    assert pair.p > 0.2
    assert pair.is_noise


def test_seeds_that_agree_make_no_interval_narrower_than_the_images_do(settings):
    for seed in (0, 1, 2):
        write_run(f"models/runs/a{seed}", right_on(1.0, 20), "model=resnet18", f"train.seed={seed}")
        write_run(f"models/runs/b{seed}", right_on(0.2 * seed, NUMBER), "model=vgg11_bn", f"train.seed={seed}")
    (row,) = [row for row in comparison(settings(), "models/runs").rows if row.name == "resnet18"]
    assert row.interval == (pytest.approx(0.8389, abs=1e-4), pytest.approx(1.0))
    write_run("models/runs/a3", right_on(0.5, 20), "model=resnet18", "train.seed=3")
    (wider,) = [row for row in comparison(settings(), "models/runs").rows if row.name == "resnet18"]
    assert wider.interval == mean_interval(wider.by_seed, level=0.95)


def test_seeds_in_different_numbers_that_sum_to_the_same_are_the_same(settings):
    # shares of 2 and of 3 seeds have no exact decimals: 12 images ahead by a third against 4 behind by two
    for seed in range(3):
        hits = right_on(0.5, 100)
        hits[:16] = [seed != 0] * 12 + [seed == 0] * 4
        write_run(f"models/runs/a{seed}", hits, "model=resnet18", f"train.seed={seed}")
    for seed in range(2):
        hits = right_on(0.5, 100)
        hits[:16] = [seed == 0] * 12 + [True] * 4
        write_run(f"models/runs/b{seed}", hits, "model=vgg11_bn", f"train.seed={seed}")
    answers = comparison(settings(), "models/runs").answers
    first, second = (
        [run for run in map(load, chosen(["models/runs"], least=1)) if run.folder.name[0] == name] for name in "ab"
    )
    found = answers.differences(first, second)
    assert (found.unit, found.sums[:16].tolist()) == (6, [1] * 12 + [-4] * 4)
    assert (found.sums[16:] == 0).all()


def test_images_in_groups_are_tested_by_their_groups_and_this_is_said(settings):
    hits, groups = right_on(0.8, NUMBER), np.arange(NUMBER) // 30
    # ahead on all images of four groups, behind on none: of images certain, of groups not
    worse = hits & ~(groups < 4)
    write_run("models/runs/a", hits, "model=resnet18", groups=groups)
    write_run("models/runs/b", worse, "model=vgg11_bn", groups=groups)
    found = comparison(settings(), "models/runs")
    (pair,) = found.pairs
    assert pair.p == pytest.approx(2 * 0.5**4)
    assert pair.is_noise
    assert pair.wins == (hits & (groups < 4)).sum()
    said = "The 600 images are of 20 groups that belong together: tests, and intervals over images, take each group as"
    assert said in " ".join(verdicts(found))
    for name, one in (("a", hits), ("b", worse)):
        write_run(f"models/runs/{name}", one, f"model={'resnet18' if name == 'a' else 'vgg11_bn'}")
    apart = comparison(settings(), "models/runs")
    assert apart.pairs[0].p < 1e-6
    for row, single in zip(found.rows, apart.rows, strict=True):
        assert row.interval[1] - row.interval[0] >= single.interval[1] - single.interval[0]
    assert found.rows[1].interval[0] < apart.rows[1].interval[0] - 0.05


def test_what_training_of_a_soup_took_is_not_known_from_its_own_record(settings):
    write_three()
    soup = {"seconds": 1.0, "images_per_s": 0.0, "facts": {"soup": {"method": "greedy", "runs": []}}}
    write_run("models/runs/soup", right_on(0.95, NUMBER), "model=resnet18", **soup)
    found = comparison(settings(), "models/runs")
    (row,) = [row for row in found.rows if row.group.runs[0].folder.name == "soup"]
    assert (row.train_s, row.train_images_per_s, row.train_mib) == (None, None, None)
    assert row not in found.front(lambda row: row.train_s)
    assert cost_text(row, "train_s") == "not measured"
    assert set(drawings(found)) == {"accuracies", "latency", "training"}
    assert set(drawings(comparison(settings(), "soup"))) == {"accuracies"}


def test_weights_that_were_trained_are_not_told_as_all_there_are(settings):
    # a probe trains its head alone
    write_run("models/runs/probe", right_on(0.9, 60), "model=resnet18", num_params=77)
    (row,) = comparison(settings(), "probe").rows
    assert cost_text(row, "num_params") == "not measured"
    write_cost(load(chosen(["probe"], least=1)[0]).folder, latency_ms=1.0, num_params=11_000_000)
    (row,) = comparison(settings(), "probe").rows
    assert cost_text(row, "num_params") == "11.00 M"


def test_many_comparisons_of_equal_models_find_no_winner(settings):
    for number in range(8):
        write_run(f"models/runs/r{number}", right_on(0.8, NUMBER, seed=number), f"optimizer.lr=0.{number + 1}")
    found = comparison(settings(), "models/runs")
    assert len(found.pairs) == 28
    assert min(pair.p for pair in found.pairs) <= min(pair.corrected for pair in found.pairs)
    assert all(pair.is_noise for pair in found.pairs)


def test_no_setting_off_the_front_is_both_less_accurate_and_slower_than_one_on_it(settings):
    write_three()
    found = comparison(settings(), "models/runs")
    front = found.front(lambda row: row.latency_ms)
    assert [row.name for row in front] == ["baseline_cnn", "resnet18"]
    assert [row.name for row in found.front(lambda row: row.train_s)] == ["resnet18"]


def test_runs_of_other_images_are_compared_on_those_they_share(settings):
    ids = [f"test/{number:04d}.png" for number in range(NUMBER)]
    write_run("models/runs/a", right_on(0.9, NUMBER), "model=resnet18")
    half = NUMBER // 2
    write_run("models/runs/b", right_on(0.9, half), ids=ids[:half], data_digest="f" * 16)
    found = comparison(settings(), "models/runs")
    assert found.num_images == half
    said = " ".join(verdicts(found))
    assert "scored on different images of test (300 to 600): they are compared on the 300 that all of them have" in said
    assert "trained on 2 different data sets by their digests (0123456789abcdef, ffffffffffffffff)" in said


def test_images_with_other_labels_are_left_out_and_counted(settings):
    ids = [f"test/{number:04d}.png" for number in range(60)]
    write_run("models/runs/a", right_on(0.9, 60), "model=resnet18", ids=ids)
    swapped = [*ids[1:2], *ids[0:1], *ids[2:]]
    write_run("models/runs/b", right_on(0.9, 60), "model=vgg11_bn", ids=swapped)
    found = comparison(settings(), "models/runs")
    assert found.num_images == 58
    assert "2 images with different labels in different runs are left out." in verdicts(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": [f"other/{number}" for number in range(60)]}, r"a and models/runs/b have no image of test in common"),
        ({"class_names": ["cat", "dog", "owl"]}, r"knows the classes cat, dog and fox, .* runs of different tasks"),
        (None, r"1 of 2 runs has no predictions of test \(models/runs/b\); score them: python -m src.models.predict_"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(settings, change, message):
    write_run("models/runs/a", right_on(0.9, 60))
    write_run("models/runs/b", None if change is None else right_on(0.9, 60), **(change or {}))
    with pytest.raises(ValueError, match=message):
        comparison(settings(), "models/runs")


def test_a_word_that_names_no_run_is_refused_with_the_near_ones():
    write_run("models/runs/first", right_on(0.9, 60))
    with pytest.raises(ValueError, match=r"frist is neither a run folder.*did you mean first\?"):
        chosen(["frist"], least=1)
    Path("empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no finished run: none has a train/run.json"):
        chosen(["empty"], least=1)
    with pytest.raises(ValueError, match=r"at least 2 runs must be named, found models/runs/first;"):
        chosen(["first", "models/runs"], least=2)


def test_the_page_and_its_files_are_whole(settings, capsys):
    write_three()
    compare(settings(), ["models/runs"])
    out = capsys.readouterr().out
    assert "| resnet18 " in out
    assert out.endswith(f"page  {PAGE.as_posix()}\n")
    parsed = PageParser(PAGE.read_text("utf-8"))
    assert parsed.faults == []
    assert len(parsed.found("svg")) == 3
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not re.search(r"url\((?!#)|@import|https?:", PAGE.read_text("utf-8"))
    table = pd.read_csv("reports/compare/table.csv")
    assert list(table["setting"])[-1] == "vgg11_bn"
    assert table.set_index("setting").loc["baseline_cnn", "latency_ms"] == 2.0
    tree = json.loads(Path("reports/compare/comparison.json").read_text("utf-8"))
    assert [len(row["runs"]) for row in tree["settings"]] == [3, 1, 1]
    assert tree["pairs"][0]["p_corrected"] >= tree["pairs"][0]["p"]
    assert dictionary("`reports/<compare>/table.csv`") == set(table.columns)
    assert dictionary("`reports/<compare>/comparison.json`") == set(tree)
    assert Path("reports/compare/table.md").read_text("utf-8") in out
    drawn = sorted(Path("reports/figures/compare").iterdir())
    assert [path.name for path in drawn] == ["accuracies.png", "latency.png", "training.png"]
    assert all(Image.open(path).width > 200 for path in drawn)


def test_what_is_not_measured_is_said_with_the_command_and_not_drawn(settings, capsys):
    write_three(costs=False)
    compare(settings("compare.name=bare"), ["models/runs"])
    command = "python -m src.models.measure_cost models/runs/a0 models/runs/b models/runs/c"
    assert f"Inference of 3 settings is not measured: run {command}" in capsys.readouterr().out
    parsed = PageParser(Path("reports/bare/index.html").read_text("utf-8"))
    assert command in parsed.text
    assert "not measured" in parsed.text
    assert len(parsed.found("svg")) == 2


def test_times_of_other_machines_are_called_not_comparable(settings):
    write_three()
    write_cost(load(chosen(["b"], least=1)[0]).folder, latency_ms=1.0, threads=8)
    said = " ".join(verdicts(comparison(settings(), "models/runs")))
    assert "Times are not comparable: inference was measured on 2 kinds of machine" in said


def test_costs_of_another_checkpoint_are_left_out(caplog):
    write_three()
    write_cost(load(chosen(["b"], least=1)[0]).folder, latency_ms=1.0, checkpoint="0" * 64)
    assert load(chosen(["b"], least=1)[0]).cost is None
    assert "is of another checkpoint than the run has now and is left out; run measure_cost" in caplog.text


def test_names_are_escaped_and_one_run_is_shown_alone(settings):
    write_run("models/runs/a", right_on(0.9, 60), f"model.options={{note:'{ATTACK}'}}")
    write_run("models/runs/b", right_on(0.9, 60), "model.options={note:1}")
    compare(settings(), ["models/runs"])
    assert ATTACK not in PAGE.read_text("utf-8")
    compare(settings("compare.name=one"), ["a"])
    parsed = PageParser(Path("reports/one/index.html").read_text("utf-8"))
    assert "there is nothing to compare it with" in parsed.text


def test_the_configuration_in_a_record_is_what_is_grouped():
    assert config_tree("train.seed=3")["train"]["seed"] == 3
    assert np.mean(right_on(0.25, 400)) == 0.25


@pytest.mark.skipif(browser_path() is None, reason="no browser is installed")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_shows_the_page_without_complaint_and_within_its_width(settings, width, scheme):
    write_three()
    compare(settings(), ["models/runs"])
    with Browser() as browser:
        browser.open(PAGE.resolve().as_uri(), width=width, scheme=scheme)
        assert browser.value("document.documentElement.scrollWidth") <= width
        browser.value("document.querySelector('#pairs th button').click()")
        assert browser.value("document.querySelector('#pairs th[aria-sort]') !== null")
        assert browser.messages == []
