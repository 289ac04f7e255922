"""A preset: settings with their source, frozen, as fields that a program can walk."""

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
        Who printed, released or found the values.
    source : str
        What was read (a paper with its table or section, or a repository), or how the values were
        found.
    method : mapping, default empty
        Arguments of the method.
    training : mapping, default empty
        Arguments of `nlmeta.fit`.
    data : mapping, default empty
        Arguments of `nlmeta.data.load`.
    protocol : mapping, default empty
        What none of the three decides, for readers.
    commit : str, optional
        Of the repository that was read, 7 hexadecimal digits.
    date : str, optional
        Of that commit, as in "2020-10-06".
    remarks : mapping of str to str, default empty
        A sentence on a part (key "training") or on a single value (key "training.lr"). A value of
        another certainty than its preset has a remark that says so.

    Raises
    ------
    ValueError
        If the certainty is unknown, the source is empty, a remark is on a value that is not there,
        the commit is not 7 hexadecimal digits, the date is no ISO date, or one of these two comes
        without the other.
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
                "`source` is empty; it must say what was read or how values were found"
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
    if (commit is None) != (day is None):
        raise ValueError(f"`commit` is {commit!r} and `date` is {day!r}; each needs the other")
    if commit is None or day is None:
        return
    if not re.fullmatch("[0-9a-f]{7}", commit):
        raise ValueError(f"`commit` is {commit!r}; it must be 7 hexadecimal digits")
    try:
        date.fromisoformat(day)
    except ValueError:
        raise ValueError(f"`date` is {day!r}; it must be a date such as '2020-10-06'") from None
