import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from src.compose import compose
from src.config import EmbeddingsConfig
from src.features.embedder import embed_packed, load_embedder
from src.features.embeddings import Embeddings
from src.files import write_json
from src.selection import Selection
from tests.features.conftest import pack
from tests.test_docs import compared, dictionary

CPU = torch.device("cpu")
SIDE = 32
ROOT = Path(__file__).resolve().parents[2]

# it waits once the first part is kept, until it is killed
EMBED = """
import sys, torch
from pathlib import Path
from tests.features.test_embedder import settings
from src.features.embedder import embed_packed, load_embedder
from src.features.embedding_cache import EmbeddingCache
torch.set_num_threads(1)
root = Path(sys.argv[1])
add = EmbeddingCache.add
EmbeddingCache.add = lambda *part: (add(*part), sys.stdin.read())
embedder = load_embedder(settings(root / "net.safetensors"), device=torch.device("cpu"))
embed_packed(root, embedder, cache_dir=root / "cache")
"""


def settings(weights: Path | None, **changes) -> EmbeddingsConfig:
    """A small net of timm at 32 px, four images at a time."""
    defaults = compose(Selection()).features.embeddings
    path = None if weights is None else str(weights)
    small = replace(defaults, name="test_resnet", pretrained_path=path, img_size=SIDE, batch_size=4)
    return replace(small, **changes)


