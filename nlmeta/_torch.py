"""What PyTorch keeps private or has renamed, and this package uses all the same.

Nothing else in the package touches such a name. Each entry says why there is no public way, and
``tests/test_private_torch.py`` fails where PyTorch changes what is relied on. Left to others:
what the package does with these.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._functorch import config as functorch_config

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

    `all_gather_single` is what PyTorch 2.14 calls `all_gather_into_tensor`, of which it warns.
    """
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    gather(every, rows)


def assert_on_device(condition: Tensor, message: str) -> None:
    """Let a device assert a condition, shape (), for which no step has to wait.

    The public `torch._check` family looks at the value, and so waits for the device.
    """
    torch._assert_async(condition, message)


def is_wrapped_by_vmap(tensor: Tensor) -> bool:
    """Whether `torch.func` stands between here and the numbers, so that nobody can look at them.

    PyTorch tells so only by the error that a look raises.
    """
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def keep_donated_buffers() -> AbstractContextManager[Any]:
    """Let compiled passes go backward twice.

    A graph that serves the virtual and the ordinary step does so; by default a compiled one gives
    its buffers away in the first pass backward, and no public setting says otherwise.
    """
    return functorch_config.patch(donated_buffer=False)


def is_compiled(model: nn.Module) -> bool:
    """Whether it, or a part of it, went through `model.compile()` or `torch.compile(model)`.

    No public function tells.
    """
    return any(
        getattr(part, "_compiled_call_impl", None) is not None or "_orig_mod" in part._modules
        for part in model.modules()
    )


@contextmanager
def compiled(model: nn.Module, backend: bool | str) -> Iterator[None]:
    """The network compiled by a backend, and afterwards as it was; with False as it is.

    It stays the same object with its names. `nn.Module.compile` has no public counterpart.
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
    """Without TensorFloat-32, which keeps ten bits, in convolutions, recurrent layers and products.

    PyTorch has an older switch, `allow_tf32`, and refuses to read it while the newer one says
    something else. So the older one is never touched here, and inside the block nothing may read
    it; afterwards it reads as before.
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
    """The bytes of a tensor's numbers, for a digest: a view of them, in types too that NumPy lacks.

    NumPy knows no bfloat16, and PyTorch shows no buffer of its own.
    """
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def update_averages(averages: list[Tensor], values: list[Tensor], share: float | Tensor) -> None:
    """Move each average by a share of the way to its value, with few kernels.

    The public `torch.lerp` launches one kernel for each tensor, or two.
    """
    shares: Any = share
    if isinstance(share, Tensor):
        of_kind = {kind: share.to(kind) for kind in {t.dtype for t in averages}}
        shares = [of_kind[t.dtype] for t in averages]
    torch._foreach_lerp_(averages, values, shares)


def no_capture_warning(optimizer: torch.optim.Optimizer) -> None:
    """Let Adam, told to count on a GPU, take steps outside a graph too without a warning.

    A rehearsal of a step that is to be captured is no capture.
    """
    vars(optimizer)["_warned_capturable_if_run_uncaptured"] = True


def version(tensor: Tensor) -> int:
    """How often the tensor was changed in place, which PyTorch documents and names privately."""
    return tensor._version


def move(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Move a module to a device, its floats to a type, and complex numbers to that of two such.

    ``module.to(device, dtype)`` would cut complex numbers down to their real part, so where there
    are some it is done by what `to` goes through.
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
    """A module that takes note when it is moved, saved or loaded.

    What `.to`, `.cuda` and `.double` go through is `_apply`, and PyTorch has no hook there. Its
    public hooks for saving and loading belong to one object and stay with it when it is copied.

    Attributes
    ----------
    stays : bool
        True: it is not moved. Default False.
    """

    stays: bool = False

    def moved(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Called after it was moved, with the function that has moved each tensor."""

    def saving(self, state: dict[str, Any], prefix: str) -> None:
        """Called with the `state_dict` that has its entries, whose names begin with the prefix."""

    def loading(self, state: dict[str, Any], prefix: str) -> dict[str, Any]:
        """Called before its entries are loaded; returns the `state_dict` to load them from."""
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
