"""CIFAR-10 by torchvision, from a server on this machine or from a file."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from src.config import DownloadConfig
from src.data.archives import open_images
from src.data.fetching import cifar10 as cifar10_source
from src.data.fetching.cifar10 import from_pickles, torchvisions_cifar10
from src.data.fetching.record import zip_source
from src.data.sources import fetch
from tests.data.drawn import settings
from tests.data.drawn_cifar10 import ADDRESS, BATCHES, CLASSES, PER_BATCH, archive, drawn_cifar10, labels, md5, pixels
from tests.data.kaggle_server import KaggleServer, cut, forever, page, refused, silent, whole

QUICK = DownloadConfig(retries=1, wait_s=0.01, stall_s=60.0)
NUM_TRAIN = PER_BATCH * (len(BATCHES) - 1)


@pytest.fixture
def server(monkeypatch):
    """A server that has the drawn archive, at the address that the drawn class names."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    running = KaggleServer(archive())
    monkeypatch.setenv(ADDRESS, f"http://127.0.0.1:{running.server_port}/cifar-10-python.tar.gz")
    yield running
    running.stop()


@pytest.fixture
def by_hand(tmp_path):
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(archive())
    return path


def get(raw, download=QUICK, **changes):
    return from_pickles(settings(name="cifar10", **changes), raw, download, published=drawn_cifar10)


def left(raw):
    return sorted(path.relative_to(raw.parent).as_posix() for path in raw.parent.rglob("*") if path.is_file())


def test_every_image_becomes_a_png_of_the_same_pixels_by_split_and_class(tmp_path, by_hand):
    raw = tmp_path / "data/raw/source"
    source = get(raw, archive=str(by_hand))
    assert source == zip_source(settings(name="cifar10"), raw / "cifar10.zip")
    assert (source.kind, source.files, left(raw)) == ("zip", len(labels()), ["source/cifar10.zip"])
    files = dict(open_images(raw / "cifar10.zip").read())
    for number, (image, label) in enumerate(zip(pixels(), labels(), strict=True)):
        split, index = ("train", number) if number < NUM_TRAIN else ("test", number - NUM_TRAIN)
        content = files.pop(f"{split}/{CLASSES[label]}/{index:05d}.png")
        np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(content))), image)
    assert not files


@pytest.mark.slow
def test_a_download_and_a_file_by_hand_give_the_same_bytes_and_are_converted_once(tmp_path, by_hand, server):
    downloaded, handed = tmp_path / "a/source", tmp_path / "b/source"
    get(downloaded)
    asked = len(server.requests)
    get(handed, archive=str(by_hand))
    assert asked == len(server.requests) > 0
    paths = [folder / "cifar10.zip" for folder in (downloaded, handed)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    before = [path.stat().st_mtime_ns for path in paths]
    get(downloaded)
    get(downloaded, archive=str(by_hand))
    get(handed, archive=str(by_hand))
    assert [path.stat().st_mtime_ns for path in paths] == before
    assert asked == len(server.requests)


@pytest.mark.slow
def test_another_archive_is_refused_by_its_checksum(tmp_path, by_hand, server):
    by_hand.write_bytes(archive()[:-1] + b"x")
    found = md5(by_hand.read_bytes())
    with pytest.raises(ValueError, match=f"cifar-10-python.tar.gz has md5 {found} instead of {md5(archive())}, so it"):
        get(tmp_path / "raw/source", archive=str(by_hand))
    with pytest.raises(
        ValueError, match=r"nowhere is no file; give cifar-10-python\.tar\.gz as https://www\.cs\.toronto"
    ):
        get(tmp_path / "raw/source", archive=str(tmp_path / "nowhere"))
    assert not server.requests
    assert not (tmp_path / "raw/source").exists()


@pytest.mark.slow
def test_the_published_class_holds_the_published_checksum_and_refuses_drawn_images(tmp_path, by_hand):
    assert torchvisions_cifar10().tgz_md5 == "c58f30108f718f92721af3b95e74349a"
    with pytest.raises(ValueError, match="instead of c58f30108f718f92721af3b95e74349a, so it is not"):
        fetch(settings(name="cifar10", archive=str(by_hand)), tmp_path / "raw/source", download=QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("answer", [cut, page])
def test_a_download_that_is_not_what_was_published_is_tried_again(tmp_path, server, answer):
    # torchvision looks for redirects before it downloads
    server.files = forever(whole, answer, whole)
    assert get(tmp_path / "raw/source").files == len(labels())


@pytest.mark.slow
def test_a_download_that_stays_wrong_ends_within_bounds(tmp_path, server):
    server.files = forever(whole, page, whole, page)
    with pytest.raises(ValueError, match="what arrived is not what was published 2 times in a row; run again"):
        get(tmp_path / "raw/source")
    assert not (tmp_path / "raw/source").exists()
    server.files = forever(refused(404))
    with pytest.raises(ValueError, match=r"cifar10 is not there \(404\)"):
        get(tmp_path / "raw/source")


@pytest.mark.slow
def test_a_server_that_hangs_is_left(tmp_path, server):
    server.files = forever(silent)
    patience = DownloadConfig(retries=0, wait_s=0.0, stall_s=30.0)
    with pytest.raises(ValueError, match="cifar10: nothing arrived for 30 s"):
        get(tmp_path / "raw/source", download=patience)
    assert server.released.wait(60)


@pytest.mark.slow
def test_no_network_is_told_with_the_way_round_it(tmp_path, monkeypatch):
    monkeypatch.delenv(ADDRESS, raising=False)
    with pytest.raises(ValueError, match=r"no way to the server .* download it by hand from https://www\.cs"):
        get(tmp_path / "raw/source")


@pytest.mark.slow
def test_a_damaged_zip_is_made_again(tmp_path, by_hand):
    raw = tmp_path / "raw/source"
    get(raw, archive=str(by_hand))
    path = raw / "cifar10.zip"
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    get(raw, archive=str(by_hand))
    assert path.read_bytes() == content


def test_the_preset_states_what_the_pickles_hold(composed):
    about = composed("data=cifar10").data.about
    assert {split: sum(found.values()) for split, found in about.expected.items()} == {"train": 50_000, "test": 10_000}
    assert all(found == dict.fromkeys(about.classes, found["cat"]) for found in about.expected.values())
    assert about.home_page == cifar10_source.PAGE
