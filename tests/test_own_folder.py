"""The auditioned folder: it is that of the chapter, the exam stays unseen, the record adds up."""

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import chapters
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from nlmeta import metrics, noise, seeding
from nlmeta.experiments import RECORDS, Record, own_folder, read
from nlmeta.experiments.loading import load_named

ROOTS = ("scans", "checked", "exam")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("own")
    own_folder.write_folder(place)
    return place


@pytest.fixture(scope="module")
def split(folder):
    return own_folder.read_folder(folder)


def files(folder):
    found = [file for root in ROOTS for file in sorted((folder / root).rglob("*.png"))]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in found}


def test_the_folder_is_the_one_that_the_chapter_writes_byte_by_byte(folder, root, monkeypatch):
    cells = chapters.read(root / "book/own_data.ipynb").cells
    (source,) = [cell.source for cell in cells if "tempfile.TemporaryDirectory()" in cell.source]
    names = {"os": os, "tempfile": tempfile, "Path": Path, "Image": Image, "torch": torch}
    names |= {"load_digits": load_digits, "seeding": seeding, "noise": noise, "pd": pd}
    monkeypatch.chdir(folder)  # the cell goes elsewhere, and the test comes back
    exec(compile(source, "own_data.ipynb", "exec"), names)
    theirs = files(Path(names["workshop"].name))
    monkeypatch.chdir(folder)
    names["workshop"].cleanup()
    assert len(theirs) == 1197 + 100 + 500
    assert files(folder) == theirs
    assert tuple(names["CLASSES"]) == own_folder.CLASSES


def test_the_split_is_the_one_that_the_chapter_prints(split, root):
    cells = chapters.read(root / "book/own_data.ipynb").cells
    printed = [o.get("text", "") for c in cells for o in c.get("outputs", [])]
    assert any(f"digest: {split.digest[:16]}\n" in text for text in printed)


def test_the_folder_is_the_same_for_all_seeds_where_another_noise_is_drawn_anew(split):
    def digest(noise, seed):
        options = {"rate": 0.2} if noise == "pair" else {}
        return own_folder.load_with_folder("digits", noise=noise, seed=seed, **options).digest

    assert digest(own_folder.IN_FOLDER, 0) == digest(own_folder.IN_FOLDER, 1) == split.digest
    assert digest("pair", 0) == load_named("digits", noise="pair", rate=0.2, seed=0).digest
    assert digest("pair", 0) != digest("pair", 1)


class Always(nn.Module):
    """A network that is sure of one class."""

    def __init__(self, c):
        super().__init__()
        self.logits = nn.Parameter(torch.eye(10)[c])

    def forward(self, x):
        return self.logits.expand(len(x), -1)


@pytest.mark.parametrize("checked", [True, False])
def test_every_judged_network_sits_an_exam_that_the_audition_has_not_seen(
    checked, split, monkeypatch
):
    measure, seen = "accuracy" if checked else "noisy_accuracy", []

    def audition(shown, network, budget, **options):
        seen.append((shown, options))
        frame = pd.DataFrame(
            {"method": ["a", "b", "c"], measure: [0.9, 0.8, None], "low": 0.1, "high": 0.9}
            | {"p": [1.0, 0.5, None], "in_full": [4.0, 1.0, 9.0], "setting": [{"lr": 1}, {}, None]}
            | {"not_run": [None, None, "it failed"]}
        )
        networks = {"a": Always(3), "b": Always(7)}
        return SimpleNamespace(frame=frame, winner="b", network=networks.__getitem__)

    monkeypatch.setattr(own_folder, "audition", audition)
    rows = own_folder.hold(seed=3, device="cpu", checked=checked)
    ((shown, options),) = seen
    assert options["seed"] == 3
    assert [shown.is_checked(part) for part in ("meta", "validation")] == [checked, False]
    assert len(shown.train) == 1197
    assert len(shown.test) == (500 if checked else 0)  # an audition leaves a test part alone
    shares = split.test.y.bincount() / len(split.test)
    assert [row["accuracy"] for row in rows] == pytest.approx([shares[3].item(), shares[7].item()])
    assert [(row["method"], row["judged"], row["chosen"]) for row in rows] == [
        ("a", 0.9, False),
        ("b", 0.8, True),
    ]
    assert [row.get("noisy_validation") for row in rows] == (
        [None, None] if checked else [0.9, 0.8]
    )
    assert metrics.evaluate(Always(3), split.test.x, split.test.y) == rows[0]["accuracy"]


def stages():
    path = RECORDS / "own_folder.jsonl"
    return sorted({plan["stage"] for plan in Record(path).plans.values()})


@pytest.mark.parametrize("stage", stages())
def test_each_recorded_choice_is_the_cheapest_within_one_standard_error(stage):
    runs = read("own_folder", stage=stage)
    assert len(runs) > 0
    for _, race in runs.groupby("seed"):
        assert race["method"].is_unique
        assert {"early stopping", "ELR", "MLNT", "CLID-MU"} <= set(race["method"])
        near = race[race["p"] >= 0.32]
        taken = near.sort_values("in_full", kind="stable")["method"].iloc[0]
        assert race.loc[race["chosen"], "method"].tolist() == [taken]
        assert race["judged"].between(race["low"], race["high"]).all()
