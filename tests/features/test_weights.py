import logging
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from src.features.weights import load_weights, read_weights


class _Net(nn.Module):
    def __init__(self, num_classes=3, width=4):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, width, 3))
        self.head = nn.Linear(width, num_classes)


def _refused(path, model=None):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - each caller reads the message
        load_weights(model or _Net(), path, heads=("head",))
    assert str(path) in str(caught.value)
    return str(caught.value)


def _equal(model, state):
    return all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_prefixes_and_wrapping_dicts_are_taken_off(tmp_path, prefix, wrapper, suffix):
    state = _Net().state_dict()
    tree = {prefix + key: value for key, value in state.items()}
    path = tmp_path / f"weights{suffix}"
    torch.save({wrapper: tree, "epoch": 3} if wrapper else tree, path)
    model = _Net()
    assert load_weights(model, path, heads=("head",)) == len(state)
    assert _equal(model, state)


def test_safetensors_file_is_taken_whole(tmp_path):
    state = _Net().state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    model = _Net()
    assert load_weights(model, tmp_path / "weights.safetensors", heads=("head",)) == len(state)
    assert _equal(model, state)


def test_head_of_another_class_count_is_left_out_and_told(tmp_path, caplog):
    save_file(_Net(num_classes=7).state_dict(), tmp_path / "weights.safetensors")
    model = _Net(num_classes=3)
    before = model.head.weight.clone()
    with caplog.at_level(logging.INFO):
        load_weights(model, tmp_path / "weights.safetensors", heads=("head",))
    assert torch.equal(model.head.weight, before)
    assert "9 of the model's 11 tensors taken" in caplog.text
    assert "head for other classes, so not taken: head.weight, head.bias" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.INFO}


def test_tensors_of_another_shape_are_refused_by_name_and_the_model_is_untouched(tmp_path):
    save_file(_Net(width=8).state_dict(), tmp_path / "weights.safetensors")
    model = _Net()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    message = _refused(tmp_path / "weights.safetensors", model)
    assert "body.0.weight is 8x3x3x3 and should be 4x3x3x3" in message
    assert _equal(model, before)


def test_file_of_another_model_is_refused_with_the_absent_keys(tmp_path):
    save_file({"stem.weight": torch.zeros(2, 2)}, tmp_path / "weights.safetensors")
    message = _refused(tmp_path / "weights.safetensors")
    assert "only 0 of its 11 tensors are in the file" in message
    assert "body.0.weight" in message


def test_tensors_that_are_absent_are_told(tmp_path, caplog):
    state = _Net().state_dict()
    del state["body.2.bias"]
    save_file(state, tmp_path / "weights.safetensors")
    load_weights(_Net(), tmp_path / "weights.safetensors", heads=("head",))
    assert "not there, so initialised at random: body.2.bias" in caplog.text


def test_missing_file_is_named(tmp_path):
    assert "is no file; give a .safetensors, .pth" in _refused(tmp_path / "absent.safetensors")


def test_file_of_another_kind_is_refused_with_what_is_allowed(tmp_path):
    (tmp_path / "weights.onnx").write_bytes(b"x")
    assert "allowed: .safetensors, .pth, .pt, .bin" in _refused(tmp_path / "weights.onnx")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_cut_file_is_said_to_be_damaged(tmp_path, suffix, kept):
    path = tmp_path / f"weights{suffix}"
    save_file(_Net().state_dict(), path) if suffix == ".safetensors" else torch.save(_Net().state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    assert "damaged" in _refused(path)


class _Malice:
    def __reduce__(self):
        return (print, ("code of the file was run",))


def test_pickle_that_could_run_code_is_refused_without_running_it_or_advising_to(tmp_path, capsys):
    torch.save({"state_dict": _Net().state_dict(), "extra": _Malice()}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(_Malice(), protocol=2))
    for name in ("zip.pth", "plain.pth"):
        message = _refused(tmp_path / name)
        assert "was refused" in message
        assert "weights_only" not in message
        assert "safetensors" in message
    assert "code of the file was run" not in capsys.readouterr().out


@pytest.mark.parametrize("tree", [torch.zeros(3), [1, 2], {"epoch": 3}, {}])
def test_file_without_named_tensors_is_refused(tmp_path, tree):
    torch.save(tree, tmp_path / "weights.pth")
    assert "holds no tensors by name" in _refused(tmp_path / "weights.pth")


def test_tensors_that_the_model_has_not_are_told(tmp_path, caplog):
    save_file({**_Net().state_dict(), "body.9.weight": torch.zeros(1)}, tmp_path / "weights.safetensors")
    load_weights(_Net(), tmp_path / "weights.safetensors", heads=("head",))
    assert "there and not in the model: body.9.weight" in caplog.text


def test_read_weights_leaves_out_what_is_no_tensor(tmp_path):
    torch.save({"a": torch.ones(2), "epoch": 3}, tmp_path / "weights.pth")
    assert list(read_weights(tmp_path / "weights.pth")) == ["a"]
