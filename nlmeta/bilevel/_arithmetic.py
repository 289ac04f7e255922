"""Guards for passes whose numbers compilers, autocast or TensorFloat-32 would spoil."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from nlmeta._torch import full_float32, is_compiled

__all__ = [
    "autocast_to",
    "kernels_with_forward_rules",
    "no_casts_kept",
    "plain_arithmetic",
    "second_derivatives",
]


def autocast_to(dtype: str | None, device: torch.device) -> AbstractContextManager[Any]:
    """Autocast to a type by name; None leaves everything as the caller has it."""
    if dtype is None:
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, dtype))


@contextmanager
def plain_arithmetic(model: nn.Module, mode: str, device: torch.device) -> Iterator[None]:
    """Compute without compilation and, for a difference, without TensorFloat-32.

    Compilers of older PyTorch drop the tangents of dual numbers without an error. TensorFloat-32,
    which cuDNN uses by default and matrix products on demand, keeps ten bits, and a difference of
    two passes would be rounding error.
    """
    stance: AbstractContextManager[Any] = nullcontext()
    if is_compiled(model):
        stance = torch.compiler.set_stance("force_eager")
    with stance:
        if mode == "jvp" or device.type != "cuda":
            yield
            return
        with full_float32():
            yield


@contextmanager
def no_casts_kept(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Switch autocast's store of cast parameters off, since no pass uses those of another.

    They would take the memory of one more network for each trial step. They are also stored by
    tensor and not by value: a parameter that moved would still be used with its old values.
    """
    kept = torch.is_autocast_cache_enabled()
    if not (kept and torch.is_autocast_enabled(device.type)) or is_compiled(model):
        yield  # a compiled pass makes its own casts, and would be compiled anew for the change
        return
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(kept)


@contextmanager
def kernels_with_forward_rules() -> Iterator[None]:
    """Compute attention and recurrent layers by kernels that forward mode can differentiate.

    PyTorch has several kernels for these layers and chooses the fastest: fused ones for attention,
    and oneDNN's for an LSTM in float32 on a CPU. They have no rule for dual numbers.
    """
    fast_path = torch.backends.mha.get_fastpath_enabled()  # of attention in evaluation mode
    onednn: Any = torch.backends.mkldnn  # its `flags` would change precisions as well
    before = onednn.enabled
    torch.backends.mha.set_fastpath_enabled(False)
    onednn.enabled = False
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        onednn.enabled = before


@contextmanager
def second_derivatives(
    of: str = "`model` or `inner_loss`",
    way_out: str = "use mode='jvp', mode='fd' or order='first', or for attention the math backend "
    "of `torch.nn.attention.sdpa_kernel`",
) -> Iterator[None]:
    """Add to PyTorch's refusal of a derivative the name of the culprit and a way out."""
    try:
        yield
    except RuntimeError as error:  # of which a NotImplementedError is one
        if "not implemented" not in str(error):
            raise
        raise NotImplementedError(
            f"{of} uses an operation that cannot be differentiated twice; {way_out}. "
            f"PyTorch says: {error}"
        ) from error
