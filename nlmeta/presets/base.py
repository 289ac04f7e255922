"""A preset: settings with their source, as the fields of a frozen dataclass."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any, Literal, get_args

__all__ = ["PARTS", "Certainty", "Preset"]

#: How sure the values of a preset are.
Certainty = Literal["published", "code", "port", "ours"]

#: The parts of a preset that hold values.
PARTS = ("method", "training", "data", "protocol")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings of one method on one dataset, with their source.

    Attributes
    ----------
    certainty : {"published", "code", "port", "ours"}
        Origin of the values: printed in the paper, read in the authors' code, read in the code of
        others, or found here.
    source : str
        The paper with its table or section, or the repository, that was read; for own values, the
        way in which they were found.
    method : mapping, default empty
        Arguments of the method.
    training : mapping, default empty
        Arguments of `nlmeta.fit`.
    data : mapping, default empty
        Arguments of `nlmeta.data.load`.
    protocol : mapping, default empty
        Facts that are not arguments of these three, for readers.
    commit : str, optional
        The commit of the repository that was read, 7 hexadecimal digits.
    date : str, optional
        The date of that commit, such as "2020-10-06". Default: not known.
    remarks : mapping of str to str, default empty
        Sentences about a part (key "training") or about a single value (key "training.lr"). If a
        value has another certainty than its preset, a remark says so.

    Raises
    ------
    ValueError
        If the certainty is unknown, the source is empty, a remark is about a value that does not
        exist, the commit is not 7 hexadecimal digits, the date is not an ISO date, or there is a
        date without a commit.
    """

    certainty: Certainty
    source: str
    method: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    commit: str | None = None
    date: str | None = None
    remarks: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.certainty not in get_args(Certainty):
            words = ", ".join(repr(word) for word in get_args(Certainty))
            raise ValueError(f"`certainty` is {self.certainty!r}; it must be one of {words}")
        if not self.source:
            raise ValueError(
                "`source` is empty; it must name what was read or how the values were found"
            )
        _check_commit(self.commit, self.date)
        there = {part: getattr(self, part) for part in PARTS if getattr(self, part)}
        known = {*there, *(f"{part}.{key}" for part, values in there.items() for key in values)}
        for key in self.remarks:
            if key not in known:
                raise ValueError(f"`remarks` has the key {key!r}; this preset has no such value")
        for name in (*PARTS, "remarks"):  # a copy that nobody else holds and that refuses changes
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))


def _check_commit(commit: str | None, day: str | None) -> None:
    if commit is None and day is not None:
        raise ValueError(f"`commit` is None and `date` is {day!r}; give the commit of that date")
    if commit is not None and not re.fullmatch("[0-9a-f]{7}", commit):
        raise ValueError(f"`commit` is {commit!r}; it must be 7 hexadecimal digits")
    if day is None:
        return
    try:
        date.fromisoformat(day)
    except ValueError:
        raise ValueError(f"`date` is {day!r}; it must be a date such as '2020-10-06'") from None
