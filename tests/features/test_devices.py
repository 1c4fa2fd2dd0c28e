import pytest
import torch

from src.features.devices import resolve_device


def test_the_cpu_is_always_there():
    assert resolve_device("cpu") == torch.device("cpu")


def test_auto_is_a_device_of_this_machine():
    chosen = resolve_device("auto")
    assert torch.zeros(1, device=chosen).device.type == chosen.type


@pytest.mark.parametrize("name", ["tpu", "cuda:first", ""])
def test_a_name_that_is_no_device_is_answered_with_those_that_are(name):
    with pytest.raises(ValueError, match=rf"run.device={name} is no device; allowed: auto, cpu, cuda, cuda:N, mps"):
        resolve_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_here_is_answered_with_what_is():
    with pytest.raises(ValueError, match=r"run.device=cuda, but torch .* finds none here; found: cpu"):
        resolve_device("cuda")
