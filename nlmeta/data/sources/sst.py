"""Phrases of film reviews (Socher et al., EMNLP 2013) in the form of GLC: good or bad, one a line.

A sample is the last words of a phrase, and its label says whether the phrase is negative or
positive (Hendrycks et al., NeurIPS 2018). Word vectors are learned with the network, which adds
them up as one window: ``TextMLP(len(split.vocabulary), 2, window=30, summed=True, seed=0)``.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import torch

from nlmeta._checks import check_count
from nlmeta.data.source import Part, Source
from nlmeta.data.sources._files import ByHand, check_published, read_lines

__all__ = ["missing", "read"]

Phrase = tuple[list[str], int]

_CLASSES = ("negative", "positive")
_PHRASES = {
    "train": "senti.binary.train",
    "validation": "senti.binary.dev",
    "test": "senti.binary.test",
}
_PUBLISHED = {"train": 67_349, "validation": 872, "test": 1_821}
_EDGE, _UNKNOWN = "</s>", "<unk>"
_FILES = ByHand(
    below="sst-glc",
    layouts=(tuple(_PHRASES.values()),),
    how="""Get senti.binary.train, senti.binary.dev and senti.binary.test from SST/data/SST/ of
https://github.com/mmazeika/glc and put them into {folder}.""",
)
missing = _FILES.missing


def read(
    *,
    folder: str | Path | None = None,
    download: bool = False,
    length: int = 30,
    words: int = 10_000,
) -> Source:
    """67,349 phrases to train on, 872 and 1,821 sentences, 2 classes.

    Parameters
    ----------
    folder : str or Path, optional
        The folder that holds ``sst-glc/senti.binary.train`` and the other files. Default: that of
        `data_folder`.
    download : bool
        True is refused, since there is no automatic download.
    length : int
        Number of words in a sample. Of a longer phrase the last ones are kept, a shorter one is
        filled in front (GLC's code). Default 30 (GLC's code).
    words : int
        Number of words in the vocabulary: the most frequent ones of the training part. Default
        10,000 (GLC's code).

    Returns
    -------
    Source
        Word indices are int64 of shape (n, length), of words in lower case. ``train``,
        ``validation`` and ``test`` are the publisher's train, dev and test parts.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing, and the message says how to get it; a file is truncated; or a line is
        wrong.

    Notes
    -----
    The training part holds sentences and the phrases that they are made of, so phrases share words
    with others: noisy samples that are set apart are no fresh ones. The other two parts are whole
    sentences, of other reviews. Unlike GLC, we keep punctuation and frequent words such as "not".
    """
    root = _FILES.get(folder, download)
    check_count("length", length)
    check_count("words", words)
    phrases = {}
    for part, file in _PHRASES.items():
        phrases[part] = _read_phrases(root / file)
        check_published(root / file, len(phrases[part]), _PUBLISHED[part], "phrases")
    counts = Counter(word for phrase, _ in phrases["train"] for word in phrase)
    vocabulary = (_EDGE, _UNKNOWN, *(word for word, _ in counts.most_common(words)))
    indices = {word: index for index, word in enumerate(vocabulary)}
    parts = {part: _windows(there, indices, length) for part, there in phrases.items()}
    return Source(
        name="sst",
        class_names=_CLASSES,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        noisy=False,
        attribution=(
            "Socher et al., Recursive deep models for semantic compositionality over a sentiment "
            "treebank, EMNLP 2013; in the form of Hendrycks, Mazeika, Wilson & Gimpel, Using "
            "trusted data to train deep networks on labels corrupted by severe noise, NeurIPS 2018"
        ),
        vocabulary=vocabulary,
    )


def _read_phrases(path: Path) -> list[Phrase]:
    """Lines ``words TAB 0`` or ``words TAB 1``; words are parted by spaces."""
    lines = read_lines(path)
    phrases = []
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, start=1):
        words, _, label = line.rstrip("\r").rpartition("\t")
        if not words.strip() or label not in ("0", "1"):
            raise ValueError(
                f"{path}, line {number}: {line!r} is not a phrase, a tab and a label, 0 or 1"
            )
        phrases.append((words.lower().split(), int(label)))
    return phrases


def _windows(phrases: list[Phrase], indices: dict[str, int], length: int) -> Part:
    x = np.zeros((len(phrases), length), np.int64)
    for row, (words, _) in enumerate(phrases):
        kept = words[-length:]
        x[row, length - len(kept) :] = [indices.get(word, 1) for word in kept]
    y = np.array([label for _, label in phrases], np.int64)
    return Part(torch.from_numpy(x), torch.from_numpy(y))
