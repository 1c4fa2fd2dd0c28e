"""Archives that people downloaded by hand: the same checks and the same result as a download."""

import hashlib
import zipfile

import pytest

from src.config import DownloadConfig
from src.data.archives import open_images
from src.data.fetching.archive import from_archive
from src.data.sources import fetch
from src.data.stores.plain_zips import zip_facts
from tests.data.drawn import below, labelled, png, settings, tar_of, zip_of

FILES = below("seg_train", labelled({"sea": 2, "street": 2}))
NEVER = DownloadConfig(retries=0, wait_s=0.0, stall_s=1.0)
PAGE = "https://example.org/data"


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "data/source"


def get(raw, archive=None, content=None, **changes):
    """The source, from an archive by hand or from a download that brings `content`."""

    def bring(target):
        assert content is not None, "nothing is to be downloaded"
        target.write_bytes(content)

    cfg = settings(name="intel", archive=None if archive is None else str(archive))
    return from_archive(cfg, raw, get=bring, page=PAGE, **changes)


def left(raw):
    return sorted(path.relative_to(raw.parent).as_posix() for path in raw.parent.rglob("*") if path.is_file())


def test_by_hand_or_downloaded_the_source_is_the_same(tmp_path, raw):
    by_hand = zip_of(tmp_path / "by hand.zip", FILES)
    source = get(raw, archive=by_hand)
    other = get(tmp_path / "other/source", content=by_hand.read_bytes())
    assert (
        (raw / "intel.zip").read_bytes() == by_hand.read_bytes() == (tmp_path / "other/source/intel.zip").read_bytes()
    )
    assert source.digest == other.digest == zip_facts(by_hand).digest
    assert (source.files, source.bytes, source.kind) == (4, by_hand.stat().st_size, "zip")
    assert left(raw) == ["source/intel.zip"]


def test_an_archive_in_place_is_not_copied_again_and_another_one_takes_its_place(tmp_path, raw):
    by_hand = zip_of(tmp_path / "by hand.zip", FILES)
    get(raw, archive=by_hand)
    before = (raw / "intel.zip").stat().st_mtime_ns
    get(raw, archive=by_hand)
    get(raw)
    assert (raw / "intel.zip").stat().st_mtime_ns == before
    get(raw, archive=zip_of(by_hand, FILES | {"seg_test/sea/9.png": png(9)}))
    assert (raw / "intel.zip").read_bytes() == by_hand.read_bytes()


def test_a_nested_archive_by_hand_is_opened_once(tmp_path, raw):
    inner = zip_of(tmp_path / "train.zip", FILES)
    by_hand = zip_of(tmp_path / "by hand.zip", {"train.zip": inner.read_bytes()})
    get(raw, archive=by_hand)
    assert dict(open_images(raw / "intel.zip").read()) == below("train", FILES)
    before = (raw / "intel.zip").stat().st_mtime_ns
    get(raw, archive=by_hand)
    assert (raw / "intel.zip").stat().st_mtime_ns == before


def test_a_damaged_archive_in_place_is_fetched_again(tmp_path, raw, caplog):
    by_hand = zip_of(tmp_path / "by hand.zip", FILES)
    get(raw, archive=by_hand)
    content = by_hand.read_bytes()
    (raw / "intel.zip").write_bytes(content[:-50])
    get(raw, content=content)
    assert (raw / "intel.zip").read_bytes() == content
    assert "intel.zip is damaged; it is fetched again" in caplog.text


def test_a_download_that_was_whole_when_its_reader_was_killed_is_not_asked_for_again(tmp_path, raw):
    staged = raw.parent / ".downloads/intel/download.zip"
    staged.parent.mkdir(parents=True)
    zip_of(staged, FILES)
    content = staged.read_bytes()
    get(raw)
    assert (raw / "intel.zip").read_bytes() == content
    assert left(raw) == ["source/intel.zip"]


def test_what_cannot_be_used_is_told_and_the_archive_in_place_stays(tmp_path, raw):
    good = zip_of(tmp_path / "good.zip", FILES)
    get(raw, archive=good)
    before = (raw / "intel.zip").read_bytes()
    page = tmp_path / "page.zip"
    page.write_bytes(b"<!doctype html><html>")
    half = tmp_path / "half.zip"
    half.write_bytes(before[:300])
    flipped = tmp_path / "flipped.zip"
    content = bytearray(before)
    content[content.index(FILES["seg_train/sea/1.png"]) + 50] ^= 1
    flipped.write_bytes(content.replace(b"seg_train/sea/0.png", b"seg_train/sea/5.png"))
    for path, said in [
        (tmp_path / "nowhere.zip", rf"nowhere\.zip is no file; give the archive that {PAGE} offers"),
        (tmp_path, "is no file; give the archive"),
        (page, r"page\.zip is a web page and no archive"),
        (half, r"half\.zip is a zip archive that is not whole; data=intel takes the one that https"),
        (
            tar_of(tmp_path / "t.tar.gz", FILES),
            r"t\.tar\.gz is no zip archive; .* images of your own: data=folder",
        ),
        (flipped, r"flipped\.zip is damaged at 'seg_train/sea/1\.png'"),
    ]:
        with pytest.raises(ValueError, match=said):
            get(raw, archive=path)
        assert (raw / "intel.zip").read_bytes() == before


def test_the_record_of_a_source_by_hand_is_the_same_on_the_next_run(tmp_path, raw):
    by_hand = zip_of(tmp_path / "by hand.zip", FILES)
    for archive in (str(by_hand), None, str(by_hand)):
        fetch(settings(name="landscape", archive=archive), raw, download=NEVER)
        record = (raw / "source.json").stat().st_mtime_ns
        fetch(settings(name="landscape", archive=archive), raw, download=NEVER)
        assert (raw / "source.json").stat().st_mtime_ns == record
    assert left(raw) == ["source/landscape.zip", "source/source.json"]


@pytest.mark.slow
def test_a_real_competition_archive_keeps_every_byte_of_its_images(tmp_path, raw, real_data):
    """As Kaggle packs it: an archive for train, one for test, both in one more."""
    given = real_data("dogs-vs-cats-3k.zip")
    parts = {name: zipfile.ZipFile(tmp_path / f"{name}.zip", "w") for name in ("train", "test1")}
    hashes = {}
    for name, content in open_images(given).read():
        parts[name.split("/")[0]].writestr(name, content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    with zipfile.ZipFile(tmp_path / "dogs-vs-cats.zip", "w", zipfile.ZIP_DEFLATED) as outer:
        for name, part in parts.items():
            part.close()
            outer.write(tmp_path / f"{name}.zip", f"{name}.zip")
    path = fetch(settings(name="cats_dogs", archive=str(tmp_path / "dogs-vs-cats.zip")), raw, download=NEVER)
    assert {name: hashlib.sha256(content).hexdigest() for name, content in open_images(path).read()} == hashes


def test_a_real_archive_by_hand_is_taken_as_it_is(raw, real_data):
    given = real_data("intel-3k.zip")
    path = fetch(settings(name="intel", archive=str(given)), raw, download=NEVER)
    digests = [hashlib.sha256(found.read_bytes()).hexdigest() for found in (given, path)]
    assert digests[0] == digests[1]
