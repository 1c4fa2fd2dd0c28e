"""Objects are compared with their names, on folders as DVC lays them out."""

import hashlib
import json

import pytest

from src.storage import damaged, damaged_copies, listings_of, main


def keep(folder, content, suffix=""):
    """An object as DVC keeps it, and the hash it is kept under."""
    md5 = hashlib.md5(content).hexdigest() + suffix
    path = folder / md5[:2] / md5[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path, md5


def keep_folder(folder, files):
    rows = [{"md5": hashlib.md5(content).hexdigest(), "relpath": name} for name, content in files.items()]
    for content in files.values():
        keep(folder, content)
    return keep(folder, json.dumps(rows).encode(), ".dir")


def test_a_flipped_bit_is_found_in_files_and_in_listings(tmp_path):
    sound, _ = keep(tmp_path, b"sound")
    bad, _ = keep(tmp_path, b"to be bad")
    listing, _ = keep_folder(tmp_path, {"a": b"1", "b": b"2"})
    assert damaged(tmp_path) == []
    bad.write_bytes(b"to be bae")
    assert damaged(tmp_path) == [bad]
    listing.write_bytes(listing.read_bytes() + b" ")
    assert damaged(tmp_path) == sorted([bad, listing])
    assert sound.exists()


def test_what_is_no_object_is_left_alone(tmp_path):
    for name in ("ab/short", "tmp/file", "zz/" + "0" * 30, "00/" + "0" * 30 + ".tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert damaged(tmp_path) == []


def test_copies_in_the_workspace_go_only_where_they_are_damaged_themselves(tmp_path):
    cache = tmp_path / "cache"
    _, folder_md5 = keep_folder(cache, {"a": b"1", "b": b"2"})
    file_path, file_md5 = keep(cache, b"3")
    (tmp_path / "dvc.lock").write_text(
        json.dumps(
            {
                "stages": {
                    "one": {"outs": [{"path": "out", "md5": folder_md5}, {"path": "uncached"}]},
                    "two": {"outs": [{"path": "file", "md5": file_md5}]},
                    "three": {},
                }
            }
        )
    )
    (tmp_path / "out").mkdir()
    for name, content in {"out/a": b"1", "out/b": b"not 2", "file": b"not 3", "other": b"x"}.items():
        (tmp_path / name).write_bytes(content)
    hashes = {hashlib.md5(content).hexdigest() for content in (b"1", b"2", b"3")}
    assert damaged_copies(tmp_path, cache, hashes) == [tmp_path / "out/b", tmp_path / "file"]
    file_path.unlink()
    assert damaged_copies(tmp_path, cache, {file_md5}) == [tmp_path / "file"]


def test_listings_that_name_a_file_are_found_and_unreadable_ones_passed(tmp_path):
    one, _ = keep_folder(tmp_path, {"a": b"1"})
    keep_folder(tmp_path, {"b": b"2"})
    keep(tmp_path, b"no json", ".dir")
    assert listings_of(tmp_path, {hashlib.md5(b"1").hexdigest()}) == [one]


def test_other_arguments_are_refused_with_the_usage(capsys):
    with pytest.raises(SystemExit) as end:
        main(["repair"])
    assert end.value.code == 2
    assert "usage: make verify [ARGS=remove], or python -m src.storage [remove]" in capsys.readouterr().err
