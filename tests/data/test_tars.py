"""Tar archives with headers that no packer writes."""

import bz2
import gzip
import lzma
import struct
import tarfile
from io import BytesIO

import pytest

from src.data.archives import open_images
from src.data.stores import members
from tests.data.drawn import png, tar_of
from tests.data.test_zips import peak_bytes, refused

BLOCK = 512


def header(name, *, kind=tarfile.REGTYPE, size=0, raw_size=None):
    """One header block; `raw_size` is written as it is and the checksum made to fit."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    if raw_size is not None:
        block[124:136] = raw_size
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(content):
    return content + bytes(-len(content) % BLOCK)


def member(name, content):
    return header(name, size=len(content)) + padded(content)


def pax(records, kind=tarfile.XHDTYPE):
    """An extended header; `records` as they stand in it."""
    return header("PaxHeader", kind=kind, size=len(records)) + padded(records)


def record(key, value):
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + 1
    while length != len(body) + len(str(length)):
        length = len(body) + len(str(length))
    return str(length).encode() + body


def tar(tmp_path, *parts, name="t.tar"):
    path = tmp_path / name
    content = b"".join(parts) + bytes(2 * BLOCK)
    opener = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}.get(name.rpartition(".")[2], bytes)
    path.write_bytes(opener(content))
    return path


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_of_tar_gives_long_and_foreign_names(tmp_path, kind):
    names = ["a/0.png", "f" * 60 + "/" + "x" * 90 + ".png"]
    if kind != tarfile.USTAR_FORMAT:
        names += ["犬/" + "é" * 100 + ".png", "d/" * 300 + "0.png"]
    with tarfile.open(tmp_path / "t.tar", "w", format=kind) as archive:
        for index, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = len(png(index))
            archive.addfile(info, BytesIO(png(index)))
    assert dict(open_images(tmp_path / "t.tar").read()) == {name: png(index) for index, name in enumerate(names)}


def test_a_size_given_by_a_pax_header_is_the_size(tmp_path):
    content = png(0)
    path = tar(
        tmp_path,
        pax(record(b"size", b"%d" % len(content)) + record(b"path", "犬/0.png".encode())),
        header("short.png") + padded(content),
        member("a/1.png", png(1)),
    )
    assert dict(open_images(path).read()) == {"犬/0.png": png(0), "a/1.png": png(1)}


@pytest.mark.parametrize(
    "records",
    [
        record(b"size", b"-1"),
        record(b"size", b"-1024"),
        record(b"size", b"1e3"),
        record(b"size", b"9" * 5000),
        b"0 path=x\n",
        b"5 path=x\n",
        b"99999 path=x\n",
        b"11 path=xyz0",
        b"1" * 600,
        b"1 1 1 1 1 1=\n",
        b"\0\0\0\0",
    ],
)
def test_absurd_pax_records_are_damage(tmp_path, records):
    path = tar(tmp_path, member("a/0.png", png(0)), pax(records), member("a/1.png", png(1)))
    assert "t.tar is damaged after 'a/0.png' (" in refused(path)


@pytest.mark.parametrize("size", [b"9" * 19, b"9" * 4000])
def test_a_size_beyond_the_end_is_damage_and_takes_no_time(tmp_path, size):
    path = tar(tmp_path, pax(record(b"size", size)), header("a/0.png"), name="t.tar.gz")
    assert "t.tar.gz is damaged after 'a/0.png' (it ends inside a member)" in refused(path)


def test_a_size_in_binary_that_is_absurd_is_damage(tmp_path):
    huge = b"\x80" + struct.pack(">3xQ", 2**63)
    path = tar(tmp_path, header("a/0.png", raw_size=huge))
    assert "is damaged after 'a/0.png' (it ends inside a member)" in refused(path)
    negative = b"\xff" * 12
    assert "is damaged (a size of -1)" in refused(tar(tmp_path, header("a/0.png", raw_size=negative)))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_of_many_megabytes_is_refused_before_it_is_read(tmp_path, kind):
    size = 32 * 2**20
    path = tar(tmp_path, header("long", kind=kind, size=size), bytes(size), member("a/0.png", png(0)), name="t.tar.xz")
    said = []
    # the dictionary of xz alone has 8 MiB
    assert peak_bytes(lambda: said.append(refused(path))) < 2**24
    assert "is damaged (a header of 33,554,432 bytes, where 262,144 are allowed)" in said[0]


def test_a_chain_of_headers_without_a_member_ends(tmp_path):
    path = tar(tmp_path, pax(record(b"path", b"x")) * 3000, member("a/0.png", png(0)), name="t.tar.gz")
    assert "t.tar.gz is damaged (" in refused(path)


def test_global_headers_change_no_member(tmp_path):
    comment = pax(record(b"comment", b"a commit") + record(b"path", b"../../evil"), tarfile.XGLTYPE)
    path = tar(tmp_path, comment, member("a/0.png", png(0)))
    assert dict(open_images(path).read()) == {"a/0.png": png(0)}


def test_a_pax_header_leads_nowhere_outside(tmp_path):
    path = tar(tmp_path, pax(record(b"path", b"../../x.png")), member("a/0.png", png(0)))
    assert "'../../x.png', which leads out of the archive" in refused(path)


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_sparse_files_of_pax_are_refused_by_name(tmp_path, version):
    major, minor = version.split(".")
    records = {
        "0.0": record(b"GNU.sparse.size", b"9999999999") + record(b"GNU.sparse.numblocks", b"0"),
        "0.1": record(b"GNU.sparse.map", b"0,0") + record(b"GNU.sparse.size", b"9999999999"),
        "1.0": record(b"GNU.sparse.major", major.encode()) + record(b"GNU.sparse.minor", minor.encode()),
    }[version]
    path = tar(tmp_path, pax(records), header("a/hole.png", size=BLOCK) + b"1\n0\n1\n".ljust(BLOCK, b"\0"))
    assert "holds 'a/hole.png' as a sparse file, which is not read; pack it again without --sparse" in refused(path)


def test_old_sparse_files_are_refused_by_name(tmp_path):
    path = tar(tmp_path, header("a/hole.png", kind=tarfile.GNUTYPE_SPARSE))
    assert "holds 'a/hole.png' as a sparse file" in refused(path)


@pytest.mark.parametrize("name", ["t.tar.gz", "t.tar.bz2", "t.tar.xz"])
def test_a_tar_that_unpacks_to_too_much_is_refused_at_a_member(tmp_path, monkeypatch, name):
    path = tar(tmp_path, member("a/0.png", png(0)), member("a/notes.csv", bytes(8 * 2**20)), name=name)
    monkeypatch.setattr(members, "FREE_BYTES", 5 * 2**20)
    monkeypatch.setattr(members, "MAX_RATIO", 1)
    assert "unpacks to more than 5,242,880 bytes at 'a/notes.csv', as a decompression bomb does" in refused(path)


def test_a_member_that_grew_since_it_was_listed_is_not_read(tmp_path, monkeypatch):
    path = tar(tmp_path, member("a/0.png", bytes(5000)))
    store = open_images(path)
    assert store.names() == ["a/0.png"]
    monkeypatch.setattr("src.data.stores.listing.MAX_FILE_BYTES", 1000)
    with pytest.raises(ValueError, match=r"holds 'a/0\.png' of 5,000 bytes, and no more than 1,000 are read"):
        dict(store.read())


def test_two_archives_in_one_are_read_to_the_end(tmp_path):
    second = tar(tmp_path, member("a/1.png", png(1))).read_bytes()
    path = tar(tmp_path, member("a/0.png", png(0)), bytes(10 * BLOCK), second)
    assert dict(open_images(path).read()) == {"a/0.png": png(0), "a/1.png": png(1)}


def test_what_follows_the_end_and_is_no_member_is_damage(tmp_path):
    path = tar(tmp_path, member("a/0.png", png(0)))
    path.write_bytes(path.read_bytes() + b"x" * BLOCK)
    assert "is damaged after 'a/0.png' (" in refused(path)


def test_a_header_turned_into_zeros_does_not_end_the_archive_silently(tmp_path):
    first = member("a/0.png", png(0))
    path = tar(tmp_path, first, bytes(BLOCK), padded(png(1)), member("a/2.png", png(2)))
    assert "is damaged after 'a/0.png' (" in refused(path)


def test_an_archive_without_the_mark_of_its_end_is_damage(tmp_path):
    path = tar(tmp_path, member("a/0.png", png(0)), member("a/1.png", png(1)))
    path.write_bytes(path.read_bytes()[: -2 * BLOCK])
    assert "is damaged after 'a/1.png' (it ends without the mark of its end)" in refused(path)
    path.write_bytes(path.read_bytes() + bytes(BLOCK + 100))
    assert len(dict(open_images(path).read())) == 2


def test_a_name_that_is_not_utf8_is_kept_apart_from_every_other(tmp_path):
    path = tar(tmp_path, member("a/ZZ.png", png(0)).replace(b"ZZ", b"\xff\xfe"), member("a/1.png", png(1)))
    content = bytearray(path.read_bytes())
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:BLOCK])
    path.write_bytes(content)
    assert open_images(path).names() == ["a/\udcff\udcfe.png", "a/1.png"]


def test_a_single_compressed_file_is_no_archive(tmp_path):
    path = tmp_path / "photo.png.gz"
    path.write_bytes(gzip.compress(png(0) * 20))
    assert "photo.png.gz is damaged" in refused(path)


def test_the_same_archive_is_listed_and_read_by_every_opener(tmp_path):
    files = {f"a/{index}.png": png(index) for index in range(3)}
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        assert dict(open_images(tar_of(tmp_path / "t.bin", files, mode)).read()) == files
