import logging
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from src.features.backbones import build_model
from src.features.hub import answers, hub_source
from tests.features.test_backbones import _config

CLOSED = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """An empty cache and a hub that is not there, whatever machine the tests run on."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", CLOSED)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "hub"


def _refused(name):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - each caller reads the message
        hub_source(name, timm.get_pretrained_cfg(name))
    return str(caught.value)


def _cache(folder, model, repository):
    snapshot = folder / f"models--{repository.replace('/', '--')}" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / f"models--{repository.replace('/', '--')}" / "refs").mkdir()
    (folder / f"models--{repository.replace('/', '--')}" / "refs" / "main").write_text("0" * 40)
    save_file(model.state_dict(), snapshot / "model.safetensors")
    return snapshot / "model.safetensors"


@pytest.fixture
def http_status_404():
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(404)

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_without_network_or_cache_both_ways_out_are_named():
    message = _refused("resnet18")
    assert f"weights of resnet18 are not in the cache and {CLOSED} does not answer" in message
    assert "HF_HOME" in message
    assert "model.pretrained_path=<local .safetensors or .pth file>" in message
    assert "model.pretrained=false" in message


def test_the_sentence_reaches_whoever_builds_the_model():
    with pytest.raises(ValueError, match=r"weights of resnet18 are not in the cache .* model.pretrained=false"):
        build_model(_config("resnet18", pretrained=True), num_classes=2, img_size=32)


def test_offline_mode_asks_no_server(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "are not in the cache and HF_HUB_OFFLINE is set" in _refused("resnet18")


def test_cached_weights_are_used_without_network_and_the_head_is_new(empty_cache):
    source = timm.create_model("test_resnet", num_classes=1000)
    path = _cache(empty_cache, source, "timm/test_resnet.r160_in1k")
    assert hub_source("test_resnet", timm.get_pretrained_cfg("test_resnet")) == {"file": str(path)}
    model = build_model(_config("test_resnet", pretrained=True), num_classes=2, img_size=32)
    assert torch.equal(model.conv1[0].weight, source.conv1[0].weight)
    assert model.fc.weight.shape == (2, source.fc.in_features)


def test_damaged_cache_is_said_with_the_file_to_delete(empty_cache):
    path = _cache(empty_cache, timm.create_model("test_resnet"), "timm/test_resnet.r160_in1k")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=rf"weights of test_resnet are damaged .*delete {path} to have"):
        build_model(_config("test_resnet", pretrained=True), num_classes=2, img_size=32)


def test_weights_on_another_server_than_the_hub_are_asked_for_there():
    record = timm.get_pretrained_cfg("resnet18")
    record.hf_hub_id, record.url = None, f"{CLOSED}/resnet18.pth"
    with pytest.raises(ValueError, match=r"resnet18 are not in the cache and http://127.0.0.1:9 does not answer"):
        hub_source("resnet18", record)


def test_model_without_weights_is_answered_with_models_that_have_some():
    message = _refused("coatnet_0_224")
    assert "timm has no weights for coatnet_0_224; it has some for coatnet_" in message


def test_licence_is_told_and_a_non_commercial_one_is_a_warning(caplog):
    with caplog.at_level(logging.INFO):
        _refused("resnet18")
    assert "pretrained weights resnet18.a1_in1k, licence apache-2.0" in caplog.text
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]
    _refused("convnextv2_atto")
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["the licence of convnextv2_atto.fcmae_ft_in1k (cc-by-nc-4.0) allows no commercial use"]


def test_licence_that_is_not_stated_is_a_warning(caplog):
    record = timm.get_pretrained_cfg("resnet18")
    record.license = None
    with pytest.raises(ValueError, match="does not answer"):
        hub_source("resnet18", record)
    assert "states no licence" in caplog.text


def test_server_that_answers_with_an_error_status_is_there(http_status_404):
    assert answers(http_status_404)


def test_closed_port_and_unknown_host_do_not_answer():
    assert not answers(CLOSED)
    assert not answers("http://no-such-host.invalid", patience_s=2.0)


def test_server_that_accepts_and_stays_silent_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not answers(f"http://127.0.0.1:{server.getsockname()[1]}", patience_s=0.2)
