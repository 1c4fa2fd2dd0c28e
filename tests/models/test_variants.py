import json
import os
import shutil
from pathlib import Path

import pandas as pd
import psutil
import pytest

from src.artifacts import RunRecord
from src.cost_record import CostRecord
from src.layout import PACKED_DIR, RunFolder
from src.metrics_log import read_metrics
from src.models.sweep import sweep
from src.models.sweeping.variant_options import OPTIONS, Options
from src.models.sweeping.variant_results import by_variant, results, results_text, row_of, write_results
from src.models.sweeping.variants import prepare, run_config
from src.validation import typed
from tests.models.searched import run_search, start_search, wait_for
from tests.models.test_cross_validation import write_record
from tests.models.test_measure_cost import FEW
from tests.test_docs import compared, dictionary, names_in

TWO = "sweep.options.variants={narrow:[],wide:['model.options.width=12']}"
SWEEP = ["sweep=intel_scenes", "sweep.options.name=nets", "sweep.options.common=[]", TWO]


def options(cfg) -> Options:
    found: Options = typed(Options, cfg.sweep.options, at=OPTIONS)
    return found


def variants(text: str) -> list[str]:
    return [*SWEEP[:-1], f"sweep.options.variants={text}"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            variants("{a:null}"),
            r"variants names none; give some, such as plain_cnn: \[model=baseline_cnn\]",
        ),
        (variants("{Plain-CNN:[]}"), r"'Plain-CNN' names a folder: take small letters, digits and _, as in plain_cnn"),
        ([*SWEEP, "sweep.options.name=a/b"], r"'a/b' names a folder"),
        ([*SWEEP, "sweep.options.seeds=[1,1]"], r"seeds=\[1, 1\] names a seed twice; each gives one run: name it once"),
        (
            [*variants("{a:[],a_share_50:[]}"), "+sweep.options.scale={shares:[0.5],processes:[]}"],
            r"a_share_50 would be the name of two runs; change scale, or a variant's name",
        ),
        (
            [*SWEEP, "+sweep.options.scale={shares:[1.5],processes:[]}"],
            r"sweep.options.scale.shares.0=1.5 should be less than 1",
        ),
        ([*SWEEP, "sweep.options.seeds=[-1]"], r"sweep.options.seeds.0=-1 should be greater than or equal to 0"),
        (variants("{a:model}"), r'sweep.options.variants.a="model" should be a valid array'),
        (variants("{a:['model=resnet_18']}"), r"variants.a: model=resnet_18 is not a preset of configs/model; did you"),
        (variants("{a:['modl.stem=plain']}"), r"variants.a: modl is not a key; did you mean model\?"),
        (variants("{a:['model=null']}"), r"variants.a: null is no preset; leave it out"),
        (variants("{a:['model.stm=plain']}"), r"variants.a: model.stm is not a key; did you mean stem or std\?"),
        (
            variants("{a:['data.subset=5']}"),
            r"a: data.subset is none of what differs .* set data outside the list",
        ),
        (variants("{a:['experiment=intel_scenes']}"), r"variants.a: experiment is not a key; allowed: augment"),
        (
            variants("{a:['train.epochs=1','schedule.warmup_epochs=3']}"),
            r"schedule.warmup_epochs=3.0 is not",
        ),
        (
            variants("{a:['model=resnet18']}"),
            r"model=resnet18 would drop .*\(model.options.width=8\); name it in",
        ),
        (SWEEP, r"statistics.json does not exist; run build_features first"),
    ],
)
def test_a_wrong_setting_is_said_before_anything_is_written(config, tmp_path, monkeypatch, overrides, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        sweep(config(*overrides))
    assert list(tmp_path.iterdir()) == []


def test_presets_come_first_then_what_is_common_then_what_is_a_variants_own(project, config):
    chosen = "{plain:[],other:['model=timm','model.name=resnet10t','optimizer.lr=0.5'],left_out:null}"
    common = "sweep.options.common=['optimizer=sgd','optimizer.lr=0.25','model.options={}','train.epochs=7']"
    cfg = config(*variants(chosen), common)
    found = prepare(cfg, options(cfg))
    assert list(found.cfgs) == ["plain", "other"]
    plain, other = found.cfgs.values()
    assert (plain.model.name, plain.optimizer.name, plain.optimizer.lr, plain.train.epochs) == (
        "baseline_cnn",
        "sgd",
        0.25,
        7,
    )
    assert plain.optimizer.options == {"momentum": 0.9, "nesterov": False}
    assert (other.model.name, other.optimizer.lr, other.train.epochs) == ("resnet10t", 0.5, 7)
    assert (plain.data, plain.features) == (other.data, other.features) == (cfg.data, cfg.features)


def test_every_variant_runs_once_before_any_runs_with_the_next_seed(project, config):
    cfg = config(*SWEEP, "sweep.options.seeds=[3,4]")
    found = prepare(cfg, options(cfg))
    assert [run.name for _, _, run in found.runs()] == ["narrow-3", "wide-3", "narrow-4", "wide-4"]
    for variant, seed, run in found.runs():
        of_run = run_config(found, variant, seed, run)
        assert (of_run.train.seed, of_run.run_dir, of_run.sweep) == (seed, run.path.as_posix(), None)
        assert of_run.run.wandb.group == found.folder.name
        assert of_run.run.wandb.name == f"{found.folder.name}/{run.name}"


def test_beside_each_variant_stand_fewer_images_and_more_processes(project, config):
    cfg = config(*SWEEP, "+sweep.options.scale={shares:[0.5,0.125],processes:[2]}")
    found = prepare(cfg, options(cfg))
    expected = ["", "_share_50", "_share_12_5", "_processes_2"]
    assert list(found.cfgs) == [f"{name}{end}" for name in ("narrow", "wide") for end in expected]
    assert [found.cfgs[f"wide{end}"].train.share for end in expected] == [1.0, 0.5, 0.125, 1.0]
    assert [found.cfgs[f"wide{end}"].run.devices for end in expected] == [None, None, None, 2]
    assert {each.model.options["width"] for name, each in found.cfgs.items() if name.startswith("wide")} == {12}


def test_the_folder_is_the_same_for_other_seeds_and_another_for_other_variants_or_recipes(project, config):
    def folder(*overrides: str) -> Path:
        cfg = config(*SWEEP, *overrides)
        return prepare(cfg, options(cfg)).folder

    fewer = "+sweep.options.scale={shares:[0.5],processes:[]}"
    same = [folder(), folder("sweep.options.seeds=[0,1,2]"), folder("run.device=cpu"), folder(fewer)]
    others = [folder("train.epochs=9"), folder("sweep.options.variants.wide=null"), folder("sweep.options.name=others")]
    assert len(set(same)) == 1
    assert len({*same, *others}) == 4
    assert same[0].name.startswith("nets-")


def finished(folder: Path, variant: str, seed: int, right: dict[str, tuple[int, int]]):
    """A run folder with a record and so many right of so many images of each split."""
    run = RunFolder(folder / f"{variant}-{seed}")
    scored = {split: {"acc": hits / count, "num_images": count} for split, (hits, count) in right.items()}
    run.path.mkdir(parents=True)
    run.metrics.write_text(json.dumps(scored))
    write_record(run)
    (run.path / "variant.json").write_text(json.dumps(row_of(run, variant, seed)))
    return variant, seed, run


def write_cost(run: RunFolder, *, macs: int) -> None:
    numbers = dict.fromkeys(("num_params", "checkpoint_bytes", "img_size", "best_batch", "threads"), 1)
    floats = dict.fromkeys(("latency_ms", "images_per_s", "peak_mib"), 1.0)
    rest = {"checkpoint": "x", "throughput": {}, "device": "cpu", "environment": {}}
    CostRecord(macs=macs, **numbers, **floats, **rest).save(run.cost)


def test_a_row_has_the_wilson_interval_of_each_split_and_the_gap_to_train_where_train_was_scored(tmp_path):
    _, _, run = finished(tmp_path, "a", 0, {"test": (80, 100), "train": (95, 100), "interesting": (6, 6)})
    row = row_of(run, "a", 0)
    # Newcombe, 1998
    assert (row["test/acc_low"], row["test/acc_high"]) == pytest.approx((0.7112, 0.8666), abs=1e-4)
    assert row["interesting/acc_high"] == 1.0
    assert row["gap/test"] == pytest.approx(0.15)
    assert row["gap/interesting"] == pytest.approx(-0.05)
    assert [name for name in row if name.endswith("/acc")] == ["train/acc", "test/acc", "interesting/acc"]
    _, _, run = finished(tmp_path, "b", 0, {"test": (80, 100)})
    assert not any(name.startswith("gap") for name in row_of(run, "b", 0))


def test_variants_are_told_by_their_mean_over_seeds_and_what_failed_with_its_reason(tmp_path):
    right = {"train": (90, 100), "test": (70, 100)}
    runs = [finished(tmp_path, "a", 0, right), finished(tmp_path, "b", 0, {"train": (9, 10), "test": (50, 100)})]
    runs += [finished(tmp_path, "a", 1, right | {"test": (80, 100)}), ("b", 1, RunFolder(tmp_path / "b-1"))]
    write_cost(runs[0][2], macs=4_000_000)
    failed = {"b-1": "train_model ended with exit code 2"}
    write_results(tmp_path, runs, failed, data_digest="d")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["runs"], summary["finished"], summary["failed"]) == (4, 3, failed)
    of_a = summary["variants"]["a"]
    assert (of_a["n"], of_a["seeds"]) == (2, [0, 1])
    assert of_a["metrics"]["test/acc"] == {"mean": 0.75, "least": 0.7, "largest": 0.8}
    compared(dictionary("`models/sweeps/<comparison>-<id>/summary.json`"), names_in(summary))
    table = pd.read_csv(tmp_path / "results.csv")
    compared(dictionary("`models/sweeps/<comparison>-<id>/results.csv`"), set(table.columns))
    assert list(table["macs"].dropna()) == [4e6]
    said = results_text(tmp_path, runs, failed)
    assert "0.7500 (0.700 to 0.800)" in said
    assert "0.5000 (0.404 to 0.596)" in said
    assert "b-1 failed: train_model ended with exit code 2\nthe same command does again what failed" in said
    assert by_variant(results(runs[:1])).keys() == {"a"}


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of another kind")
def test_killed_variants_go_on_and_equal_unbroken_ones(project):
    def accuracies(name: str) -> list[float]:
        return [row["val/acc"] for row in read_metrics(folder().joinpath(name, "train/metrics.jsonl"))]

    def folder() -> Path:
        (found,) = Path("models/sweeps").iterdir()
        return found

    def second_trains() -> bool:
        return any(path.stat().st_size for path in Path("models").glob("sweeps/*/wide-0/train/metrics.jsonl"))

    given = [*SWEEP, "train.epochs=15", *FEW]
    whole = run_search(*given)
    assert whole.returncode == 0, whole.stderr
    expected = {name: accuracies(name) for name in ("narrow-0", "wide-0")}
    kept = pd.read_csv(folder() / "results.csv")
    assert "2 of 2 runs finished" in whole.stdout
    page = RunFolder(folder()).report / "index.html"
    assert f"page     {page.as_posix()}" in whole.stdout
    assert "inference of one image, ms" in page.read_text("utf-8")
    assert (kept["macs"] > 0).all()
    shutil.rmtree("models")

    killed = start_search(*given, "train.save_every_s=0")
    wait_for(lambda: second_trains() or killed.poll() is not None, "an epoch of the second variant")
    (child,) = psutil.Process(killed.pid).children()
    killed.kill()
    child.kill()
    assert killed.wait() < 0
    first = (folder() / "narrow-0/train/run.json").read_bytes()

    again = run_search(*given, "train.save_every_s=0")
    assert again.returncode == 0, again.stderr
    assert "narrow-0 is finished already" in again.stderr
    assert (folder() / "narrow-0/train/run.json").read_bytes() == first
    assert {name: accuracies(name) for name in expected} == expected
    found = pd.read_csv(folder() / "results.csv")
    same = [name for name in kept.columns if "/" in name or name in ("variant", "seed", "epochs", "num_params")]
    assert found[same].equals(kept[same])
    check_row(found.iloc[1], RunFolder(folder() / "wide-0"))


def check_row(row, run: RunFolder) -> None:
    """The row agrees with what the run itself has written, which is a run like any other."""
    record, scored = RunRecord.load(run.train), json.loads(run.metrics.read_text())
    assert record.config["model"]["options"] == {"width": 12}
    assert row["test/acc"] == pytest.approx(scored["test"]["acc"])
    assert row["test/images"] == len(pd.read_parquet(run.predictions / "test.parquet"))
    assert row["num_params"] == record.num_params
    assert (PACKED_DIR / "test").exists()
