"""Copies of networks, of those too that keep what they computed."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

__all__ = ["check_initialised", "copy_of"]


def copy_of(network: nn.Module) -> nn.Module:
    """A copy of a network that shares nothing with it.

    Many networks keep an activation in an attribute, or in a list, tuple, set or dictionary there.
    It hangs on a graph, and PyTorch copies no such tensor; the copy gets its numbers without the
    graph.

    Parameters
    ----------
    network : nn.Module
        Any.

    Returns
    -------
    nn.Module
        With the same weights, buffers and modes.

    Raises
    ------
    TypeError
        Something in the network cannot be copied, or is a view of a weight, which would not follow
        the weight of the copy; the message names module and attribute.
    ValueError
        A lazy layer has no weights yet.
    """
    check_initialised("model", network)
    weights = {w.data_ptr() for w in (*network.parameters(), *network.buffers()) if w.numel()}
    kept = {}
    for name, module in network.named_modules():
        for attribute, value in vars(module).items():
            for tensor in _tensors(value, set()):
                if tensor.is_leaf:
                    continue
                if tensor.untyped_storage().data_ptr() in weights:
                    raise TypeError(
                        f"`model` cannot be copied: `{attribute}` of {_place(name, module)} is a "
                        "view of a weight and would not follow that of the copy; take it in "
                        "`forward`"
                    )
                kept[id(tensor)] = tensor.detach().clone()
    try:
        return deepcopy(network, kept)
    except Exception as error:
        for name, module in network.named_modules():
            for attribute, value in vars(module).items():
                if attribute not in ("_parameters", "_buffers", "_modules") and not _copies(value):
                    raise TypeError(
                        f"`model` cannot be copied: `{attribute}` of {_place(name, module)} is a "
                        f"{type(value).__name__}, which cannot be; set it anew in `forward` or "
                        f"leave it out. Python says: {error}"
                    ) from error
        raise


def check_initialised(name: str, network: nn.Module) -> None:
    """Require that every weight is there; a lazy layer makes its own in the first pass."""
    for weight, tensor in (*network.named_parameters(), *network.named_buffers()):
        if is_lazy(tensor):
            raise ValueError(
                f"`{name}` has a lazy layer without weights, {weight.rpartition('.')[0]!r}; run it "
                "once on a batch before"
            )


def _place(name: str, module: nn.Module) -> str:
    return f"{type(module).__name__} {name!r}" if name else type(module).__name__


def _tensors(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """The tensors in a value, and in the lists, tuples, sets and dictionaries that it is."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple | set) and id(value) not in seen:
        seen.add(id(value))
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part, seen)


def _copies(value: Any) -> bool:
    try:
        deepcopy(value)
    except Exception:
        return False
    return True
