"""Arrays of three libraries, so that the frame of one function is an argument of another.

An array is a tensor, a NumPy array, or a frame or column of pandas. The last two count as tensors
on the CPU. Anything else, also a list, is refused by name.
"""

import hashlib
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from nlmeta._torch import bytes_of

__all__ = ["Array", "Table", "as_tensor", "described"]


@runtime_checkable
class Table(Protocol):
    """A frame or a column: the part of pandas that is used, so that it need not be imported."""

    def to_numpy(self) -> np.ndarray:
        """The entries."""


Array = Tensor | np.ndarray | Table


def as_tensor(name: str, values: Array) -> Tensor:
    """The numbers as a tensor.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    values : Tensor, numpy.ndarray, or pandas.DataFrame or Series
        Numbers of any one type.

    Returns
    -------
    Tensor
        The given tensor itself; for the others a copy in the same type, on the CPU.

    Raises
    ------
    TypeError
        `values` is of another kind, or does not hold numbers.
    """
    if isinstance(values, Tensor):
        return values
    found = values.to_numpy() if isinstance(values, Table) else values
    kind = type(values).__name__
    if isinstance(found, np.ndarray):
        native = found.dtype.newbyteorder("=")
        try:
            # Copied, since PyTorch shares no memory that may only be read, as pandas hands it out.
            return torch.from_numpy(found.astype(native, order="C"))
        except TypeError:
            kind = f"{kind} of {found.dtype}"
    raise TypeError(
        f"`{name}` is a {kind}; it must be a tensor, a NumPy array or a pandas frame of numbers"
    )


def described(tensor: Tensor) -> str:
    """A tensor in a line of text: its shape, and a digest of its numbers.

    Parameters
    ----------
    tensor : Tensor
        A tensor of any shape and type. The same numbers in another type have another digest.

    Returns
    -------
    str
        A text such as ``"(10, 10), SHA-256 "`` followed by 64 digits.
    """
    return f"{tuple(tensor.shape)}, SHA-256 {hashlib.sha256(bytes_of(tensor)).hexdigest()}"
