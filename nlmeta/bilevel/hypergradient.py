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
    """Options for computing a hypergradient.

    Every argument called `mode` takes one of these, or the name of a mode for the defaults.

    Parameters
    ----------
    mode : {"jvp", "fd", "exact"}
        One of the three ways in the table of `nlmeta.bilevel`. Default ``"jvp"``.
    recompute : bool
        If True, the graph of the forward pass is freed after the virtual step, and the pass is run
        again for the ordinary step (`recomputed`), as in activation checkpointing. This costs one
        more forward pass and saves the memory of about one graph. The numbers stay the same. It
        cannot be combined with ``"exact"`` or with `only`. Default False.
    only : tuple of str, optional
        Beginnings of the names of the parameters that take part in the virtual step; the others
        are held fixed. ``("classifier",)`` is the last layer of the networks in `nlmeta.models`: it
        costs little and is another, weaker signal (chapter 10). Default: all parameters.
    fd_step : float
        Length of the step of ``mode="fd"``, explained in `tangent`. Default 1e-2.
    one_sided : bool
        If True, ``mode="fd"`` takes the difference to the logits of the forward pass. This saves
        one pass, and the error is of first instead of second order. On a GPU the forward pass must
        then be as exact as the other pass: switch TensorFloat-32 off by
        ``torch.backends.cudnn.conv.fp32_precision = "ieee"``, and likewise in ``cudnn.rnn`` and
        ``cuda.matmul``. Default False.
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
            raise ValueError(
                f"`one_sided` is True and `mode` is {self.mode!r}; only mode='fd' can be one-sided"
            )
        if isinstance(self.only, str):
            raise ValueError(f"`only` is {self.only!r}; it must be a tuple, ({self.only!r},)")
        if self.recompute and (self.mode == "exact" or self.only is not None):
            raise ValueError(
                "`recompute` is True; the virtual step must be able to free the whole graph, so "
                "use neither mode='exact' nor `only`"
            )

    @classmethod
    def of(cls, mode: "Mode | Lookahead") -> "Lookahead":
        """The given lookahead; for the name of a mode, that mode with the default options."""
        return mode if isinstance(mode, Lookahead) else cls(mode)


class Hypergradient(NamedTuple):
    """The derivative of the outer loss by the meta-parameters.

    Attributes
    ----------
    gradients : tuple of Tensor
        One gradient for each meta-parameter, of the same shape.
    outer_loss : Tensor, shape ()
        The outer loss after the virtual step, detached.
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
    lr: float,
    mode: Mode | Lookahead = "jvp",
    theta_hat: Parameters | None = None,
) -> Hypergradient:
    """Derivative of the outer loss after one virtual step, by parameters of the inner loss alone.

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
    lr : float
        Size of the virtual step.
    mode : {"jvp", "fd", "exact"} or Lookahead
        One of the three ways in the table of `nlmeta.bilevel`. Default ``"jvp"``.
    theta_hat : dict of str to Tensor, optional
        The virtual parameters, if they are known beforehand; then (4.1) is not computed. They are
        refused with ``"exact"``, which differentiates (4.1). Default: taken by `virtual_step`.

    Returns
    -------
    Hypergradient
        One gradient for each meta-parameter, and the outer loss.

    Notes
    -----
    Forward mode also works under bfloat16 autocast, at the precision of the network's own
    arithmetic. On the digits network of the tests, the cosine of the angle to the float64
    hypergradient is at least 0.99; the tests hold this bound. It does not hold for every network:
    for ResNet-18 the record of `nlmeta.experiments.cost` has 0.48 at the first weights, where
    float32 has 0.96, and 0.999 after 100 steps.

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
    if not isinstance(lr, Tensor):  # reading a tensor's value may mean waiting for a GPU
        check_not_negative("lr", lr)
    if how.mode == "exact":
        if theta_hat is not None:
            raise ValueError(
                "`theta_hat` is given; mode='exact' differentiates the virtual step and must take "
                "it itself, so leave `theta_hat` out"
            )
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
        A pass from `forward_pass`; its batch and its random numbers are used again.
    direction : dict of str to Tensor
        The direction v, by parameter name. Parameters without an entry do not move.
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
    theta = {name: p.detach() for name, p in parameters(model).items()} | forward.buffers
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


def recomputed(model: nn.Module, forward: ForwardPass, mode: Mode | Lookahead) -> ForwardPass:
    """The forward pass for the ordinary step; it is run again if the lookahead freed its graph.

    The new pass uses the same random numbers, and running statistics do not move a second time.

    Parameters
    ----------
    model : nn.Module
        The network, at the parameters of the forward pass.
    forward : ForwardPass
        A pass from `forward_pass`.
    mode : {"jvp", "fd", "exact"} or Lookahead
        The mode that `hypergradient` was called with.

    Returns
    -------
    ForwardPass
        A pass whose logits have a graph.

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
