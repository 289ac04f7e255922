"""Part-of-speech tags of tweets (Gimpel et al., ACL 2011) in the form of GLC: one token per line.

A sample is a word with its neighbours, and its label is the tag of the middle word (Hendrycks et
al., NeurIPS 2018; the released script has one neighbour on each side). Word vectors come from a
file if there is one, and are otherwise learned with the network, see `nlmeta.models.TextMLP`.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nlmeta._checks import check_count
from nlmeta.data.source import Part, Source
from nlmeta.data.sources._files import ByHand, check_published, read_lines, read_list, require

__all__ = ["missing", "read"]

Tweet = list[tuple[str, str]]

# One character each, in the order of GLC's script.
_TAGS = tuple("NOS^ZLMVAR!DP&TXY#@~UE$,G")
_TWEETS = {
    "train": "tweets-train.txt",
    "validation": "tweets-dev.txt",
    "test": "tweets-devtest.txt",
}
_PUBLISHED = {"train": 14_619, "validation": 4_823, "test": 7_152}
_EDGE, _UNKNOWN = "</s>", "<unk>"
_UNKNOWN_IN_FILES = ("UUUNKKK", _UNKNOWN)
_FILES = ByHand(
    below="twitter-pos/glc",
    layouts=(tuple(_TWEETS.values()),),
    how="""Get tweets-train.txt, tweets-dev.txt and tweets-devtest.txt from Twitter/data/Tweets/ of
https://github.com/mmazeika/glc and put them into {folder}.""",
)
missing = _FILES.missing


def read(
    *,
    folder: str | Path | None = None,
    download: bool = False,
    window: int = 1,
    vectors: str | Path | None = None,
) -> Source:
    """1,827 tweets, 26,594 tokens, 25 tags.

    Parameters
    ----------
    folder : str or Path, optional
        The folder that holds ``twitter-pos/glc/tweets-train.txt`` and the other files. Default:
        that of `data_folder`.
    download : bool
        True is refused, since there is no automatic download.
    window : int
        Number of neighbours on each side. Default 1 (GLC's code).
    vectors : str or Path, optional
        A text file with a line for each word: the word, then its numbers. The vocabulary then has
        every word of the dataset that has a vector. If an entry ``</s>`` (GLC's sign beyond the
        ends), or ``UUUNKKK`` or ``<unk>``, is missing, the mean of the others replaces it, and a
        note says so. Default: no vectors; the vocabulary has every word that occurs at least twice
        in the training part, so that the index of unknown words occurs in training (ours).

    Returns
    -------
    Source
        Windows are int64 of shape (n, 2 window + 1). ``train``, ``validation`` and ``test`` are the
        publisher's train, dev and test tweets. GLC trains on the first two together.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing, and the message says how to get it; a file is truncated; or a line is
        wrong.
    """
    root = _FILES.get(folder, download)
    check_count("window", window, minimum=0)
    tweets = {}
    for part, file in _TWEETS.items():
        tweets[part] = _read_tweets(root / file)
        tokens = sum(len(tweet) for tweet in tweets[part])
        check_published(root / file, tokens, _PUBLISHED[part], "tokens")

    table: Tensor | None = None
    notes: tuple[str, ...] = ()
    if vectors is None:
        counts = Counter(word for tweet in tweets["train"] for word, _ in tweet)
        words = [word for word, count in counts.items() if count > 1]
        vocabulary: tuple[str, ...] = (_EDGE, _UNKNOWN, *sorted(words))
    else:
        everything = {word for part in tweets.values() for tweet in part for word, _ in tweet}
        vocabulary, table, notes = _read_vectors(Path(vectors), everything)
    return Source(
        name="twitter",
        class_names=_TAGS,
        train=_windows(tweets["train"], vocabulary, window),
        validation=_windows(tweets["validation"], vocabulary, window),
        test=_windows(tweets["test"], vocabulary, window),
        noisy=False,
        attribution=(
            "Gimpel et al., Part-of-speech tagging for Twitter: annotation, features, and "
            "experiments, ACL 2011; CC BY 3.0; in the form of Hendrycks, Mazeika, Wilson & Gimpel, "
            "Using trusted data to train deep networks on labels corrupted by severe noise, "
            "NeurIPS 2018"
        ),
        notes=notes,
        vocabulary=vocabulary,
        vectors=table,
    )


def _read_tweets(path: Path) -> list[Tweet]:
    """Lines ``token TAB tag``; an empty line ends a tweet."""
    tweets: list[Tweet] = [[]]
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            tweets.append([])
            continue
        word, _, tag = line.rstrip("\r").rpartition("\t")
        if not word or tag not in _TAGS:
            raise ValueError(f"{path}, line {number}: {line!r} is not a token, a tab and a tag")
        tweets[-1].append((word, tag))
    return [tweet for tweet in tweets if tweet]


def _windows(tweets: list[Tweet], vocabulary: tuple[str, ...], window: int) -> Part:
    indices = {word: index for index, word in enumerate(vocabulary)}
    tags = {tag: label for label, tag in enumerate(_TAGS)}
    x, y = [], []
    for tweet in tweets:
        edge = [0] * window
        words = [*edge, *(indices.get(word, 1) for word, _ in tweet), *edge]
        x += [words[i : i + 2 * window + 1] for i in range(len(tweet))]
        y += [tags[tag] for _, tag in tweet]
    return Part(torch.from_numpy(np.array(x, np.int64)), torch.from_numpy(np.array(y, np.int64)))


def _read_vectors(path: Path, words: set[str]) -> tuple[tuple[str, ...], Tensor, tuple[str, ...]]:
    """Vocabulary, vectors of the needed words, and notes on missing vectors."""
    wanted = words | {_EDGE, *_UNKNOWN_IN_FILES}
    found: dict[str, list[float]] = {}
    dimension = None
    lines = read_list(require(path, "Give a file of word vectors."))
    for number, line in enumerate(lines, start=1):
        word, *numbers = line.split()
        if number == 1 and len(numbers) == 1:
            continue  # the heading of some files: how many words, how many numbers each
        dimension = dimension or len(numbers)
        if len(numbers) != dimension:
            raise ValueError(
                f"{path}, line {number} has {len(numbers)} numbers for {word!r}; it must have "
                f"{dimension}, like the lines above"
            )
        if word in wanted:
            try:
                found[word] = [float(value) for value in numbers]
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
    vocabulary = tuple(sorted(word for word in found if word in words))
    if not vocabulary:
        raise ValueError(f"{path} has a vector for none of the {len(words)} words of the dataset")
    table = torch.from_numpy(
        np.array([found[word] for word in vocabulary], np.float32)
    )  # (V - 2, E)
    if not table.isfinite().all():
        raise ValueError(f"{path} has vectors that are not finite")
    special, notes = [], []
    for sign, names in ((_EDGE, (_EDGE,)), (_UNKNOWN, _UNKNOWN_IN_FILES)):
        given = [found[name] for name in names if name in found]
        if given:
            special.append(torch.from_numpy(np.array(given[0], np.float32)))
        else:
            special.append(table.mean(0))
            notes.append(f"{path.name} has no vector for {sign}: the mean of all stands for it")
    table = torch.cat([torch.stack(special), table])  # (V, E)
    return (_EDGE, _UNKNOWN, *vocabulary), table, tuple(notes)
