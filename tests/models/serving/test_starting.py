"""A service that cannot start says why before it loads anything."""

import pytest

from src.models.serve_model import listening, serve_model
from tests.models.conftest import configured


def test_a_port_that_is_taken_is_told_before_anything_is_loaded():
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        told = rf"cannot listen on 127.0.0.1:{port} \([^()]* in use[^()]*\); give another place"
        with pytest.raises(ValueError, match=told):
            serve_model(configured(f"serve.port={port}"), [])


def test_without_a_checkpoint_the_way_to_one_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"models/pipeline/train/best holds no checkpoint; train one with: make train"):
        serve_model(configured("serve.port=0"), [])
