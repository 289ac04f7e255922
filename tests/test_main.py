"""Tests of the command line."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image

from nlmeta.__main__ import main
from nlmeta.data import ImageFiles, Part, Source, commands
from nlmeta.data.summary import summary


def source(x, **annotations):
    y = torch.tensor([0, 1, 1, 1])
    return Source(
        name="small",
        class_names=("cat", "dog"),
        train=Part(x, y, annotations),
        test=None,
        noisy=False,
        attribution="us",
        notes=("old files",),
    )


def test_the_command_sums_up_the_digits(capsys):
    assert main(["data", "digits"]) == 0
    printed = capsys.readouterr().out
    assert "digits: 10 classes (0, 1, 2" in printed
    assert "1,797 samples, numbers of 1 x 8 x 8; 174 to 183 of a class" in printed
    assert "no file is missing, and no file that was checked is damaged" in printed


def test_what_is_missing_is_said_without_a_traceback(tmp_path):
    command = [sys.executable, "-m", "nlmeta", "data", "cifar10", "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_unknown_name_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        main(["data", "cifar"])
    assert "'cifar10'" in capsys.readouterr().err


def test_a_summary_says_balance_rates_notes_and_whom_to_cite():
    x = torch.zeros(4, 3, 2, 5, dtype=torch.uint8)
    text = summary(
        source(x, people=torch.tensor([1, 1, -1, 1]), verified=torch.tensor([1, 0, -1, -1]))
    )
    assert "4 samples, images of 3 x 2 x 5; 1 to 3 of a class; labels taken for the truth" in text
    assert "annotation 'people': 3 known, 33.33% differ from the label" in text
    assert "annotation 'verified': 2 known, 2 different ones" in text
    assert "note: old files" in text
    assert "cite: us" in text


def test_a_summary_compares_labels_of_superclasses_with_superclasses():
    y, coarse = torch.tensor([0, 1, 1, 1]), torch.tensor([3, 0, 0, 2])
    given = source(torch.zeros(4, 2), coarse=coarse, noisy=torch.tensor([3, 0, 2, 2]))
    assert "annotation 'noisy': 4 known, 100.00% differ" in summary(given)
    said = summary(replace(given, superclass_annotations=("noisy",)))
    assert "annotation 'noisy': 4 known, 25.00% differ from the label" in said
    assert "annotation 'coarse': 4 known, 3 different ones" in said
    assert torch.equal(given.train.y, y)


def test_damaged_image_files_are_found(tmp_path, monkeypatch, capsys):
    names = [f"{i}.png" for i in range(4)]
    for name in names:
        Image.new("RGB", (3, 3)).save(tmp_path / name)
    files = source(ImageFiles(tmp_path, names, size=2))
    monkeypatch.setattr(commands, "read", lambda *_, **__: files)
    assert main(["data", "animal10n"]) == 0
    assert "4 images of the train part decode" in capsys.readouterr().out
    (tmp_path / "2.png").write_bytes(b"no picture")
    assert main(["data", "animal10n"]) == 1
    assert f"{tmp_path / '2.png'} does not decode" in capsys.readouterr().err


def test_ctrl_c_is_no_traceback(monkeypatch, capsys):
    """While a dataset is read, for example; a run of an experiment says more."""

    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "read", stopped)
    assert main(["data", "digits"]) == 130
    assert "stopped" in capsys.readouterr().err
