"""Tests of nlmeta._files: a file is the old one or the new one, whatever happens on the way."""

import errno
import os
from pathlib import Path

import pytest

from nlmeta._files import write_whole


def writing(text, error=None):
    """Writes a text, and then breaks off if an error is given."""

    def write(unfinished):
        unfinished.write_text(text)
        if error is not None:
            raise error

    return write


def test_the_file_has_what_was_written_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a" / "new" / "folder" / "numbers.txt"
    write_whole(path, writing("first"))
    assert path.read_text() == "first"
    write_whole(path, writing("second"))
    assert path.read_text() == "second"
    assert os.listdir(path.parent) == ["numbers.txt"]


def test_nothing_is_replaced_before_all_is_written(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("old")

    def write(unfinished):
        assert unfinished.parent == path.parent  # so that the replacement copies nothing
        unfinished.write_text("new")
        assert path.read_text() == "old"

    write_whole(path, write)
    assert path.read_text() == "new"


def test_all_of_it_is_on_the_disk_before_it_takes_the_place_of_the_old_one(tmp_path, monkeypatch):
    path, seen = tmp_path / "numbers.txt", []
    path.write_text("old")

    def fsync(descriptor):
        there = tmp_path / "numbers.txt.part"
        assert os.path.samestat(os.fstat(descriptor), there.stat())
        seen.append((there.read_text(), path.read_text()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(path, writing("new"))
    assert seen == [("new", "old")]


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt(), ZeroDivisionError()])
@pytest.mark.parametrize("moment", ["writing", "flushing", "replacing"])
def test_an_error_at_any_moment_leaves_the_old_file(moment, error, tmp_path, monkeypatch):
    path = tmp_path / "numbers.txt"
    path.write_text("old")

    def broken(*_):
        raise error

    if moment == "flushing":
        monkeypatch.setattr(os, "fsync", broken)
    if moment == "replacing":
        monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(type(error)) as raised:
        write_whole(path, writing("new", error if moment == "writing" else None))
    assert raised.value is error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["numbers.txt"]


def test_a_second_ctrl_c_leaves_the_old_file_and_the_next_writing_cleans_up(tmp_path, monkeypatch):
    path = tmp_path / "numbers.txt"
    path.write_text("old")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_whole(path, writing("half", KeyboardInterrupt()))
    assert path.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["numbers.txt", "numbers.txt.part"]
    write_whole(path, writing("new"))
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["numbers.txt"]


def test_what_went_wrong_first_is_told(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError("not that either")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OSError, match="No space left on device"):
        write_whole(tmp_path / "numbers.txt", writing("half", FULL))


def test_a_folder_that_is_a_file_is_refused_with_its_name(tmp_path):
    (tmp_path / "results").write_text("not a folder")
    with pytest.raises(OSError, match="results"):
        write_whole(tmp_path / "results" / "numbers.txt", writing("new"))
