import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data import overrides as module
from src.data.overrides import DROP, Override, add_override, apply_overrides, load_overrides, remove_override

ROOT = Path(__file__).resolve().parents[2]
HEADER = "id,label,who,why\n"
CAT = Override("train/a.jpg", "cat", "Ada", "suspect rank 3: dog -> cat, p=0.97")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels_overrides.csv"


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def apply(labels: dict[str, str | None], *rows: Override, classes: tuple[str, ...] = ("cat", "dog")):
    by_id = {row.id: row for row in rows}
    found, dropped = apply_overrides(list(labels), list(labels.values()), overrides=by_id, class_names=classes)
    return dict(zip(labels, found, strict=True)), dropped


def test_where_there_is_no_file_nothing_is_overridden(path):
    assert load_overrides(path) == {}
    assert load_overrides(None) == {}


def test_what_is_added_is_read_back_and_later_rows_win(path):
    later = Override(CAT.id, "dog", "Bob", "")
    add_override(path, CAT)
    assert load_overrides(path) == {CAT.id: CAT}
    add_override(path, later)
    assert load_overrides(path) == {CAT.id: later}
    assert path.read_text(encoding="utf-8") == (
        f'{HEADER}train/a.jpg,cat,Ada,"suspect rank 3: dog -> cat, p=0.97"\ntrain/a.jpg,dog,Bob,\n'
    )


# what fits into a file name, a class and a line of text: everything but lone surrogates, a byte order mark and NUL
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00\ufeff"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(TEXT.filter(bool), TEXT.filter(str.strip), TEXT, TEXT), min_size=1, max_size=4))
def test_any_text_comes_back_as_it_was(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("any") / "overrides.csv"
    expected = {}
    for row in rows:
        override = Override(module._composed(row[0]), row[1].strip(), row[2], row[3])
        if not any(cell.strip() for cell in row):
            continue
        add_override(path, override)
        expected[override.id] = override
    assert load_overrides(path) == expected


def test_byte_order_mark_semicolons_and_line_ends_of_a_spreadsheet_are_read_and_kept(path):
    text = '\ufeffid;label;who;why\r\n"train/ü.jpg";cat;Ada;"a; b"\r\n;;;\r\n\r\n'
    written(path, text)
    umlaut = Override("train/ü.jpg", "cat", "Ada", "a; b")
    assert load_overrides(path) == {umlaut.id: umlaut}
    add_override(path, CAT)
    assert path.read_bytes().decode("utf-8") == text + "train/a.jpg;cat;Ada;suspect rank 3: dog -> cat, p=0.97\n"
    assert load_overrides(path) == {umlaut.id: umlaut, CAT.id: CAT}


def test_a_file_without_a_line_end_at_its_end_gets_the_new_row_on_a_line_of_its_own(path):
    written(path, HEADER + "b.jpg,dog,,")
    add_override(path, CAT)
    assert list(load_overrides(path)) == ["b.jpg", CAT.id]


def test_an_id_in_decomposed_unicode_is_the_same_image(path):
    written(path, HEADER + "re\u0301sume\u0301.jpg,cafe\u0301,,\n")
    composed = "r\u00e9sum\u00e9.jpg"
    labels, _ = apply({composed: "tea"}, *load_overrides(path).values(), classes=("tea", "caf\u00e9"))
    assert labels == {composed: "caf\u00e9"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: found '', where the header id,label,who,why belongs"),
        ("id\tlabel\twho\twhy\n", "line 1: found 'id\\tlabel"),
        ("id,label\na.jpg,cat\n", "line 1: found 'id,label'"),
        (HEADER + "a.jpg,cat,Ada\n", "line 2: 3 cells, where 4 belong"),
        (HEADER + "a.jpg,cat,Ada,x\nb.jpg,dog,Ada,x, y\n", "line 3: 5 cells, where 4 belong"),
        (HEADER + '"a\nb.jpg",cat,,\nc.jpg, ,Ada,\n', "line 4: no label; give a class, or !drop"),
        (HEADER + ",cat,Ada,\n", "line 2: no id"),
        (HEADER + 'a.jpg,cat,,\nb.jpg,"dog,Ada,x\nc.jpg,cat,,\n', "line 3: unexpected end of data; see that every"),
        (HEADER + 'a.jpg,"cat"s,,\n', "line 2: ',' expected after '\"'"),
    ],
)
def test_a_file_broken_by_hand_is_refused_by_line_and_nothing_in_it_is_lost(path, text, told):
    written(path, text)
    for action in (load_overrides, lambda path: add_override(path, CAT), lambda path: remove_override(path, CAT)):
        with pytest.raises(ValueError, match=r"labels_overrides\.csv") as error:
            action(path)
        assert told in str(error.value)
    assert path.read_bytes().decode("utf-8") == text


def test_a_file_in_another_encoding_is_refused_by_line(path):
    written(path, HEADER + "a.jpg,cat,,\nü.jpg,cat,,\n", encoding="latin-1")
    with pytest.raises(ValueError, match="line 3: not UTF-8 text; save it as 'CSV UTF-8'"):
        load_overrides(path)
    written(path, HEADER, encoding="utf-16")
    with pytest.raises(ValueError, match="line 1: not UTF-8 text"):
        load_overrides(path)


