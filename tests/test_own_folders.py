"""Tests of what a folder and a table list: links, names, and rows that do not fit."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import refused
from PIL import Image

from nlmeta.data import from_folder

N = 4


@pytest.fixture
def folder(tmp_path):
    """Four different pictures of each of two classes."""
    for k, name in enumerate(("cat", "dog")):
        for i in range(N):
            picture(tmp_path / "photos" / name / f"{i}.png", 10 * k + i)
    return tmp_path / "photos"


def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def read(folder, **options):
    return from_folder(folder, size=9, seed=0, **options)


# Folders


def test_linked_folders_are_looked_into(folder, tmp_path):
    for i in range(5):
        picture(tmp_path / "store" / f"{i}.png", 100 + i)
    (folder / "cat" / "2024").symlink_to(tmp_path / "store")
    (folder / "eel").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "more").symlink_to(folder / "dog")
    split = read(folder)
    assert split.train.y.bincount().tolist() == [N + 5 + N, N, 5 + N]
    assert "cat/2024/more/0.png" in split.train.sample_ids


def test_links_in_a_circle_are_noted_and_left(folder):
    (folder / "cat" / "up").symlink_to("..")
    (folder / "cat" / "here").symlink_to(".")
    (folder / "all").symlink_to(".")
    split = read(folder)
    assert len(split.train) == 2 * N
    assert split.notes == (
        "passed over in `folder`: 3 links (all, cat/here, cat/up) to a folder that the link is in",
    )


def test_links_that_lead_nowhere_are_named(folder):
    (folder / "cat" / "gone").symlink_to("/nowhere")
    (note,) = read(folder).notes
    assert note.startswith("passed over in `folder`: 1 file (cat/gone); images lie in")
    (folder / "cat" / "9.png").symlink_to("/nowhere.png")
    text = "`folder` has 1 link (cat/9.png) to an image that is not there"
    refused(text, lambda: read(folder), FileNotFoundError)


def test_a_folder_that_is_called_like_an_image_is_a_folder(folder):
    picture(folder / "cat" / "set.png" / "inner.png", 99)
    assert "cat/set.png/inner.png" in read(folder).train.sample_ids


def test_a_folder_that_cannot_be_read_is_an_error(folder, monkeypatch):
    (folder / "cat" / "locked").mkdir()
    iterdir = Path.iterdir

    def locked(path):
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", locked)
    refused(f"Permission denied: '{folder / 'cat' / 'locked'}'", lambda: read(folder), OSError)


def test_a_name_that_is_no_text_is_refused(folder):
    picture(folder / "cat" / "new.png", 99)
    os.rename(folder / "cat" / "new.png", os.fsencode(folder / "cat") + b"/caf\xe9.png")
    refused(
        "`folder` holds 'cat/caf\\udce9.png', a name that is not in UTF-8", lambda: read(folder)
    )


def test_endings_may_be_in_capitals_and_classes_that_differ_so_are_noted(folder):
    shutil.move(folder / "cat" / "0.png", folder / "cat" / "0.PNG")
    shutil.move(folder / "dog", folder / "Cat")
    split = read(folder)
    assert split.class_names == ("Cat", "cat")
    assert split.train.y.bincount().tolist() == [N, N]
    assert split.notes == (
        "classes that differ in case or spaces alone: 'Cat' and 'cat'; is each a class?",
    )


def test_folders_with_spaces_around_their_names_are_one_class(folder):
    picture(folder / "cat " / "9.png", 99)
    split = read(folder)
    assert split.class_names == ("cat", "dog")
    assert split.train.y.bincount().tolist() == [N + 1, N]
    assert split.notes[0].startswith("the same class in several writings: 'cat' and 'cat '")


def test_folders_that_are_numbers_come_in_their_order(tmp_path):
    for i in range(12):
        picture(tmp_path / str(i) / "a.png", i)
    assert read(tmp_path).class_names == tuple(map(str, range(12)))


# Tables

ROWS = [f"{name}/{i}.png,{name}" for name in ("cat", "dog") for i in range(N)]


@pytest.fixture
def table(folder, tmp_path):
    def read_rows(rows, *, header="path,label", encoding="utf-8"):
        file = tmp_path / "labels.csv"
        file.write_bytes("\n".join([header, *rows, ""]).encode(encoding))
        return read(folder, table=file)

    return read_rows


@pytest.mark.parametrize(
    ("changes", "header", "row"),
    [
        ({1: 'cat/1.png,"cat', 4: 'dog/0.png,dog"'}, "path,label", 3),
        ({0: 'cat/0.png,cat,"seen', 4: 'dog/0.png,dog,twice"'}, "path,label,remark", 2),
        ({6: 'dog/2.png,"do"g'}, "path,label", 8),
        ({6: 'dog/2.png,"do"g"'}, "path,label", 8),
        ({6: 'dog/2.png,dog"'}, "path,label", 8),
    ],
)
def test_stray_quotation_marks_are_refused_with_their_row(table, changes, header, row):
    """They swallowed the rows up to the next one."""
    rows = [changes.get(i, r) for i, r in enumerate(ROWS)]
    refused(f"labels.csv, row {row} has a quotation mark that", lambda: table(rows, header=header))


def test_quoted_fields_windows_lines_and_empty_lines_are_read(table):
    rows = [
        f'"{path}","a ""good"" {label}, they say"' for path, label in (r.split(",") for r in ROWS)
    ]
    split = table(["", *(f"{row}\r" for row in rows), "", ""])
    assert len(split.train) == 2 * N
    assert split.class_names == ('a "good" cat, they say', 'a "good" dog, they say')


@pytest.mark.parametrize("separator", [";", "\t"])
def test_fields_may_lie_between_semicolons_or_tabs(table, separator):
    rows = [row.replace(",", separator) + f"{separator}a, b" for row in ROWS]
    split = table(rows, header=separator.join(["path", "label", "remark"]))
    assert len(split.train) == 2 * N
    assert split.class_names == ("cat", "dog")


@pytest.mark.parametrize("header", ["\ufeffpath,label", "path , label"])
def test_marks_and_spaces_before_the_columns_do_not_count(table, header):
    split = table([row.replace(",", ", ") for row in ROWS], header=header)
    assert split.class_names == ("cat", "dog")
    assert split.notes == ()


def test_spaces_around_some_labels_make_no_class(table):
    split = table([row + " " * (i % 3 == 0) for i, row in enumerate(ROWS)])
    assert split.class_names == ("cat", "dog")
    assert split.train.y.bincount().tolist() == [N, N]
    assert split.notes[0].startswith("the same class in several writings: 'cat' and 'cat ', 'dog'")


@pytest.mark.parametrize(
    ("row", "header", "text"),
    [
        ("cat/0.png,cat,", "path,label", "labels.csv, row 10 has 3 fields; it must have 2"),
        ("cat/0.png", "path,label", "labels.csv, row 10 has 1 fields; it must have 2"),
        ("cat/0.png, ", "path,label", "labels.csv, row 10: the field `label` is empty"),
        ("cat/0.png,dog", "path,label", "labels.csv, row 10 names cat/0.png, as row 2 does; a"),
        ("cat/0.png,dog", "label,label", "labels.csv has the columns label, label; `path` is"),
        (
            "cat/0.png,dog",
            "path,label;path",
            "labels.csv has the columns path, label;path; `label`",
        ),
    ],
)
def test_a_row_that_does_not_fit_its_columns_is_refused_with_its_number(table, row, header, text):
    refused(text, lambda: table([*ROWS, row], header=header))


def test_a_column_that_is_there_twice_is_refused(table):
    rows = [f"{row},eel" for row in ROWS]
    refused(
        "has 2 columns `label`; it must have one", lambda: table(rows, header="path,label,label")
    )


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("latin-1", "labels.csv, row 6 is not in UTF-8: dog/0.png,caf\\xe9; save the table"),
        ("utf-16", "labels.csv, row 1 is not in UTF-8: \\xff"),
    ],
)
def test_a_table_in_another_encoding_is_refused_with_the_row(table, encoding, text):
    rows = [row.replace(",dog", ",café") for row in ROWS]
    assert table(rows).class_names == ("café", "cat")
    refused(text, lambda: table(rows, encoding=encoding))


def test_an_empty_table_is_refused_as_such(folder, tmp_path):
    (tmp_path / "labels.csv").write_text("")
    refused("`path` is missing", lambda: read(folder, table=tmp_path / "labels.csv"))
    (tmp_path / "labels.csv").write_text("path,label\n")
    refused("`label` has 0 classes", lambda: read(folder, table=tmp_path / "labels.csv"))


def test_a_true_label_outside_the_classes_is_named_with_its_path(table):
    rows = [f"{row},{row.split(',')[1] if i else 'eel'}" for i, row in enumerate(ROWS)]
    text = "`true_label` holds 'eel' (cat/0.png); classes are cat, dog"
    refused(text, lambda: table(rows, header="path,label,true_label"))


def test_true_labels_that_are_numbers_in_writing_are_the_same_classes(table):
    rows = [f"{row.split(',')[0]},{i + 5},{i + 5}" for i, row in enumerate(ROWS)]
    split = table(rows, header="path,label,true_label")
    assert split.class_names == tuple(str(i + 5) for i in range(2 * N))
    assert not split.wrong.any()
