"""The hypergradient: virtual step, outer gradient, tangent and boxed formula, (4.1) to (4.4)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from nlmeta._checks import check_choice, check_not_negative, check_positive
from nlmeta._torch import is_compiled
from nlmeta.bilevel._arithmetic import plain_arithmetic, second_derivatives
from nlmeta.bilevel._tangents import (
    difference_tangent,
    dual_tangent,
    warn_of_what_is_held_fixed,
)
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
from nlmeta.models.outputs import logits_of

__all__ = [
    "MODES",
    "Hypergradient",
    "Lookahead",
    "Mode",
    "hypergradient",
    "hypergradient_from_tangent",
    "outer_gradient",
    "recomputed",
    "tangent",
    "virtual_step",
]

Mode = Literal["jvp", "fd", "exact"]
MODES = ("jvp", "fd", "exact")


@dataclass(frozen=True)
class Lookahead:
    """How a hypergradient is computed; wherever a `mode` is asked for, this says it in full.

    Parameters
    ----------
    mode : {"jvp", "fd", "exact"}
        See the table of `nlmeta.bilevel`. Default ``"jvp"``.
    recompute : bool
        Free the graph of the forward pass after the virtual step, and run that pass again for the
        ordinary step (`recomputed`), as in activation checkpointing: one forward more, for the
        memory of about one graph less. The numbers stay the same. Not for
        ``"exact"``, nor with `only`. Default False.
    only : tuple of str, optional
        Beginnings of the names of the parameters that look ahead; the others are held fixed in the
        virtual step. ``("classifier",)`` is the last layer of the networks in `nlmeta.models`: it
        costs little and is another, weaker signal (chapter 10). Default: all of them.
    fd_step : float
        For ``mode="fd"``, see `tangent`. Default 1e-2.
    one_sided : bool
        For ``mode="fd"``: the difference to the logits of the forward pass, one pass less, with an
        error of first order in place of the second. On a GPU switch TensorFloat-32 off for it, by
        ``torch.backends.cudnn.conv.fp32_precision = "ieee"`` and likewise in ``cudnn.rnn`` and
        ``cuda.matmul``, since the forward pass must be as exact as the other. Default False.
    """

    mode: Mode = "jvp"
    recompute: bool = False
    only: tuple[str, ...] | None = None
    fd_step: float = 1e-2
    one_sided: bool = False

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, MODES)
        check_positive("fd_step", self.fd_step)
        if self.one_sided and self.mode != "fd":
            raise ValueError(f"`one_sided` is True; it is for mode='fd', not for {self.mode!r}")
        if isinstance(self.only, str):
            raise ValueError(f"`only` is {self.only!r}; it must be a tuple, ({self.only!r},)")
        if self.recompute and (self.mode == "exact" or self.only is not None):
            raise ValueError(
                "`recompute` is True; it needs a virtual step that can free the whole graph, so "
                "neither mode='exact' nor `only`"
            )

    @classmethod
    def of(cls, mode: "Mode | Lookahead") -> "Lookahead":
        """The lookahead itself, or that of a mode and else the defaults."""
        return mode if isinstance(mode, Lookahead) else cls(mode)


class Hypergradient(NamedTuple):
    """The derivative of the outer loss by the meta-parameters.

    Attributes
    ----------
    gradients : tuple of Tensor
        One for each meta-parameter, of its shape.
    outer_loss : Tensor, shape ()
        The outer loss after the virtual step, detached.
    """

    gradients: tuple[Tensor, ...]
    outer_loss: Tensor

    @property
    def norm(self) -> Tensor:
        """Length of all gradients together, shape (): what a diagnosis wants to see finite."""
        return torch.stack([g.square().sum() for g in self.gradients]).sum().sqrt()


def hypergradient(
    model: nn.Module,
    forward: ForwardPass,
    inner_loss: Callable[[Tensor], Tensor],
    outer_loss: Callable[[Callable[..., Any]], Tensor],
    meta_parameters: Sequence[Tensor],
    *,
    lr: float,
    mode: Mode | Lookahead = "jvp",
    theta_hat: Parameters | None = None,
) -> Hypergradient:
    """Derivative of the outer loss after one virtual step, by whatever enters only the inner loss.

    Parameters
    ----------
    model : nn.Module
        Any network that returns logits.
    forward : ForwardPass
        Its pass over the training batch, from `forward_pass`. The graph is kept for the ordinary
        step, unless the lookahead frees it: then that step's graph is from `recomputed`.
    inner_loss : callable
        Takes logits (n, C), returns the scalar L; depends on `meta_parameters`.
    outer_loss : callable
        Takes the network at the virtual parameters as a function of a batch, returns the scalar M.
    meta_parameters : sequence of Tensor
        phi; each requires a gradient and enters through `inner_loss` alone.
    lr : float
        Size of the virtual step.
    mode : {"jvp", "fd", "exact"} or Lookahead
        See the table of `nlmeta.bilevel`. Default ``"jvp"``.
    theta_hat : dict of str to Tensor, optional
        The virtual parameters, where they are known beforehand: then (4.1) need not be taken. Not
        for ``"exact"``, which differentiates it. Default: from `virtual_step`.

    Returns
    -------
    Hypergradient
        One gradient for each meta-parameter, and the outer loss.

    Notes
    -----
    Under bfloat16 autocast forward mode keeps working, at the precision of the network's own
    arithmetic: on the digits network of the tests the angle to the float64 hypergradient stays
    within a cosine of 0.99. The tests hold this bound. It is not one for every network: for
    ResNet-18 the record of `nlmeta.experiments.cost` has 0.48 at the first weights, where float32
    has 0.96, and 0.999 after 100 steps.

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
    if not isinstance(lr, Tensor):  # to look at a tensor's value may mean to wait for a GPU
        check_not_negative("lr", lr)
    if how.mode == "exact":
        if theta_hat is not None:
            raise ValueError("`theta_hat` is given; mode='exact' differentiates the virtual step")
        loss = inner_loss(forward.logits)
        step = virtual_step(model, loss, lr=lr, create_graph=True, only=how.only)
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
    v, value = outer_gradient(model, theta_hat, outer_loss)
    z_dot = tangent(model, forward, v, mode=how.mode, fd_step=how.fd_step, one_sided=how.one_sided)
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

    No momentum and no weight decay: they do not depend on the meta-parameters.

    Parameters
    ----------
    model : nn.Module
        The network whose parameters `loss` depends on.
    loss : Tensor, shape ()
        Inner loss.
    lr : float
        Size of the virtual step.
    create_graph : bool
        Keep the step differentiable, which ``mode="exact"`` needs. Default False.
    free_graph : bool
        Free the graph of `loss`. Default False: it is kept, for the ordinary step that comes later.
    only : tuple of str, optional
        See `Lookahead`. Default: every parameter moves.

    Returns
    -------
    dict of str to Tensor
        theta_hat; without `create_graph`, new leaves that require a gradient. Parameters that do
        not move are there as well, detached.

    Raises
    ------
    RuntimeError
        `create_graph` with a network compiled by `torch.compile`.

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
        Takes the network at `theta_hat` as a function of a batch, returns a scalar. For clean meta
        samples: ``lambda network: F.cross_entropy(network(meta.x), meta.y)``.

    Returns
    -------
    v : dict of str to Tensor
        The gradient, by the names of those that moved.
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
    mode: Literal["jvp", "fd"] = "jvp",
    fd_step: float = 1e-2,
    one_sided: bool = False,
) -> Tensor:
    """How the logits move when the parameters move along `direction`, equation (4.3).

    Parameters
    ----------
    model : nn.Module
        The network, at the parameters theta.
    forward : ForwardPass
        From `forward_pass`; its batch and its random numbers are used again.
    direction : dict of str to Tensor
        v, by parameter name. Parameters without an entry stand still.
    mode : {"jvp", "fd"}
        Forward-mode differentiation (default), or a central difference.
    fd_step : float
        Length of the difference's step in parameter space, so epsilon = fd_step / |v|; default
        1e-2, which in float32 stays above rounding and below the curvature of common networks.
    one_sided : bool
        The difference to the logits of `forward`, see `Lookahead`. Default False: a central one.

    Returns
    -------
    Tensor, shape (n, C)
        z_dot, detached, at least float32.

    Warns
    -----
    RuntimeWarning
        ``mode="fd"``, the first time that it meets this network, of which a copy in float64 is then
        compared: the network holds something fixed for its gradient, so the difference is another
        tangent than the modes ``"jvp"`` and ``"exact"`` take.

    Raises
    ------
    RuntimeError
        ``mode="fd"`` under autocast: a difference of half-precision numbers is mostly rounding.
    NotImplementedError
        An operation of the network has no forward-mode rule.

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
    theta = {name: p.detach() for name, p in parameters(model).items()} | forward.buffers
    with (
        torch.no_grad(),
        same_random_numbers(forward),
        plain_arithmetic(model, mode, forward.x.device),
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

    Everything happens on an (n, C) array, so its cost does not depend on the network.

    Parameters
    ----------
    inner_loss : callable
        Takes logits of shape (n, C), returns the scalar L; depends on `meta_parameters`.
    logits : Tensor, shape (n, C)
        z at the old parameters.
    z_dot : Tensor, shape (n, C)
        Tangent of the logits along the outer gradient, from `tangent`.
    meta_parameters : sequence of Tensor
        phi; each requires a gradient.
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


def recomputed(model: nn.Module, forward: ForwardPass, mode: Mode | Lookahead) -> ForwardPass:
    """The forward pass for the ordinary step: run again if the lookahead freed its graph.

    The pass repeats its random numbers, and running statistics do not move a second time.

    Parameters
    ----------
    model : nn.Module
        The network, at the parameters of the forward pass.
    forward : ForwardPass
        From `forward_pass`.
    mode : {"jvp", "fd", "exact"} or Lookahead
        What `hypergradient` was called with.

    Returns
    -------
    ForwardPass
        Whose logits have a graph.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import bilevel
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.ones_(model.weight)
    >>> forward = bilevel.forward_pass(model, torch.tensor([[2.0]]))
    >>> _ = bilevel.virtual_step(model, forward.logits.sum(), lr=0.1, free_graph=True)
    >>> again = bilevel.recomputed(model, forward, bilevel.Lookahead(recompute=True))
    >>> torch.autograd.grad(again.logits.sum(), model.weight)
    (tensor([[2.]]),)
    """
    if not Lookahead.of(mode).recompute:
        return forward
    with same_random_numbers(forward):
        network = with_parameters(model, parameters(model) | forward.buffers)
        return forward._replace(logits=logits_of(network, forward.x))
