"""What must hold of every archive, with names and contents that hypothesis draws; the draws are the same each time."""

import os
import tempfile
import unicodedata
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.data.archives import open_images
from src.data.stores.members import MAX_NAME_CHARS
from tests.data.drawn import folder_of, tar_of, zip_of

REPEATABLE = settings(
    derandomize=True, database=None, deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow]
)

# what no file system takes as part of a name, or what Windows reads as something else
part = (
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='/\\:*?"<>|\0'), min_size=1, max_size=20)
    .filter(lambda text: text not in (".", "..") and len(text.encode()) < 200)
    .filter(lambda text: text == text.strip(" ."))
)
path = st.lists(part, min_size=1, max_size=4).map("/".join)


@st.composite
def trees(draw):
    """Contents by path, such that all of them fit into one folder of any file system."""
    kept = {}
    for name, content in draw(st.dictionaries(path, st.binary(max_size=200), max_size=8)).items():
        if not any(clash(plain(name), plain(other)) for other in kept):
            kept[name] = content
    return kept


def plain(name):
    return unicodedata.normalize("NFD", name.casefold())


def clash(one, other):
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


@contextmanager
def only_written(*names):
    """A folder in which nothing but these names may appear, and nothing beside it."""
    with tempfile.TemporaryDirectory() as outer:
        inner = Path(outer) / "inner"
        inner.mkdir()
        yield inner
        assert os.listdir(outer) == ["inner"]  # noqa: PTH208 - names alone
        assert {path.name for path in inner.iterdir()} <= set(names)


@REPEATABLE
@given(trees())
def test_a_zip_and_a_tar_give_what_a_folder_gives(files):
    with only_written("folder", "z.zip", "t.tar", "t.tar.xz") as folder:
        plain_folder = folder / "folder"
        plain_folder.mkdir()
        whole = open_images(folder_of(plain_folder, files))
        stores = [
            open_images(zip_of(folder / "z.zip", files)),
            open_images(tar_of(folder / "t.tar", files, "w")),
            open_images(tar_of(folder / "t.tar.xz", files, "w:xz")),
        ]
        for store in stores:
            assert sorted(store.names()) == whole.names()
            assert dict(store.read()) == dict(whole.read()) == {name: files[name] for name in whole.names()}
            assert (store.listing.ignored, sorted(store.listing.nested)) == (
                whole.listing.ignored,
                sorted(whole.listing.nested),
            )
            assert len(store.listing.names) + store.listing.ignored.total() == len(files)


leading_out = st.one_of(
    path.map(lambda name: "../" + name),
    st.tuples(path, path).map(lambda both: f"{both[0]}/../{both[1]}"),
    path.map(lambda name: "/" + name),
    path.map(lambda name: "C:\\" + name),
    path.map(lambda name: "..\\" + name),
    path.map(lambda name: name + "/.."),
)


@REPEATABLE
@given(leading_out, trees())
def test_a_name_that_leads_out_refuses_the_archive_and_writes_nothing(name, files):
    with only_written("z.zip", "t.tar") as folder:
        for location in (
            zip_of(folder / "z.zip", files | {name: b"x"}),
            tar_of(folder / "t.tar", files | {name: b"x"}, "w"),
        ):
            with pytest.raises(ValueError, match="leads out of the archive"):
                open_images(location).names()
            with pytest.raises(ValueError, match="leads out of the archive"):
                dict(open_images(location).read([name]))


@REPEATABLE
@given(st.text(max_size=60) | st.text("./\\: a\0", max_size=12), st.binary(max_size=40))
def test_any_name_is_read_under_a_safe_one_or_refused_in_a_sentence(name, content):
    with only_written("t.tar") as folder:
        try:
            location = tar_of(folder / "t.tar", {name: content}, "w")
        except UnicodeEncodeError:
            return
        for safe, read in read_or_refused(location).items():
            assert read == content
            parts = safe.split("/")
            assert 0 < len(safe) <= MAX_NAME_CHARS
            assert not {"", ".", ".."} & set(parts)
            assert "\0" not in safe
            assert (folder / safe).resolve().is_relative_to(folder.resolve())


@REPEATABLE
@given(st.binary(max_size=600))
def test_any_bytes_called_an_archive_are_refused_or_read(content):
    with only_written("x.zip", "x.tar", "x.tar.gz") as folder:
        for name in ("x.zip", "x.tar", "x.tar.gz"):
            (folder / name).write_bytes(content)
            read_or_refused(folder / name)


def read_or_refused(location):
    """What an archive gives; nothing where it is refused, in a sentence that names it."""
    try:
        return dict(open_images(location).read())
    except ValueError as error:
        sentence = str(error)
    assert str(location) in sentence
    return {}
