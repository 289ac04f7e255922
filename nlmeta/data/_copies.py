"""Copies of inputs: functions that find them, and functions that keep them in one part.

Samples with the same number in `groups` are copies of one another. If `groups` is None, there are
no copies, and each sample counts for itself.
"""

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations, islice
from pathlib import Path

import torch
from torch import Tensor

from nlmeta._interface import Inputs, parts_of
from nlmeta._torch import bytes_of
from nlmeta.data._notes import counted
from nlmeta.data.source import Part

__all__ = [
    "among",
    "describe",
    "equal",
    "keys_of_files",
    "keys_of_rows",
    "pixel_keys",
    "refuse_shared",
    "shared",
    "take",
    "together",
]

BEGINNING = 4096  # bytes that are compared before whole files are


def file_keys(files: Sequence[Path]) -> list[Hashable]:
    """A key for each file, the same for files with the same bytes.

    A file is read only as far as needed: first its size, then its beginning, and all of it only if
    these are equal to those of another file.
    """
    keys: list[tuple[Hashable, ...]] = [(file.stat().st_size,) for file in files]
    for content in (_beginning, _whole):
        often = Counter(keys)
        keys = [
            (*key, content(file)) if often[key] > 1 else key
            for key, file in zip(keys, files, strict=True)
        ]
    return list(keys)


def pixel_keys(x: Tensor) -> list[Hashable]:
    """A key for each row, the same for rows with the same numbers."""
    return [hashlib.sha256(bytes_of(row)).digest() for row in x]


def keys_of_rows(x: Inputs) -> list[Hashable]:
    """A key for each picture. Rows of numbers have none: equal measurements need not be copies.

    Inputs in a tuple or dict have a key of all together if one is a picture or the words of a text.
    One tensor of words has none, since short windows are equal by chance.
    """
    if isinstance(x, Tensor):
        return pixel_keys(x) if x.ndim > 2 else []
    parts = list(parts_of(x).values())
    if not any(part.ndim > 2 or (part.ndim == 2 and part.dtype == torch.int64) for part in parts):
        return []
    return [*zip(*map(pixel_keys, parts), strict=True)]


def keys_of_files(folders: Mapping[str, tuple[Path, list[str]]]) -> dict[str, list[Hashable]]:
    """A key for each file of each folder; equal files have equal keys, whatever their folders."""
    files = [root / path for root, paths in folders.values() for path in paths]
    keys = iter(file_keys(files))
    return {a: list(islice(keys, len(paths))) for a, (_, paths) in folders.items()}


def refuse_shared(
    keys: Mapping[str, Sequence[Hashable]], folders: Mapping[str, tuple[Path, list[str]]]
) -> None:
    """Refuse images that are in several of the folders, under any name."""
    for one, other in combinations(folders, 2):
        for row, twin in shared(keys[other], keys[one]):
            raise ValueError(
                f"`{other}` holds {folders[other][1][row]}, which is in `{one}` too, as "
                f"{folders[one][1][twin]}; leave such images in one of the two"
            )


def equal(keys: Iterable[Hashable]) -> Tensor | None:
    """Groups, int64 (n,): the row of the first sample with the same key. None without copies."""
    first: dict[Hashable, int] = {}
    groups = [first.setdefault(key, row) for row, key in enumerate(keys)]
    if len(first) == len(groups):
        return None
    return torch.tensor(groups, dtype=torch.int64, device="cpu")


def shared(keys: Sequence[Hashable], others: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    """Rows with a copy among others, each with the row of that copy."""
    rows = {key: row for row, key in enumerate(others)}
    return ((row, rows[key]) for row, key in enumerate(keys) if key in rows)


def describe(argument: str, part: Part, names: Sequence[str]) -> tuple[str, ...]:
    """Notes on the copies in a part, by its ids, and on those under several labels.

    Parameters
    ----------
    argument : str
        The argument's name, for the notes.
    part : Part
        A part whose groups are from `equal`.
    names : sequence of str
        Names of the C classes.
    """
    if part.groups is None:
        return ()
    ids = range(len(part)) if part.ids is None else part.ids
    label = [names[c] for c in part.y.tolist()]
    pairs = [(row, twin) for row, twin in enumerate(part.groups.tolist()) if row != twin]
    copies = [f"{ids[row]} = {ids[twin]}" for row, twin in pairs]
    several = [
        f"{ids[twin]} as {label[twin]!r} and {ids[row]} as {label[row]!r}"
        for row, twin in pairs
        if label[row] != label[twin]
    ]
    notes = [
        f"`{argument}` holds {counted('copy', copies, many='copies')}; a sample and its copies are "
        "in one part"
    ]
    if several:
        notes.append(
            f"`{argument}` holds {counted('copy', several, many='copies')} with another label; one "
            "of the two is wrong, and such samples are in no meta, validation or test set"
        )
    return tuple(notes)


def together(rows: Tensor, groups: Tensor | None, y: Tensor) -> Tensor:
    """The rows whose copies are all among the rows and have the same label.

    If copies have several labels, at least one of the labels is wrong.

    Parameters
    ----------
    rows : Tensor of int64, shape (m,)
        Rows in any order, which is kept.
    groups, y : Tensor of int64, shape (n,)
        Groups and labels of all samples.
    """
    if groups is None:
        return rows
    _, group = groups.unique(return_inverse=True)
    count = int(group.max()) + 1
    divided = torch.zeros(count, dtype=torch.bool, device="cpu")
    outside = torch.ones(len(groups), dtype=torch.bool, device="cpu")
    outside[rows] = False
    divided[group[outside]] = True
    label = torch.empty(count, dtype=y.dtype, device="cpu")
    label[group] = y  # that of any copy
    divided[group[y != label[group]]] = True
    return rows[~divided[group[rows]]]


def take(rows: Tensor, groups: Tensor | None, size: int) -> Tensor:
    """The first `size` rows, together with all their copies as long as these fit.

    If no whole group fits any more, a part of the next group fills the rest.
    """
    if groups is None:
        return rows[:size]
    members = groups[rows].tolist()
    copies, whole, left = Counter(members), set(), size
    for group in members:
        if group not in whole and copies[group] <= left:
            whole.add(group)
            left -= copies[group]
    chosen = torch.tensor([group in whole for group in members], dtype=torch.bool, device="cpu")
    others = [place for place, group in enumerate(members) if group not in whole]
    # The next group has more copies than are left to take, or it would have fitted.
    rest = [place for place in others if members[place] == members[others[0]]]
    chosen[rest[:left]] = True
    return rows[chosen]


def among(rows: Tensor, groups: Tensor | None, n: int) -> Tensor:
    """Whether each of n samples is among the rows or a copy of one of them; bool, shape (n,)."""
    everything = torch.arange(n, device="cpu") if groups is None else groups
    return torch.isin(everything, everything[rows])


def _beginning(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(BEGINNING)


def _whole(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
