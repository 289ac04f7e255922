"""Private and renamed parts of PyTorch that this package uses.

No other file of the package uses such a name. Each entry says why there is no public way, and
``tests/test_private_torch.py`` fails if PyTorch changes one of them.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._functorch import config as functorch_config

# Hooks before the step of every optimiser; they have a public way in, and none to look at them.
from torch.optim.optimizer import _global_optimizer_pre_hooks

# Sees every operation that is called for, with all tensors in its arguments; the count of
# operations and the memory of `nlmeta.experiments.cost` rest on them. No public way has both.
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = [
    "HookedModule",
    "TorchDispatchMode",
    "all_gather_rows",
    "assert_on_device",
    "bytes_of",
    "compiled",
    "full_float32",
    "has_hooks_before_step",
    "is_compiled",
    "is_wrapped_by_vmap",
    "keep_donated_buffers",
    "move",
    "no_capture_warning",
    "tree_leaves",
    "update_averages",
    "version",
]


def all_gather_rows(every: Tensor, rows: Tensor) -> None:
    """Fill `every` with the rows of all processes.

    PyTorch 2.14 has renamed `all_gather_into_tensor` to `all_gather_single`, and warns of the old
    name.
    """
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    gather(every, rows)


def assert_on_device(condition: Tensor, message: str) -> None:
    """Assert a condition, shape (), on the device, so that no step waits for it.

    The public `torch._check` family reads the value, and so waits for the device.
    """
    torch._assert_async(condition, message)


def is_wrapped_by_vmap(tensor: Tensor) -> bool:
    """Whether `torch.func` has wrapped the tensor, so that its numbers cannot be read.

    PyTorch has no public test for that; reading the numbers raises an error.
    """
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def keep_donated_buffers() -> AbstractContextManager[Any]:
    """Let compiled passes be differentiated twice.

    A graph that serves the virtual and the ordinary step needs this. By default a compiled graph
    frees its buffers in the first backward pass, and no public setting changes that.
    """
    return functorch_config.patch(donated_buffer=False)


def is_compiled(model: nn.Module) -> bool:
    """Whether the model or a part of it was compiled, by `compile()` or `torch.compile(model)`.

    There is no public function for this test.
    """
    return any(
        getattr(part, "_compiled_call_impl", None) is not None or "_orig_mod" in part._modules
        for part in model.modules()
    )


@contextmanager
def compiled(model: nn.Module, backend: bool | str) -> Iterator[None]:
    """Compile the network by a backend inside the block; with False, leave it as it is.

    It stays the same object with the same names. PyTorch has no public way to undo
    `nn.Module.compile`.
    """
    if backend is False:
        yield
        return
    before = model._compiled_call_impl
    with keep_donated_buffers():
        model.compile(**({} if backend is True else {"backend": backend}))
        try:
            yield
        finally:
            model._compiled_call_impl = before


@contextmanager
def full_float32() -> Iterator[None]:
    """Switch off TensorFloat-32, of ten bits, in convolutions, recurrent layers and products.

    PyTorch has an older switch, `allow_tf32`, and refuses to read it while the newer one differs
    from it. The older one is therefore never used here, and no code may read it inside the block;
    afterwards it has its former value.
    """
    cudnn: Any = torch.backends.cudnn  # its types do not know of these
    kinds = cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul
    before = [kind.fp32_precision for kind in kinds]
    try:
        for kind in kinds:
            kind.fp32_precision = "ieee"
        yield
    finally:
        for kind, was in zip(kinds, before, strict=True):
            kind.fp32_precision = was


def bytes_of(tensor: Tensor) -> Any:
    """A view of the bytes of a tensor's numbers, for a digest, also in types that NumPy lacks.

    NumPy has no bfloat16, and a tensor of PyTorch has no public buffer.
    """
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def has_hooks_before_step(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a hook may change gradients before the step, of this optimiser or of all of them.

    Hooks are registered in public, and PyTorch has no public list of them.
    """
    return bool(optimizer._optimizer_step_pre_hooks or _global_optimizer_pre_hooks)


def update_averages(averages: list[Tensor], values: list[Tensor], share: float | Tensor) -> None:
    """Move each average by a share of its distance to the value, with few kernels.

    The public `torch.lerp` launches one kernel for each tensor, or two.
    """
    shares: Any = share
    if isinstance(share, Tensor):
        of_kind = {kind: share.to(kind) for kind in {t.dtype for t in averages}}
        shares = [of_kind[t.dtype] for t in averages]
    torch._foreach_lerp_(averages, values, shares)


def no_capture_warning(optimizer: torch.optim.Optimizer) -> None:
    """Silence the warning of an Adam that counts its steps on a GPU, outside a graph.

    The step is run as usual before it is captured, and there is no public setting for that.
    """
    vars(optimizer)["_warned_capturable_if_run_uncaptured"] = True


def version(tensor: Tensor) -> int:
    """How often the tensor was changed in place; PyTorch documents this under a private name."""
    return tensor._version


def move(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Move a module to a device and its floats to a type; complex numbers to the complex type.

    ``module.to(device, dtype)`` would reduce complex numbers to their real part, so for a module
    that has some, the private function behind `to` is used.
    """
    if not any(t.is_complex() for t in (*module.parameters(), *module.buffers())):
        module.to(device, dtype)
        return

    def moved(tensor: Tensor) -> Tensor:
        if tensor.is_complex():
            return tensor.to(device, dtype.to_complex())
        return tensor.to(device, dtype if tensor.is_floating_point() else None)

    module._apply(moved)


class HookedModule(nn.Module):
    """A module with hooks for being moved, saved and loaded.

    `.to`, `.cuda` and `.double` all call `_apply`, for which PyTorch has no hook. Its public hooks
    for saving and loading belong to one object, and a copy of the object would call the first one.

    Attributes
    ----------
    stays : bool
        If True, the module is not moved. Default False.
    """

    stays: bool = False

    def moved(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Called after a move, with the function that has moved each tensor."""

    def saving(self, state: dict[str, Any], prefix: str) -> None:
        """Called with the `state_dict`; names of the module's entries begin with the prefix."""

    def loading(self, state: dict[str, Any], prefix: str) -> dict[str, Any]:
        """Called before the entries are loaded; returns the `state_dict` to load them from."""
        return state

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "HookedModule":
        if not self.stays:
            super()._apply(fn, recurse)
            self.moved(fn)
        return self

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        self.saving(destination, prefix)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(self.loading(state_dict, prefix), prefix, *args)
