"""A student learns the probabilities of a trained network, which is checked first and stays as it is."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from src.features.packed import PackedSplit
from src.files import read_json, write_json
from src.layout import PACKED_DIR, RunFolder
from src.models.checkpoint import load
from src.models.engine.preparing import prepare
from src.models.recipes.distillation import divergence
from src.models.runtime import Runtime
from src.models.scoring import score
from src.models.signals import StopFlag
from src.models.train_model import train_model
from tests.models.test_resume import assert_equal, results, stopped_after

CPU = torch.device("cpu")
TEACHER = ["run_dir=models/teacher", "train.epochs=2", "optimizer.lr=0.01"]
TAUGHT = ["train=distillation", "train.distillation.teacher=models/teacher", "train.epochs=2", "train.batch_size=16"]


@pytest.fixture
def teacher(project, config) -> RunFolder:
    # another side and other statistics than its student
    train_model(config(*TEACHER, "model.img_size=16", "model.mean=[0.4, 0.5, 0.6]"))
    return RunFolder(Path("models/teacher"))


def kl_on_val(folder: Path, teacher: RunFolder) -> float:
    split = PackedSplit.load(PACKED_DIR / "val")
    place = Runtime(CPU, None)
    images = torch.from_numpy(split.gather(np.arange(len(split))))
    logits = []
    for path in (folder, teacher.checkpoint("best")):
        trained = load(path, CPU)
        logits.append(score(trained.model, images, trained.preprocess, place))
    return float(divergence(logits[0], logits[1], temperature=1.0))


def test_the_divergence_is_torchs_and_zero_from_itself():
    own, asked = torch.randn(5, 3), torch.randn(5, 3)
    direct = (F.softmax(asked / 2, 1) * (F.log_softmax(asked / 2, 1) - F.log_softmax(own / 2, 1))).sum(1).mean() * 4
    assert float(divergence(own, asked, temperature=2.0)) == pytest.approx(float(direct), rel=1e-5)
    assert float(divergence(own, own, temperature=2.0)) == pytest.approx(0.0, abs=1e-6)


def test_a_student_comes_nearer_to_its_teacher_than_one_taught_by_labels_alone(teacher, config):
    settings = ["optimizer.lr=0.003", "train.epochs=4"]
    for name, given in (("taught", ["train.distillation.weight=1.0"]), ("early", ["train.epochs=1"])):
        train_model(config(*TAUGHT, *settings, *given, f"run_dir=models/{name}"))
    train_model(config("train.batch_size=16", *settings, "run_dir=models/plain"))
    early, taught, plain = (
        kl_on_val(Path(f"models/{name}/train/last"), teacher) for name in ("early", "taught", "plain")
    )
    assert taught < 0.5 * early
    assert taught < plain


def test_the_teacher_is_left_as_it_is_and_named_in_the_record(teacher, config, caplog):
    digest = read_json(teacher.checkpoint("best") / "model.json", made_by="")["sha256"]
    training = prepare(config(*TAUGHT, "run_dir=models/taught"))
    before = {name: value.clone() for name, value in training.recipe.teaching.model.state_dict().items()}
    training.run(StopFlag())
    after = training.recipe.teaching.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(weight.requires_grad for weight in training.recipe.teaching.model.parameters())
    assert json.loads(Path("models/taught/train/run.json").read_text())["facts"]["teacher_sha256"] == digest


def test_micro_batches_are_taught_as_a_whole_batch_is(teacher, config):
    rows = []
    for size in ("null", "5"):
        # a net without batch statistics in training
        given = ["train.keep_statistics=true", f"train.micro_batch_size={size}", f"run_dir=models/{size}"]
        training = prepare(config(*TAUGHT, *given))
        training.run(StopFlag())
        rows.append([row["train/loss"] for row in training.rows])
    assert rows[0] == pytest.approx(rows[1], rel=1e-5)


def test_a_taught_run_that_was_stopped_equals_an_unbroken_one(teacher, config):
    settings = [*TAUGHT, "augment=strong"]
    train_model(config(*settings, "run_dir=models/whole"))
    stopped_after(config, *settings, "run_dir=models/cut", steps=5)
    train_model(config(*settings, "run_dir=models/cut"))
    assert_equal(results(RunFolder(Path("models/whole"))), results(RunFolder(Path("models/cut"))))


def test_a_run_is_not_gone_on_with_under_another_teacher_in_the_same_folder(teacher, config):
    stopped_after(config, *TAUGHT, "run_dir=models/cut", steps=5)
    shutil.rmtree("models/teacher")
    train_model(config(*TEACHER, "model.img_size=16", "train.seed=5"))
    with pytest.raises(ValueError, match=r"holds an unfinished run with other settings \(teacher_sha256: "):
        train_model(config(*TAUGHT, "run_dir=models/cut"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": ["across", "dots", "down"]}, r"knows the classes across, dots, down, and there are across, d"),
        (
            {"size": 24, "resize": "pad"},
            r"was trained .* \(features.size=24, here 12; features.resize=pad, here crop\)",
        ),
    ],
)
def test_a_teacher_of_other_classes_or_pixels_is_refused(teacher, config, change, message):
    path = teacher.checkpoint("best") / "model.json"
    facts = read_json(path, made_by="")
    of_pixels = {key: value for key, value in change.items() if key in facts["preprocess"]}
    whole = {key: value for key, value in change.items() if key in facts}
    write_json(path, facts | whole | {"preprocess": facts["preprocess"] | of_pixels})
    with pytest.raises(ValueError, match=rf"train.distillation.teacher=models/teacher {message}"):
        prepare(config(*TAUGHT, "run_dir=models/student"))


def test_an_absent_teacher_is_told(project, config):
    with pytest.raises(ValueError, match=r"models/teacher/train/best holds no checkpoint"):
        prepare(config(*TAUGHT))
