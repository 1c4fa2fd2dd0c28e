import logging

import numpy as np
import pytest

from src.features.embedding_cache import EmbeddingCache, pixel_digests
from tests.features.conftest import pack

DIGESTS = [bytes([number]) * 16 for number in range(5)]
VECTORS = np.arange(15, dtype=np.float32).reshape(5, 3)


def contents(cache: EmbeddingCache) -> dict[bytes, list[float]]:
    return {
        digest: vector
        for digests, vectors in cache.parts()
        for digest, vector in zip(digests, vectors.tolist(), strict=True)
    }


@pytest.fixture
def cache(tmp_path) -> EmbeddingCache:
    """Five vectors in two files."""
    cache = EmbeddingCache(tmp_path / "cache")
    cache.add(DIGESTS[:2], VECTORS[:2])
    cache.add(DIGESTS[2:], VECTORS[2:])
    return cache


def test_vectors_are_found_by_the_digest_of_their_image(cache):
    assert contents(cache) == dict(zip(DIGESTS, VECTORS.tolist(), strict=True))


def test_a_cache_that_is_not_there_yet_is_empty(tmp_path):
    assert contents(EmbeddingCache(tmp_path / "none")) == {}


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-40], lambda raw: raw[:5], lambda raw: flip_bit(raw, len(raw) // 2)]
)
def test_a_damaged_file_is_told_of_and_left_out(cache, damage, caplog):
    path = max(cache.folder.iterdir(), key=lambda path: path.stat().st_size)
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING, logger="src"):
        assert contents(cache) == dict(zip(DIGESTS[:2], VECTORS[:2].tolist(), strict=True))
    assert f"{path.name} is damaged" in caplog.text


def test_the_same_pixels_have_the_same_digest_whatever_their_name_and_label(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 4, 4, 3), dtype=np.uint8)
    pixels[299] = pixels[0]
    pixels[1] = pixels[0]
    pixels[1, 0, 0, 0] ^= 1
    digests = pixel_digests(pack(tmp_path / "train", pixels, [0] * 300))
    assert digests[299] == digests[0] != digests[1]
    assert len(set(digests)) == 299
    assert pixel_digests(pack(tmp_path / "val", pixels[:3], [1, 2, 0])) == digests[:3]


def flip_bit(raw: bytes, position: int) -> bytes:
    return raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]
