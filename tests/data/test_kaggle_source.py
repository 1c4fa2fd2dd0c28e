"""Kaggle's own client, unchanged, against a server on this machine."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from io import BytesIO

import pytest

from src.config import DownloadConfig
from src.data.archives import open_images
from src.data.fetching.record import SOURCE_FILE
from src.data.sources import fetch
from src.selection import PROJECT_ROOT
from tests.data.drawn import below, labelled, settings
from tests.data.kaggle_server import (
    COMPETITION_CALL,
    DATASET_CALL,
    INTROSPECTION,
    KEY,
    SIGNATURE,
    KaggleServer,
    cut,
    cut_without_names,
    forever,
    page,
    redirected,
    refused,
    shortened,
    silent,
    stalled,
    whole,
)

IMAGES = (
    below("seg_train/seg_train", labelled({"sea": 3, "street": 3}))
    # the client writes a mebibyte at a time
    | {"seg_train/seg_train/sea/large.png": random.Random(0).randbytes(3 * 2**20)}
    | {"seg_pred/seg_pred/1.png": b"x"}
)
QUICK = DownloadConfig(retries=1, wait_s=0.01, stall_s=60.0)
FILE = "/storage/archive.zip"


def zipped(files):
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content)
    return packed.getvalue()


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    """A server with the images of `intel`, which the client takes for Kaggle; a key is set, no file of this user."""
    for name in [name for name in os.environ if name.startswith("KAGGLE") or name.lower() == "no_proxy"]:
        monkeypatch.delenv(name)
    running = KaggleServer(zipped(IMAGES))
    proxy = f"http://127.0.0.1:{running.server_port}"
    told = {"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "KAGGLE_USERNAME": "someone", "KAGGLE_KEY": KEY}
    told |= {"HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": "", "no_proxy": ""}
    told |= {"HOME": str(tmp_path / "home"), "USERPROFILE": str(tmp_path / "home"), "XDG_CONFIG_HOME": ""}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    yield running
    running.stop()


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "raw/source"


def get(raw, name="intel", download=QUICK, **changes):
    return fetch(settings(name=name, **changes), raw, download=download)


def left(raw):
    """Everything below the folder of raw data."""
    return sorted(path.relative_to(raw.parent).as_posix() for path in raw.parent.rglob("*") if path.is_file())


def refusal(raw, **changes):
    """The sentence with which the download ends; nothing may be in place then."""
    with pytest.raises(ValueError, match=r"or download it by hand|what was downloaded|is damaged") as caught:
        get(raw, **changes)
    assert not raw.exists() or not list(raw.iterdir())
    return str(caught.value)


def test_a_dataset_arrives_as_it_was_sent_and_is_asked_for_once(kaggle, raw):
    path = get(raw)
    assert path == raw / "intel.zip"
    assert path.read_bytes() == kaggle.content
    assert left(raw) == ["source/intel.zip", f"source/{SOURCE_FILE}"]
    (call,) = kaggle.asked(DATASET_CALL)
    assert (call.body["ownerSlug"], call.body["datasetSlug"]) == ("puneet6060", "intel-image-classification")
    record = (raw / SOURCE_FILE).read_bytes()
    assert get(raw) == path
    assert len(kaggle.asked(DATASET_CALL)) == 1
    assert (raw / SOURCE_FILE).read_bytes() == record


def test_a_competitions_archives_in_the_archive_become_one(kaggle, raw):
    labelled_images = {f"train/{name}": content for name, content in labelled({"cat.0": 1, "dog.0": 1}).items()}
    kaggle.content = zipped(
        {"train.zip": zipped(labelled_images), "test1.zip": zipped({"1.jpg": b"one"}), "sampleSubmission.csv": b"id"}
    )
    path = get(raw, name="cats_dogs")
    assert dict(open_images(path).read()) == labelled_images | {"test1/1.jpg": b"one"}
    assert left(raw) == ["source/cats_dogs.zip", f"source/{SOURCE_FILE}"]
    (call,) = kaggle.asked(COMPETITION_CALL)
    assert call.body == {"competitionName": "dogs-vs-cats"}


@pytest.mark.parametrize("variables", [(), ("KAGGLE_USERNAME",)])
def test_without_credentials_it_says_where_to_get_a_key_and_where_to_put_it(kaggle, raw, monkeypatch, variables):
    for name in ("KAGGLE_KEY", *variables):
        monkeypatch.delenv(name)
    said = refusal(raw)
    assert "intel from Kaggle: no credentials found; make a token at https://www.kaggle.com/settings/api" in said
    assert "~/.kaggle/access_token or into KAGGLE_API_TOKEN" in said
    assert "from https://www.kaggle.com/datasets/puneet6060/intel-image-classification and give data.archive=" in said
    assert kaggle.requests == []


def test_an_access_token_that_kaggle_does_not_know_is_told_from_none(kaggle, raw, monkeypatch):
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.setenv("KAGGLE_API_TOKEN", KEY)
    said = refusal(raw)
    assert "Kaggle does not know the access token that was found; make a token at" in said
    assert kaggle.asked(INTROSPECTION)
    assert KEY not in said


@pytest.mark.parametrize(
    ("name", "status", "sentence"),
    [
        ("intel", 401, "Kaggle refuses the credentials that were found (401); make a token at https://www.kaggle.com"),
        ("intel", 403, "open https://www.kaggle.com/datasets/puneet6060/intel-image-classification with the account"),
        (
            "cats_dogs",
            403,
            "accept the rules of the competition at https://www.kaggle.com/competitions/dogs-vs-cats/rules with",
        ),
        ("intel", 404, "intel from Kaggle is not there (404): it may have been moved or withdrawn; look at https://"),
        ("intel", 418, "the server refuses (418); look at https://www.kaggle.com/datasets/puneet6060/"),
    ],
)
def test_a_refusal_is_told_in_a_sentence_and_not_repeated(kaggle, raw, name, status, sentence):
    kaggle.calls = forever(refused(status))
    assert sentence in refusal(raw, name=name)
    assert len(kaggle.requests) == 1


def test_a_busy_server_is_asked_again_and_its_wait_is_kept(kaggle, raw, caplog):
    kaggle.calls = forever(refused(429, Retry_After="0.2"), refused(503), redirected)
    patient = DownloadConfig(retries=2, wait_s=0.01, stall_s=60.0)
    assert get(raw, download=patient).read_bytes() == kaggle.content
    assert len(kaggle.asked(DATASET_CALL)) == 3
    assert "the server answers 429; attempt 2 of 3 in 0.2 s" in caplog.text
    assert "the server answers 503; attempt 3 of 3 in 0.02 s" in caplog.text


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (429, "the server asks for patience (429) 2 times in a row; wait some minutes and run again"),
        (500, "the server fails (500) 2 times in a row; run again later"),
    ],
)
def test_a_server_that_stays_busy_is_left_after_the_configured_attempts(kaggle, raw, status, sentence):
    kaggle.calls = forever(refused(status))
    assert sentence in refusal(raw)
    assert len(kaggle.asked(DATASET_CALL)) == 2


def test_a_cut_download_goes_on_where_it_stopped(kaggle, raw, caplog):
    kaggle.files = forever(cut, whole)
    assert get(raw).read_bytes() == kaggle.content
    resumed = kaggle.asked(FILE)[-1].headers["Range"]
    assert resumed == f"bytes={2**20}-"
    assert "cut after 1.0 MB; attempt 2 of 2" in caplog.text


def test_a_download_that_cannot_go_on_starts_again(kaggle, raw):
    kaggle.files = forever(cut_without_names, whole)
    assert get(raw).read_bytes() == kaggle.content
    assert not any("Range" in request.headers for request in kaggle.asked(FILE))


def test_a_file_that_changed_meanwhile_is_not_pieced_together(kaggle, raw):
    kaggle.files = forever(cut)
    refusal(raw)
    kaggle.content = zipped(IMAGES | {"seg_test/seg_test/sea/9.png": b"more"})
    kaggle.files = forever(whole)
    assert get(raw).read_bytes() == kaggle.content


@pytest.mark.slow
def test_a_connection_that_is_always_cut_ends_within_bounds_and_a_later_run_goes_on(kaggle, raw):
    kaggle.files = forever(cut_without_names)
    assert "the connection was cut 2 times in a row; look at the network and run again" in refusal(raw)
    kaggle.files = forever(cut)
    refusal(raw)
    kaggle.files = forever(whole)
    assert get(raw).read_bytes() == kaggle.content
    assert "Range" in kaggle.asked(FILE)[-1].headers
    assert left(raw) == ["source/intel.zip", f"source/{SOURCE_FILE}"]


def test_a_file_shorter_than_it_should_be_is_never_taken_for_whole(kaggle, raw):
    kaggle.files = forever(shortened)
    assert "what was downloaded is a zip archive that is not whole" in refusal(raw)
    assert left(raw) == []


def test_an_archive_whose_images_are_damaged_is_refused_by_name(kaggle, raw):
    content = bytearray(kaggle.content)
    start = content.index(b"seg_train/seg_train/street/1.png") + len("seg_train/seg_train/street/1.png")
    content[start + 100] ^= 0xFF
    kaggle.content = bytes(content)
    said = refusal(raw)
    assert "is damaged at 'seg_train/seg_train/street/1.png'" in said
    assert left(raw) == []


def test_a_web_page_in_place_of_the_archive_is_told(kaggle, raw):
    kaggle.files = forever(page)
    assert "what was downloaded is a web page and no archive: a log-in or a proxy answered" in refusal(raw)
    assert left(raw) == []


def test_no_way_to_the_server_is_told_at_once(kaggle, raw, monkeypatch):
    port = kaggle.server_port
    kaggle.stop()
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    said = refusal(raw, download=DownloadConfig(retries=9, wait_s=60.0, stall_s=60.0))
    assert "no way to the server (its name or port is not found); look at the network" in said


@pytest.mark.slow
@pytest.mark.parametrize("where", ["call", "file", "half a file"])
def test_a_server_that_hangs_is_left_and_the_next_run_goes_on(kaggle, raw, where):
    if where == "call":
        kaggle.calls = forever(silent)
    else:
        kaggle.files = forever(silent if where == "file" else stalled)
    said = refusal(raw, download=DownloadConfig(retries=2, wait_s=0.01, stall_s=6.0))
    assert "nothing arrived for 6 s; run again, or raise run.download.stall_s; or download it by hand" in said
    # the server saw the client hang up: nothing of it lives on
    assert kaggle.released.wait(60)
    kaggle.calls, kaggle.files = forever(redirected), forever(whole)
    assert get(raw).read_bytes() == kaggle.content
    assert ("Range" in kaggle.asked(FILE)[-1].headers) == (where == "half a file")


@pytest.mark.slow
def test_a_killed_download_leaves_no_process_and_the_next_run_goes_on(kaggle, raw, tmp_path):
    kaggle.files = forever(stalled)
    code = (
        "from pathlib import Path\nfrom src.data.sources import fetch\nfrom tests.data.drawn import settings\n"
        "from src.config import DownloadConfig\n"
        "if __name__ == '__main__':\n"
        f"    fetch(settings(name='intel'), Path({str(raw)!r}), "
        "download=DownloadConfig(retries=0, wait_s=0.0, stall_s=300.0))\n"
    )
    script = tmp_path / "killed.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, script], cwd=PROJECT_ROOT, env=os.environ | {"PYTHONPATH": "."})
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size >= 2**20 for path in raw.parent.rglob("download.zip")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert kaggle.released.wait(60)
    assert not raw.exists()
    kaggle.files = forever(whole)
    assert get(raw).read_bytes() == kaggle.content
    assert "Range" in kaggle.asked(FILE)[-1].headers


@pytest.mark.parametrize("answer", [refused(403), refused(429), redirected])
def test_no_secret_is_told_or_logged(kaggle, raw, caplog, capfd, answer):
    kaggle.calls, kaggle.files = forever(answer), forever(refused(403))
    with caplog.at_level("DEBUG"):
        said = refusal(raw)
    captured = capfd.readouterr()
    everything = said + caplog.text + captured.out + captured.err
    written = b"".join(path.read_bytes() for path in raw.parent.rglob("*") if path.is_file())
    for secret in (KEY, SIGNATURE, "someone"):
        assert secret not in everything
        assert secret.encode() not in written
    assert all("Authorization" in request.headers for request in kaggle.asked(DATASET_CALL))


def test_kaggle_is_not_imported_before_it_is_used():
    heavy = "{'kaggle', 'kagglesdk', 'requests', 'torch', 'torchvision'}"
    code = f"import sys, src.data.sources; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT_ROOT)
    assert done.stdout.strip() == "set()"


def test_an_archive_downloaded_by_hand_gives_the_same_result_without_a_server(kaggle, raw, tmp_path):
    get(raw)
    by_hand = tmp_path / "by hand.zip"
    by_hand.write_bytes(kaggle.content)
    asked = len(kaggle.requests)
    other = tmp_path / "other/source"
    get(other, archive=str(by_hand))
    assert len(kaggle.requests) == asked
    digests = [hashlib.sha256((folder / "intel.zip").read_bytes()).hexdigest() for folder in (raw, other)]
    assert digests[0] == digests[1]
    records = [(folder / SOURCE_FILE).read_text().replace(folder.as_posix(), "") for folder in (raw, other)]
    assert records[0] == records[1]
