"""A linear head on cached features: fitted as scikit-learn does, and a checkpoint like any other."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from src.artifacts import Predictions, RunRecord
from src.features.embedder import embed_packed, load_embedder
from src.features.embeddings import Embeddings
from src.layout import PACKED_DIR, RunFolder
from src.metrics_log import read_metrics
from src.models.predict_model import predict_model
from src.models.probing.probe import fit_head, probe_options, probed_network
from src.models.train_model import train_model
from tests.models.conftest import CLASS_NAMES, configured, pack_drawn
from tests.project import copy_project

BACKBONE = "mobilenetv3_small_050"
OPTIONS = {"regularization": [0.001, 0.03], "scaling": 0.5, "folds": 3, "max_iterations": 300}


def probing(*overrides: str):
    given = ["features=embeddings", "features.embeddings.pretrained_path=weights.safetensors"]
    return configured(
        *given,
        "model=linear_probe",
        "model.options={regularization: [0.003, 0.03], scaling: 0.5, folds: 3, max_iterations: 300}",
        f"features.embeddings.name={BACKBONE}",
        "features.embeddings.img_size=32",
        "run_dir=models/probe",
        *overrides,
    )


@pytest.fixture
def embedded(tmp_path, monkeypatch):
    """The working folder of a project whose drawn images are packed and embedded by a random network."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_file(timm.create_model(BACKBONE, num_classes=5).state_dict(), "weights.safetensors")
    cfg = probing()
    pack_drawn(cfg)
    embedder = load_embedder(cfg.features.embeddings, device=torch.device("cpu"))
    embed_packed(PACKED_DIR, embedder, cache_dir=tmp_path / "cache")
    return tmp_path


def drawn_features(*, num_classes: int, count: int = 90, seed: int = 0) -> Embeddings:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % num_classes
    vectors = rng.normal(0, 3, (count, 40)) + 4 * np.eye(num_classes, 40)[labels] + 5
    ids = [str(index) for index in range(count)]
    return Embeddings("train", vectors.astype(np.float32), labels, ids, list("abc")[:num_classes], "net", "w", "d")


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_head_gives_the_probabilities_of_scikit_learns_regression(num_classes):
    features, options = drawn_features(num_classes=num_classes), {**OPTIONS, "regularization": [0.03], "scaling": 1.0}
    head, strength = fit_head(features, None, probe_options(options), seed=0)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=0.03, max_iter=300))
    theirs.fit(features.vectors, features.labels)
    assert strength == 0.03
    assert np.allclose(head.probs(features.vectors), theirs.predict_proba(features.vectors), atol=1e-4)


def scaled(vectors: np.ndarray, by: np.ndarray) -> np.ndarray:
    return (vectors - by.mean(axis=0)) / by.std(axis=0) ** OPTIONS["scaling"]


def smallest_within_an_error(losses: dict[float, np.ndarray]) -> float:
    best = min(losses, key=lambda strength: losses[strength].mean())
    highest = losses[best].mean() + losses[best].std() / len(losses[best]) ** 0.5
    return min(strength for strength in losses if losses[strength].mean() <= highest)


def test_the_strength_is_the_smallest_within_one_standard_error_of_the_best_on_val():
    train, val = drawn_features(num_classes=3), drawn_features(num_classes=3, seed=1)
    strengths, losses = [1e4, 0.03, 0.01, 0.008, 0.006, 0.004, 1e-6], {}
    for strength in strengths:
        theirs = LogisticRegression(C=strength, max_iter=300).fit(scaled(train.vectors, train.vectors), train.labels)
        probs = theirs.predict_proba(scaled(val.vectors, train.vectors))
        losses[strength] = -np.log(probs[np.arange(len(probs)), val.labels])
    _, chosen = fit_head(train, val, probe_options({**OPTIONS, "regularization": strengths}), seed=0)
    assert chosen == smallest_within_an_error(losses)
    assert chosen != min(losses, key=lambda strength: losses[strength].mean())


def test_without_val_the_strength_is_chosen_out_of_fold():
    train, strengths, losses = drawn_features(num_classes=3), [1e4, 0.03, 0.01, 1e-6], {}
    folds = StratifiedKFold(OPTIONS["folds"], shuffle=True, random_state=0)
    for strength in strengths:
        theirs, vectors = LogisticRegression(C=strength, max_iter=300), scaled(train.vectors, train.vectors)
        probs = cross_val_predict(theirs, vectors, train.labels, cv=folds, method="predict_proba")
        losses[strength] = -np.log(probs[np.arange(len(probs)), train.labels])
    _, chosen = fit_head(train, None, probe_options({**OPTIONS, "regularization": strengths}), seed=0)
    assert chosen == smallest_within_an_error(losses)
    assert chosen not in (max(strengths), min(strengths))


def test_a_class_with_fewer_images_than_folds_is_named_as_the_cause():
    few = drawn_features(num_classes=3, count=7)
    with pytest.raises(ValueError, match=r"model.options.folds=3, but a class of train has 2 images"):
        fit_head(few, None, probe_options(OPTIONS), seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regularization": []}, r"regularization=\[\] should be a list of numbers above 0"),
        ({"regularization": [0.1, -1.0]}, r"should be a list of numbers above 0"),
        ({"scaling": 2.0}, r"model.options.scaling=2.0 should be a number from 0 to 1"),
        ({"folds": 1}, r"model.options.folds=1 should be a whole number from 2 on"),
        ({"max_iterations": 0}, r"max_iterations=0 should be a whole number from 1 on"),
        ({"width": 8}, r"linear_probe takes no width"),
    ],
)
def test_an_option_of_no_use_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        probe_options(OPTIONS | options)


