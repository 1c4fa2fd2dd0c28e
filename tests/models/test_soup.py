"""A soup is the mean of the weights of runs that go together, and a run folder like any other."""

import json
import shutil
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from src.artifacts import RunRecord
from src.calibration import calibrate
from src.config import SoupConfig
from src.features.packed import PackedSplit
from src.files import read_json, write_json
from src.layout import PACKED_DIR, RunFolder
from src.models import checkpoint, soup
from src.models.predict_model import predict_model
from src.models.runtime import Runtime
from src.models.scoring import split_probs
from src.models.soup_models import soup_models
from src.models.train_model import train_model
from src.runs import chosen, load
from src.selection import groups
from src.visualization.comparing.groups import grouped
from src.visualization.reporting.evidence import read_curves
from tests.models.conftest import CLASS_NAMES
from tests.models.test_checkpoint import facts
from tests.test_docs import compared, dictionary

RUNS = ["models/one", "models/two", "models/poor"]


@pytest.fixture
def runs(project, config) -> list[str]:
    """Two runs that go on from one start, as soups want, and one that learnt too little to be of use."""
    train_model(config("run_dir=models/start", "train.epochs=3", "optimizer.lr=0.005"))
    for name, seed in (("one", 1), ("two", 2)):
        start = ["train.init_from=models/start", f"train.seed={seed}", "train.epochs=1", "optimizer.lr=0.002"]
        train_model(config(*start, f"run_dir=models/{name}"))
    train_model(config("run_dir=models/poor", "train.epochs=1", "optimizer.lr=1e-6", "train.seed=3"))
    return RUNS


def weights(run: str) -> dict[str, torch.Tensor]:
    return load_file(RunFolder(Path(run)).checkpoint("best") / "model.safetensors")


def facts_of(run: str) -> dict:
    return json.loads((Path(run) / "train/run.json").read_text())["facts"]["soup"]


def test_a_uniform_soup_is_the_mean_of_all_and_predict_takes_it(runs, config):
    soup_models(config("soup=uniform", f"soup.runs=[{','.join(runs)}]", "run_dir=models/soup"))
    parts, made = [weights(run) for run in runs], weights("models/soup")
    for name, tensor in made.items():
        if "running" not in name and tensor.is_floating_point():
            assert torch.allclose(tensor, sum(part[name] for part in parts) / 3, atol=1e-6), name
    assert [entry["taken"] for entry in facts_of("models/soup")["runs"]] == [True] * 3
    compared(dictionary("`<run>/train/run.json`, `facts.soup`"), set(facts_of("models/soup")))
    predict_model(config("run_dir=models/soup"))
    scored = json.loads(Path("models/soup/metrics.json").read_text())
    best = read_json(Path("models/soup/train/run.json"), made_by="")["best"]
    assert scored["val"]["acc"] == pytest.approx(best["val/acc"])
    assert scored["val"]["loss"] == pytest.approx(best["val/loss"], rel=1e-4)
    assert len(read_curves(Path("models/soup/train/metrics.jsonl"))) == 1


def test_a_soup_has_a_temperature_of_its_own_and_is_no_repetition_of_its_runs(runs, config):
    soup_models(config("soup=uniform", f"soup.runs=[{','.join(runs)}]", "run_dir=models/soup"))
    trained = checkpoint.load(RunFolder(Path("models/soup")).checkpoint("best"), torch.device("cpu"))
    val = PackedSplit.load(PACKED_DIR / "val")
    probs = split_probs(trained.model, val, trained.preprocess, Runtime(torch.device("cpu"), None), batch_size=64)
    assert trained.facts.calibration == calibrate(val.labels, probs).as_tree()
    record, part = (RunRecord.load(Path(run) / "train") for run in ("models/soup", "models/one"))
    assert record.num_params == part.num_params > 0
    assert record.facts["weights"] == {
        "source": "the run models/start",
        "licence": "not stated",
        "note": "that of the run it started from",
    }
    predict_model(config("run_dir=models/soup"))
    predict_model(config("run_dir=models/poor"))
    found = [load(folder) for folder in chosen(["models/soup", "models/poor"], least=2)]
    assert [len(group.runs) for group in grouped(found, repetitions=["train.seed"])] == [1, 1]


