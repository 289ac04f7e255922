"""Two ways to the tangent of the logits, equation (4.3), and a check of the second way.

Dual numbers carry the derivative through the network; a difference compares whole passes. The
caller chooses between them and sets the random numbers of the pass.
"""

import warnings
from collections.abc import Sequence
from weakref import WeakSet

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn

from nlmeta._checks import check_positive
from nlmeta._interface import Inputs, device_of, each, rows_of
from nlmeta._torch import move
from nlmeta.bilevel._arithmetic import kernels_with_forward_rules
from nlmeta.bilevel._rules import FewPasses
from nlmeta.bilevel.passes import (
    ForwardPass,
    Parameters,
    parameters,
    same_random_numbers,
    with_parameters,
)
from nlmeta.distributed import world_size
from nlmeta.models.copies import copy_of
from nlmeta.models.outputs import logits_of
from nlmeta.seeding import random_state, set_random_state

__all__ = ["difference_tangent", "dual_tangent", "warn_of_what_is_held_fixed"]

HELD_FIXED = 1e-3  # of a tangent, at both lengths of the step

_compared: WeakSet[nn.Module] = WeakSet()  # networks of which a difference was compared


def dual_tangent(model: nn.Module, theta: Parameters, v: Parameters, x: Inputs) -> Tensor:
    """The tangent by dual numbers, with other kernels if the usual ones have no rule for them."""
    device = device_of(x)
    state = random_state(device)
    try:
        return _dual_pass(model, theta, v, x)
    except NotImplementedError:
        set_random_state(state, device)
    try:
        with kernels_with_forward_rules():
            z_dot = _dual_pass(model, theta, v, x)
    except NotImplementedError as error:
        raise NotImplementedError(
            "`model` uses an operation without a forward-mode derivative, so mode='jvp' cannot "
            f"work; use mode='fd'. PyTorch says: {error}"
        ) from error
    # On a GPU the fused kernels have a dropout of their own, which others need not repeat. On a CPU
    # they have none, and attention with dropout is computed without them in every pass.
    pairs = zip(state, random_state(device), strict=True)
    if device.type != "cpu" and not all(torch.equal(before, after) for before, after in pairs):
        raise NotImplementedError(
            "`model` draws random numbers, as dropout does, and its attention or recurrent layers "
            "run on kernels without a forward-mode derivative; other kernels may draw other "
            "numbers. Take all passes on those that have one, `with torch.nn.attention.sdpa_kernel("
            "torch.nn.attention.SDPBackend.MATH)` around the step; or use mode='fd'"
        )
    return z_dot


def _dual_pass(model: nn.Module, theta: Parameters, v: Parameters, x: Inputs) -> Tensor:
    # Dual numbers rather than `torch.func.jvp`: only they hold under autocast with norm layers.
    with warnings.catch_warnings(), forward_ad.dual_level(), FewPasses():
        # PyTorch's first use of forward mode warns of a deprecated function that PyTorch itself
        # calls.
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
        duals = theta | {
            name: forward_ad.make_dual(theta[name], g.to(theta[name].dtype))
            for name, g in v.items()
        }
        logits, z_dot = forward_ad.unpack_dual(logits_of(with_parameters(model, duals), x))
    return torch.zeros_like(logits) if z_dot is None else z_dot


def difference_tangent(
    model: nn.Module,
    theta: Parameters,
    v: Parameters,
    x: Inputs,
    here: Tensor | None,
    fd_step: float,
) -> Tensor:
    """A difference to the logits `here`, at theta; without them a central difference."""
    check_positive("fd_step", fd_step)
    device = device_of(x)
    if torch.is_autocast_enabled(device.type):
        raise RuntimeError(
            "mode='fd' under autocast would return rounding errors: the difference of two "
            "half-precision forwards; use mode='jvp', or leave autocast"
        )
    parts = (torch.view_as_real(g) if g.is_complex() else g for g in v.values())
    length = torch.stack([part.square().sum() for part in parts]).sum().sqrt()
    # Where v is zero the tangent is zero, whatever epsilon is; the clamp only avoids 0/0.
    epsilon = fd_step / length.clamp_min(torch.finfo(length.dtype).tiny)
    epsilon = torch.where(length > 0, epsilon, torch.ones_like(epsilon))
    state = random_state(device)
    ahead = logits_of(with_parameters(model, theta | _moved(theta, v, epsilon)), x)
    if here is not None:
        return (ahead - here) / epsilon
    set_random_state(state, device)
    behind = logits_of(with_parameters(model, theta | _moved(theta, v, -epsilon)), x)
    return (ahead - behind) / (2 * epsilon)


def _moved(theta: Parameters, v: Parameters, step: Tensor) -> Parameters:
    return {name: theta[name] + step * g for name, g in v.items()}


def warn_of_what_is_held_fixed(model: nn.Module, forward: ForwardPass, v: Parameters) -> None:
    """Compare differences with a gradient, once for each network.

    A part that is held fixed makes a gap that does not depend on the length of the step. A ReLU
    that changes sides makes a gap at the longer step, and a part in float32 at the shorter one.
    """
    if model in _compared or world_size() > 1 or forward.logits.device.type == "mps":
        return
    _compared.add(model)
    try:
        gap = min(_gaps(model, forward, v, steps=(1e-7, 1e-4)))
    except Exception:  # the comparison is an extra, and float64 is not for every network
        return
    if gap > HELD_FIXED:
        warnings.warn(
            f"{type(model).__name__} holds something fixed for its gradient, by `detach`, "
            "`no_grad` or a straight-through estimate; mode='fd' ignores that, so its tangent "
            "differs from that of a gradient. Use mode='jvp'",
            RuntimeWarning,
            stacklevel=4,
        )


def _gaps(
    model: nn.Module, forward: ForwardPass, v: Parameters, *, steps: Sequence[float]
) -> list[float]:
    """Gaps between <u, J_fd v> and <J^T u, v> for some u, on a few rows, in float64.

    J_fd v is the difference of a step. Each gap is divided by the lengths of u and J_fd v.
    """
    twin = copy_of(model)
    move(twin, forward.logits.device, torch.float64)
    theta = parameters(twin)
    with torch.no_grad():
        for k, p in enumerate(theta.values()):  # away from ReLUs that are exactly at their kink
            p += 1e-2 * torch.arange(p.numel(), device=p.device).add(k).sin().view(p.shape)
    few = rows_of(forward.x, slice(16))
    x = each(lambda part: part.double() if part.is_floating_point() else part, few)
    wide = {name: g.to(theta[name].dtype) for name, g in v.items()}
    with same_random_numbers(forward), torch.enable_grad():
        z = logits_of(with_parameters(twin, theta), x)
        u = torch.ones_like(z).cumsum(0).sin()  # as good as any, and the same each time
        slopes = torch.autograd.grad(z, [theta[name] for name in v], u, materialize_grads=True)
    expected = sum((g.conj() * w).real.sum() for g, w in zip(slopes, wide.values(), strict=True))
    gaps = []
    for step in steps:
        with same_random_numbers(forward):
            z_dot = difference_tangent(twin, theta, wide, x, None, step)
        gap = abs((u * z_dot).sum() - expected) / (u.norm() * z_dot.norm())
        gaps.append(float(gap))
    return gaps
