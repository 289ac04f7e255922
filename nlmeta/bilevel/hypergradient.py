"""The hypergradient: virtual step, outer gradient, tangent and boxed formula, (4.1) to (4.4)."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from nlmeta._checks import check_choice, check_not_negative
from nlmeta._torch import is_compiled
from nlmeta.bilevel._arithmetic import autocast_to, plain_arithmetic, second_derivatives
from nlmeta.bilevel._tangents import (
    difference_tangent,
    dual_tangent,
    warn_of_what_is_held_fixed,
)
from nlmeta.bilevel.acting import TakenStep
from nlmeta.bilevel.lookahead import Lookahead, Mode
from nlmeta.bilevel.passes import (
    ForwardPass,
    Parameters,
    dense,
    gradients_at,
    parameters,
    same_random_numbers,
    with_parameters,
)
from nlmeta.distributed import sum_over_processes, world_size

__all__ = [
    "Hypergradient",
    "hypergradient",
    "hypergradient_from_tangent",
    "outer_gradient",
    "tangent",
    "virtual_step",
]


class Hypergradient(NamedTuple):
    """The derivative of the outer loss by the meta-parameters.

    Attributes
    ----------
    gradients : tuple of Tensor
        One gradient for each meta-parameter, of the same shape.
    outer_loss : Tensor, shape ()
        The outer loss after the virtual step, or after the step that was taken, detached.
    """

    gradients: tuple[Tensor, ...]
    outer_loss: Tensor

    @property
    def norm(self) -> Tensor:
        """Euclidean norm of all gradients together, shape (); it should be finite."""
        return torch.stack([g.square().sum() for g in self.gradients]).sum().sqrt()


def hypergradient(
    model: nn.Module,
    forward: ForwardPass,
    inner_loss: Callable[[Tensor], Tensor],
    outer_loss: Callable[[Callable[..., Any]], Tensor],
    meta_parameters: Sequence[Tensor],
    *,
    lr: float | None = None,
    mode: Mode | Lookahead = "jvp",
    theta_hat: Parameters | None = None,
    taken: TakenStep | None = None,
) -> Hypergradient:
    """Derivative of the outer loss after one step, by parameters of the inner loss alone.

    Parameters
    ----------
    model : nn.Module
        Any network that returns logits.
    forward : ForwardPass
        The network's pass over the training batch, from `forward_pass`. The graph is kept for the
        ordinary step, unless the lookahead frees it; then `recomputed` makes that step's graph.
    inner_loss : callable
        A function of the logits (n, C) that returns the scalar L; it depends on `meta_parameters`.
    outer_loss : callable
        A function of one argument that returns the scalar M. The argument is the network at the
        virtual parameters, as a function of a batch.
    meta_parameters : sequence of Tensor
        The meta-parameters phi; each requires a gradient and enters through `inner_loss` alone.
    lr : float, optional
        Size of the virtual step. It is required, but not used for a step that was taken.
    mode : {"jvp", "fd", "exact"} or Lookahead
        One of the three ways in the table of `nlmeta.bilevel`. Default ``"jvp"``.
    theta_hat : dict of str to Tensor, optional
        The virtual parameters, if they are known beforehand; then (4.1) is not computed. They are
        refused with ``"exact"``, which differentiates (4.1). Default: taken by `virtual_step`.
    taken : TakenStep, optional
        The ordinary step that was taken with `inner_loss`, up to terms without `meta_parameters`,
        from `act`. It is required with ``sequence="act-first"`` and refused otherwise. The network
        still has the parameters after the step; they are its `theta_hat`.

    Returns
    -------
    Hypergradient
        One gradient for each meta-parameter, and the outer loss.

    Notes
    -----
    Forward mode also works under bfloat16 autocast, at the precision of the network's own
    arithmetic. On the digits network of the tests, the cosine of the angle to the float64
    hypergradient is at least 0.99; the tests hold this bound. It does not hold for every network:
    for ResNet-18 the record of `nlmeta.experiments.cost` has 0.33 at the first weights, where
    float32 has 0.93, and 0.999 after 100 steps.

    Examples
    --------
    Here M is (1 - 0.2 phi)^2, so its derivative is -0.4 (1 - 0.2 phi).

    >>> import torch
    >>> from nlmeta import bilevel
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.ones_(model.weight)
    >>> forward = bilevel.forward_pass(model, torch.tensor([[2.0]]))
    >>> phi = torch.tensor(0.5, requires_grad=True)
    >>> inner = lambda z: (phi * z).sum()
    >>> outer = lambda network: network(torch.ones(1, 1)).square().sum()
    >>> bilevel.hypergradient(model, forward, inner, outer, [phi], lr=0.1).gradients
    (tensor(-0.3600),)
    """
    how = Lookahead.of(mode)
    device = forward.logits.device
    if (taken is not None) != how.acts_first:
        raise ValueError(
            f"`taken` is {'given' if taken else 'missing'} and `sequence` is {how.sequence!r}; a "
            "step from `bilevel.act` belongs to sequence='act-first' and is required there"
        )
    if taken is not None:
        theta_hat, lr = parameters(model), 1.0  # each parameter has a rate of its own
    elif lr is None:
        raise ValueError("`lr` is missing; a virtual step needs a size")
    elif not isinstance(lr, Tensor):  # reading a tensor's value may mean waiting for a GPU
        check_not_negative("lr", lr)
    if how.mode == "exact":
        if theta_hat is not None:
            raise ValueError(
                "`theta_hat` is given; mode='exact' differentiates the virtual step and must take "
                "it itself, so leave `theta_hat` out"
            )
        loss = inner_loss(forward.logits)
        step = virtual_step(model, loss, lr=lr, create_graph=True, only=how.only)
        with autocast_to(how.dtype, device):
            v, value = outer_gradient(model, step, outer_loss)
        with second_derivatives():
            gradients = torch.autograd.grad(
                [step[name] for name in v],
                list(meta_parameters),
                # Each process starts from its share, as the way back through the step sums them.
                grad_outputs=[g / world_size() for g in v.values()],
                retain_graph=True,
                materialize_grads=True,
            )
        return Hypergradient(gradients, value)
    if theta_hat is None:
        loss = inner_loss(forward.logits)
        theta_hat = virtual_step(model, loss, lr=lr, free_graph=how.recompute, only=how.only)
    with autocast_to(how.dtype, device):
        v, value = outer_gradient(model, theta_hat, outer_loss)
    if taken is not None:
        v = {name: c * v[name] for name, c in taken.rates.items()}
    with autocast_to(how.tangent_dtype, device):
        z_dot = tangent(
            model,
            forward,
            v,
            theta=None if taken is None else taken.before,
            mode=how.mode,
            fd_step=how.fd_step,
            one_sided=how.one_sided,
        )
    gradients = hypergradient_from_tangent(
        inner_loss, forward.logits, z_dot, meta_parameters, lr=lr
    )
    return Hypergradient(gradients, value)


def virtual_step(
    model: nn.Module,
    loss: Tensor,
    *,
    lr: float,
    create_graph: bool = False,
    free_graph: bool = False,
    only: tuple[str, ...] | None = None,
) -> Parameters:
    """Parameters after one plain gradient step, equation (4.1). The network itself does not move.

    The step has no momentum and no weight decay, which do not depend on the meta-parameters.

    Parameters
    ----------
    model : nn.Module
        The network whose parameters `loss` depends on.
    loss : Tensor, shape ()
        The inner loss.
    lr : float
        Size of the virtual step.
    create_graph : bool
        If True, the step stays differentiable, which ``mode="exact"`` needs. Default False.
    free_graph : bool
        If True, the graph of `loss` is freed. Default False: it is kept for the ordinary step.
    only : tuple of str, optional
        Beginnings of the names of the parameters that move, as in `Lookahead`. Default: all move.

    Returns
    -------
    dict of str to Tensor
        The virtual parameters theta_hat; without `create_graph`, new leaves that require a
        gradient. Parameters that do not move are included, detached.

    Raises
    ------
    RuntimeError
        `create_graph` is True and the network is compiled by `torch.compile`.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import bilevel
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.ones_(model.weight)
    >>> forward = bilevel.forward_pass(model, torch.tensor([[2.0]]))
    >>> bilevel.virtual_step(model, 0.5 * forward.logits.sum(), lr=0.1)
    {'weight': tensor([[0.9000]], requires_grad=True)}
    """
    if create_graph and is_compiled(model):
        raise RuntimeError(
            "a compiled network cannot be differentiated twice, which mode='exact' and MLNT's "
            "second order need; leave `compile` out, or use mode='jvp' or order='first'"
        )
    theta = parameters(model, only)
    gradients = torch.autograd.grad(
        loss,
        list(theta.values()),
        retain_graph=create_graph or not free_graph,
        create_graph=create_graph,
        materialize_grads=True,
    )
    pairs = zip(theta.items(), sum_over_processes(dense(gradients)), strict=True)
    if create_graph:
        moved = {name: p - lr * g for (name, p), g in pairs}
    else:
        moved = {name: (p.detach() - lr * g).requires_grad_() for (name, p), g in pairs}
    if only is None:
        return moved
    return {name: p.detach() for name, p in parameters(model).items()} | moved


def outer_gradient(
    model: nn.Module, theta_hat: Parameters, outer_loss: Callable[[Callable[..., Any]], Tensor]
) -> tuple[Parameters, Tensor]:
    """Gradient of the outer loss at the virtual parameters, equation (4.2).

    Parameters
    ----------
    model : nn.Module
        The network.
    theta_hat : dict of str to Tensor
        Virtual parameters, from `virtual_step`.
    outer_loss : callable
        A function of one argument that returns a scalar. The argument is the network at
        `theta_hat`, as a function of a batch. For clean meta samples it is
        ``lambda network: F.cross_entropy(network(meta.x), meta.y)``.

    Returns
    -------
    v : dict of str to Tensor
        The gradient, by the names of the parameters that moved.
    value : Tensor, shape ()
        The outer loss, detached.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import bilevel
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> theta_hat = {"weight": torch.tensor([[0.9]], requires_grad=True)}
    >>> outer = lambda network: network(torch.ones(1, 1)).square().sum()
    >>> bilevel.outer_gradient(model, theta_hat, outer)
    ({'weight': tensor([[1.8000]])}, tensor(0.8100))
    """
    # Leaves, so that the gradient ends there and does not go back through the step.
    leaves = {name: p.detach().requires_grad_(p.requires_grad) for name, p in theta_hat.items()}
    value = outer_loss(with_parameters(model, leaves))
    moved = {name: p for name, p in leaves.items() if p.requires_grad}
    gradients = gradients_at(model, moved, value)
    return dict(zip(moved, sum_over_processes(gradients), strict=True)), value.detach()


def tangent(
    model: nn.Module,
    forward: ForwardPass,
    direction: Parameters,
    *,
    theta: Parameters | None = None,
    mode: Literal["jvp", "fd"] = "jvp",
    fd_step: float = 1e-2,
    one_sided: bool = False,
) -> Tensor:
    """How the logits move when the parameters move along `direction`, equation (4.3).

    Parameters
    ----------
    model : nn.Module
        The network.
    forward : ForwardPass
        A pass from `forward_pass`; its batch and its random numbers are used again.
    direction : dict of str to Tensor
        The direction v, by parameter name. Parameters without an entry do not move.
    theta : dict of str to Tensor, optional
        The parameters theta of the pass, by name. Default: the network still has them.
    mode : {"jvp", "fd"}
        Forward-mode differentiation (default), or a central difference.
    fd_step : float
        Length of the difference's step in parameter space, so epsilon = fd_step / |v|. Default
        1e-2: in float32 it is large enough for rounding and small enough for the curvature of
        common networks.
    one_sided : bool
        If True, the difference is taken to the logits of `forward`, as `Lookahead` explains.
        Default False: a central difference.

    Returns
    -------
    Tensor, shape (n, C)
        The tangent z_dot, detached, at least float32.

    Warns
    -----
    RuntimeWarning
        The network holds something fixed for its gradient, so ``mode="fd"`` gives another tangent
        than the modes ``"jvp"`` and ``"exact"``. This is checked once for each network, on a copy
        in float64.

    Raises
    ------
    RuntimeError
        ``mode="fd"`` is used under autocast; a difference of half-precision numbers is mostly
        rounding error.
    NotImplementedError
        An operation of the network has no rule for forward mode.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import bilevel
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.ones_(model.weight)
    >>> forward = bilevel.forward_pass(model, torch.tensor([[2.0]]))
    >>> bilevel.tangent(model, forward, {"weight": torch.tensor([[1.8]])})
    tensor([[3.6000]])
    """
    check_choice("mode", mode, ("jvp", "fd"))
    theta = parameters(model) if theta is None else theta
    theta = {name: p.detach() for name, p in theta.items()} | forward.buffers
    with (
        torch.no_grad(),
        same_random_numbers(forward),
        plain_arithmetic(model, mode, forward.logits.device),
    ):
        if mode == "jvp":
            z_dot = dual_tangent(model, theta, direction, forward.x)
        else:
            here = forward.logits.detach() if one_sided else None
            warn_of_what_is_held_fixed(model, forward, direction)
            z_dot = difference_tangent(model, theta, direction, forward.x, here, fd_step)
    return z_dot.to(torch.promote_types(z_dot.dtype, torch.float32))


def hypergradient_from_tangent(
    inner_loss: Callable[[Tensor], Tensor],
    logits: Tensor,
    z_dot: Tensor,
    meta_parameters: Sequence[Tensor],
    *,
    lr: float,
) -> tuple[Tensor, ...]:
    """The boxed formula (4.4): dM/dphi = -lr * d/dphi <dL/dz(z; phi), z_dot>.

    All arrays have the shape (n, C), so the cost does not depend on the network.

    Parameters
    ----------
    inner_loss : callable
        A function of the logits (n, C) that returns the scalar L; it depends on `meta_parameters`.
    logits : Tensor, shape (n, C)
        The logits z at the old parameters.
    z_dot : Tensor, shape (n, C)
        Tangent of the logits along the outer gradient, from `tangent`.
    meta_parameters : sequence of Tensor
        The meta-parameters phi; each requires a gradient.
    lr : float
        Size of the virtual step.

    Returns
    -------
    tuple of Tensor
        One gradient for each meta-parameter; zero where L does not depend on it.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import bilevel
    >>> phi = torch.tensor(0.5, requires_grad=True)
    >>> z, z_dot = torch.tensor([[2.0]]), torch.tensor([[3.6]])
    >>> bilevel.hypergradient_from_tangent(lambda z: (phi * z).sum(), z, z_dot, [phi], lr=0.1)
    (tensor(-0.3600),)
    """
    z = logits.detach().to(z_dot.dtype).requires_grad_()
    with second_derivatives("`inner_loss`", "write it with operations that can be"):
        (slope,) = torch.autograd.grad(inner_loss(z), z, create_graph=True)  # dL/dz, (n, C)
        change = -lr * (slope * z_dot).sum()
        return torch.autograd.grad(change, list(meta_parameters), materialize_grads=True)
