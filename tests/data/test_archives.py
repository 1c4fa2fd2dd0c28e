import random
import struct
import tarfile
import zipfile

import pytest

from src.data.archives import open_images
from src.data.stores import listing
from tests.data.drawn import below, folder_of, labelled, png, tar_of, zip_of

FILES = below("train", labelled({"cat": 2, "Çà 犬": 2}))
CLUTTER = {
    ".DS_Store": b"x",
    "train/Thumbs.db": b"x",
    "__MACOSX/train/cat/._0.png": b"x",
    "train/.hidden/0.png": b"x",
    "labels.csv": b"x",
    "inner.zip": b"x",
}
TARS = {"t.tar": "w", "t.tar.gz": "w:gz", "t.tar.bz2": "w:bz2", "t.tar.xz": "w:xz", "named.bin": "w:gz"}


def stores(tmp_path, files):
    yield open_images(folder_of(tmp_path / "folder", files))
    yield open_images(zip_of(tmp_path / "z.zip", files))
    for name, mode in TARS.items():
        yield open_images(tar_of(tmp_path / name, files, mode))


def test_every_container_yields_the_same_names_and_bytes(tmp_path):
    for store in stores(tmp_path, FILES | CLUTTER):
        assert sorted(store.names()) == sorted(FILES)
        assert dict(store.read()) == FILES
        assert store.listing.ignored == {"hidden": 4, ".csv": 1, ".zip": 1}


def test_named_files_alone_are_read(tmp_path):
    some = sorted(FILES)[1:3]
    for store in stores(tmp_path, FILES):
        assert dict(store.read(some)) == {name: FILES[name] for name in some}


def test_a_name_that_is_gone_is_told(tmp_path):
    for store in stores(tmp_path, FILES):
        with pytest.raises(ValueError, match=r"1 images are not in .* 'train/no\.png' first: .*run make_dataset again"):
            list(store.read(["train/no.png", next(iter(FILES))]))


def test_a_text_called_jpg_is_a_candidate_and_not_lost(tmp_path):
    for store in stores(tmp_path, {"a/x.jpg": b"hello", "a/README": b"hello"}):
        assert sorted(store.names()) == ["a/README", "a/x.jpg"]


def test_a_single_image_is_a_store_of_one(tmp_path):
    (tmp_path / "one.png").write_bytes(png(0))
    store = open_images(tmp_path / "one.png")
    assert (store.kind, dict(store.read())) == ("file", {"one.png": png(0)})


def test_archives_inside_are_not_opened_and_told_by_name(tmp_path, caplog):
    files = FILES | {f"inner/{index}.zip": b"PK" for index in range(4)} | {"more.tar.gz": b"x"}
    for store in stores(tmp_path, files):
        caplog.clear()
        assert sorted(store.names()) == sorted(FILES)
        assert sorted(store.listing.nested) == [
            "inner/0.zip",
            "inner/1.zip",
            "inner/2.zip",
            "inner/3.zip",
            "more.tar.gz",
        ]
        assert store.names() == store.names()
        (said,) = caplog.messages
        assert "holds archives, which are not opened (inner/0.zip, inner/1.zip, inner/2.zip and 2 more)" in said


def test_links_that_lead_in_a_circle_are_not_followed(tmp_path):
    folder = folder_of(tmp_path / "folder", {"a/0.png": png(0)})
    (folder / "a/loop.png").symlink_to("loop.png")
    (folder / "a/up").symlink_to("..")
    store = open_images(folder)
    assert dict(store.read()) == {"a/0.png": png(0)}
    assert store.listing.ignored == {"link or device": 2}


def test_links_out_of_a_folder_are_not_followed(tmp_path):
    secret = folder_of(tmp_path / "outside", {"secret.png": png(9)})
    folder = folder_of(tmp_path / "folder", {"a/0.png": png(0)})
    (folder / "a/out.png").symlink_to(secret / "secret.png")
    (folder / "a/in.png").symlink_to("0.png")
    (folder / "a/gone.png").symlink_to("nowhere.png")
    (folder / "outside").symlink_to(secret)
    store = open_images(folder)
    assert dict(store.read()) == {"a/0.png": png(0), "a/in.png": png(0)}
    assert store.listing.ignored == {"link or device": 3}


@pytest.mark.parametrize(
    "name",
    ["../evil.png", "a/../../evil.png", "/etc/evil.png", "C:/evil.png", "//host/evil.png", "a\\..\\..\\evil.png"],
)
def test_a_member_that_leads_out_is_refused_by_name(tmp_path, name):
    for path in (zip_of(tmp_path / "z.zip", {name: png(0)}), tar_of(tmp_path / "t.tar", {name: png(0)}, "w")):
        with pytest.raises(ValueError, match=r"evil\.png', which leads out of the archive"):
            open_images(path).names()
        with pytest.raises(ValueError, match="leads out of the archive"):
            list(open_images(path).read([name]))
    assert not list(tmp_path.rglob("evil.png"))


