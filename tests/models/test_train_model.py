from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from src.artifacts import RunRecord
from src.features.packed import PackedSplit
from src.files import read_json, write_json
from src.layout import PACKED_DIR, RUNS_DIR, RunFolder
from src.metrics_log import read_metrics
from src.models.engine import loop
from src.models.engine.preparing import prepare
from src.models.engine.run_folder import claim, plan_of
from src.models.signals import StopFlag
from src.models.train_model import train_model

PROJECT_ROOT = Path(__file__).resolve().parents[2]


def the_run() -> RunFolder:
    (path,) = RUNS_DIR.iterdir()
    return RunFolder(path)


def weights(folder: RunFolder, which: str = "last") -> dict[str, torch.Tensor]:
    return load_file(folder.checkpoint(which) / "model.safetensors")


def test_a_run_learns_and_leaves_all_it_promises(project, config):
    train_model(config("train.epochs=4"))
    folder = the_run()
    rows = read_metrics(folder.metrics_log)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["val/acc"] > 0.9
    assert folder.curves.read_text().splitlines()[0] == "epoch,train/loss,val/loss,train/acc,val/acc,lr,images_per_s"
    record = RunRecord.load(folder.train)
    assert record.stopped == "finished"
    assert record.steps == 4 * (96 // 16)
    assert record.best["val/acc"] == max(row["val/acc"] for row in rows)
    assert record.peak_mib > 100


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(project, config):
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        train_model(config(f"run_dir=models/{name}", f"train.seed={seed}", "augment=strong"))
    one, two, three = (weights(RunFolder(Path("models") / name)) for name in ("one", "two", "three"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not all(torch.equal(one[key], three[key]) for key in one)


def test_the_best_checkpoint_is_that_of_the_best_epoch(project, config):
    train_model(config("train.epochs=5", "optimizer.lr=0.05", "schedule=constant"))
    folder = the_run()
    rows = read_metrics(folder.metrics_log)
    best = max(rows, key=lambda row: (row["val/acc"], -row["val/loss"]))
    assert read_json(folder.checkpoint("best") / "model.json", made_by="")["epoch"] == best["epoch"]
    assert read_json(folder.checkpoint("last") / "model.json", made_by="")["epoch"] == 5


def test_patience_ends_a_run_that_no_longer_gains(project, config):
    train_model(config("train.epochs=50", "train.patience=2", "optimizer.lr=1e-9", "schedule=constant"))
    record = RunRecord.load(the_run().train)
    assert record.stopped == "patience"
    assert record.epochs < 50


def test_averaged_weights_are_evaluated_and_saved(project, config):
    training = prepare(config("train=ema", "train.average.options.decay=0.9"))
    training.run(StopFlag())
    plain, averaged = training.state.model.state_dict(), training.state.average.model.state_dict()
    saved = weights(the_run())
    assert all(torch.equal(saved[key], averaged[key]) for key in saved)
    assert not torch.equal(plain["head.weight"], averaged["head.weight"])


def test_evaluation_scores_every_image_once_whatever_the_batch(project, config):
    training = prepare(config())
    val = PackedSplit.load(PACKED_DIR / "val")
    found = []
    for batch_size in (7, 30, 256):
        recipe = prepare(config(f"train.eval_batch_size={batch_size}")).recipe
        found.append(loop.evaluate(training.state.model, recipe, val, stop=StopFlag()))
    for other in found[1:]:
        assert other["val/acc"] == found[0]["val/acc"]
        assert other["val/loss"] == pytest.approx(found[0]["val/loss"], rel=1e-5)


def test_gradients_are_clipped_to_the_norm(project, config):
    # plain SGD without momentum: one step moves the weights by rate times the clipped norm at most
    overrides = [
        "optimizer=sgd",
        "optimizer.options.momentum=0.0",
        "optimizer.weight_decay=0.0",
    ]
    training = prepare(config(*overrides, "optimizer.lr=1.0", "train.clip.options.limit=0.01", "schedule=constant"))
    before = [p.detach().clone() for p in training.state.model.parameters()]
    batch = next(iter(loop.load(training.splits["train"], [torch.arange(16).numpy()], torch.device("cpu"))))
    loop.train_step(training.state, training.recipe, batch)
    moved = torch.cat(
        [(p.detach() - b).flatten() for p, b in zip(training.state.model.parameters(), before, strict=True)]
    )
    assert float(moved.norm()) == pytest.approx(0.01, rel=1e-3)


def test_bf16_runs_on_this_device(project, config):
    train_model(config("train.precision=bf16", "train.epochs=1"))
    assert RunRecord.load(the_run().train).device.endswith("bf16")


def test_a_loss_that_is_no_number_stops_with_step_and_rate(project, config):
    # no returns: after one the validation loss may be the first that is no number (tests/models/test_rollback.py)
    wild = config("optimizer=sgd", "optimizer.lr=1e30", "train.clip=null", "train.rollback.times=0", "train.epochs=3")
    with pytest.raises(
        ValueError, match=r"training loss is (nan|inf) in epoch \d+, last in step \d+ \(rate .*lower optimizer.lr"
    ):
        train_model(wild)


def test_packed_data_made_with_other_settings_is_refused_with_the_words_to_type(project, config):
    with pytest.raises(
        ValueError, match=r"packed was made with data.seed=0, not with data.seed=5: give those values, or"
    ):
        train_model(config("data.seed=5"))


def test_a_run_folder_that_holds_a_run_is_not_written_over(project, config):
    train_model(config("run_dir=models/mine", "train.epochs=1"))
    before = weights(RunFolder(Path("models/mine")))
    with pytest.raises(ValueError, match="run_dir=models/mine already holds a run"):
        train_model(config("run_dir=models/mine", "train.epochs=1"))
    after = weights(RunFolder(Path("models/mine")))
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_two_runs_started_in_the_same_second_get_two_folders(project, config):
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    # the same settings too: another process holds the first, which is no reason to wait or to go on with it
    claims = [claim(cfg, plan_of(cfg, "digest"), now=now) for cfg in [config()] * 3]
    names = {claimed.folder.name for claimed in claims}
    assert names == {"20260102-030405-baseline_cnn", "20260102-030405-baseline_cnn-2", "20260102-030405-baseline_cnn-3"}


def test_a_data_set_without_validation_trains_to_the_last_epoch(project, config, caplog):
    facts = read_json(PACKED_DIR / "statistics.json", made_by="")
    del facts["counts"]["val"]
    write_json(PACKED_DIR / "statistics.json", facts)
    train_model(config("train.epochs=3"))
    assert "there is no val split" in caplog.text
    assert read_json(the_run().checkpoint("best") / "model.json", made_by="")["epoch"] == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.device=cuda:99", r"run.device=cuda:99, but"),
        ("run.device=gpu", r"run.device=gpu is no device; allowed: auto, cpu, cuda"),
        ("loss.name=entropy", r"loss.name=entropy is unknown"),
        ("schedule.options.fnal=1", r"schedule.options.fnal: cosine takes no fnal"),
    ],
)
def test_what_cannot_be_had_is_said_before_anything_is_written(project, config, override, message):
    with pytest.raises(ValueError, match=message):
        train_model(config(override))
    assert not RUNS_DIR.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_half_precision_on_a_cpu_is_refused(project, config):
    with pytest.raises(ValueError, match=r"train.precision=fp16 needs a GPU"):
        train_model(config("train.precision=fp16"))


def test_a_run_shows_augmented_images_and_its_weights_do_not_depend_on_that(project, config):
    train_model(config("run_dir=models/one", "augment=strong", "train.epochs=1"))
    one, two = RunFolder(Path("models/one")), RunFolder(Path("models/two"))
    two.train.mkdir(parents=True)
    training = prepare(config("run_dir=models/two", "augment=strong", "train.epochs=1"))
    # a picture that is there already is not drawn again
    two.augmented.write_bytes(b"an earlier picture")
    training.run(StopFlag())
    assert one.augmented.read_bytes().startswith(b"\x89PNG")
    assert two.augmented.read_bytes() == b"an earlier picture"
    assert all(torch.equal(value, weights(two)[key]) for key, value in weights(one).items())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (["model=timm", "model.name=resnet19"], r"model.name=resnet19 is unknown; did you mean resnet1"),
        (["optimizer.name=adamm"], r"optimizer.name=adamm is unknown; did you mean adam"),
        (["optimizer.options.beta=0.9"], r"adamw takes no beta; did you mean betas"),
    ],
)
def test_a_wrong_name_is_told_before_any_data_is_looked_for(tmp_path, monkeypatch, config, override, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        train_model(config(*override))
