import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from src.artifacts import read_table, write_table
from src.data import facts
from src.data.archives import open_images
from src.data.checks import inspect_all, unusable
from src.data.facts import FACTS_COLUMNS, FactsCache, facts_table
from tests.data.drawn import drawing, encoded, folder_of, labelled, png, settings, shuffled, tar_of, zip_of

FILES = labelled({"cat": 6, "dog": 6}) | {"cat/broken.png": b"no image", "dog/turned.jpg": b""}


class Counting:
    """A store that remembers which files were read from it."""

    def __init__(self, store):
        self.store = store
        self.asked = []
        self.location, self.listing, self.stamps = store.location, store.listing, store.stamps

    def read(self, names=None):
        for name, content in self.store.read(names):
            self.asked.append(name)
            yield name, content


def checked(path, cache, *, cfg=None, names=None):
    """What is found at a place through a cache in a folder, and the names of the files that were read for it."""
    cfg = cfg or settings()
    store = Counting(open_images(path))
    known = FactsCache.of(cache, store, cfg)
    found = list(inspect_all(store, store.listing.names if names is None else names, cfg=cfg, cache=known))
    return found, store.asked


def plain(path, names=None):
    store = open_images(path)
    return list(inspect_all(store, store.names() if names is None else names, cfg=settings()))


def table_of(path):
    found = plain(path)
    return facts_table(found, {one.name: f"id/{one.name}" for one in found})


@pytest.fixture
def small_parts(monkeypatch):
    """A cache that writes after every three files."""
    monkeypatch.setattr(facts, "ROWS_AT_ONCE", 3)


def test_each_file_has_a_row_with_what_was_found(tmp_path):
    table = table_of(folder_of(tmp_path, FILES))
    assert list(table.columns) == list(FACTS_COLUMNS)
    assert list(table["id"]) == sorted(f"id/{name}" for name in FILES)
    by_path = table.set_index("path")
    assert by_path.loc["cat/broken.png", "reason"] == "not an image"
    assert by_path.loc["dog/turned.jpg", ["reason", "bytes", "format"]].tolist() == ["empty file", 0, ""]
    good = by_path.loc["cat/0.png"]
    found = plain(tmp_path, ["cat/0.png"])[0]
    assert (good["width"], good["height"], good["format"], good["mode"], good["reason"]) == (12, 10, "PNG", "RGB", "")
    assert (int(good["phash"]), good["thumbnail"], good["sha256"]) == (found.phash, found.thumbnail, found.sha256)
    assert good[["mean_r", "mean_g", "mean_b"]].tolist() == list(found.mean)
    assert good[["std_r", "std_g", "std_b"]].tolist() == list(found.std)


def test_the_columns_keep_their_types_through_a_file(tmp_path):
    table = table_of(folder_of(tmp_path / "a", FILES))
    write_table(tmp_path / "files.parquet", table)
    again = read_table(tmp_path / "files.parquet", made_by="make_dataset")
    pd.testing.assert_frame_equal(again, table)
    assert again["phash"].dtype == np.uint64
    assert again["mean_r"].dtype == np.float32
    assert set(again["thumbnail"].map(len)) == {64}


def test_a_table_of_nothing_has_the_columns():
    table = facts_table([], {})
    assert (list(table.columns), len(table)) == (list(FACTS_COLUMNS), 0)


def test_files_that_were_never_read_can_stand_in_the_table():
    table = facts_table(
        [unusable("b", "listed but absent"), unusable("a", "too large", num_bytes=3)], {"a": "a", "b": "b"}
    )
    assert table[["id", "bytes", "reason"]].to_numpy().tolist() == [
        ["a", 3, "too large"],
        ["b", 0, "listed but absent"],
    ]


def test_the_order_in_which_files_are_read_does_not_matter(tmp_path, small_parts):
    one = table_of(zip_of(tmp_path / "one.zip", FILES))
    other = table_of(zip_of(tmp_path / "other.zip", shuffled(FILES, 0)))
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("container", [folder_of, zip_of, tar_of])
def test_a_second_look_finds_the_same_and_reads_nothing(container, tmp_path, small_parts):
    path = container(tmp_path / "images.tar", FILES)
    first, read = checked(path, tmp_path / "cache")
    assert sorted(read) == sorted(FILES)
    again, read = checked(path, tmp_path / "cache")
    assert read == []
    assert again == first == plain(path)


