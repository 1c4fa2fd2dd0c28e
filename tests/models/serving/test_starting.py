"""A service that cannot start says why before it loads anything."""

from typing import Any

import pytest
import torch

from src.models import runtime
from src.models.serve_model import listening, prepared, serve_model
from tests.models.conftest import configured
from tests.models.serving.loopback import RUNS


def test_a_port_that_is_taken_is_told_before_anything_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        told = rf"cannot listen on 127.0.0.1:{port} \([^()]* in use[^()]*\); give another place"
        with pytest.raises(ValueError, match=told):
            serve_model(configured(f"serve.port={port}"), [])


def test_without_a_checkpoint_the_way_to_one_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"models/pipeline/train/best holds no checkpoint; train one with: make train"):
        serve_model(configured("serve.port=0"), [])


def test_batches_of_any_size_come_so_that_cudnn_tries_nothing_at_each_new_one(within, monkeypatch):
    cfg, start, found = configured(), runtime.start, []

    def on_a_gpu(*arguments: Any, **settings: Any) -> runtime.Runtime:
        start(*arguments, **settings, device=torch.device("cuda"))
        found.append(torch.backends.cudnn.benchmark)
        return start(*arguments, **settings)

    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(runtime, "_device_name", str)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda _: None)
    monkeypatch.setattr(runtime, "start", on_a_gpu)
    prepared(cfg, RUNS[0])
    on_a_gpu(cfg.run, "fp32")
    assert found == [False, True]
