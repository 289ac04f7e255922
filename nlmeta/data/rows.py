"""Rows with named columns, such as those of a Hugging Face dataset, as a split.

A row is a dict, and some of its columns are the arguments of a network: tokens, their attention
mask, a picture's numbers. Only a length, rows by number and, if they exist, ``column_names`` and
``features`` are used, so the library that made the rows need not be installed here.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nlmeta._checks import check_choice
from nlmeta.data._arguments import check_options, keywords
from nlmeta.data._handed_in import indices_of, names_of
from nlmeta.data.own import from_arrays
from nlmeta.data.split import Split
from nlmeta.data.splitting import SplitOptions

__all__ = ["from_rows"]


def from_rows(
    rows: Any,
    *,
    inputs: Sequence[str] | Mapping[str, str],
    label: str,
    seed: int,
    padding: float | Mapping[str, float] | None = None,
    true_label: str | None = None,
    clean: str | None = None,
    ids: str | None = None,
    test: Any = None,
    class_names: Sequence[Any] | None = None,
    name: str = "own data",
    **options: Any,
) -> Split:
    """Make a split of rows with named columns, read once into memory.

    Parameters
    ----------
    rows : sequence of dict, or a dataset of Hugging Face
        One row for each sample. In the columns of the inputs lie numbers, or lists, arrays or
        tensors of numbers.
    inputs : sequence of str, or mapping of str to str
        Names of the columns that the network gets as keyword arguments, for example
        ``("input_ids", "attention_mask")``. A mapping holds the column of each argument, if they
        differ in name. Whole numbers are indices and become int64, floats become float32, and
        bools stay. Rows with equal texts or pictures are copies, which stay in one part.
    label : str
        Name of the column with the given labels: class numbers from 0, or names of classes.
    seed : int
        Seed of the parts.
    padding : number or mapping of str to number, optional
        The number that fills shorter lists at their end, for all columns or for each by its name:
        ``{"input_ids": tokenizer.pad_token_id, "attention_mask": 0}``. Default: none, so that lists
        of unequal length are refused.
    true_label, clean, ids : str, optional
        Names of columns with the true labels, with a bool for labels that are known to be right,
        and with your names of the samples, see `from_arrays`. Default: there are none.
    test : rows like the others, optional
        Test samples with trusted labels in the column `label`. Default: `test_size` of the samples
        above.
    class_names : sequence, optional
        Names in the order of the classes. Default: those of the label in ``rows.features``, as in
        Hugging Face's datasets; else as in `from_arrays`.
    name : str
        Name of the dataset. Default ``"own data"``.
    **options
        Fields of `nlmeta.data.SplitOptions`, as in `from_arrays`.

    Returns
    -------
    Split
        A split whose inputs are a dict of tensors.

    Raises
    ------
    TypeError
        An option is unknown, or `rows` has no length.
    ValueError
        A column is missing, a label is None or not a class, lists have unequal lengths, or an
        argument is refused by `from_arrays`. The message names the column and the row.

    Examples
    --------
    >>> from nlmeta.data import from_rows
    >>> rows = [
    ...     {"input_ids": [3, 1], "attention_mask": [1, 1], "label": "good"},
    ...     {"input_ids": [2], "attention_mask": [1], "label": "bad"},
    ... ]
    >>> columns = ("input_ids", "attention_mask")
    >>> split = from_rows(rows, inputs=columns, label="label", padding=0, seed=0)
    >>> {name: tuple(x.shape) for name, x in split.train.x.items()}, split.class_names
    ({'input_ids': (2, 2), 'attention_mask': (2, 2)}, ('bad', 'good'))
    """
    known = [key for key in keywords(from_rows, SplitOptions) if key != "labels"]
    check_options("`from_rows`", options, known)
    columns = _columns_of(inputs)
    if isinstance(padding, Mapping):
        for column in padding:
            check_choice("padding", column, columns.values())
    parts = {"rows": rows} if test is None else {"rows": rows, "test": test}
    for argument, part in parts.items():
        _check_rows(argument, part, label)
        if len(indices_of(part, argument)) == 0:
            raise ValueError(f"`{argument}` is empty; it must hold at least one sample")
    x: dict[str, dict[str, Tensor]] = {argument: {} for argument in parts}
    for wanted, column in columns.items():
        read = {argument: _arrays(argument, part, column) for argument, part in parts.items()}
        fill = padding.get(column) if isinstance(padding, Mapping) else padding
        for argument, stacked in _stacked(column, read, fill).items():
            x[argument][wanted] = stacked
    labels = {argument: _labels(argument, part, label) for argument, part in parts.items()}
    further = {"true_labels": true_label, "clean": clean, "ids": ids}
    for argument, chosen in further.items():
        if chosen is not None:
            options[argument] = _column("rows", rows, chosen)
    if test is not None:
        options["test"] = x["test"], labels["test"]
    return from_arrays(
        x["rows"],
        labels["rows"],
        seed=seed,
        class_names=names_of(rows, label) if class_names is None else class_names,
        name=name,
        **options,
    )


def _check_rows(argument: str, rows: Any, label: str) -> None:
    """Refuse tables that hold columns and no rows, with the way to their rows."""
    if isinstance(rows, Mapping) and label in rows:
        raise TypeError(
            f"`{argument}` is a dict of columns; it must hold one dict for each sample, or pass "
            "its columns to `from_arrays`"
        )
    if isinstance(rows, pd.DataFrame):
        raise TypeError(
            f"`{argument}` is a DataFrame; it must hold one dict for each sample, as "
            "`frame.to_dict('records')` returns them"
        )


def _columns_of(inputs: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """The column of each argument of the network."""
    if isinstance(inputs, str) or not inputs:
        raise ValueError(f"`inputs` is {inputs!r}; it must be a tuple of names, ('input_ids',)")
    return dict(inputs) if isinstance(inputs, Mapping) else {column: column for column in inputs}


def _column(argument: str, rows: Any, column: str) -> list[Any]:
    """The entries of a column, one for each row."""
    names = getattr(rows, "column_names", None)
    if names is None:
        return [_entry(argument, rows[row], row, column) for row in indices_of(rows)]
    if column not in names:
        raise ValueError(f"`{argument}` has no column {column!r}; its columns are {[*names]}")
    return list(rows[column])


def _entry(argument: str, row: Any, number: int, column: str) -> Any:
    if not isinstance(row, Mapping):
        raise ValueError(
            f"`{argument}` holds a {type(row).__name__} as row {number}; a row must be a dict with "
            "a value for each column. For samples that are pairs see `from_dataset`"
        )
    if column not in row:
        raise ValueError(
            f"`{argument}` has no column {column!r} in row {number}; there its columns are {[*row]}"
        )
    return row[column]


def _arrays(argument: str, rows: Any, column: str) -> list[np.ndarray]:
    """The entries of a column as arrays of numbers."""
    found = []
    for row, entry in enumerate(_column(argument, rows, column)):
        try:
            array = _numpy(entry) if isinstance(entry, Tensor) else np.asarray(entry)
        except ValueError:  # lists of unequal lengths in one another
            array = np.array(None)
        if array.dtype.kind not in "fiub":
            shown = repr(entry) if len(repr(entry)) < 40 else f"a {type(entry).__name__}"
            raise ValueError(
                f"`{argument}` holds {shown} in column {column!r} of row {row}; inputs must be "
                "numbers or arrays of numbers. Texts go through a tokenizer first"
            )
        found.append(array)
    return found


def _numpy(entry: Tensor) -> np.ndarray:
    """A tensor of any device and type; NumPy has no bfloat16."""
    entry = entry.detach().cpu()
    return (entry.float() if entry.dtype == torch.bfloat16 else entry).numpy()


def _stacked(
    column: str, read: Mapping[str, list[np.ndarray]], fill: float | None
) -> dict[str, Tensor]:
    """The column of each set of rows as one tensor, shorter arrays filled at their end."""
    arrays = [*chain.from_iterable(read.values())]
    shape, kind = arrays[0].shape, np.result_type(*{array.dtype for array in arrays})
    other = next((array.shape for array in arrays if array.shape != shape), None)
    if other is None:
        return {a: torch.from_numpy(np.stack(part).astype(kind)) for a, part in read.items()}
    if fill is None or not shape or len({array.shape[1:] for array in arrays}) > 1:
        raise ValueError(
            f"column {column!r} holds arrays of shapes {shape} and {other}; all rows must have one "
            "shape. Let the tokenizer pad them to one length, `padding='max_length'`, or pass "
            f"`padding={{{column!r}: 0}}` with the number that fills shorter lists"
        )
    if not _holds(kind, fill):
        raise ValueError(
            f"`padding` is {fill!r} for column {column!r}, which holds {kind}; it must be such a "
            "number"
        )
    longest = max(len(array) for array in arrays)
    filled = {}
    for argument, part in read.items():
        whole = np.full((len(part), longest, *shape[1:]), fill).astype(kind)
        for row, array in enumerate(part):
            whole[row, : len(array)] = array
        filled[argument] = torch.from_numpy(whole)
    return filled


def _holds(kind: np.dtype, number: Any) -> bool:
    """Whether an array of a type can hold a number, apart from rounding of floats."""
    finite = isinstance(number, Real) and -math.inf < number < math.inf  # type: ignore[operator]
    if not finite:
        return False
    if kind.kind == "f":
        return True
    if kind.kind == "b":
        return number in (0, 1)
    return number == int(number) and np.iinfo(kind).min <= number <= np.iinfo(kind).max


def _labels(argument: str, rows: Any, column: str) -> list[Any]:
    """The labels as they are, without those that are no class."""
    labels = [
        label.item() if hasattr(label, "item") and getattr(label, "ndim", 0) == 0 else label
        for label in _column(argument, rows, column)
    ]
    for row, label in enumerate(labels):
        if label is None:
            raise ValueError(
                f"`{argument}` holds None in column {column!r} of row {row}; every sample needs a "
                "label, so leave such rows out: "
                f"`rows.filter(lambda row: row[{column!r}] is not None)`"
            )
        if isinstance(label, Real) and not isinstance(label, Integral):
            raise ValueError(
                f"`{argument}` holds {label!r} in column {column!r} of row {row}; a label must be "
                "a class number, an int from 0, or the name of a class"
            )
    return labels
