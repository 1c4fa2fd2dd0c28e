import hashlib
import zipfile

import pytest

from src.data.archives import open_images
from src.data.stores.plain_zips import (
    add,
    check_zip,
    is_to_be_repacked,
    is_whole,
    made_from,
    repack,
    written_zip,
    zip_facts,
)
from tests.data.drawn import below, labelled, png, shuffled, zip_of

FILES = labelled({"cat": 2, "dog": 2})


def zipped(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def content_of(tmp_path, files, name="inner.zip"):
    return zipped(tmp_path / name, files).read_bytes()


def read(path):
    return dict(open_images(path).read())


def repacked(tmp_path, files, only=None):
    source = zipped(tmp_path / "source.zip", files)
    assert is_to_be_repacked(source, only=only)
    repack(source, tmp_path / "raw/plain.zip", only=only, staging=tmp_path / "staging")
    assert not list((tmp_path / "staging").iterdir())
    return tmp_path / "raw/plain.zip"


def test_the_digest_is_that_of_the_files_whatever_packed_them(tmp_path):
    facts = [
        zip_facts(zipped(tmp_path / "a.zip", FILES)),
        zip_facts(zipped(tmp_path / "b.zip", shuffled(FILES, 1), zipfile.ZIP_STORED)),
    ]
    assert facts[0] == facts[1]
    assert facts[0].files == len(FILES)
    changed = zip_facts(zipped(tmp_path / "c.zip", FILES | {"cat/0.png": png(99)}))
    assert changed.digest != facts[0].digest


def test_an_archive_cut_anywhere_is_not_whole(tmp_path):
    path = zip_of(tmp_path / "z.zip", FILES)
    content = path.read_bytes()
    assert is_whole(path)
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert not is_whole(path)
    assert not is_whole(tmp_path / "nowhere.zip")
    zip_of(path, {})
    assert not is_whole(path)


def test_a_flipped_bit_in_an_image_is_found_before_the_archive_is_used(tmp_path):
    path = zip_of(tmp_path / "z.zip", FILES)
    check_zip(path)
    content = bytearray(path.read_bytes())
    content[content.index(FILES["dog/1.png"]) + 60] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"z\.zip is damaged at 'dog/1\.png' .*; download or copy it again"):
        check_zip(path)


def test_what_is_written_has_the_same_bytes_each_time_and_nothing_stands_there_after_a_fault(tmp_path):
    def write(path, *, fault=False):
        with written_zip(path, beside=tmp_path / "beside.part", remark="as it is") as archive:
            for name, content in FILES.items():
                add(archive, name, content)
            if fault:
                raise RuntimeError("stopped")
        return path

    one, two = write(tmp_path / "1.zip"), write(tmp_path / "2.zip")
    assert one.read_bytes() == two.read_bytes()
    assert zip_facts(one).remark == "as it is"
    assert {info.compress_type for info in zipfile.ZipFile(one).infolist()} == {zipfile.ZIP_STORED}
    with pytest.raises(RuntimeError, match="stopped"):
        write(tmp_path / "3.zip", fault=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.zip", "2.zip"]


def test_images_of_inner_archives_keep_their_bytes_and_their_folders(tmp_path, caplog):
    images = below("train", labelled({"cat": 2}))
    path = repacked(
        tmp_path,
        {
            "train.zip": content_of(tmp_path, images),
            # without a folder of its own: the archive's name takes its place
            "sub/test1.zip": content_of(tmp_path, {"1.jpg": b"one", "2.jpg": b"two"}),
            "note.txt": b"x",
            "outer.png": png(7),
        },
    )
    expected = images | {"test1/1.jpg": b"one", "test1/2.jpg": b"two", "outer.png": png(7)}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in read(path).items()}
    assert hashes == {name: hashlib.sha256(content).hexdigest() for name, content in expected.items()}
    assert zip_facts(path).remark == made_from(zip_facts(tmp_path / "source.zip").digest)
    assert "not opened" not in caplog.text


def test_only_the_folder_that_is_asked_for_is_taken(tmp_path):
    wanted = below("Animal-Data-V2/Data-V2/Training Data", FILES)
    path = repacked(tmp_path, wanted | below("Animals/Data-V3/Training Data", FILES), only="(Animal-)?Data-V2")
    assert read(path) == wanted


def test_an_archive_that_holds_no_more_than_is_asked_for_stays_as_it_is(tmp_path):
    plain = zip_of(tmp_path / "plain.zip", below("Data-V2/Training Data", FILES))
    assert not is_to_be_repacked(plain, only="(Animal-)?Data-V2")
    assert not is_to_be_repacked(plain, only="Data-V3")
    assert not is_to_be_repacked(plain, only=None)


def test_inner_archives_from_strangers_are_refused_by_name_and_nothing_is_left(tmp_path):
    deeper = content_of(tmp_path, {"a.zip": content_of(tmp_path, FILES)}, "deeper.zip")
    climbing = content_of(tmp_path, {"../../outside.png": png(0)})
    damaged = content_of(tmp_path, FILES)[:-40]
    for inner, said in [
        (deeper, r"source\.zip, in 'inner\.zip', holds another archive, 'a\.zip'; unpack it"),
        (climbing, r"source\.zip, in 'inner\.zip', holds a member called '\.\./\.\./outside\.png', which leads out"),
        (damaged, r"source\.zip, in 'inner\.zip', is damaged"),
    ]:
        source = zipped(tmp_path / "source.zip", {"inner.zip": inner})
        with pytest.raises(ValueError, match=said):
            repack(source, tmp_path / "plain.zip", only=None, staging=tmp_path / "staging")
        assert not (tmp_path / "plain.zip").exists()
        assert not list((tmp_path / "staging").iterdir())
    assert not (tmp_path.parent / "outside.png").exists()


def test_two_images_of_one_name_are_refused(tmp_path):
    files = {"train/1.png": png(1), "train.zip": content_of(tmp_path, {"train/1.png": png(2)})}
    source = zipped(tmp_path / "source.zip", files)
    with pytest.raises(ValueError, match=r"holds two images called 'train/1\.png'; unpack it and sort them out"):
        repack(source, tmp_path / "plain.zip", only=None, staging=tmp_path / "staging")
