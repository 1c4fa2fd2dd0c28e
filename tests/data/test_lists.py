import numpy as np
import pandas as pd
import pytest

from src.data.lists import is_list, read_list

ROWS = {
    "path": ["a/1.png", "b/2.png", "c/3.png"],
    "label": ["007", None, "NA"],
    "split": ["train", "predict", None],
    "group": ["g1", None, "g1"],
}


def written(path, table):
    frame = pd.DataFrame(table)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, sep="\t" if path.suffix == ".tsv" else ",", index=False)
    return path


def rows(table):
    return {column: list(table[column]) for column in table.columns}


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_every_kind_of_list_gives_the_same_table_of_text(tmp_path, suffix):
    path = written(tmp_path / f"images{suffix}", ROWS)
    assert is_list(path)
    assert rows(read_list(path)) == ROWS


def test_what_is_no_list_is_told_by_its_name(tmp_path):
    assert not any(is_list(tmp_path / name) for name in ("images", "images.zip", "images.csv.gz", "images.txt"))
    assert is_list(tmp_path / "IMAGES.CSV")


def test_columns_that_are_not_given_are_empty(tmp_path):
    path = tmp_path / "images.csv"
    path.write_text("path\n1.png\n")
    assert rows(read_list(path)) == {"path": ["1.png"], "label": [None], "split": [None], "group": [None]}


def test_the_mark_of_a_spreadsheet_and_its_backslashes_are_understood(tmp_path):
    path = tmp_path / "images.csv"
    path.write_bytes(b"\xef\xbb\xbfpath,label\r\nfolder\\1.png, caf\xc3\xa9 \r\n./2.png,\r\n")
    assert rows(read_list(path))["path"] == ["folder/1.png", "2.png"]
    assert rows(read_list(path))["label"] == ["café", None]


def test_numbers_of_a_parquet_file_become_the_names_they_stand_for(tmp_path):
    whole = written(tmp_path / "whole.parquet", {"path": ["1.png", "2.png"], "label": [3, 12]})
    gaps = written(tmp_path / "gaps.parquet", {"path": ["1.png", "2.png"], "label": [3.0, np.nan]})
    assert rows(read_list(whole))["label"] == ["3", "12"]
    assert rows(read_list(gaps))["label"] == ["3", None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,lable\n1.png,a\n", "has a column 'lable'; did you mean 'label'"),
        ("paths,label\n1.png,a\n", "has a column 'paths'; did you mean 'path'"),
        ("file,label\n1.png,a\n", r"has no column 'path', only file, label; allowed: path, label, split, group"),
        ("path,label\n", "lists no image; it needs a row for each"),
        ("", r"cannot be read as a CSV list of images \(No columns"),
        ("path,label\n1.png,a\n,b\n", r"images\.csv, row 3: no path; give the image's path below"),
        ("path\n1.png\n../2.png\n", r"row 3: '\.\./2\.png' leads out of .*; give paths below the folder of the list"),
        ("path\n/etc/passwd\n", "row 2: '/etc/passwd' leads out"),
        ("path\nC:\\1.png\n", r"row 2: 'C:\\\\1\.png' leads out"),
        ("path\n1.png\n2.png\n./1.png\n", r"row 4: '1\.png' is listed before; remove one"),
        ("path,label\n1.png,a,b,c\n2.png,a,b,c,d\n", "cannot be read as a CSV list of images"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused_with_its_row(tmp_path, text, said):
    path = tmp_path / "images.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_list(path)


def test_rows_of_a_parquet_file_are_counted_from_one(tmp_path):
    path = written(tmp_path / "images.parquet", {"path": ["1.png", ""], "label": ["a", "b"]})
    with pytest.raises(ValueError, match="row 2: no path"):
        read_list(path)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"images\.parquet cannot be read as a PARQUET list of images"):
        read_list(path)
    with pytest.raises(ValueError, match=r"nowhere\.csv does not exist; give a CSV, TSV or Parquet list"):
        read_list(tmp_path / "nowhere.csv")


def test_columns_of_another_purpose_are_named_and_not_read(tmp_path, caplog):
    path = tmp_path / "images.csv"
    path.write_text("path,label,taken_at,price\n1.png,a,2020,3\n")
    assert list(read_list(path).columns) == ["path", "label", "split", "group"]
    assert "columns that are not read: taken_at, price" in caplog.text
