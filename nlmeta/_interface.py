"""What goes into a network and what comes out of it, in the forms that people have.

The inputs of a batch are one tensor, or several tensors of the same samples in a tuple or a dict. A
tuple is passed to the network as positional arguments and a dict as keyword arguments, so tokens
with their mask are ``{"input_ids": ..., "attention_mask": ...}`` for a `forward` with arguments of
these names. The logits are the output itself, its ``logits``, or the first entry of a tuple.

No other file tells these forms apart.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "Inputs",
    "arguments_of",
    "check_inputs",
    "device_of",
    "each",
    "inputs_in",
    "joined",
    "like",
    "length",
    "logits_in",
    "parts_of",
    "rows_of",
    "several",
]

#: Inputs of a batch, or of a whole part in memory. Each tensor has one row for each sample.
Inputs = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]


def several(x: object) -> bool:
    """Whether inputs are several tensors, or were meant to be."""
    return isinstance(x, tuple | Mapping)


def parts_of(x: Any) -> dict[str | int, Any]:
    """The tensors by their names in a dict or their places in a tuple; one tensor is called "x"."""
    if isinstance(x, Mapping):
        return dict(x)
    return dict(enumerate(x)) if isinstance(x, tuple) else {"x": x}


def each(change: Callable[[Any], Any], x: Any) -> Any:
    """The inputs with every tensor changed by a function."""
    if isinstance(x, Mapping):
        return {name: change(part) for name, part in x.items()}
    return tuple(map(change, x)) if isinstance(x, tuple) else change(x)


def like(x: Any, parts: Mapping[str | int, Any]) -> Any:
    """Other tensors by the names or places of those of `x`, in a tuple or a dict as these are."""
    return tuple(parts.values()) if isinstance(x, tuple) else dict(parts)


def check_inputs(x: object) -> None:
    """Require a tensor, or a tuple or dict of tensors with the same number of rows."""
    parts = parts_of(x)
    allowed = (
        "the inputs of a batch must be a tensor of shape (n, ...), or a tuple or dict of such "
        "tensors, which the network gets as positional or keyword arguments"
    )
    if not parts:
        raise ValueError(f"`x` is an empty {type(x).__name__}; {allowed}")
    for name, part in parts.items():
        place = "`x` is" if part is x else f"`x` holds at {name!r}"
        if not isinstance(part, Tensor):
            raise TypeError(f"{place} a {type(part).__name__}; {allowed}")
        if part.ndim == 0:
            raise ValueError(f"{place} a tensor of shape (); {allowed}")
        if isinstance(x, Mapping) and not isinstance(name, str):
            raise TypeError(
                f"`x` is a dict with the key {name!r}; a key must be an argument's name"
            )
    counts = {name: len(part) for name, part in parts.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"`x` holds numbers of rows {counts}; all must have one for each sample")


def length(x: Any) -> int:
    """The number of samples."""
    return len(next(iter(parts_of(x).values())))


def device_of(x: Any) -> torch.device:
    """The device of the first tensor; a batch lies on one device."""
    return next(iter(parts_of(x).values())).device


def rows_of(x: Any, rows: Any) -> Any:
    """The inputs of some samples, by a slice or by row numbers on the device of `x`."""
    return each(lambda part: part[rows], x)


def joined(batches: Sequence[Inputs]) -> Inputs:
    """The samples of several batches in one, in order. All have the same form."""
    first = batches[0]
    if isinstance(first, Tensor):
        return torch.cat([part for part in batches if isinstance(part, Tensor)])
    found = [parts_of(x) for x in batches]
    both = {name: torch.cat([parts[name] for parts in found]) for name in found[0]}
    return like(first, both)


def arguments_of(x: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and the keyword arguments that a network gets for a batch."""
    if isinstance(x, Mapping):
        return (), dict(x)
    return (x, {}) if isinstance(x, tuple) else ((x,), {})


def inputs_in(positional: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """The batch whose `arguments_of` these are, for a module that passes them on."""
    if positional and named:
        raise TypeError(
            f"`forward` got {len(positional)} positional arguments and {sorted(named)}; pass one "
            "batch, a tuple of tensors or a dict of tensors"
        )
    return positional[0] if len(positional) == 1 else positional or named


def logits_in(output: Any) -> Any:
    """The logits in a network's output; an output of another form as it is."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping) and "logits" in output:
        return output["logits"]
    if hasattr(output, "logits"):
        return output.logits
    return output[0] if isinstance(output, tuple) and output else output
