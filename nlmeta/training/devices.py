"""The device and the precision of a run, and autocast."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import nn

from nlmeta._checks import check_choice
from nlmeta._torch import move
from nlmeta.data import Split
from nlmeta.methods import Method

__all__ = ["autocast", "choose_device", "loss_scaler", "move_all", "resolve_precision"]

HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
PRECISIONS = ("float32", "float64", *HALVES, "auto")


def choose_device(device: torch.device | str | None = None) -> torch.device:
    """The device with the given name, or the fastest of this machine.

    Parameters
    ----------
    device : torch.device or str, optional
        A name such as ``"cpu"`` or ``"cuda:1"``. Default: CUDA, else MPS, else the CPU.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        The name is unknown, or this machine has no such device.
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    allowed = "`device` is {!r}; it must be 'cpu', 'mps', 'cuda' or, with a number, 'cuda:1'"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(allowed.format(str(device))) from None
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (chosen.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if chosen.type not in available:
        raise ValueError(allowed.format(str(device)))
    if not available[chosen.type]:
        raise ValueError(
            f"`device` is {str(device)!r}; this machine has no such device, leave `device` out"
        )
    if chosen.type == "cuda" and chosen.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return chosen


def resolve_precision(
    precision: Literal["float32", "float64", "bfloat16", "float16", "auto"],
    device: torch.device | str,
) -> Literal["float32", "float64", "bfloat16", "float16"]:
    """The precision in which `nlmeta.fit` computes on a device, with ``"auto"`` resolved.

    Parameters
    ----------
    precision : {"float32", "float64", "bfloat16", "float16", "auto"}
        The same as in `nlmeta.fit`.
    device : torch.device or str
        The device of the run, for example from `choose_device`.

    Returns
    -------
    {"float32", "float64", "bfloat16", "float16"}
        `precision` itself unless it is ``"auto"``. Then it is ``"bfloat16"`` on a GPU that computes
        in it natively, of compute capability 8 (Ampere) or more, and ``"float32"`` elsewhere.

    Raises
    ------
    ValueError
        The precision is unknown.
    """
    check_choice("precision", precision, PRECISIONS)
    if precision != "auto":
        return precision
    card = torch.device(device)
    native = card.type == "cuda" and torch.cuda.get_device_capability(card)[0] >= 8
    return "bfloat16" if native else "float32"


def move_all(
    method: Method,
    model: nn.Module,
    split: Split,
    options: Mapping[str, Any],
    device: torch.device,
) -> Split:
    """Move a method and a network to a device, in place, and return the split moved there.

    All floats become float64 if the option ``"precision"`` is that, else float32. Under autocast
    the weights stay in float32.
    """
    dtype = torch.float64 if options["precision"] == "float64" else torch.float32
    split = split.to(device, dtype)
    move(model, device, dtype)
    if options["channels_last"]:
        model.to(memory_format=torch.channels_last)
    move(method, device, dtype)
    return split


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """PyTorch's autocast for a half precision; an empty context for the others."""
    if precision not in HALVES:
        return nullcontext()
    return torch.autocast(device.type, dtype=HALVES[precision])


def loss_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler | None:
    """The scaler of losses that ``"float16"`` needs; None for the other precisions."""
    return torch.amp.GradScaler(device.type) if precision == "float16" else None
