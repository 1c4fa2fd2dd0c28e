"""Zip archives that lie: about names, sizes and places."""

import struct
import zipfile
import zlib

import pytest

from src.data.archives import open_images
from src.data.stores import members
from tests.data.drawn import png, zip_of

CENTRAL = b"PK\x01\x02"
END = b"PK\x05\x06"
SIZES_IN_CENTRAL = 20
FILL = "ZZ"


def edited(path, *edits):
    """The file with `(offset, format, value)` packed into it."""
    content = bytearray(path.read_bytes())
    for offset, kind, value in edits:
        struct.pack_into(kind, content, offset, value)
    path.write_bytes(content)
    return path


def central(path, number=0):
    """Where the entry of the directory at the end begins."""
    content, at = path.read_bytes(), -1
    for _ in range(number + 1):
        at = content.index(CENTRAL, at + 1)
    return at


def renamed(path, raw):
    """The file with the letters ZZ of its names replaced by two other bytes, unmarked as what zip tools leave."""
    path.write_bytes(path.read_bytes().replace(FILL.encode(), raw))
    return path


def refused(path):
    """What is said of an archive, by its listing or else by its reader."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the caller looks at the sentence
        dict(open_images(path).read())
    return str(caught.value)


def test_names_in_utf8_without_the_mark_of_it_are_read_as_meant(tmp_path):
    path = renamed(zip_of(tmp_path / "z.zip", {"ZZ/0.png": png(0)}), "é".encode())
    assert dict(open_images(path).read()) == {"é/0.png": png(0)}


def test_names_in_code_page_437_are_read_as_such(tmp_path):
    path = renamed(zip_of(tmp_path / "z.zip", {"ZZ/0.png": png(0)}), "éä".encode("cp437"))
    assert dict(open_images(path).read()) == {"éä/0.png": png(0)}


def test_the_unicode_path_field_gives_the_name_where_it_belongs_to_it(tmp_path):
    right, wrong = zipfile.ZipInfo("a/x.png"), zipfile.ZipInfo("a/y.png")
    for info, raw in ((right, b"a/x.png"), (wrong, b"another")):
        name = f"犬/{raw[2:3].decode()}.png".encode()
        info.extra = struct.pack("<HHBL", 0x7075, 5 + len(name), 1, zlib.crc32(raw)) + name
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(right, png(0))
        archive.writestr(wrong, png(1))
    assert dict(open_images(tmp_path / "z.zip").read()) == {"犬/x.png": png(0), "a/y.png": png(1)}


def test_the_unicode_path_field_leads_nowhere_outside(tmp_path):
    info, name = zipfile.ZipInfo("a/x.png"), b"../../x.png"
    info.extra = struct.pack("<HHBL", 0x7075, 5 + len(name), 1, zlib.crc32(b"a/x.png")) + name
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(info, png(0))
    assert "'../../x.png', which leads out of the archive" in refused(tmp_path / "z.zip")


def test_a_name_marked_as_utf8_that_is_none_is_named(tmp_path):
    path = zip_of(tmp_path / "z.zip", {"é/0.png": png(0)})
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xff"))
    assert "holds a member called b'\\xff\\xff/0.png', which is marked as UTF-8 and is not" in refused(path)


@pytest.mark.parametrize("mode", [0o020666, 0o060666, 0o010644, 0o140755])
def test_devices_pipes_and_sockets_are_refused_by_name(tmp_path, mode):
    info = zipfile.ZipInfo("a/odd.png")
    info.external_attr = mode << 16
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(info, b"")
    assert "'a/odd.png', a link or device" in refused(tmp_path / "z.zip")


def test_a_bomb_of_overlapping_members_is_refused_by_name(tmp_path):
    path = zip_of(tmp_path / "z.zip", {"a/0.png": png(0), "a/1.png": png(1)})
    second = central(path, 1)
    edited(path, (second + 42, "<L", 0))
    assert "is damaged at 'a/0.png', or a bomb: its" in refused(path)


def test_a_member_that_quotes_those_behind_it_is_refused(tmp_path):
    path = zip_of(tmp_path / "z.zip", {"a/0.png": png(0), "a/1.png": png(1)})
    first = central(path)
    whole = path.read_bytes().index(CENTRAL) - 30 - len("a/0.png")
    edited(path, (first + SIZES_IN_CENTRAL, "<L", whole), (first + SIZES_IN_CENTRAL + 4, "<L", whole))
    assert "is damaged at 'a/0.png', or a bomb" in refused(path)


def test_an_entry_that_swallows_those_behind_it_is_damage(tmp_path):
    path = zip_of(tmp_path / "z.zip", {f"a/{index}.png": png(index) for index in range(3)})
    comment_length = central(path) + 32
    edited(path, (comment_length, "<H", 2**16 - 1))
    assert "is damaged (1 members in the directory and 3 by the record at the end)" in refused(path)


def test_a_directory_said_to_be_empty_is_damage(tmp_path):
    path = zip_of(tmp_path / "z.zip", {f"a/{index}.png": png(index) for index in range(3)})
    counts_and_size = path.read_bytes().index(END) + 8
    edited(path, (counts_and_size, "<L", 0), (counts_and_size + 4, "<L", 0))
    assert "is damaged (no members in" in refused(path)


def test_an_empty_archive_holds_nothing(tmp_path):
    assert open_images(zip_of(tmp_path / "z.zip", {})).names() == []


@pytest.mark.slow
@pytest.mark.parametrize("kept", [0xFFFF, 66_000 % 2**16])
def test_more_members_than_a_zip_can_count_are_all_found(tmp_path, kept):
    path = zip_of(tmp_path / "z.zip", {f"{index}": b"" for index in range(66_000)})
    content = path.read_bytes()
    if kept != 0xFFFF:
        # as the archiver of macOS leaves it: no zip64 record, and the remainder of the count
        size, start = struct.unpack_from("<QQ", content, content.index(b"PK\x06\x06") + 40)
        path.write_bytes(content[: start + size] + struct.pack("<4s4H2LH", END, 0, 0, kept, kept, size, start, 0))
    assert struct.unpack_from("<H", path.read_bytes(), path.read_bytes().index(END) + 10) == (kept,)
    assert len(open_images(path).names()) == 66_000


@pytest.mark.parametrize("declared", [0, 10, 5000])
def test_a_declared_size_that_is_not_the_true_one_is_damage(tmp_path, declared):
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/0.png", bytes(1000))
    edited(path, (central(path) + SIZES_IN_CENTRAL + 4, "<L", declared))
    assert "is damaged at 'a/0.png'" in refused(path)


def test_unpacking_ends_at_the_declared_size(tmp_path):
    path, true = tmp_path / "z.zip", bytes(64 * 2**20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/0.png", true)
    fitting = zlib.crc32(true[:100])
    edited(
        path, (central(path) + SIZES_IN_CENTRAL - 4, "<L", fitting), (central(path) + SIZES_IN_CENTRAL + 4, "<L", 100)
    )
    peak = peak_bytes(lambda: dict(open_images(path).read()))
    assert peak < 2**20


def test_a_member_declared_as_enormous_is_left_out_by_name(tmp_path):
    path = zip_of(tmp_path / "z.zip", {"a/0.png": png(0), "a/1.png": png(1)})
    edited(path, (central(path) + SIZES_IN_CENTRAL + 4, "<L", 2**32 - 2))
    store = open_images(path)
    assert store.listing.oversized == {"a/0.png": 2**32 - 2}
    assert dict(store.read()) == {"a/1.png": png(1)}
    with pytest.raises(ValueError, match=r"holds 'a/0\.png' of 4,294,967,294 bytes, and no more than"):
        dict(store.read(["a/0.png"]))


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_without_a_bound_on_memory_are_not_read(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "z.zip", "w", kind) as archive:
        archive.writestr("a/0.png", bytes(10**6))
    assert "'a/0.png' is packed in a way that is not read; pack it again as plain zip" in refused(tmp_path / "z.zip")


def test_an_archive_that_unpacks_to_too_much_in_all_is_refused_at_a_member(tmp_path, monkeypatch):
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(8):
            archive.writestr(f"a/{index}.bmp", bytes(10**6))
        archive.writestr("a/notes.csv", bytes(10**8))
    assert len(dict(open_images(path).read())) == 8
    monkeypatch.setattr(members, "FREE_BYTES", 3 * 10**6)
    monkeypatch.setattr(members, "MAX_RATIO", 20)
    assert "unpacks to more than 3,000,000 bytes at 'a/3.bmp', as a decompression bomb does" in refused(path)
    monkeypatch.setattr(members, "MAX_RATIO", 2000)
    assert len(dict(open_images(path).read())) == 8
    monkeypatch.setattr(members, "MAX_TOTAL_BYTES", 5 * 10**6)
    assert "unpacks to more than 5,000,000 bytes at 'a/5.bmp'" in refused(path)


def test_a_zip64_archive_is_read(tmp_path):
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w") as archive, archive.open("a/0.png", "w", force_zip64=True) as file:
        file.write(png(0))
    assert dict(open_images(path).read()) == {"a/0.png": png(0)}
    assert b"\x01\x00\x10\x00" in path.read_bytes(), "no zip64 field in it"


@pytest.mark.parametrize("size", [2**63, 2**64 - 2])
def test_absurd_zip64_sizes_are_contained(tmp_path, size):
    path = zip_of(tmp_path / "z.zip", {"a/0.png": png(0), "a/1.png": png(1)})
    info = zipfile.ZipInfo("a/0.png")
    info.extra = struct.pack("<HHQ", 1, 8, size)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, png(0))
        archive.writestr("a/1.png", png(1))
    edited(path, (central(path) + SIZES_IN_CENTRAL + 4, "<L", 2**32 - 1))
    store = open_images(path)
    assert store.listing.oversized == {"a/0.png": size}
    assert dict(store.read()) == {"a/1.png": png(1)}


def test_folders_of_a_zip_are_no_files_however_they_are_written(tmp_path):
    files = {"a/": b"", "b\\": b"", "a/0.png": png(0)}
    assert open_images(zip_of(tmp_path / "z.zip", files)).names() == ["a/0.png"]


@pytest.mark.parametrize("name", ["a/" + "x" * 5000, "./.", "a\0b.png"])
def test_what_is_no_name_of_a_file_is_refused(tmp_path, name):
    path = zip_of(tmp_path / "z.zip", {name.replace("\0", "%"): png(0)})
    path.write_bytes(path.read_bytes().replace(b"a%b.png", b"a\0b.png"))
    said = refused(path)
    assert "which is no name of a file (1 to 4,096 characters" in said
    assert len(said) < 1000


def peak_bytes(work):
    """The most memory that Python held at once during the work."""
    import tracemalloc

    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
