"""Arrays of three libraries: what one function returns as a frame, another one takes.

An array is a tensor, a NumPy array, or a frame or column of pandas. The last two count as tensors
on the CPU. Anything else, a list too, is refused by name.
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
    """A frame or a column: what it takes of pandas, which need not be imported for it."""

    def to_numpy(self) -> np.ndarray:
        """Its entries."""


Array = Tensor | np.ndarray | Table


def as_tensor(name: str, values: Array) -> Tensor:
    """The numbers as a tensor.

    Parameters
    ----------
    name : str
        The argument, for the message.
    values : Tensor, numpy.ndarray, or pandas.DataFrame or Series
        Numbers of any one type.

    Returns
    -------
    Tensor
        A tensor as it came; of all else a copy in its own type, on the CPU.

    Raises
    ------
    TypeError
        It is something else, or holds something else.
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
    """A tensor in a line of text: its shape, and a digest that tells it from others.

    Parameters
    ----------
    tensor : Tensor
        Of any shape and type. The same numbers in another type have another digest.

    Returns
    -------
    str
        ``"(10, 10), SHA-256 "`` and 64 digits, for example.
    """
    return f"{tuple(tensor.shape)}, SHA-256 {hashlib.sha256(bytes_of(tensor)).hexdigest()}"