def test_a_greedy_soup_leaves_out_what_val_loses_by_and_is_no_worse_than_its_best_run(runs, config, caplog):
    caplog.set_level("INFO", logger="src.models.soup")
    soup_models(config(f"soup.runs=[{','.join(reversed(runs))}]", "run_dir=models/soup"))
    taken = {entry["run"]: entry["taken"] for entry in facts_of("models/soup")["runs"]}
    assert list(taken) == list(reversed(runs))
    assert taken["models/one"] or taken["models/two"]
    single = [read_json(Path(run, "train/best/model.json"), made_by="")["metrics"]["val/acc"] for run in runs]
    assert read_json(Path("models/soup/train/run.json"), made_by="")["best"]["val/acc"] >= max(single) - 1e-9
    assert "alone: val/acc" in caplog.text


def test_statistics_of_batch_norm_are_those_of_the_mean_network(runs):
    ingredients = soup.gather(runs[:2])
    train, val = (PackedSplit.load(PACKED_DIR / name) for name in ("train", "val"))
    pot = soup.Pot(ingredients[0].facts, train, val, Runtime(torch.device("cpu"), None), 32, 50)
    cooked = pot.cook(ingredients).model
    norms = soup.moved_norms(cooked, ingredients)
    assert norms
    images = torch.from_numpy(train.gather(np.arange(len(train))))
    seen = []
    norms[0].register_forward_hook(lambda norm, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        cooked(soup.model_input(soup.unit_images(images), soup.Preprocess.from_tree(ingredients[0].facts.preprocess)))
    assert torch.allclose(norms[0].running_mean, seen[0].mean(dim=(0, 2, 3)), atol=1e-4)
    assert soup.moved_norms(cooked, ingredients[:1]) == []


def changed(run: str, copy: str, change) -> None:
    shutil.copytree(run, copy)
    path = Path(copy, "train/best/model.json")
    facts = read_json(path, made_by="")
    write_json(path, change(facts))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda facts: facts | {"class_names": CLASS_NAMES[::-1]}, r"class_names: \['across', 'down', 'dots'\] -> "),
        (lambda facts: facts | {"data_digest": "other"}, r"data_digest: 0123456789abcdef -> other"),
        (
            lambda facts: facts | {"model": facts["model"] | {"name": "residual_cnn"}},
            r"model.name: baseline_cnn -> ",
        ),
        (
            lambda facts: facts | {"preprocess": facts["preprocess"] | {"img_size": 16}},
            r"preprocess.img_size: 12 -> 16",
        ),
    ],
)
def test_runs_that_do_not_go_together_are_refused_by_the_keys_that_differ(project, config, change, named):
    train_model(config("run_dir=models/one", "train.epochs=1"))
    changed("models/one", "models/other", change)
    with pytest.raises(ValueError, match=rf"models/other does not go with models/one, they differ in {named}"):
        soup_models(config("soup.runs=[models/one,models/other]"))
    assert not Path("models/runs").exists()


@pytest.mark.parametrize("given", ["[]", "[models/one]", "[models/one,models/one]"])
def test_fewer_than_two_runs_are_refused(project, config, given):
    with pytest.raises(ValueError, match=r"soup.runs=\[.*\]: give at least two run folders, each once"):
        soup_models(config(f"soup.runs={given}"))


def test_without_a_val_split_a_greedy_soup_is_refused(project):
    train = PackedSplit.load(PACKED_DIR / "train")
    empty = soup.Pot(facts(), train, None, Runtime(torch.device("cpu"), None), 32, 50)
    with pytest.raises(ValueError, match=r"soup.method=greedy chooses by the val split, and there is none; use soup"):
        soup.greedy(empty, [])


def test_every_method_of_the_table_has_a_preset_and_is_allowed():
    allowed = get_args(get_type_hints(SoupConfig)["method"])
    assert set(soup.METHODS) == set(allowed) == set(groups()["soup"])


def test_the_mean_is_taken_of_floats_and_counts_are_the_first_ones():
    parts = [{"weight": torch.tensor([1.0, 3.0]), "count": torch.tensor(5)}, {"weight": torch.tensor([2.0, 5.0])}]
    mean = soup.mean_weights([parts[0], parts[1] | {"count": torch.tensor(9)}])
    assert mean["weight"].tolist() == [1.5, 4.0]
    assert mean["count"] == 5
    assert soup.mean_weights(parts[:1]) == parts[0]
