"""A reader's labels as class numbers; labels of the same samples are read together.

Labels are class numbers from 0 or names of classes. Names are compared without the spaces around
them and in one Unicode form (NFC), since spreadsheets and file systems write the same name in
several ways. A note lists names that become equal by this.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nlmeta.data._notes import few

__all__ = ["Classes", "number_classes"]

MANY = 1000  # classes; up to here class numbers need not occur
SPARSE = 10  # times as many classes as occur are taken for a slip

Label = int | str


class Classes(NamedTuple):
    """Classes, and the labels as their numbers.

    Attributes
    ----------
    names : tuple of str
        Names of the C classes.
    numbers : dict of str to Tensor of int64, shape (n,)
        The labels of each argument, in 0 to C - 1.
    notes : tuple of str
        Remarks on unusual names.
    """

    names: tuple[str, ...]
    numbers: dict[str, Tensor]
    notes: tuple[str, ...]


def number_classes(
    labels: Mapping[str, Any],
    class_names: Sequence[Any] | None,
    *,
    paths: Mapping[str, Sequence[str]] | None = None,
) -> Classes:
    """Convert the labels of several arguments to numbers of the same classes.

    A class number stays as it is; a name is looked up. If some arguments hold numbers and others
    names, ``"10"`` and 10 are the same class, provided that all names are written whole numbers and
    `class_names` does not contradict; anything else is refused.

    Parameters
    ----------
    labels : mapping of str to sequence, n entries each
        Labels by the name of the argument. The first one names the classes.
    class_names : sequence, optional
        Names in the order of the classes. Default: 0 to the largest number; or the names that
        occur, sorted, by value if all are whole numbers.
    paths : mapping of str to sequence of str, optional
        Names of the samples for errors, by the name of the argument. Default: their positions.

    Returns
    -------
    Classes
        The classes and the numbers.
    """
    written = {argument: _plain(argument, values) for argument, values in labels.items()}
    names = None if class_names is None else _unique(class_names)
    read = _of_one_kind(
        {argument: list(map(_spelt, plain)) for argument, plain in written.items()}, names
    )
    first = next(iter(read))
    names = _found(first, read[first]) if names is None else names
    if len(names) < 2:
        argument = first if class_names is None else "class_names"
        raise ValueError(f"`{argument}` has {len(names)} classes; it must have at least two")
    numbers = {
        argument: _numbers(argument, found, names, (paths or {}).get(argument))
        for argument, found in read.items()
    }
    notes = (
        *_brought_together(written),
        *_look_alike(names),
        *_misleading(first, read[first], names),
    )
    return Classes(names, numbers, notes)


def _plain(argument: str, values: Any) -> list[Label]:
    """Labels as they are written: numbers or words."""
    plain = values.tolist() if hasattr(values, "tolist") else list(values)
    plain = [_scalar(label) for label in plain]
    for position, label in enumerate(plain):
        word = isinstance(label, str) and label.strip()
        if not word and not isinstance(label, Integral):
            raise ValueError(
                f"`{argument}` holds {label!r} at position {position}; every sample needs one "
                "label, a class number or the name of a class"
            )
    words = [isinstance(label, str | bool) for label in plain]
    if any(words) and not all(words):
        i, j = words.index(True), words.index(False)
        raise ValueError(
            f"`{argument}` holds {plain[i]!r} at position {i} and {plain[j]!r} at position {j}; "
            "labels must be either all names of classes or all class numbers"
        )
    return [str(label) for label in plain] if any(words) else [int(label) for label in plain]


def _scalar(label: Any) -> Any:
    """The entry of an array of one entry."""
    try:
        return label.item()
    except (AttributeError, RuntimeError, ValueError):  # no array, or one of several entries
        return label


def _spelt(label: Label) -> Label:
    if isinstance(label, int):
        return label
    return unicodedata.normalize("NFC", label).strip()


def _unique(class_names: Sequence[Any]) -> tuple[str, ...]:
    names = tuple(str(_spelt(str(name))) for name in class_names)
    if len(set(names)) < len(names):
        raise ValueError(f"`class_names` is {list(names)}; every name may occur only once")
    return names


def _of_one_kind(
    read: dict[str, list[Label]], class_names: tuple[str, ...] | None
) -> dict[str, list[Label]]:
    """Labels of one kind, if some arguments hold numbers and others names."""
    kinds = {argument: type(labels[0]) for argument, labels in read.items() if labels}
    if len(set(kinds.values())) < 2:
        return read
    words, numbers = (
        next(argument for argument, kind in kinds.items() if kind is wanted)
        for wanted in (str, int)
    )
    if class_names is not None:
        if all(int(name) == c for c, name in enumerate(class_names) if name.isdecimal()):
            return read
    elif all(_is_number(label) for labels in read.values() for label in labels):
        kind = next(iter(kinds.values()))
        return {argument: [kind(label) for label in labels] for argument, labels in read.items()}
    raise ValueError(
        f"`{words}` holds names of classes, such as {read[words][0]!r}, and `{numbers}` class "
        f"numbers, such as {read[numbers][0]!r}; which name belongs to which number is unknown. "
        "Pass names in both or numbers in both, or `class_names` in the order of the numbers"
    )


def _is_number(label: Label) -> bool:
    """Whether a label is a whole number, or a word that writes one in the usual way."""
    return isinstance(label, int) or (label.isdecimal() and str(int(label)) == label)


def _found(argument: str, labels: Sequence[Label]) -> tuple[str, ...]:
    """The classes that occur in the labels."""
    numbers = {label for label in labels if isinstance(label, int)}
    if not numbers:
        names = {str(label) for label in labels}
        if all(name.isdecimal() for name in names):
            return tuple(sorted(names, key=lambda name: (int(name), name)))
        return tuple(sorted(names))
    if min(numbers) < 0:
        raise ValueError(
            f"`{argument}` holds {min(numbers)} at position {labels.index(min(numbers))}; class "
            "numbers count from 0"
        )
    count = max(numbers) + 1
    if count > max(MANY, SPARSE * len(numbers)):
        raise ValueError(
            f"`{argument}` holds {count - 1}, which makes {count} classes, and only "
            f"{len(numbers)} of them occur; pass the labels as words to use only these, or pass "
            "`class_names` with a name for each class"
        )
    return tuple(str(c) for c in range(count))


def _numbers(
    argument: str, labels: Sequence[Label], names: Sequence[str], paths: Sequence[str] | None
) -> Tensor:
    """Class numbers, int64, (n,): numbers as they are, and words looked up among the names."""
    places = {name: c for c, name in enumerate(names)}
    numbers = []
    for position, label in enumerate(labels):
        number = label if isinstance(label, int) else places.get(label, -1)
        if not 0 <= number < len(names):
            place = f"at position {position}" if paths is None else f"({paths[position]})"
            raise ValueError(
                f"`{argument}` holds {label!r} {place}; classes are "
                f"{', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
            )
        numbers.append(number)
    return torch.tensor(numbers, dtype=torch.int64, device="cpu")


def _misleading(argument: str, labels: Sequence[Label], names: Sequence[str]) -> tuple[str, ...]:
    """A note on names that are numbers, but not the numbers of their classes."""
    other = [name for c, name in enumerate(names) if name.isdecimal() and int(name) != c]
    if not other or not all(isinstance(label, int) for label in labels):
        return ()
    return (
        f"`{argument}` holds class numbers, which count from 0, and `class_names` calls class "
        f"{names.index(other[0])} {other[0]!r}; pass the labels as words if they are names",
    )


def _brought_together(written: Mapping[str, Sequence[Label]]) -> tuple[str, ...]:
    """A note on names of classes that are written in more than one way."""
    ways: dict[Label, set[str]] = {}
    for label in {label for labels in written.values() for label in labels}:
        if isinstance(label, str):
            ways.setdefault(_spelt(label), set()).add(label)
    several = [
        " and ".join(map(_shown, sorted(found))) for found in ways.values() if len(found) > 1
    ]
    if not several:
        return ()
    return (
        f"the same class in several writings: {few(sorted(several))}; spaces around names and "
        "their Unicode form do not count",
    )


def _shown(word: str) -> str:
    """The word, written in ASCII if it is not in NFC, so that two Unicode forms look different."""
    return repr(word) if unicodedata.is_normalized("NFC", word) else ascii(word)


def _look_alike(names: Sequence[str]) -> tuple[str, ...]:
    """A note on names of different classes that look like one class."""
    alike: dict[str, list[str]] = {}
    for name in names:
        key = "".join(unicodedata.normalize("NFKC", name).casefold().split())
        alike.setdefault(key, []).append(name)
    found = [" and ".join(map(repr, group)) for group in alike.values() if len(group) > 1]
    if not found:
        return ()
    return (f"classes that differ in case or spaces alone: {few(found)}; is each a class?",)
