import resource
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from src.features.backbones import build_model
from src.models import checkpoint
from src.models.checkpoint import ModelFacts
from tests.disks import small_disk
from tests.models.conftest import configured

PAGE = resource.getpagesize()
CPU = torch.device("cpu")
PREPROCESS = {
    "size": 12,
    "resize": "crop",
    "interpolation": "bilinear",
    "img_size": 12,
    "input_interpolation": "bilinear",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.3, 0.3, 0.3],
}


def facts(**changes) -> ModelFacts:
    given = ModelFacts(
        model=asdict(configured().model),
        class_names=["a", "b", "c"],
        preprocess=PREPROCESS,
        data_digest="0123456789abcdef",
        data_settings={},
        git_commit="",
        step=7,
        epoch=1,
        metrics={"val/acc": 0.5},
    )
    return replace(given, **changes)


def network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_model(configured().model, num_classes=3, img_size=12)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "best"
    checkpoint.save(path, network(), facts())
    return path


def test_weights_and_facts_come_back_as_they_were(folder):
    trained = checkpoint.load(folder, CPU)
    for name, tensor in network().state_dict().items():
        assert torch.equal(trained.model.state_dict()[name], tensor), name
    assert replace(trained.facts, sha256="") == facts()
    assert not trained.model.training


@pytest.mark.parametrize("start", ["model.pretrained_path=weights.pth", "model.pretrained=false"])
def test_a_small_network_that_started_from_weights_answers_as_it_did_when_it_was_trained(tmp_path, monkeypatch, start):
    monkeypatch.chdir(tmp_path)
    named = ("model=timm", "model.name=test_resnet", "model.options={}")
    torch.save(build_model(configured(*named).model, num_classes=3, img_size=32).state_dict(), "weights.pth")
    section = configured(*named, start).model
    trained = build_model(section, num_classes=3, img_size=32).eval()
    torch.nn.init.normal_(trained.get_classifier().weight)
    checkpoint.save(tmp_path / "best", trained, facts(model=asdict(section), preprocess={**PREPROCESS, "img_size": 32}))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        found = checkpoint.load(tmp_path / "best", CPU).model(images)
        assert torch.allclose(found, trained(images), atol=1e-5)


def test_a_second_save_replaces_the_first_and_leaves_nothing_beside(folder):
    checkpoint.save(folder, network(seed=1), facts(epoch=2))
    assert checkpoint.load_facts(folder).epoch == 2
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


def test_absent_checkpoint_says_how_to_get_one(tmp_path):
    with pytest.raises(ValueError, match=r"last holds no checkpoint; train one with: make train"):
        checkpoint.load(tmp_path / "last", CPU)


def test_one_flipped_bit_is_noticed(folder):
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"model.safetensors is damaged: its sha256"):
        checkpoint.load(folder, CPU)


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe"])
def test_damaged_facts_are_named(folder, damage):
    (folder / "model.json").write_bytes(damage)
    with pytest.raises(ValueError, match=r"model.json is damaged"):
        checkpoint.load(folder, CPU)


def test_weights_of_another_model_list_the_keys_that_differ(folder):
    other = build_model(configured("model.options.width=16").model, num_classes=3, img_size=12)
    with pytest.raises(ValueError, match=r"is the checkpoint of another model \(\d+ keys differ\): .* in the model"):
        checkpoint.check_fits(other, network().state_dict(), where=folder)


def test_a_kill_between_the_two_renames_of_a_save_leaves_the_old_checkpoint(folder):
    folder.rename(folder.with_name(".best.old"))
    assert checkpoint.load(folder, CPU).facts.epoch == 1


@pytest.fixture
def small(tmp_path: Path):
    """A file system of 256 KiB with a checkpoint on it."""
    with small_disk(tmp_path / "small", size="256k") as folder:
        checkpoint.save(folder / "last", network(), facts())
        yield folder


def test_without_room_nothing_is_written_and_the_sentence_has_the_bytes_needed_and_free(small):
    big = build_model(configured("model.options.width=64").model, num_classes=3, img_size=12)
    free = shutil.disk_usage(small).free
    with pytest.raises(
        OSError, match=rf"cannot write the checkpoint .*last: [\d,]+ bytes are needed and {free:,} are free .* intact"
    ):
        checkpoint.save(small / "last", big, facts(epoch=2))
    assert checkpoint.load(small / "last", CPU).facts.epoch == 1
    assert [path.name for path in small.iterdir()] == ["last"]


def test_a_disk_that_fills_up_while_it_is_written_keeps_the_old_checkpoint(small):
    needed = -((small / "last" / "model.safetensors").stat().st_size // -PAGE) * PAGE
    (small / "ballast").write_bytes(bytes(shutil.disk_usage(small).free - needed))
    with pytest.raises(OSError, match=r"cannot write the checkpoint .*last: No space left.* MiB are needed, .* intact"):
        checkpoint.save(small / "last", network(seed=1), facts(epoch=2))
    assert checkpoint.load(small / "last", CPU).facts.epoch == 1
    assert {path.name for path in small.iterdir()} == {"last", "ballast"}
