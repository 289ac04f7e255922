"""What a CUDA graph does, on the CPU: operations are noted once, and repeated without Python.

For tests of `nlmeta.methods.Captured` where there is no GPU. As in a graph, every operation reads
and writes the tensors that it read and wrote when it was noted, and noting changes nothing.
Refused is what a graph cannot hold: looking at a number, and drawing one.
"""

from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Graph:
    """In the place of `recording.CUDAGraph`."""

    def __init__(self, device):
        assert device.type == "cpu"
        self.notes = []

    @contextmanager
    def warming_up(self):
        yield

    @contextmanager
    def recording(self):
        with _Notes(self.notes) as mode:
            yield
        for tensor, value in mode.old.values():
            with torch.no_grad():
                tensor.copy_(value)

    @torch.no_grad()
    def replay(self):
        for operation, arguments, options, found in self.notes:
            again = operation(*arguments, **options)
            for place, value in zip(found, _leaves(again, operation), strict=True):
                if place is not None:
                    place.copy_(value)


class _Notes(TorchDispatchMode):
    def __init__(self, notes):
        super().__init__()
        self.notes, self.old = notes, {}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if operation is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("a graph cannot look at a number")
        if torch.Tag.nondeterministic_seeded in operation.tags:
            raise RuntimeError(f"a graph cannot draw: {operation}")
        schema = operation._schema
        written = [a.name for a in schema.arguments if a.alias_info and a.alias_info.is_write]
        if "batch_norm" in operation.name():  # its schema does not say so
            written += ["running_mean", "running_var"]
        given = dict(zip((a.name for a in schema.arguments), args, strict=False)) | kwargs
        for tensor in chain.from_iterable(tree_leaves(given.get(name)) for name in written):
            if isinstance(tensor, Tensor):
                self.keep(tensor)
        found = operation(*args, **kwargs)
        alias = any(r.alias_info for r in schema.returns)  # then all of them are
        fresh = [
            None if alias or _constant(out) else out.detach() for out in _leaves(found, operation)
        ]
        detached = [_detached(a) for a in args], {k: _detached(v) for k, v in kwargs.items()}
        if written or any(place is not None for place in fresh):  # else it is a view, or nothing
            self.notes.append((operation, *detached, fresh))
        return found

    def keep(self, tensor):
        """What stood in a tensor before the first write to it."""
        key = tensor.untyped_storage().data_ptr()
        if key not in self.old:
            whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
            self.old[key] = whole, whole.clone()


def _leaves(found, operation):
    return tree_leaves(found) if operation._schema.returns else []


def _constant(out):
    """No tensor, or one of PyTorch's zeros that take no memory and cannot be written."""
    return not isinstance(out, Tensor) or out._is_zerotensor()


def _detached(value):
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, list | tuple):
        return type(value)(_detached(v) for v in value)
    return value