@pytest.fixture(scope="session")
def net(tmp_path_factory) -> Path:
    """Weights of that net, drawn at random."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=7).state_dict(), path)
    return path


def packed(root: Path, counts: dict[str, int], *, seed: int = 0) -> Path:
    """Packed splits of random images of 8 px, with the facts that build_features writes."""
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        pixels = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        pack(root / name, pixels, [index % 3 for index in range(count)])
    features = {"resize": "crop", "interpolation": "bilinear"}
    facts = {"size": 8, "counts": counts, "digest": "0123456789abcdef", "settings": {"features": features}}
    write_json(root / "statistics.json", facts)
    return root


@pytest.fixture
def computed(monkeypatch) -> list[int]:
    """How many images each forward pass of a network had."""
    sizes: list[int] = []
    forward = timm.models.ResNet.forward

    def counting(self, images):
        sizes.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(timm.models.ResNet, "forward", counting)
    return sizes


def test_vectors_are_what_the_head_of_the_network_would_see_in_the_order_of_the_split(net, tmp_path):
    root = packed(tmp_path, {"train": 9, "test": 5})
    facts = embed_packed(root, load_embedder(settings(net), device=CPU), cache_dir=tmp_path / "cache")
    compared(dictionary("`data/processed/packed/embeddings/embeddings.json`"), set(facts))
    model = timm.create_model("test_resnet", num_classes=7, checkpoint_path=str(net)).eval()
    record = timm.get_pretrained_cfg("test_resnet")
    for name in ("train", "test"):
        found = Embeddings.load(root, name)
        images = torch.from_numpy(np.load(root / name / "images-000.npy")).permute(0, 3, 1, 2) / 255
        mode = record.interpolation
        images = torch.nn.functional.interpolate(images, (SIDE, SIDE), mode=mode, antialias=True)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (record.mean, record.std))
        with torch.no_grad():
            expected = model.forward_head(model.forward_features((images - mean) / std), pre_logits=True)
        assert found.vectors == pytest.approx(expected.numpy(), abs=1e-5)
        assert found.vectors.std() > 0.01


def test_mean_and_std_of_the_config_come_first(net):
    own = load_embedder(settings(net), device=CPU)
    given = load_embedder(settings(net, mean=[0.4] * 3, std=[0.25] * 3), device=CPU)
    assert (given.inputs.mean, given.inputs.std) == ((0.4,) * 3, (0.25,) * 3)
    assert own.inputs.mean != given.inputs.mean
    assert own.key() != given.key()


def test_half_precision_gives_nearly_the_same_vectors_under_a_key_of_their_own(net, tmp_path):
    root, found = packed(tmp_path, {"train": 9}), {}
    for precision in ("fp32", "bf16"):
        embedder = load_embedder(settings(net, precision=precision), device=CPU)
        assert embed_packed(root, embedder, cache_dir=tmp_path / "cache")["precision"] == precision
        found[precision] = np.array(Embeddings.load(root, "train").vectors)
    size = np.linalg.norm(found["fp32"])
    assert 0 < np.linalg.norm(found["bf16"] - found["fp32"]) / size < 0.02


def test_an_image_that_was_embedded_before_is_not_computed_again(net, tmp_path, computed):
    root = packed(tmp_path, {"train": 9, "test": 5})
    embedder = load_embedder(settings(net), device=CPU)
    embed_packed(root, embedder, cache_dir=tmp_path / "cache")
    first = np.array(Embeddings.load(root, "train").vectors)
    computed.clear()
    pixels = np.load(root / "train" / "images-000.npy")
    fresh = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    # another split, other labels, one image twice and one more
    pack(root / "train", np.concatenate([pixels[::-1], pixels[:1], fresh]), [1] * 11)
    embed_packed(root, embedder, cache_dir=tmp_path / "cache")
    assert sum(computed) == 1
    again = Embeddings.load(root, "train").vectors
    assert np.array_equal(again[:10], np.concatenate([first[::-1], first[:1]]))


def test_another_network_side_or_weights_share_no_vector(net, tmp_path, computed):
    root = packed(tmp_path, {"train": 4})
    other = tmp_path / "other.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=7).state_dict(), other)
    variants = [
        settings(net),
        settings(net, img_size=48),
        settings(other),
        settings(net, options={"output_stride": 16}),
    ]
    keys = set()
    for cfg in variants:
        embedder = load_embedder(cfg, device=CPU)
        keys.add(embedder.key())
        computed.clear()
        embed_packed(root, embedder, cache_dir=tmp_path / "cache")
        assert sum(computed) == 4
    assert len(keys) == len(variants)


def test_a_vector_that_is_not_finite_names_the_image_and_leaves_what_was_there(net, tmp_path):
    root = packed(tmp_path, {"train": 6})
    embedder = load_embedder(settings(net), device=CPU)
    embed_packed(root, embedder, cache_dir=tmp_path / "cache")
    before = (root / "embeddings" / "train.npy").read_bytes()
    broken = replace(embedder, inputs=replace(embedder.inputs, std=(0.0, 0.0, 0.0)))
    with pytest.raises(ValueError, match=r"test_resnet gives a NaN or an infinity for 000.png"):
        embed_packed(root, broken, cache_dir=tmp_path / "cache")
    assert (root / "embeddings" / "train.npy").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"name": "baseline_cnn"},
            "features.embeddings.name=baseline_cnn has no trained weights; give a",
        ),
        ({"name": "test_resnot"}, "features.embeddings.name=test_resnot is unknown; did you mean test_resnet"),
        ({"pretrained_path": "none.safetensors"}, "features.embeddings.pretrained_path=none.safetensors is no file"),
        ({"options": {"depth": 3}}, "features.embeddings.options.depth: test_resnet takes no depth"),
        ({"name": "test_vit"}, "features.embeddings.pretrained_path=.* does not fit the model"),
    ],
)
def test_a_fault_names_the_key_of_this_section(net, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_embedder(settings(net, **changes), device=CPU)
    assert "model.pre" not in str(caught.value).replace("embeddings.pre", "")


def test_a_network_that_gives_maps_is_refused(net):
    with pytest.raises(ValueError, match=r"gives \(1, \d+, \d+, \d+\) per image, not a vector"):
        load_embedder(settings(net, options={"global_pool": ""}), device=CPU)


@pytest.mark.slow
def test_an_embedding_that_was_killed_goes_on_where_it_was(net, tmp_path, computed, caplog):
    count = 1500
    root = packed(tmp_path, {"train": count})
    (root / "net.safetensors").write_bytes(net.read_bytes())
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(
        [sys.executable, "-c", EMBED, str(root)], cwd=ROOT, env=environment, stdin=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while running.poll() is None and not list((root / "cache").glob("*/*.npz")) and time.monotonic() < deadline:
        time.sleep(0.001)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    assert not (root / "embeddings").exists()

    embedder = load_embedder(settings(root / "net.safetensors"), device=CPU)
    computed.clear()
    with caplog.at_level(logging.INFO, logger="src"):
        embed_packed(root, embedder, cache_dir=root / "cache")
    assert 0 < sum(computed) < count
    assert f"train: {sum(computed)} images to embed, {count - sum(computed)} known already" in caplog.text
    whole = packed(tmp_path / "whole", {"train": count})
    embed_packed(whole, embedder, cache_dir=whole / "cache")
    assert Embeddings.load(root, "train").vectors == pytest.approx(Embeddings.load(whole, "train").vectors, abs=1e-5)
