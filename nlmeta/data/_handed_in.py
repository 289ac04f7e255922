"""Arguments of users: samples, ids and bools, which are converted to one form or refused."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nlmeta._interface import Inputs, check_inputs, like, parts_of, several
from nlmeta.data._notes import few
from nlmeta.data.pictures import as_seen

__all__ = [
    "check_ids",
    "check_same_kind",
    "ids_of",
    "indices_of",
    "inputs_of",
    "mask_of",
    "names_of",
    "picked",
    "picture_of",
]


def picture_of(image: Image.Image, index: int) -> Tensor:
    """A picture of a dataset as a person sees it, uint8, (1 or 3, height, width)."""
    try:
        seen = as_seen(image)
    except Exception as error:  # a decoder may stumble over a damaged file in any way
        raise ValueError(
            f"`dataset` returns a picture at index {index} that does not decode ({error})"
        ) from error
    pixels = torch.from_numpy(np.array(seen))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()


def mask_of(argument: str, values: Any) -> Tensor:
    """1 where a label is known to be right, -1 elsewhere."""
    mask = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
    if mask.ndim != 1:
        raise ValueError(f"`{argument}` has shape {mask.shape}; it must hold a bool per sample")
    said = mask.tolist()
    if mask.dtype.kind in "OU":  # from a table
        meant = {"0": 0, "1": 1, "false": 0, "true": 1}
        mask = np.array([meant.get(str(value).strip().lower(), -1) for value in said])
    wrong = (~np.isin(mask, (0, 1))).nonzero()[0]
    if len(wrong):
        raise ValueError(
            f"`{argument}` holds {said[wrong[0]]!r} at position {wrong[0]}; it must hold True or "
            "False for each sample"
        )
    return torch.from_numpy(np.where(mask.astype(bool), 1, -1).astype(np.int64))


def ids_of(ids: Any) -> list[str | int]:
    """The names of samples, as a list of str or int."""
    own = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    for position, i in enumerate(own):
        if isinstance(i, bool) or not isinstance(i, str | Integral):
            raise ValueError(
                f"`ids` holds {i!r} at position {position}; the id of a sample must be a str or int"
            )
    return own


def check_ids(ids: Sequence[str | int], n: int) -> None:
    """Require n different ids."""
    if len(ids) != n:
        raise ValueError(f"`ids` has {len(ids)} entries for {n} samples; it must have one for each")
    if len(set(ids)) < n:
        seen: set[str | int] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise ValueError(f"`ids` has {twice!r} twice; results could not be told apart")


def inputs_of(argument: str, x: Any, words: bool) -> Inputs:
    """Inputs on the CPU: images (n, channels, height, width), floats, or indices of words.

    Of several inputs, whole numbers are indices and truth values are masks.
    """
    if several(x):
        read = {n: _one_of_several(f"{argument}[{n!r}]", part) for n, part in parts_of(x).items()}
        inputs: Inputs = like(x, read)
        check_inputs(inputs)
        return inputs
    return _one_input(argument, x, words)


def _one_of_several(argument: str, x: Any) -> Tensor:
    found = _numbers(argument, x)
    if found.dtype == torch.bool:
        return found
    if found.is_complex():
        raise ValueError(
            f"`{argument}` is {found.dtype}; it must hold floats, whole numbers or bools"
        )
    return _one_input(argument, found, words=not found.is_floating_point())


def _numbers(argument: str, x: Any) -> Tensor:
    """An array as a tensor on the CPU."""
    if not isinstance(x, Tensor):
        array = np.ascontiguousarray(x)
        if array.dtype.kind not in "fiub":
            raise ValueError(f"`{argument}` holds {array.dtype}; it must hold numbers")
        # A tensor cannot be read-only, and pandas hands out such arrays.
        x = torch.from_numpy(array if array.flags.writeable else array.copy())
    return x.detach().cpu()


def _one_input(argument: str, x: Any, words: bool) -> Tensor:
    x = _numbers(argument, x)
    if words:
        return _places(argument, x)
    if x.dtype == torch.uint8:
        if x.ndim == 3:
            x = x[:, None]
        elif x.ndim == 4 and x.shape[1] not in (1, 3) and x.shape[3] in (1, 3):
            x = x.permute(0, 3, 1, 2).contiguous()
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise ValueError(
                f"`{argument}` is torch.uint8 of shape {tuple(x.shape)}; images must have shape "
                "(n, height, width), (n, height, width, channels) or (n, channels, height, width), "
                "with 1 or 3 channels. Convert other whole numbers to floats"
            )
        return x
    if not x.is_floating_point():
        raise ValueError(
            f"`{argument}` is {x.dtype}; images must be torch.uint8, counts and measurements "
            "floating point (`x.astype('float32')`, `x.float()`), and indices of a vocabulary need "
            "`words=True`"
        )
    if not x.isfinite().all():
        row = int((~x.isfinite()).flatten(1).any(1).nonzero()[0])
        raise ValueError(f"`{argument}` holds a number that is not finite, in row {row}")
    return x.float() if x.dtype == torch.float64 else x


def _places(argument: str, x: Tensor) -> Tensor:
    """Indices of a vocabulary, int64, (n, words)."""
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise ValueError(
            f"`words` is True and `{argument}` is {x.dtype}; indices of a vocabulary must be whole "
            "numbers"
        )
    x = x.long()
    if (x < 0).any():
        raise ValueError(
            f"`{argument}` holds {int(x.min())}; indices of a vocabulary must be at least 0"
        )
    return x


def check_same_kind(argument: str, x: Inputs, inputs: Inputs) -> None:
    """Require inputs of the same names, shapes and types as those of `x`."""
    there, here = parts_of(x), parts_of(inputs)
    if [*there] != [*here]:
        raise ValueError(
            f"`{argument}` holds the inputs {[*there]}; they must be those of `x`, {[*here]}"
        )
    for name, part in there.items():
        wanted = here[name]
        if (part.shape[1:], part.dtype) != (wanted.shape[1:], wanted.dtype):
            raise ValueError(
                f"`{argument}` holds inputs of shape {tuple(part.shape[1:])}, {part.dtype}; they "
                f"must be like those of `x`, of shape {tuple(wanted.shape[1:])}, {wanted.dtype}"
            )


def indices_of(dataset: Any, argument: str = "dataset") -> range:
    """The indices of a dataset's samples."""
    if isinstance(dataset, Mapping):
        raise TypeError(
            f"`{argument}` is a dict of {few(list(map(str, dataset)))}; pass one of them"
        )
    try:
        return range(len(dataset))
    except TypeError as error:
        raise TypeError(
            f"`{argument}` is a {type(dataset).__name__} without a length; it must have a length, "
            "and return a sample for each index below it"
        ) from error


def picked(sample: Any, columns: tuple[int | str, int | str], index: int) -> tuple[Any, Any]:
    """The input and the label of a sample."""
    if isinstance(sample, Mapping):
        there, what = set(sample), f"a dict of {', '.join(map(repr, sample))}"
    elif isinstance(sample, list | tuple):
        n = len(sample)
        there, what = set(range(-n, n)), f"a {type(sample).__name__} of {n}"
    else:
        there, what = set(), f"a {type(sample).__name__}"
    if len(columns) != 2 or not set(columns) <= there:
        raise ValueError(
            f"`columns` is {columns!r}, and `dataset` returns {what} at index {index}; `columns` "
            "must name the input and the label of a sample, by keys of a dict or indices of a tuple"
        )
    x, y = (sample[column] for column in columns)
    return x, y


def names_of(dataset: Any, label: int | str) -> Any:
    """The dataset's own names of its classes."""
    classes = getattr(dataset, "classes", None)
    if isinstance(classes, Mapping):  # names with their numbers
        return sorted(classes, key=classes.__getitem__)
    if classes is not None:
        return classes
    features = getattr(dataset, "features", None)
    return getattr(features.get(label), "names", None) if isinstance(features, Mapping) else None
