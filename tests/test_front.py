"""The front page: its cards come from the chapters, its digits from a run of the package."""

import base64
import io
import re

import cards
import chapters
import moving
import nbformat
import numpy as np
import pytest
import sixteen
import torch
from helpers import refused
from PIL import Image
from sklearn.datasets import load_digits
from test_repository import sound_chapter

from nlmeta import data

OPENING = """# 3. Injecting noise

[![Open in Colab](https://example.org/badge.svg)](https://example.org/noise.ipynb)

Two papers train on *CIFAR-10*. Both are right.
**Which [of them](x.ipynb) may stand in one table? And why?**

The answer is short.

**Prerequisites**: who asks? Nobody."""


def test_a_card_asks_what_the_chapter_asks():
    """From the badge to the box; with as many sentences before as there is room for."""
    asked = "Which of them may stand in one table? And why?"
    assert cards.question(OPENING, room=0) == asked
    assert cards.question(OPENING, room=len(asked) + 20) == f"Both are right. {asked}"
    assert cards.question(OPENING) == f"Two papers train on CIFAR-10. Both are right. {asked}"
    assert cards.plain("a * b, $x$ and **c_d**") == "a * b, x and c_d"
    assert cards.plain("Ask: *which one?* Then go. *Now.*") == "Ask: which one? Then go. Now."
    assert cards.plain('A rule is *"tensor" in it: this*, or *"frame"*.') == (
        'A rule is "tensor" in it: this, or "frame".'
    )


def test_every_chapter_has_a_card_with_its_own_words(root):
    """Title, question and time are those of the notebook's first cell, in the book's order."""
    found = cards.cards(root)
    assert [card.file for card in found] == [
        file for _, file in chapters.entries(root) if (root / f"{file}.ipynb").exists()
    ]
    for number, card in enumerate(found, start=1):
        first = cards.plain(chapters.read(chapters.page_path(card.file, root)).cells[0].source)
        assert card.title.startswith(f"{number}. ")
        for words in (card.title, card.question, f"{card.reading} to read; runs in {card.running}"):
            assert words in first
        assert 20 < len(card.question) <= 400
        assert card.question.count("?") >= 1
        assert card.badge.endswith(f"/{card.file}.ipynb")
        thumbnail = Image.open(io.BytesIO(base64.b64decode(card.thumbnail)))
        assert max(thumbnail.size) <= max(cards.THUMBNAIL)
        assert thumbnail.width > 1.2 * thumbnail.height  # a strip would show nothing
        assert card.alt


def test_a_chapter_without_question_time_or_badge_is_refused(tmp_path):
    path = tmp_path / "sound.ipynb"
    notebook = sound_chapter()
    nbformat.write(notebook, path)
    refused("lacks its time", lambda: cards.card("", "book/sound", path))
    first = notebook.cells[0]
    first.source = OPENING.replace("?", ".") + "\n**Time and hardware**: 5 minutes to read; "
    first.source += "runs in 1 minute on a CPU."
    nbformat.write(notebook, path)
    refused("asks no question: 'Two papers", lambda: cards.card("", "book/sound", path))
    first.source = re.sub(r"\[!.*\)", "", first.source)
    nbformat.write(notebook, path)
    refused("lacks its badge", lambda: cards.card("", "book/sound", path))


def pixels(text):
    return [int(pixel, 17) for pixel in text]


def test_stored_digits_are_those_of_the_split_and_begin_at_their_given_labels():
    stored = moving.read()["labels"]
    split = data.load("digits", noise="one-target", rate=0.4, meta_size=100, seed=0)
    assert stored["given"] == split.train.y[:16].tolist()
    assert stored["true"] == split.true_labels[:16].tolist()
    assert [says[0] for says in stored["says"]] == stored["given"]
    assert (stored["samples"], stored["checked"]) == (len(split.train), len(split.meta))
    assert stored["wrong"] == int(split.wrong.sum())
    for text, x in zip(stored["pictures"], split.train.x[:16], strict=True):
        shown = torch.tensor(pixels(text)).float()
        assert np.corrcoef(shown, x.flatten())[0, 1] == pytest.approx(1, abs=1e-6)


def test_stored_labels_are_a_run_of_the_package():
    """Three epochs of it again. Float32 differs between processors, so counts have a margin."""
    stored, again = moving.read()["labels"], sixteen.moving_labels(epochs=3)
    for name in ("mended", "spoilt"):
        assert again[name] == pytest.approx(stored[name][:4], abs=25)
    assert stored["mended"][0] == stored["spoilt"][0] == 0
    assert stored["mended"][-1] > 0.8 * stored["wrong"]  # as chapter 9 says
    same = [a == b[:4] for a, b in zip(again["says"], stored["says"], strict=True)]
    assert sum(same) >= 14
    assert len({len(says) for says in stored["says"]} | {len(stored["mended"])}) == 1


def test_stored_suspects_are_what_the_tool_finds():
    """All of it is float64, so nothing may differ; half of the labels are wrong."""
    stored = moving.read()["suspects"]
    assert stored == sixteen.suspects()
    wrong = np.array(stored["given"]) != np.array(stored["true"])
    assert wrong.sum() == 8
    known = {tuple(row.astype(int)) for row in load_digits().data}
    assert all(tuple(pixels(text)) in known for text in stored["pictures"])


def test_the_data_are_read_as_they_are_written(tmp_path):
    path = tmp_path / "sixteen.js"
    path.write_text(moving.text({"a": [1, "x;"]}))
    assert moving.read(path) == {"a": [1, "x;"]}
    path.write_text("alert(1)")
    refused("does not hold window.nlmetaSixteen alone", lambda: moving.read(path))