def test_a_row_that_could_not_be_read_back_is_not_written(path):
    add_override(path, CAT)
    with pytest.raises(ValueError, match="line 3: no label"):
        add_override(path, Override("b.jpg", " ", "Ada", ""))
    assert load_overrides(path) == {CAT.id: CAT}


def test_removing_takes_the_last_row_that_says_just_this_and_no_other(path):
    odd = Override("odd\nid.jpg", DROP, 'A "D" A', "two\nlines")
    for override in (CAT, odd, CAT, Override(CAT.id, "dog", "", "")):
        add_override(path, override)
    assert remove_override(path, odd) == 1
    assert remove_override(path, odd, CAT) == 1
    assert path.read_text(encoding="utf-8") == (
        f'{HEADER}train/a.jpg,cat,Ada,"suspect rank 3: dog -> cat, p=0.97"\ntrain/a.jpg,dog,,\n'
    )


def test_several_rows_are_added_and_removed_at_once_or_not_at_all(path):
    dog = Override("b.jpg", "dog", "", "")
    with pytest.raises(ValueError, match="line 3: no label"):
        add_override(path, dog, Override("c.jpg", "", "", ""))
    assert not path.exists()
    add_override(path, dog, CAT)
    assert load_overrides(path) == {dog.id: dog, CAT.id: CAT}
    assert remove_override(path, CAT, dog) == 2
    assert load_overrides(path) == {}


def test_removing_from_a_file_that_is_not_there_says_no_and_makes_none(path):
    assert not remove_override(path, CAT)
    assert not path.exists()


WRITER = """
import sys
from pathlib import Path
from src.data.overrides import Override, add_override, remove_override
path, who = Path(sys.argv[1]), sys.argv[2]
for number in range(20):
    add_override(path, Override(f"{who}-{number}.jpg", "cat", who, ""))
    if number % 5 == 0:
        assert remove_override(path, Override(f"{who}-{number}.jpg", "cat", who, ""))
"""


def test_four_processes_that_write_at_once_lose_no_row(path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), f"writer{number}"], cwd=ROOT) for number in range(4)
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0] * 4
    expected = {f"writer{number}-{row}.jpg" for number in range(4) for row in range(20) if row % 5}
    assert set(load_overrides(path)) == expected
    assert len(path.read_text(encoding="utf-8").splitlines()) == 1 + len(expected)


KILLED = """
import os, sys
from pathlib import Path
import src.files
from src.data.overrides import Override, add_override
os.fsync = lambda descriptor: os.kill(os.getpid(), 9)
add_override(Path(sys.argv[1]), Override("b.jpg", "dog", "", ""))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_writer_killed_while_it_writes_leaves_the_old_file_whole_and_no_lock_behind(path):
    add_override(path, CAT)
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, check=False).returncode == -9
    assert load_overrides(path) == {CAT.id: CAT}
    add_override(path, Override("c.jpg", "dog", "", ""))
    assert list(load_overrides(path)) == [CAT.id, "c.jpg"]


def test_a_writer_that_does_not_end_is_told_and_the_file_is_untouched(path, monkeypatch):
    add_override(path, CAT)
    before = path.read_bytes()
    monkeypatch.setattr(module, "LOCK_WAIT_S", 0)
    with FileLock(path.with_name(f".{path.name}.lock")), pytest.raises(ValueError, match="another process"):
        add_override(path, Override("b.jpg", "dog", "", ""))
    assert path.read_bytes() == before


def test_overrides_change_drop_and_confirm_labels_and_leave_all_others():
    labels, dropped = apply(
        {"a": "dog", "b": "dog", "c": "cat", "d": None},
        Override("a", "cat", "", ""),
        Override("b", DROP, "", ""),
        Override("c", "cat", "", "kept"),
    )
    assert labels == {"a": "cat", "b": "dog", "c": "cat", "d": None}
    np.testing.assert_array_equal(dropped, [False, True, False, False])
    assert dropped.dtype == bool


def test_an_unlabelled_image_can_be_given_a_label():
    assert apply({"a": None}, Override("a", "cat", "", ""))[0] == {"a": "cat"}


def test_no_image_and_no_override_are_fine():
    labels, dropped = apply({})
    assert labels == {}
    assert dropped.shape == (0,)


def test_a_class_that_is_none_is_refused_with_the_near_names():
    with pytest.raises(ValueError, match=r"'a' is 'catt', which is no class of this data set; did you mean cat\?"):
        apply({"a": "dog"}, Override("a", "catt", "", ""))
    with pytest.raises(ValueError, match=r"did you mean !drop or dog\?"):
        apply({"a": "dog"}, Override("a", "drop", "", ""))


def test_an_image_that_is_not_there_any_more_is_named_in_a_warning(caplog):
    gone = [Override(f"gone{number}", "no class", "", "") for number in range(5)]
    labels, dropped = apply({"a": "dog"}, *gone)
    assert labels == {"a": "dog"}
    assert not dropped.any()
    assert "5 overridden labels are of images that are not in the source: 'gone0', 'gone1', 'gone2' and 2 more" in (
        caplog.text
    )


def test_where_every_image_is_there_nothing_is_warned_of(caplog):
    apply({"a": "dog"}, Override("a", "cat", "", ""))
    assert caplog.text == ""