def test_of_a_grown_folder_only_the_new_files_are_read(tmp_path, small_parts):
    path = folder_of(tmp_path / "a", labelled({"cat": 50, "dog": 50}))
    checked(path, tmp_path / "cache")
    folder_of(path, {"cat/new.png": png(1000)})
    found, read = checked(path, tmp_path / "cache")
    assert read == ["cat/new.png"]
    assert found == plain(path)
    assert checked(path, tmp_path / "cache")[1] == []


def test_of_a_grown_zip_only_the_new_members_are_read(tmp_path):
    path = tmp_path / "a.zip"
    checked(zip_of(path, FILES), tmp_path / "cache")
    zip_of(path, {"cat/a.png": png(1000)} | FILES)
    found, read = checked(path, tmp_path / "cache")
    assert read == ["cat/a.png"]
    assert found == plain(path)


def test_a_changed_tar_is_read_again_for_its_members_have_no_checksums(tmp_path):
    path = tmp_path / "a.tar"
    checked(tar_of(path, FILES), tmp_path / "cache")
    tar_of(path, FILES | {"cat/0.png": png(1000)})
    found, read = checked(path, tmp_path / "cache")
    assert sorted(read) == sorted(FILES)
    assert found == plain(path)


def test_a_file_changed_behind_its_time_and_size_is_read_again(tmp_path):
    path = folder_of(tmp_path / "a", {"cat/0.bmp": encoded(drawing(0), "BMP"), "dog/0.bmp": encoded(drawing(1), "BMP")})
    checked(path, tmp_path / "cache")
    target = path / "cat/0.bmp"
    before = target.stat()
    # until the clock of the file system has moved on
    while target.stat().st_ctime_ns == before.st_ctime_ns:
        target.write_bytes(encoded(drawing(2), "BMP"))
        os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (target.stat().st_size, target.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    found, read = checked(path, tmp_path / "cache")
    assert read == ["cat/0.bmp"]
    assert found == plain(path)


def test_a_zip_member_of_the_same_size_and_other_bytes_is_read_again(tmp_path):
    path = tmp_path / "a.zip"
    files = {f"cat/{number}.bmp": encoded(drawing(number), "BMP") for number in range(3)}
    checked(zip_of(path, files), tmp_path / "cache")
    zip_of(path, files | {"cat/1.bmp": encoded(drawing(9), "BMP")})
    found, read = checked(path, tmp_path / "cache")
    assert read == ["cat/1.bmp"]
    assert found == plain(path)


def test_a_removed_file_is_forgotten(tmp_path, small_parts):
    path = folder_of(tmp_path / "a", FILES)
    checked(path, tmp_path / "cache")
    (path / "cat/0.png").unlink()
    folder_of(path, {"cat/new.png": png(1000)})
    found, _ = checked(path, tmp_path / "cache")
    assert found == plain(path)
    (kept,) = (tmp_path / "cache").glob("*/*.parquet")
    assert set(pd.read_parquet(kept)["path"]) == {one.name for one in found}


def test_a_part_of_the_files_can_be_asked_for(tmp_path, small_parts):
    path = folder_of(tmp_path / "a", FILES)
    some = sorted(FILES)[3:9]
    assert checked(path, tmp_path / "cache", names=some) == (plain(path, some), some)
    found, read = checked(path, tmp_path / "cache")
    assert found == plain(path)
    assert sorted(read) == sorted(set(FILES) - set(some))


def test_a_name_that_the_listing_leaves_out_is_read_each_time(tmp_path):
    path = folder_of(tmp_path / "a", FILES | {".hidden/0.png": png(7)})
    names = ["cat/1.png", ".hidden/0.png", "dog/1.png"]
    for expected in (names, [".hidden/0.png"]):
        found, read = checked(path, tmp_path / "cache", names=names)
        assert sorted(read) == sorted(expected)
        assert sorted(one.name for one in found) == sorted(names)


def test_a_file_that_vanished_is_missed_also_through_the_cache(tmp_path):
    path = folder_of(tmp_path / "a", FILES)
    checked(path, tmp_path / "cache")
    store = open_images(path)
    names = store.names()
    (path / "cat/0.png").unlink()
    with pytest.raises(ValueError, match=r"1 images are not in .*, 'cat/0.png' first: it has changed"):
        list(inspect_all(store, names, cfg=settings(), cache=FactsCache.of(tmp_path / "cache", store, settings())))


def test_other_limits_find_other_verdicts(tmp_path):
    path = folder_of(tmp_path / "a", FILES)
    checked(path, tmp_path / "cache")
    strict = settings(audit=replace(settings().audit, min_side=11))
    found, read = checked(path, tmp_path / "cache", cfg=strict)
    assert len(read) == len(FILES)
    assert {one.reason for one in found} == {"too small: 12 x 10 px", "not an image", "empty file"}
    assert len(checked(path, tmp_path / "cache", cfg=settings(max_pixels=50))[1]) == len(FILES)


def test_what_newer_checks_find_is_not_taken_from_older_ones(tmp_path, monkeypatch):
    path = folder_of(tmp_path / "a", FILES)
    checked(path, tmp_path / "cache")
    monkeypatch.setattr(facts, "CHECKS_VERSION", 10_000)
    assert len(checked(path, tmp_path / "cache")[1]) == len(FILES)


@pytest.mark.parametrize("damage", [lambda content: content[:-20], lambda content: b"", lambda content: b"PAR1"])
def test_a_damaged_cache_costs_time_and_nothing_else(damage, tmp_path, caplog):
    path = folder_of(tmp_path / "a", FILES)
    first, _ = checked(path, tmp_path / "cache")
    (part,) = (tmp_path / "cache").glob("*/*.parquet")
    part.write_bytes(damage(part.read_bytes()))
    found, read = checked(path, tmp_path / "cache")
    assert found == first
    assert sorted(read) == sorted(FILES)
    assert f"{part} is damaged" in caplog.text
    assert checked(path, tmp_path / "cache") == (first, [])


def test_a_flipped_bit_in_the_cache_is_found_by_its_checksum(tmp_path):
    path = folder_of(tmp_path / "a", FILES)
    first, _ = checked(path, tmp_path / "cache")
    (part,) = (tmp_path / "cache").glob("*/*.parquet")
    content = bytearray(part.read_bytes())
    for at in range(8, len(content), 301):
        flipped = bytearray(content)
        flipped[at] ^= 1
        part.write_bytes(flipped)
        for old in set((tmp_path / "cache").glob("*/*.parquet")) - {part}:
            old.unlink()
        assert checked(path, tmp_path / "cache")[0] == first, at


def test_what_was_found_before_a_fault_is_not_found_again(tmp_path, small_parts):
    path = folder_of(tmp_path / "a", FILES)
    store = open_images(path)
    found = inspect_all(
        store, store.names(), cfg=settings(), cache=FactsCache.of(tmp_path / "cache", store, settings())
    )
    names = [next(found).name for _ in range(8)]
    found.close()
    whole, read = checked(path, tmp_path / "cache")
    assert set(read) == set(FILES) - set(names)
    assert whole == plain(path)


# it waits after so many files, until it is killed
CHECKS = """
import sys
from pathlib import Path
from src.data import facts
from src.data.archives import open_images
from src.data.checks import inspect_all
from tests.data.drawn import settings
facts.ROWS_AT_ONCE = 20
store = open_images(Path(sys.argv[1]))
cache = facts.FactsCache.of(Path(sys.argv[2]), store, settings())
for number, _ in enumerate(inspect_all(store, store.names(), cfg=settings(), cache=cache)):
    if number == int(sys.argv[3]):
        sys.stdin.read()
"""


@pytest.mark.slow
def test_a_killed_run_loses_little_and_changes_nothing(tmp_path):
    path = folder_of(tmp_path / "a", labelled({"cat": 150, "dog": 150}))
    cache = tmp_path / "cache"
    for parts, number in ((1, 30), (4, 130)):
        command = [sys.executable, "-c", CHECKS, str(path), str(cache), str(number)]
        child = subprocess.Popen(command, stdin=subprocess.PIPE)
        deadline = time.monotonic() + 120
        while len(list(cache.glob("*/*.parquet"))) < parts and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
    found, read = checked(path, cache)
    assert 0 < len(read) <= 300 - 20
    assert found == plain(path)
    assert checked(path, cache)[1] == []
