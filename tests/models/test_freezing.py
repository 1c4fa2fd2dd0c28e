"""What rests is not trained and keeps its statistics; the others are."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from src.compose import compose
from src.config_training import FreezeConfig
from src.features.backbones import build_model
from src.models.checkpoint import start_from
from src.models.engine.preparing import prepare
from src.models.recipes.freezing import build_freezing
from src.models.train_model import train_model
from src.selection import parse


@pytest.fixture
def model():
    torch.manual_seed(0)
    cfg = compose(parse(["model=timm", "model.name=mobilenetv3_small_050"])).model
    return build_model(cfg, num_classes=3, img_size=32).train()


def trained(model) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def rule(*layers: str, until: int | None = None) -> FreezeConfig:
    return FreezeConfig(layers=list(layers), until_epoch=until)


def test_with_the_backbone_frozen_only_the_head_is_trained(model):
    freezing = build_freezing([rule("backbone")], model, keep_statistics=False)
    freezing.apply(model, 5)
    assert trained(model) == {"classifier.weight", "classifier.bias"}


def test_layers_are_unfrozen_stage_by_stage(model):
    rules = [rule("backbone", until=1), rule("conv_stem", "bn1", "blocks.0", until=3)]
    freezing = build_freezing(rules, model, keep_statistics=False)
    counts, changed = [], []
    for epoch in range(5):
        changed.append(freezing.apply(model.train(), epoch))
        counts.append(len(trained(model)))
    assert counts[0] == 2
    assert counts[0] < counts[1] == counts[2] < counts[3] == len(list(model.parameters()))
    assert changed == [True, True, False, True, False]


def test_nothing_is_frozen_without_rules(model):
    freezing = build_freezing([], model, keep_statistics=False)
    assert not freezing.apply(model, 0)
    assert len(trained(model)) == len(list(model.parameters()))
    assert all(module.training for module in model.modules())


def test_frozen_norms_keep_their_statistics_and_trained_ones_do_not(model):
    build_freezing([rule("conv_stem", "bn1")], model, keep_statistics=False).apply(model, 0)
    before = {name: value.clone() for name, value in model.state_dict().items() if "running" in name}
    model(torch.randn(4, 3, 32, 32))
    changed = {name for name, value in before.items() if not torch.equal(value, model.state_dict()[name])}
    assert changed == set(before) - {"bn1.running_mean", "bn1.running_var"}


def test_all_norms_keep_their_statistics_where_that_is_asked_for(model):
    build_freezing([], model, keep_statistics=True).apply(model, 0)
    before = {name: value.clone() for name, value in model.state_dict().items() if "running" in name}
    model(torch.randn(4, 3, 32, 32)).sum().backward()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert all(weight.grad is not None for weight in model.parameters())


def test_a_layer_that_is_none_is_answered_with_the_near_names(model):
    with pytest.raises(ValueError, match=r"train.freeze\[0\].layers=conv_sten is no part of the network; did you"):
        build_freezing([rule("conv_sten")], model, keep_statistics=False)


@pytest.mark.parametrize("until", [None, 1])
def test_an_epoch_in_which_nothing_is_trained_is_refused(model, until):
    with pytest.raises(ValueError, match=r"train.freeze leaves no weight to train in the first epoch; leave out"):
        build_freezing([rule("backbone", until=2), rule("classifier", until=until)], model, keep_statistics=False)
    build_freezing([rule("backbone", until=2), rule("classifier.bias")], model, keep_statistics=False)


def test_a_run_trains_the_head_first_and_then_everything(project, config):
    frozen = "train.freeze=[{layers: [backbone], until_epoch: 1}]"
    train_model(config("train.epochs=1", frozen, "train.seed=3", "run_dir=models/one"))
    train_model(config("train.epochs=2", frozen, "train.seed=3", "run_dir=models/two"))
    start = prepare(config("train.seed=3", "run_dir=models/start")).state.model.state_dict()
    one, two = (load_file(f"models/{name}/train/last/model.safetensors") for name in ("one", "two"))
    kept = {key for key in one if torch.equal(one[key], start[key])}
    assert kept == {key for key in one if not key.startswith("head.")}
    assert all(not torch.equal(two[key], start[key]) for key in two if not key.endswith("num_batches_tracked"))


def test_a_run_can_start_from_the_weights_of_another(project, config, caplog):
    train_model(config("run_dir=models/first"))
    first = load_file("models/first/train/best/model.safetensors")
    with caplog.at_level("INFO"):
        begun = prepare(config("run_dir=models/second", "train.init_from=models/first"))
    found = begun.state.model.state_dict()
    assert all(torch.equal(found[key], first[key]) for key in first)
    assert f"train.init_from=models/first: {len(first)} of the model's {len(first)} tensors taken" in caplog.text


def test_weights_that_were_trained_on_other_inputs_are_told(project, config, caplog):
    network = ("model=timm", "model.name=test_resnet", "model.options={}", "model.img_size=32")
    train_model(config(*network, "model.stem=plain", "train.epochs=1", "run_dir=models/first"))
    start = ("train.init_from=models/first", "model.mean=[0.25,0.5,0.5]")
    prepare(config(*network, *start, "run_dir=models/second"))
    (said,) = [record.message for record in caplog.records if "on other inputs" in record.message]
    assert "model.mean=[0.5, 0.5, 0.5], here [0.25, 0.5, 0.5]; model.stem=plain, here small" in said
    caplog.clear()
    prepare(config(*network, "model.stem=plain", start[0], "run_dir=models/third"))
    assert "on other inputs" not in caplog.text


def test_a_head_of_other_classes_is_not_taken(project, config):
    train_model(config("run_dir=models/first"))
    first = load_file("models/first/train/best/model.safetensors")
    cfg = config()
    model = build_model(cfg.model, num_classes=3, img_size=12)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    start_from(model, Path("models/first"), class_names=["one", "two", "three"])
    own = {key for key, value in model.state_dict().items() if torch.equal(value, before[key])}
    assert {key for key in own if key.startswith("head.")} == {key for key in first if key.startswith("head.")}
    assert torch.equal(model.state_dict()["features.0.0.weight"], first["features.0.0.weight"])


def test_weights_of_another_network_are_refused(project, config):
    train_model(config("run_dir=models/first"))
    with pytest.raises(ValueError, match=r"train.init_from=models/first does not fit the model"):
        prepare(config("run_dir=models/second", "train.init_from=models/first", "model.options.width=16"))


def test_a_folder_without_a_checkpoint_is_named(project, config):
    with pytest.raises(ValueError, match=r"nowhere/train/best holds no checkpoint"):
        prepare(config("run_dir=models/second", "train.init_from=nowhere"))
