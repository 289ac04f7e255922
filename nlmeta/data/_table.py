"""Tables of a reader's own: every row is read, or refused with its number."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["read_table"]

SEPARATORS = (",", ";", "\t")


def read_table(
    file: Path, *, needed: Sequence[str], known: Sequence[str]
) -> tuple[dict[str, list[str]], list[int]]:
    """Read fields as they are written: "007" is not a number, and None may name a class.

    Parameters
    ----------
    file : Path
        A text file in UTF-8 with one row per line; the first line has the names of the columns.
        Fields are separated by commas, semicolons or tabs, which the first line decides. Empty
        lines are skipped.
    needed, known : sequence of str
        Columns that must exist, and all columns that are read.

    Returns
    -------
    columns : dict of str to list of str
        The known columns that exist.
    rows : list of int
        The line of each entry, counted from 1.
    """
    lines = [(row, line) for row, line in _lines(file) if line.strip()]
    header, separator = _header(lines[0][1] if lines else "", needed)
    for column in needed:
        if column not in header:
            raise ValueError(f"{file} has the columns {', '.join(header)}; `{column}` is missing")
    places = {column: header.index(column) for column in known if column in header}
    for column in places:
        if header.count(column) > 1:
            raise ValueError(
                f"{file} has {header.count(column)} columns `{column}`; it must have one"
            )
    columns: dict[str, list[str]] = {column: [] for column in places}
    for row, line in lines[1:]:
        fields = _fields(line, separator)
        if fields is None:
            raise ValueError(
                f"{file}, row {row} has a quotation mark that is not closed, or one inside a "
                f"field: {line[:80]}"
            )
        if len(fields) != len(header):
            raise ValueError(
                f"{file}, row {row} has {len(fields)} fields; it must have {len(header)}, one for "
                "each column"
            )
        for column, place in places.items():
            if not fields[place].strip():
                raise ValueError(f"{file}, row {row}: the field `{column}` is empty; fill it")
            columns[column].append(fields[place])
    return columns, [row for row, _ in lines[1:]]


def _lines(file: Path) -> list[tuple[int, str]]:
    data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = data.rfind(b"\n", 0, error.start) + 1
        line = data[start : error.end].decode("utf-8", "backslashreplace")
        raise ValueError(
            f"{file}, row {data.count(bytes([10]), 0, start) + 1} is not in UTF-8: {line[-80:]}; "
            "save the table as UTF-8"
        ) from error
    return list(enumerate(re.split(r"\r\n|\r|\n", text), start=1))


def _header(line: str, needed: Sequence[str]) -> tuple[list[str], str]:
    """The names of the columns and the separator: the first that shows the needed ones."""
    for separator in SEPARATORS:
        header = [name.strip() for name in _fields(line, separator) or ()]
        if set(needed) <= set(header):
            return header, separator
    return [name.strip() for name in line.split(SEPARATORS[0])], SEPARATORS[0]


def _fields(line: str, separator: str) -> list[str] | None:
    """The fields of a line; None if quotation marks are not in pairs around fields."""
    if line.count('"') % 2:
        return None
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True, strict=True))
    except csv.Error:
        return None
