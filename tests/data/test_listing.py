import pytest

from src.data.stores.listing import common_root, ignored_as


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/0.jpg", None),
        ("a/0.JPG", None),
        ("a/no_suffix", None),
        ("a/.DS_Store", "hidden"),
        (".git/a/0.jpg", "hidden"),
        ("__MACOSX/a/0.jpg", "hidden"),
        ("a/desktop.ini", "hidden"),
        ("a/labels.CSV", ".csv"),
        ("train.zip", ".zip"),
    ],
)
def test_only_hidden_files_and_known_documents_are_ignored(name, kind):
    assert ignored_as(name) == kind


@pytest.mark.parametrize(
    ("names", "root"),
    [
        ([], ""),
        (["1.jpg", "2.jpg"], ""),
        (["cat/1.jpg", "cat/2.jpg"], ""),
        (["cat/1.jpg", "dog/2.jpg"], ""),
        (["data/cat/1.jpg", "data/dog/2.jpg"], "data/"),
        (["a/b/train/cat/1.jpg", "a/b/train/dog/2.jpg"], "a/b/train/"),
        (["a/train/cat/1.jpg", "a/test/cat/2.jpg"], "a/"),
        (["a/1.jpg", "a/cat/1.jpg", "a/dog/2.jpg"], "a/"),
        (["cats/1.jpg", "cats2/1.jpg"], ""),
    ],
)
def test_common_root_keeps_every_folder_that_says_something(names, root):
    assert common_root(names) == root
