"""The ledger, the champion, and what differs between two runs."""

import json
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from src.champion import Champion, current, run_folder
from src.files import write_json
from src.layout import CHAMPION_FILE, RunFolder
from src.models.promote import promote
from src.runs import chosen, everywhere, in_service, load
from src.visualization.list_runs import list_runs
from src.visualization.why import why
from tests.compared import config_tree, predicted, right_on, write_run
from tests.test_docs import dictionary

NUMBER = 300
FIELDS = [field.name for field in fields(Champion)]


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cfg():
    from src.compose import compose
    from src.selection import parse

    return lambda *overrides: compose(parse(overrides))


def lines_of(capsys) -> list[str]:
    return capsys.readouterr().out.splitlines()


def write_unfinished(place: str, *, states: int = 0) -> Path:
    """What a run leaves that a kill cut short."""
    resume = Path(place) / "resume"
    plan = {"config": config_tree("model=resnet18"), "data_digest": "ab" * 8, "run_id": "20260203-040506-resnet18-1"}
    write_json(resume / "plan.json", plan)
    (Path(place) / "train").mkdir(parents=True)
    rows = [{"step": 10, "epoch": 1, "val/acc": 0.25}]
    (Path(place) / "train/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for number in range(states):
        (resume / f"state-{number:012d}-{'0' * 64}.pt").touch()
    return resume


def test_the_ledger_tells_every_run_and_how_it_ended(cfg, capsys):
    write_run("models/pipeline", right_on(0.9, 10), "model=resnet18", stopped="patience")
    write_run("models/runs/a", None, "model=vgg11_bn")
    write_run("models/sweeps/search-1/trial_000", right_on(0.5, 10), "model=resnet50")
    write_unfinished("models/runs/failed")
    write_unfinished("models/runs/stopped", states=1)
    held = FileLock(write_unfinished("models/runs/busy", states=1) / "lock")
    with held:
        list_runs(cfg(), [])
    rows = {line.split()[0]: line for line in lines_of(capsys)[1:]}
    assert {name: line.split("  ")[-1].strip() for name, line in rows.items()} == {
        "models/pipeline": "finished by patience",
        "models/runs/a": "finished",
        "models/sweeps/search-1/trial_000": "finished",
        "models/runs/failed": "failed",
        "models/runs/stopped": "stopped",
        "models/runs/busy": "training",
    }
    assert "2026-01-02 03:04  resnet18  digits 012345  50.0 %  90.0 %  12.5 s" in rows["models/pipeline"]
    assert "2026-02-03 04:05  resnet18  digits ababab  25.0 %  -       -" in rows["models/runs/stopped"]


def test_the_ledger_of_a_folder_and_of_no_runs(cfg, capsys):
    list_runs(cfg(), [])
    assert lines_of(capsys) == ["no runs yet; train one: make train"]
    write_run("models/runs/a", None)
    write_run("elsewhere/b", None)
    list_runs(cfg(), ["elsewhere"])
    assert [line.split()[0] for line in lines_of(capsys)] == ["run", "elsewhere/b"]
    assert [path.as_posix() for path in everywhere()] == ["models/runs/a"]
    with pytest.raises(ValueError, match=r"nowhere is no folder; give run folders or folders of runs"):
        list_runs(cfg(), ["nowhere"])


def test_what_differs_between_two_runs_and_how_the_metrics_moved(cfg, capsys):
    shared = right_on(0.8, NUMBER)
    code = {"commit": "a" * 40, "dirty_diff": "+one\n+two"}
    write_run("models/runs/a", shared, "optimizer.lr=0.1", git=code)
    better = shared | right_on(0.5, NUMBER, seed=5)
    changed = {"commit": "b" * 40, "dirty_diff": "+one\n+three"}
    write_run(
        "models/runs/b",
        better,
        "optimizer.lr=0.2",
        "run.workers=3",
        "run.devices=2",
        git=changed,
        data_digest="f" * 16,
        seconds=20.0,
        environment={"python": "3.12.1", "platform": "Linux", "cpus": "2"},
    )
    why(cfg(), ["a", "b"])
    said = "\n".join(lines_of(capsys))
    for line in (
        "from models/runs/a to models/runs/b",
        "optimizer.lr: 0.1 -> 0.2",
        "run.devices: null -> 2",
        "(and run.workers, which change no result)",
        "digest: 0123456789abcdef -> ffffffffffffffff: images, labels or splits are others",
        "commit: aaaaaaaaaaaa -> bbbbbbbbbbbb",
        "see: git diff aaaaaaaaaaaa bbbbbbbbbbbb -- src configs",
        "-+two\n  ++three",
        "python: 3.11.9 -> 3.12.1",
        "test/acc: 0.8000 -> 0.9",
        "seconds: 12.5 -> 20 s",
        "better by more than chance: ",
        "right that were wrong and 0 wrong that were right, p = below 0.001 (McNemar)",
    ):
        assert line in said
    assert ", better)" in said


def test_two_equal_runs_differ_in_nothing(cfg, capsys):
    write_run("models/runs/a", right_on(0.8, 30))
    write_run("models/runs/b", right_on(0.8, 30), class_names=["cat", "dog", "fox"])
    why(cfg(), ["a", "b"])
    said = "\n".join(lines_of(capsys))
    for part in ("settings", "data", "code", "machine"):
        assert f"{part}\n  no difference" in said
    assert "neither better nor worse by more than chance" in said


def test_why_takes_two_finished_runs(cfg):
    write_run("models/runs/a", right_on(0.8, 30))
    with pytest.raises(ValueError, match=r"just 2 runs must be named, found models/runs/a;"):
        why(cfg(), ["a"])


def test_of_runs_that_were_not_scored_the_rest_is_told(cfg, capsys):
    write_run("models/runs/a", None)
    write_run("models/runs/b", None, "train.epochs=7")
    why(cfg(), ["a", "b"])
    said = "\n".join(lines_of(capsys))
    assert "train.epochs: 12 -> 7" in said
    assert "not tested: 2 of 2 runs have no predictions of test" in said


def test_the_first_run_becomes_champion_and_is_found_by_that_name(cfg, caplog):
    with pytest.raises(ValueError, match=r"models/champion.json does not exist; choose a champion: make promote"):
        run_folder("champion")
    folder = write_run("models/runs/a", right_on(0.8, NUMBER))
    promote(cfg(), ["a"])
    champion = current()
    assert (champion.run, champion.before, champion.reason) == ("models/runs/a", None, "the first champion")
    assert champion.metrics["test"]["acc"] == pytest.approx(0.8)
    assert dictionary("`models/champion.json`") == set(json.loads(CHAMPION_FILE.read_text("utf-8")))
    assert run_folder("champion") == folder
    assert [found.path for found in chosen(["champion"], least=1)] == [folder.path]


def test_a_better_run_and_one_that_cannot_be_told_apart_take_its_place(cfg):
    shared = right_on(0.8, NUMBER)
    for name, hits in (("a", shared), ("b", shared | right_on(0.4, NUMBER, seed=4)), ("c", right_on(0.87, NUMBER))):
        write_run(f"models/runs/{name}", hits)
        promote(cfg(), [name])
        assert current().run == f"models/runs/{name}"
    assert current().before == "models/runs/b"
    assert current().reason.startswith("against the champion models/runs/b it is neither better nor worse")


def test_a_worse_run_is_refused_with_the_numbers_unless_forced(cfg):
    shared = right_on(0.9, NUMBER)
    write_run("models/runs/a", shared)
    write_run("models/runs/b", shared & ~right_on(0.3, NUMBER, seed=3))
    promote(cfg(), ["a"])
    refused = (
        r"models/runs/b is not promoted: against the champion models/runs/a it is worse by more than chance: "
        r"\d\d\.\d % against 90\.0 % of 300 images of test, 0 right that were wrong and \d\d wrong that were right, "
        r"p = below 0.001 \(McNemar\); compare.force=true promotes it all the same"
    )
    with pytest.raises(ValueError, match=refused):
        promote(cfg(), ["b"])
    assert current().run == "models/runs/a"
    promote(cfg("compare.force=true"), ["b"])
    assert current().run == "models/runs/b"
    assert current().reason.endswith("(compare.force=true)")


def test_a_run_is_judged_by_groups_of_images_where_there_are(cfg):
    groups = np.arange(NUMBER) // 30
    hits = right_on(0.9, NUMBER)
    write_run("models/runs/a", hits, groups=groups)
    promote(cfg(), ["a"])
    # worse on all images of three groups and on no other: three signs may well be chance
    write_run("models/runs/b", hits & (groups >= 3), groups=groups)
    promote(cfg(), ["b"])
    assert current().reason.endswith("81 wrong that were right, p = 0.25 (over 10 groups)")


def test_a_run_of_other_images_is_refused_unless_forced(cfg):
    write_run("models/runs/a", right_on(0.9, 30))
    write_run("models/runs/b", right_on(0.9, 30), ids=[f"x/{number}" for number in range(30)])
    promote(cfg(), ["a"])
    with pytest.raises(ValueError, match=r"b is not compared with the champion models/runs/a: .* in common"):
        promote(cfg(), ["b"])
    promote(cfg("compare.force=true"), ["b"])
    assert current().reason.startswith("not compared with models/runs/a: ")


def test_a_run_without_scores_or_weights_is_not_promoted(cfg):
    write_run("models/runs/a", None)
    with pytest.raises(ValueError, match=r"a was not scored on test; run: python -m src.models.predict_model run_dir="):
        promote(cfg(), ["a"])
    folder = write_run("models/runs/b", right_on(0.9, 30))
    write_json(folder.checkpoint("best") / "model.json", {"sha256": "1" * 64})
    with pytest.raises(ValueError, match=r"the predictions in models/runs/b are of another checkpoint than it holds"):
        promote(cfg(), ["b"])
    (folder.checkpoint("best") / "model.json").unlink()
    with pytest.raises(ValueError, match=r"b holds no checkpoint any more; train it again, or promote another run"):
        promote(cfg(), ["b"])
    assert not CHAMPION_FILE.exists()


def test_a_champion_whose_weights_have_changed_is_not_followed(cfg):
    folder = write_run("models/runs/a", right_on(0.8, 30))
    promote(cfg(), ["a"])
    write_json(folder.checkpoint("best") / "model.json", {"sha256": "1" * 64})
    with pytest.raises(ValueError, match=r"the champion models/runs/a holds other weights than it was promoted with"):
        run_folder("champion")


def score_last(folder: RunFolder, hits: np.ndarray) -> str:
    """The digest of another checkpoint of the run, which its predictions are of from now on."""
    digest = "e" * 64
    write_json(folder.checkpoint("last") / "model.json", {"sha256": digest})
    predicted(hits, checkpoint=digest).save(folder.predictions / "test.parquet")
    return digest


def test_a_champion_scored_with_another_checkpoint_since_is_not_compared_with(cfg):
    folder = write_run("models/runs/a", right_on(0.95, NUMBER))
    promote(cfg(), ["a"])
    best = current().checkpoint
    score_last(folder, right_on(0.7, NUMBER))
    write_run("models/runs/b", right_on(0.8, NUMBER))
    way_out = r"src.models.predict_model run_dir=models/runs/a predict.checkpoint=best .*; compare.force=true promotes"
    # neither a run that is worse than what was promoted, nor its own other checkpoint
    for name in ("b", "a"):
        with pytest.raises(ValueError, match=rf"a are of another checkpoint than was promoted; run: .* {way_out}"):
            promote(cfg(), [name])
        assert (current().run, current().checkpoint) == ("models/runs/a", best)


def test_the_pipeline_s_run_is_kept_as_a_copy(cfg):
    write_run("models/pipeline", right_on(0.8, 30))
    promote(cfg(), ["models/pipeline"])
    assert current().run == "models/runs/20260102-030405-pipeline"
    assert run_folder("champion").predictions.joinpath("test.parquet").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"run": "x"}, "differs in before, "),
        ({}, "differs in before, "),
        (dict.fromkeys(FIELDS, 5), "differs in checkpoint, data_digest, promoted, reason, run, run_id; "),
        ([], "holds no champion; "),
        (None, "holds no champion; "),
    ],
)
def test_a_damaged_champion_file_is_named_by_all_that_read_it(content, told):
    write_json(CHAMPION_FILE, content)
    for read in (current, lambda: run_folder("champion"), lambda: in_service([])):
        with pytest.raises(ValueError, match=rf"models/champion.json {told}.*remove it and promote again"):
            read()


def test_the_copy_of_the_pipeline_s_run_has_the_predictions_of_the_checkpoint_that_was_promoted(cfg):
    folder = write_run("models/pipeline", right_on(0.8, 30))
    promote(cfg(), ["models/pipeline"])
    digest = score_last(folder, right_on(0.9, 30))
    promote(cfg(), ["models/pipeline"])
    assert current().checkpoint == digest
    assert load(run_folder("champion")).predictions("test").checkpoint == digest


@pytest.mark.parametrize("module", ["src.visualization.compare", "src.models.promote", "src.visualization.why"])
def test_no_run_named_is_one_sentence(module, monkeypatch):
    import subprocess

    from tests.project import ROOT, environment

    env = environment() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 2
    assert "must be named, found none; give run folders or a sweep (make runs lists all)" in done.stderr
    assert "Traceback" not in done.stderr
