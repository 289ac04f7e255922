"""Copies of networks, also of networks that store an activation."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

__all__ = ["check_initialised", "copy_of"]


def copy_of(network: nn.Module) -> nn.Module:
    """A copy of a network that shares nothing with it.

    Many networks store an activation in an attribute, or in a list, tuple, set or dictionary there.
    Such a tensor belongs to a graph, and PyTorch does not copy it; the copy has its numbers without
    the graph.

    Parameters
    ----------
    network : nn.Module
        Any network.

    Returns
    -------
    nn.Module
        A network with the same weights, buffers and modes.

    Raises
    ------
    TypeError
        An attribute cannot be copied, or is a view of a weight, which would not change with the
        weight of the copy. The message names module and attribute.
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
                        "view of a weight and would not change with the weight of the copy; make "
                        "the view in `forward`"
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
                        f"{type(value).__name__}, which Python cannot copy; set it anew in "
                        f"`forward` or leave it out. Python says: {error}"
                    ) from error
        raise


def check_initialised(name: str, network: nn.Module) -> None:
    """Require that every weight exists; a lazy layer makes its weights in the first pass."""
    for weight, tensor in (*network.named_parameters(), *network.named_buffers()):
        if is_lazy(tensor):
            raise ValueError(
                f"`{name}` has a lazy layer without weights, {weight.rpartition('.')[0]!r}; run it "
                "on one batch first"
            )


def _place(name: str, module: nn.Module) -> str:
    return f"{type(module).__name__} {name!r}" if name else type(module).__name__


def _tensors(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """The tensors in a value, also inside lists, tuples, sets and dictionaries."""
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