def test_the_checkpoint_predicts_from_pixels_what_the_head_says_of_the_features(embedded):
    train_model(probing())
    predict_model(probing("run.workers=1"))
    folder = RunFolder(Path("models/probe"))
    test = Embeddings.load(PACKED_DIR, "test")
    found = Predictions.load(folder.predictions / "test.parquet")
    facts = json.loads((folder.checkpoint("best") / "model.json").read_text())
    weights = load_file(folder.checkpoint("best") / "model.safetensors")
    logits = test.vectors @ weights["classifier.weight"].numpy().T + weights["classifier.bias"].numpy()
    probs = torch.softmax(torch.from_numpy(logits), dim=1).numpy()
    assert found.ids == test.ids
    assert np.abs(found.probs - probs).max() < 1e-5
    assert facts["model"]["name"] == BACKBONE
    assert facts["class_names"] == CLASS_NAMES
    assert json.loads(folder.metrics.read_text())["test"]["acc"] > 0.6


def test_a_probe_leaves_what_every_run_leaves(embedded):
    train_model(probing())
    folder = RunFolder(Path("models/probe"))
    record = RunRecord.load(folder.train)
    (row,) = read_metrics(folder.metrics_log)
    assert record.stopped == "finished"
    assert record.num_params == 3 * (Embeddings.load(PACKED_DIR, "train").dim + 1)
    assert {"train/loss", "train/acc", "val/loss", "val/acc"} <= row.keys()
    assert record.best["val/acc"] == row["val/acc"]
    assert folder.curves.read_text().startswith("epoch,train/loss,val/loss,train/acc,val/acc")
    assert not folder.resume.exists()


def test_two_probes_of_the_same_features_are_equal_to_the_bit(embedded):
    for name in ("one", "two"):
        train_model(probing(f"run_dir=models/{name}"))
    one, two = (load_file(f"models/{name}/train/best/model.safetensors") for name in ("one", "two"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_weights_that_have_changed_since_the_features_were_made_are_refused(embedded):
    torch.manual_seed(1)
    save_file(timm.create_model(BACKBONE, num_classes=5).state_dict(), "weights.safetensors")
    with pytest.raises(ValueError, match="have changed since the features were made; run build_features again"):
        train_model(probing())


def test_features_that_were_not_made_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pack_drawn(probing())
    with pytest.raises(ValueError, match=r"holds no embeddings; give features.embeddings.pretrained=true"):
        train_model(probing())


def test_a_network_without_a_linear_head_is_refused(embedded):
    features = Embeddings.load(PACKED_DIR, "train")
    head, _ = fit_head(features, None, probe_options({**OPTIONS, "regularization": [0.03]}), seed=0)
    cfg = replace(probing().features.embeddings, name="resnetv2_50", pretrained_path="bit.safetensors")
    network = timm.create_model("resnetv2_50", num_classes=5)
    save_file(network.state_dict(), "bit.safetensors")
    facts = {"weights": load_embedder(cfg, device=torch.device("cpu")).weights, "img_size": 32}
    with pytest.raises(ValueError, match="resnetv2_50 does not end in one linear layer"):
        probed_network(cfg, head, facts=facts)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("features.embeddings.pretrained_path=null", "model.name=linear_probe needs weights of the frozen network"),
        ("model.img_size=64", "model.img_size is not read by model.name=linear_probe; set features.embeddings"),
        ("run.devices=2", "run.devices=2 is of no use to model.name=linear_probe"),
        ("sweep=cross_validation", "model.name=linear_probe is fitted once, not swept"),
        ("train.init_from=models/runs/start", "train.init_from is not read by model.name=linear_probe"),
        ("train.resume=models/runs/start", "train.resume is not read by model.name=linear_probe"),
        ("train.freeze=[{layers: [backbone], until_epoch: 1}]", "train.freeze is not read by model.name=linear_probe"),
    ],
)
def test_settings_that_cannot_hold_with_a_probe_are_refused(override, message):
    with pytest.raises(ValueError, match=message):
        probing(override)


def test_a_team_started_by_torchrun_is_told_that_one_process_fits_it(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    given = "features.embeddings.pretrained_path=weights.safetensors"
    with pytest.raises(ValueError, match="fitted by one process and 2 were started; run it without torchrun"):
        train_model(configured("features=embeddings", "model=linear_probe", given))


def test_features_alone_choose_the_probe_and_a_network_typed_besides_goes_over_it():
    weights = "features.embeddings.pretrained_path=weights.safetensors"
    assert configured("features=embeddings", weights).model.name == "baseline_cnn"
    from src.compose import compose
    from src.selection import parse

    assert compose(parse(["features=embeddings", weights])).model.name == "linear_probe"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_probe_reaches_91_percent_on_3000_scenes(real_data, weights_file, tmp_path):
    project = copy_project(tmp_path / "project")
    project.commit("a fresh clone")
    given = (
        f"experiment=scenes_probe data.path={real_data('intel-3k.zip')} "
        f"features.embeddings.pretrained_path={weights_file('mobilenetv2_100-in1k.safetensors')}"
    )
    said = project.make("train", given)
    metrics = json.loads((project.root / "models/pipeline/metrics.json").read_text())
    assert metrics["test"]["acc"] >= 0.91, said
