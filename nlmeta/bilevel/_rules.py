"""A forward rule of BatchNorm in few passes, which keeps the type and the layout of a tangent.

PyTorch's rule is a chain of some twenty operations on whole activations. Where those are in half
precision it computes in float32, and where their channels are last it brings them to another layout
and back, so that most of a tangent's time goes into copies.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nlmeta._torch import is_wrapped_by_vmap

__all__ = ["FewPasses"]


class FewPasses(TorchFunctionMode):
    """Inside the block, BatchNorm of dual numbers is computed by the rule of this file.

    PyTorch's rule stays where its input, weight and bias do not all move, inside `torch.func.vmap`,
    and in a network that differentiates itself, whose gradients have tangents as well.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm and not torch.is_grad_enabled():
            duals = args[0], kwargs["weight"], kwargs["bias"]
            if all(p is not None and _moves(p) for p in duals):
                return _batch_norm(*args, **kwargs)
        return func(*args, **kwargs)


def _moves(tensor: Tensor) -> bool:
    if is_wrapped_by_vmap(tensor):  # such a tensor cannot be taken apart
        return False
    return forward_ad.unpack_dual(tensor).tangent is not None


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    *,
    weight: Tensor,
    bias: Tensor,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """BatchNorm of dual numbers by the kernels of its ordinary passes.

    In each channel, with m values, standard deviation s and normalised values x_hat, the Jacobian
    by the input is weight / s (I - (1 1' + x_hat x_hat') / m); with running statistics it is
    weight / s I. It is symmetric, so the kernel of the backward pass multiplies a tangent by it as
    well. By weight and bias the outcome is linear, so the norm with their tangents in their places
    is the other part of the tangent.
    """
    x, x_dot = forward_ad.unpack_dual(x)
    weight, weight_dot = forward_ad.unpack_dual(weight)
    bias, bias_dot = forward_ad.unpack_dual(bias)
    running = running_mean, running_var
    y, mean, rstd = torch.native_batch_norm(x, weight, bias, *running, training, momentum, eps)
    y_dot, _, _ = torch.ops.aten.native_batch_norm_backward(
        x_dot, x, weight, *running, mean, rstd, training, eps, [True, False, False]
    )
    if training:  # the statistics of the batch are known by now
        y_dot += F.batch_norm(x, mean, rstd**-2, weight_dot, bias_dot, eps=0.0)
    else:
        y_dot += F.batch_norm(x, *running, weight_dot, bias_dot, eps=eps)
    return forward_ad.make_dual(y, y_dot)
