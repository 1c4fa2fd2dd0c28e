"""One function loads a finished run for a notebook."""

import numpy as np
import pytest
import torch

from src.models.finished_run import load_run
from src.models.predict_model import predict_model
from src.models.scoring import score
from src.models.train_model import train_model


def test_a_run_is_loaded_whole_and_its_model_predicts_what_is_on_file(project, config):
    cfg = config("run_dir=models/runs/a", "run.device=cpu")
    train_model(cfg)
    predict_model(cfg)
    run = load_run("a")
    assert run.config["model"]["name"] == "baseline_cnn"
    assert list(run.curves.index) == [1, 2]
    assert {"train/loss", "val/acc"} <= set(run.curves)
    assert set(run.predictions) == set(run.metrics) == {"train", "val", "test"}
    assert run.metrics["test"]["num_images"] == len(run.predictions["test"].ids)
    pack = run.pixels("test")
    assert pack.ids == run.predictions["test"].ids
    images = torch.from_numpy(pack.gather(np.arange(5)))
    from src.models import runtime

    probs = score(run.model.model, images, run.model.preprocess, runtime.start(cfg.run, "fp32")).softmax(dim=1)
    np.testing.assert_allclose(probs.numpy(), run.predictions["test"].probs[:5], atol=1e-5)
    assert run.model is run.model


def test_pixels_of_other_data_are_refused(project, config):
    train_model(config("run_dir=models/runs/a"))
    index = project / "data/processed/packed/test/index.json"
    index.write_text(index.read_text("utf-8").replace("0123456789abcdef", "fedcba9876543210"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"packed holds other data \(fedcba9876543210\) than models/runs/a was"):
        load_run("a").pixels("test")


def test_a_folder_of_several_runs_is_not_one(project, config):
    for name in ("a", "b"):
        train_model(config(f"run_dir=models/runs/{name}", "train.epochs=1"))
    with pytest.raises(ValueError, match=r"just 1 run must be named, found models/runs/a and models/runs/b"):
        load_run("models/runs")
    assert load_run("b").metrics == load_run("b").predictions == {}
