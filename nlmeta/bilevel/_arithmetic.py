"""How passes are computed: where compilers, autocast and TensorFloat-32 would spoil a number."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from nlmeta._torch import full_float32, is_compiled

__all__ = ["no_casts_kept", "plain_arithmetic", "second_derivatives"]


@contextmanager
def plain_arithmetic(model: nn.Module, mode: str, device: torch.device) -> Iterator[None]:
    """Without compilation, and for a difference without TensorFloat-32.

    Compilers of older PyTorch drop the tangents of dual numbers without a word. TensorFloat-32,
    which cuDNN uses unasked and matrix products on demand, keeps ten bits, and a difference of two
    passes would be rounding.
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
    """Autocast keeps its casts of parameters until it ends; those of one pass are not used again.

    They would take the memory of one more network for each trial step. And it knows them by the
    tensor, not by its values: a parameter that moved would still count with the old ones.
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
def second_derivatives(
    of: str = "`model` or `inner_loss`",
    way_out: str = "use mode='jvp', mode='fd' or order='first', or for attention the math backend "
    "of `torch.nn.attention.sdpa_kernel`",
) -> Iterator[None]:
    """PyTorch's refusal of a derivative, with the name of what asked for it and a way out."""
    try:
        yield
    except RuntimeError as error:  # of which a NotImplementedError is one
        if "not implemented" not in str(error):
            raise
        raise NotImplementedError(
            f"{of} uses an operation that cannot be differentiated twice; {way_out}. "
            f"PyTorch says: {error}"
        ) from error