def test_backslashes_of_a_windows_zip_are_folders(tmp_path):
    assert open_images(zip_of(tmp_path / "z.zip", {"cat\\0.png": png(0)})).names() == ["cat/0.png"]
    with pytest.raises(ValueError, match="leads out"):
        open_images(zip_of(tmp_path / "z.zip", {"..\\0.png": png(0)})).names()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused_by_name(tmp_path, kind):
    member = tarfile.TarInfo("a/link.png")
    member.type, member.linkname = kind, "../../etc/passwd"
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        archive.addfile(member)
    with pytest.raises(ValueError, match=r"'a/link.png', a link or device.*--dereference"):
        open_images(tmp_path / "t.tar").names()


def test_a_link_in_a_zip_is_refused_by_name(tmp_path):
    link = zipfile.ZipInfo("a/link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ValueError, match=r"'a/link.png', a link or device"):
        open_images(tmp_path / "z.zip").names()


def test_two_members_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("a/0.png", png(0))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a/0.png", png(1))
    with tarfile.open(tar_of(tmp_path / "t.tar", {"a/0.png": png(0)}, "w"), "a") as archive:
        archive.addfile(tarfile.TarInfo("./a/0.png"))
    for name in ("z.zip", "t.tar"):
        with pytest.raises(ValueError, match=r"two members called 'a/0\.png'"):
            open_images(tmp_path / name).names()


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98])
def test_a_cut_archive_is_called_damaged(tmp_path, share):
    archives = [zip_of(tmp_path / "z.zip", FILES)]
    archives += [tar_of(tmp_path / name, FILES, mode) for name, mode in TARS.items() if name != "named.bin"]
    for path in archives:
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        # the last blocks of a plain tar are padding: without them it is whole
        if path.suffix == ".tar" and share == 0.98:
            continue
        with pytest.raises(ValueError, match=rf"{path.name} is damaged .*download or copy it again"):
            list(open_images(path).read(sorted(FILES)))


def test_a_broken_header_inside_a_tar_does_not_end_it_silently(tmp_path):
    path = tar_of(tmp_path / "t.tar", {"a/0.png": bytes(512), "a/1.png": bytes(512), "a/2.png": bytes(512)}, "w")
    content = bytearray(path.read_bytes())
    content[1024 + 3] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="is damaged"):
        open_images(path).names()


def test_a_flipped_byte_in_a_zip_member_is_found_by_its_checksum(tmp_path):
    path = zip_of(tmp_path / "z.zip", {"a/0.png": png(0), "a/1.png": png(1)})
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"z\.zip is damaged at 'a/0\.png' \(Bad CRC-32"):
        list(open_images(path).read())


@pytest.mark.parametrize("seed", range(60))
def test_a_corrupted_archive_never_ends_in_another_kind_of_error(tmp_path, seed):
    draw = random.Random(seed)
    maker, name = draw.choice([(zip_of, "z.zip"), (tar_of, "t.tar.gz"), (lambda p, f: tar_of(p, f, "w"), "t.tar")])
    path = maker(tmp_path / name, FILES)
    content = bytearray(path.read_bytes())
    for _ in range(draw.choice([1, 4, 32])):
        content[draw.randrange(len(content))] = draw.randrange(256)
    path.write_bytes(bytes(content))
    try:
        read = dict(open_images(path).read())
    except ValueError as error:
        read, sentence = {}, str(error)
        assert name in sentence
    if name != "t.tar":
        assert set(read.values()) <= set(FILES.values()), "checksums were not compared"


def test_an_encrypted_zip_says_so(tmp_path):
    path = zip_of(tmp_path / "z.zip", {"a/0.png": png(0)})
    content = bytearray(path.read_bytes())
    flags = content.index(b"PK\x01\x02") + 8
    struct.pack_into("<H", content, flags, 1)
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"is encrypted \('a/0\.png' first\); unpack it and give the folder"):
        open_images(path).names()


def test_an_unknown_compression_says_what_to_do(tmp_path):
    path = zip_of(tmp_path / "z.zip", {"a/0.png": png(0)})
    content = bytearray(path.read_bytes())
    struct.pack_into("<H", content, content.index(b"PK\x01\x02") + 10, 9)
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="packed in a way that is not read; pack it again as plain zip"):
        open_images(path).names()


def test_an_oversized_file_is_listed_and_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "MAX_FILE_BYTES", 1000)
    for store in stores(tmp_path, {"a/big.png": bytes(1001), "a/0.png": bytes(1000)}):
        assert store.names() == ["a/0.png"]
        assert store.listing.oversized == {"a/big.png": 1001}
        assert [name for name, _ in store.read()] == ["a/0.png"]


def test_what_cannot_be_opened_is_told_with_what_can(tmp_path):
    with pytest.raises(ValueError, match=r"no does not exist; give a folder, a zip or tar archive"):
        open_images(tmp_path / "no")
    for name in ("x.rar", "x.csv"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ValueError, match=rf"x\{name[1:]} is a \{name[1:]} file; allowed: a folder"):
            open_images(tmp_path / name)
    (tmp_path / "page.zip").write_bytes(b"<!DOCTYPE html><html>not found</html>")
    with pytest.raises(ValueError, match=r"page\.zip is damaged \(File is not a zip file\); download"):
        open_images(tmp_path / "page.zip").names()
