"""One step of lookahead, and how its outcome depends on anything that enters only the loss.

A meta-learning method for noisy labels asks: *if I took one gradient step with this loss, would the
network become better?* The loss depends on meta-parameters phi (a transition matrix, soft labels,
sample weights). With theta the network's parameters, z = f(theta; x) its logits on the training
batch, L(z; phi) the inner loss and M the outer loss, the question is the derivative of
M(theta_hat) by phi,

    theta_hat = theta - lr * dL/dtheta          (4.1)  the virtual step
    v         = dM/dtheta at theta_hat          (4.2)  the outer gradient
    z_dot     = J v,  J = dz/dtheta at theta    (4.3)  the tangent of the logits
    dM/dphi   = -lr * d/dphi <dL/dz, z_dot>     (4.4)  the hypergradient, in the space of logits

(4.4) holds because phi enters L only behind the logits. So one Jacobian-vector product of the
network gives the derivative by *every* meta-parameter at once, and no graph of a gradient is ever
kept. This is the shape of all methods of this book except MLNT, whose meta-parameters are theta
itself: for these there is `trial_gradient`.

Three ways to the same number, chosen by `mode`:

===========  ==============================================  ============  ==================
mode         what it does                                    error         cost beside (4.2)
===========  ==============================================  ============  ==================
``"jvp"``    (4.3) by forward-mode differentiation           round-off     1 dual forward
``"fd"``     (4.3) by a central difference of two forwards   second order  2 forwards
``"exact"``  differentiates (4.1) itself                     round-off     1 double backward
===========  ==============================================  ============  ==================

A difference compares whole passes, so it sees what the other two do not: whatever a network holds
fixed for its gradient by ``detach`` or ``no_grad``, and the jumps behind a straight-through
gradient. For such a network ``"fd"`` is off by an error that no step size mends, and warns of it.

The modes ``"jvp"`` and ``"fd"`` are what the methods use; ``"exact"`` is the form of the papers'
code, kept as the reference that the tests compare with. Chapter 4 derives all of this by hand.
`Lookahead` says more than a mode: which layers look ahead, and whether memory is worth more than
time.

BatchNorm's running statistics move only in `forward_pass`, which the ordinary step needs anyway;
every other pass works on copies that are thrown away.

Where several processes share a batch, gradients by theta are summed over them here, and everything
else is as with one, see `nlmeta.distributed`.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, NamedTuple
from weakref import WeakSet

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from nlmeta._checks import check_choice, check_not_negative, check_positive
from nlmeta._torch import full_float32, is_compiled, move
from nlmeta.distributed import sum_over_processes, world_size
from nlmeta.models.copies import check_initialised, copy_of
from nlmeta.models.outputs import check_inputs, logits_of, with_features
from nlmeta.seeding import random_state, set_random_state

__all__ = [
    "ForwardPass",
    "Hypergradient",
    "Lookahead",
    "Mode",
    "Order",
    "forward_pass",
    "hypergradient",
    "hypergradient_from_tangent",
    "outer_gradient",
    "parameters",
    "recomputed",
    "same_random_numbers",
    "tangent",
    "trial_gradient",
    "trial_gradients",
    "virtual_step",
    "with_parameters",
]

Parameters = dict[str, Tensor]
Mode = Literal["jvp", "fd", "exact"]
MODES = ("jvp", "fd", "exact")
Order = Literal["first", "second"]
ORDERS = ("first", "second")
# In training mode these write their buffers, and in evaluation mode they read them: never both.
RUNNING_STATISTICS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
HELD_FIXED = 1e-3  # of a tangent, at both lengths of the step

_compared: "WeakSet[nn.Module]" = WeakSet()  # networks of which a difference was compared


@dataclass(frozen=True)
class Lookahead:
    """How a hypergradient is computed; wherever a `mode` is asked for, this says it in full.

    Parameters
    ----------
    mode : {"jvp", "fd", "exact"}
        See the table of this module. Default ``"jvp"``.
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
        For ``mode="fd"``: the difference to the recorded logits, one forward less, with an error of
        first order in place of the second. On a GPU switch TensorFloat-32 off for it, by
        ``torch.backends.cudnn.conv.fp32_precision = "ieee"`` and likewise in ``cudnn.rnn`` and
        ``cuda.matmul``, since the recorded pass must be as exact as the other. Default False.
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


class ForwardPass(NamedTuple):
    """A forward pass on the training batch whose graph is kept, with the random numbers it drew.

    Attributes
    ----------
    x : Tensor, shape (n, ...)
        The batch.
    logits : Tensor, shape (n, C)
        The network's output, attached to its parameters.
    random_state : tuple of Tensor
        State of PyTorch's global generators before the pass, so that dropout can be repeated. A
        network that draws from elsewhere (`random`, NumPy, a generator of its own) is another one
        in every pass, and its hypergradients are wrong.
    features : Tensor, shape (n, D), optional
        What the last linear layer saw, detached, where it was asked for.
    buffers : dict of str to Tensor
        Copies of those that stood before the pass and may enter its outcome, by name: all but the
        running statistics of norm layers. The vectors of a spectral norm are such ones; the pass
        has moved them.
    """

    x: Tensor
    logits: Tensor
    random_state: tuple[Tensor, ...]
    features: Tensor | None = None
    buffers: Parameters = {}


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


def parameters(model: nn.Module, only: tuple[str, ...] | None = None) -> Parameters:
    """The network's trainable parameters by name; frozen ones take no part in the virtual step.

    Parameters
    ----------
    model : nn.Module
        Any network.
    only : tuple of str, optional
        Those whose names begin so. Default: all.

    Returns
    -------
    dict of str to Tensor
    """
    theta: Parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    check_initialised("model", model)
    if not theta:
        raise ValueError("`model` has no trainable parameter; a virtual step needs at least one")
    if only is None:
        return theta
    chosen = {n: p for n, p in theta.items() if n.startswith(tuple(only))}
    if not chosen:
        raise ValueError(f"`only` is {only!r}; no parameter's name begins so. They are {[*theta]}")
    return chosen


def with_parameters(model: nn.Module, theta: Parameters) -> Callable[..., Any]:
    """The network as a function, with parameters `theta` in the place of its own.

    Calling it leaves `model` as it was. Buffers (running statistics) are copied for each call, and
    so is the batch. Attributes that the network sets on its way, such as a count or an activation
    that it keeps, are put back, unless it is compiled; what it changes in place in such an
    attribute is not.

    Parameters
    ----------
    model : nn.Module
        Any network.
    theta : dict of str to Tensor
        Parameters by name, as `parameters` gives them. What is missing is taken from `model`; so
        are buffers, unless some are given as well.

    Returns
    -------
    callable
        ``f(x, **options)`` with the output of ``model(x, **options)``.

    Notes
    -----
    The network may not use activation checkpointing (`torch.utils.checkpoint`). On its way back it
    would run again at the network's own parameters, and the gradient would be a wrong one.
    """

    # PyTorch's own handling of tied weights leaves a network that uses one layer twice at the given
    # parameters for good (pytorch issue 164759). So each place is named once, and ties are ours.
    places = _places(model)

    def network(x: Tensor, **options: Any) -> Any:
        buffers = {name: theta.get(name, b).detach().clone() for name, b in model.named_buffers()}
        state = {**theta, **buffers}
        given = {place: state[name] for place, name in places.items() if name in state}
        with _no_casts_kept(model, x.device), _attributes_put_back(model):
            return functional_call(model, given, (x.clone(),), options, tie_weights=False)

    return network


def forward_pass(model: nn.Module, x: Tensor, *, features: bool = False) -> ForwardPass:
    """The forward pass that lookahead and ordinary step share.

    It runs on the network itself, so running statistics move here, and nowhere else.

    Parameters
    ----------
    model : nn.Module
        Any network that returns logits.
    x : Tensor, shape (n, ...)
        Training batch.
    features : bool
        Keep the features as well, see `models.with_features`. Default False.

    Returns
    -------
    ForwardPass
        The logits with their graph, and the random numbers that dropout drew.

    Raises
    ------
    ValueError
        The batch lies on another device than the network.
    """
    check_inputs(x)
    place = next(iter(parameters(model).values())).device
    if x.device != place:
        raise ValueError(
            f"`x` lies on {x.device} and `model` on {place}; move one of them with `.to`"
        )
    state, buffers = random_state(x.device), _entering_buffers(model)
    if features:
        logits, seen = with_features(model, x)
        return ForwardPass(x, logits, state, seen.detach(), buffers)
    return ForwardPass(x, logits_of(model, x), state, None, buffers)


def recomputed(model: nn.Module, forward: ForwardPass, mode: Mode | Lookahead) -> ForwardPass:
    """The recorded pass for the ordinary step: run again if the lookahead freed its graph.

    The pass repeats its random numbers, and running statistics do not move a second time.

    Parameters
    ----------
    model : nn.Module
        The network, at the parameters of the recorded pass.
    forward : ForwardPass
        From `forward_pass`.
    mode : {"jvp", "fd", "exact"} or Lookahead
        What `hypergradient` was called with.

    Returns
    -------
    ForwardPass
        Whose logits have a graph.
    """
    if not Lookahead.of(mode).recompute:
        return forward
    with same_random_numbers(forward):
        network = with_parameters(model, parameters(model) | forward.buffers)
        return forward._replace(logits=logits_of(network, forward.x))


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
    pairs = zip(theta.items(), sum_over_processes(_dense(gradients)), strict=True)
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
    """
    # Leaves, so that the gradient ends there and does not go back through the step.
    leaves = {name: p.detach().requires_grad_(p.requires_grad) for name, p in theta_hat.items()}
    value = outer_loss(with_parameters(model, leaves))
    moved = {name: p for name, p in leaves.items() if p.requires_grad}
    gradients = _gradients_at(model, moved, value)
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
        The recorded pass; its batch and its random numbers are used again.
    direction : dict of str to Tensor
        v, by parameter name. Parameters without an entry stand still.
    mode : {"jvp", "fd"}
        Forward-mode differentiation (default), or a central difference.
    fd_step : float
        Length of the difference's step in parameter space, so epsilon = fd_step / |v|; default
        1e-2, which in float32 stays above rounding and below the curvature of common networks.
    one_sided : bool
        The difference to the recorded logits, see `Lookahead`. Default False: a central one.

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
    """
    check_choice("mode", mode, ("jvp", "fd"))
    theta = {name: p.detach() for name, p in parameters(model).items()} | forward.buffers
    with (
        torch.no_grad(),
        same_random_numbers(forward),
        _plain_arithmetic(model, mode, forward.x.device),
    ):
        if mode == "jvp":
            z_dot = _dual_tangent(model, theta, direction, forward.x)
        else:
            here = forward.logits.detach() if one_sided else None
            _warn_of_what_is_held_fixed(model, forward, direction)
            z_dot = _difference_tangent(model, theta, direction, forward.x, here, fd_step)
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
    """
    z = logits.detach().to(z_dot.dtype).requires_grad_()
    with _second_derivatives("`inner_loss`", "write it with operations that can be"):
        (slope,) = torch.autograd.grad(inner_loss(z), z, create_graph=True)  # dL/dz, (n, C)
        change = -lr * (slope * z_dot).sum()
        return torch.autograd.grad(change, list(meta_parameters), materialize_grads=True)


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
        See the table above. Default ``"jvp"``.
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
        with _second_derivatives():
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


def trial_gradient(
    model: nn.Module,
    forward: ForwardPass,
    trial_loss: Callable[[Tensor], Tensor],
    outer_loss: Callable[[Callable[..., Any]], Tensor],
    *,
    lr: float,
    order: Order = "first",
) -> tuple[Parameters, Tensor]:
    """Gradient of the outer loss after a trial step, by the parameters that the step started from.

    The chain rule through (4.1) multiplies the outer gradient (4.2) by the derivative of the step,

        d/dtheta M(theta - lr g(theta)) = v - lr H v,    g = dL/dtheta,  H = d^2 L / dtheta^2,

    and the first order leaves H v out. Both agree where ``lr`` is 0.

    Parameters
    ----------
    model : nn.Module
        Any network that returns logits.
    forward : ForwardPass
        Its pass over the training batch, from `forward_pass`. The graph is kept, so one pass serves
        many trial steps and the ordinary step.
    trial_loss : callable
        Takes logits (n, C), returns the scalar L.
    outer_loss : callable
        Takes the network after the trial step as a function of a batch, returns the scalar M.
    lr : float
        Size of the trial step.
    order : {"first", "second"}
        ``"first"`` (default) costs a backward pass beside (4.2), ``"second"`` two more for H v.
        What either keeps is freed before it returns.

    Returns
    -------
    gradient : dict of str to Tensor
        By name, as `parameters` names them.
    value : Tensor, shape ()
        The outer loss, detached.

    Notes
    -----
    The outer loss repeats the random numbers of the recorded pass. So on the same batch the
    network after the step drops the units that the step did without.
    """
    check_choice("order", order, ORDERS)
    check_not_negative("lr", lr)
    second = order == "second"
    theta_hat = virtual_step(model, trial_loss(forward.logits), lr=lr, create_graph=second)
    with same_random_numbers(forward):
        v, value = outer_gradient(model, theta_hat, outer_loss)
    if not second:
        return v, value
    theta = parameters(model)
    # theta_hat is a function of theta with derivative I - lr H, which is symmetric. Each process
    # starts from its share of v, since their gradients are summed, in here and at the end.
    with _second_derivatives():
        gradients = torch.autograd.grad(
            list(theta_hat.values()),
            list(theta.values()),
            grad_outputs=[g / world_size() for g in v.values()],
            retain_graph=True,
            materialize_grads=True,
        )
    return dict(zip(theta, sum_over_processes(gradients), strict=True)), value


def trial_gradients(
    model: nn.Module,
    forward: ForwardPass,
    trial_loss: Callable[[Tensor, Tensor], Tensor],
    labels: Tensor,
    outer_loss: Callable[[Callable[..., Any]], Tensor],
    *,
    lr: float,
) -> tuple[Parameters, Tensor]:
    """The sum of `trial_gradient`, first order, over several sets of labels that are tried at once.

    The recorded pass goes backward once for all sets, and the network runs once for all trial
    steps, each operation on M sets of parameters side by side. The numbers are those of one set
    after another, but for rounding; the memory is that of M trial networks.

    Parameters
    ----------
    model : nn.Module
        Any network that returns logits, and that `torch.func.vmap` can take. It may draw no random
        numbers, as dropout does: those that it would draw here are not always those of `forward`.
    forward : ForwardPass
        Its pass over the training batch, from `forward_pass`. The graph is kept.
    trial_loss : callable
        Takes logits (n, C) and one set of labels, returns the scalar L. For example
        ``F.cross_entropy``.
    labels : Tensor, shape (M, n, ...)
        A set of labels in each row.
    outer_loss : callable
        Takes the network after a trial step as a function of a batch, returns a scalar. It is
        called once, for all steps.
    lr : float
        Size of the trial steps.

    Returns
    -------
    gradient : dict of str to Tensor
        By name, as `parameters` names them; summed over the sets.
    value : Tensor, shape ()
        The sum of the outer losses, detached.

    Raises
    ------
    RuntimeError
        The network draws random numbers, is compiled by `torch.compile`, or uses an operation that
        `torch.func.vmap` cannot take, as recurrent layers do.

    Notes
    -----
    Fewer and larger operations are for a device that short ones leave idle, as a GPU with a small
    network; there it was not timed. One core of a CPU is busy all the time, and on it they brought
    nothing: dense layers took about as long as in turn, the convolutions of a ResNet, ten sets at
    once, about twice as long. `nlmeta.experiments.cost` tells what they bring on a device.

    Only first order. A gradient that `vmap` took through BatchNorm or LayerNorm with a learned
    scale has a wrong derivative in PyTorch 2.15, without an error.

    Under autocast the recorded pass goes backward once for each set, as in `trial_gradient`; so it
    does where PyTorch has no rule for channels last (GroupNorm in 2.11).
    """
    check_not_negative("lr", lr)
    n = len(forward.logits)
    if labels.ndim < 2 or len(labels) == 0 or labels.shape[1] != n:
        raise ValueError(
            f"`labels` has shape {tuple(labels.shape)}; it must be (M, {n}), a set of labels in "
            "each of at least one row"
        )
    if is_compiled(model):
        raise RuntimeError(
            "a compiled network cannot take several trial steps at once; leave `compile` out, or "
            "take one after the other: MLNT with trials_at_once=1"
        )
    slopes = vmap(grad(trial_loss), in_dims=(None, 0))(forward.logits.detach(), labels)  # (M, n, C)
    theta_hat = _trial_steps(model, forward, slopes, lr)
    # BatchNorm writes its running statistics, so each network has its own.
    buffers = {name: b.detach().expand(len(labels), *b.shape) for name, b in model.named_buffers()}

    def outer(theta: Parameters) -> Tensor:
        return outer_loss(with_parameters(model, theta))

    try:
        values = vmap(outer, randomness="error")({**theta_hat, **buffers})  # (M,)
    except RuntimeError as error:
        if "Batching rule not implemented" in str(error):
            raise RuntimeError(
                "`model` uses an operation that cannot run for several trial steps at once, as "
                "recurrent layers do; take one after the other: MLNT with trials_at_once=1. "
                f"PyTorch says: {error}"
            ) from error
        if "randomness" not in str(error):
            raise
        raise RuntimeError(
            "`model` draws random numbers, as dropout does, and several trial steps at once would "
            "not repeat those of the recorded pass; take one after the other: MLNT with "
            "trials_at_once=1"
        ) from error
    gradients = _gradients_at(model, theta_hat, values.sum())
    sums = sum_over_processes([g.sum(0) for g in gradients])
    return dict(zip(theta_hat, sums, strict=True)), values.detach().sum()


@contextmanager
def same_random_numbers(forward: ForwardPass) -> Iterator[None]:
    """Repeat the random numbers of a recorded pass; afterwards the stream goes on where it was.

    With other dropout masks a tangent would belong to another network than the virtual step.

    Parameters
    ----------
    forward : ForwardPass
        From `forward_pass`.
    """
    device = forward.x.device
    now = random_state(device)
    set_random_state(forward.random_state, device)
    try:
        yield
    finally:
        set_random_state(now, device)


def _trial_steps(model: nn.Module, forward: ForwardPass, slopes: Tensor, lr: float) -> Parameters:
    """Parameters after a step (4.1) for each of the slopes dL/dz (M, n, C), by name: (M, ...)."""
    theta = parameters(model)

    def backward(slope: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            forward.logits, list(theta.values()), slope, retain_graph=True, materialize_grads=True
        )

    def in_turn() -> list[Tensor]:
        return [torch.stack(rows) for rows in zip(*map(backward, slopes), strict=True)]

    if torch.is_autocast_enabled(forward.x.device.type):
        # Under `vmap` a norm layer whose input and weights differ in type has no way back.
        gradients = in_turn()
    else:
        try:
            gradients = list(vmap(backward)(slopes))
        except RuntimeError as error:
            # A layer that asks how its input lies in memory, as GroupNorm in PyTorch 2.11 with
            # channels last, gets no answer under `vmap`.
            if "memory_format" not in str(error):
                raise
            gradients = in_turn()
    pairs = zip(theta.items(), sum_over_processes(gradients), strict=True)
    return {name: (p.detach() - lr * g).requires_grad_() for (name, p), g in pairs}


def _entering_buffers(model: nn.Module) -> Parameters:
    """Copies of the buffers that may enter what the network computes in training mode."""
    return {
        f"{prefix}.{name}" if prefix else name: buffer.detach().clone()
        for prefix, module in model.named_modules()
        if not isinstance(module, RUNNING_STATISTICS)
        for name, buffer in module.named_buffers(recurse=False)
    }


def _places(model: nn.Module) -> dict[str, str]:
    """Each place of the network that holds a parameter or buffer, and the name of what it holds."""
    tensors = chain(model.named_parameters(), model.named_buffers())
    names = {id(tensor): name for name, tensor in tensors}
    return {
        place: names[id(tensor)]
        for prefix, module in model.named_modules()
        for place, tensor in chain(
            module.named_parameters(prefix, recurse=False, remove_duplicate=False),
            module.named_buffers(prefix, recurse=False, remove_duplicate=False),
        )
    }


def _gradients_at(model: nn.Module, theta: Parameters, value: Tensor) -> list[Tensor]:
    """Gradients by the parameters of a pass that was to be taken at `theta`, and was."""
    own = {name: p for name, p in parameters(model).items() if name in theta}
    both = [*theta.values(), *own.values()]  # those of the network cost nothing if they are unused
    gradients = torch.autograd.grad(value, both, allow_unused=True)
    for name, gradient in zip(own, gradients[len(theta) :], strict=True):
        if gradient is not None:
            raise RuntimeError(
                f"`model` uses its own {name!r} in a pass at other parameters, so gradients would "
                "be wrong: the network reaches it through a list, a closure or a cache, where no "
                "pass can replace it (use it through the module that owns it); or the outer loss "
                "does, by the network itself (detach that) or by an attribute that the network "
                "sets, which is put back after each pass (return it, or keep it by a hook)"
            )
    pairs = zip(theta.values(), gradients, strict=False)
    return _dense(torch.zeros_like(p) if g is None else g for p, g in pairs)


@contextmanager
def _second_derivatives(
    of: str = "`model` or `inner_loss`",
    way_out: str = "use mode='jvp', mode='fd' or order='first', or for attention the math backend "
    "of `torch.nn.attention.sdpa_kernel`",
) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of which a NotImplementedError is one
        if "not implemented" not in str(error):
            raise
        raise NotImplementedError(
            f"{of} uses an operation that cannot be differentiated twice; {way_out}. "
            f"PyTorch says: {error}"
        ) from error


def _dense(gradients: Iterable[Tensor]) -> list[Tensor]:
    """An embedding may give sparse gradients, of which dual numbers and processes know nothing."""
    return [g.to_dense() if g.is_sparse else g for g in gradients]


@contextmanager
def _attributes_put_back(model: nn.Module) -> Iterator[None]:
    """What a pass sets on the modules is of a network at other parameters, and goes with it."""
    if is_compiled(model):
        yield  # the compiler keeps accounts there
        return
    before = [(vars(module), dict(vars(module))) for module in model.modules()]
    try:
        yield
    finally:
        for now, then in before:
            for name in now.keys() - then.keys():
                del now[name]
            now.update((name, value) for name, value in then.items() if now.get(name) is not value)


@contextmanager
def _no_casts_kept(model: nn.Module, device: torch.device) -> Iterator[None]:
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
def _plain_arithmetic(model: nn.Module, mode: str, device: torch.device) -> Iterator[None]:
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


def _dual_tangent(model: nn.Module, theta: Parameters, v: Parameters, x: Tensor) -> Tensor:
    # Dual numbers rather than `torch.func.jvp`: only they hold under autocast with norm layers.
    with warnings.catch_warnings(), forward_ad.dual_level():
        # PyTorch's first use of forward mode warns of a deprecated function that PyTorch itself
        # calls.
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
        duals = theta | {
            name: forward_ad.make_dual(theta[name], g.to(theta[name].dtype))
            for name, g in v.items()
        }
        try:
            logits, z_dot = forward_ad.unpack_dual(logits_of(with_parameters(model, duals), x))
        except NotImplementedError as error:
            raise NotImplementedError(
                "`model` uses an operation without a forward-mode derivative, so mode='jvp' cannot "
                "work; use mode='fd'. Or, for attention, the math backend of "
                "`torch.nn.attention.sdpa_kernel`, in evaluation mode after "
                "`torch.backends.mha.set_fastpath_enabled(False)`; for recurrent layers on a CPU "
                "float64, or `torch.backends.mkldnn.flags(enabled=False)`. PyTorch says: "
                f"{error}"
            ) from error
    return torch.zeros_like(logits) if z_dot is None else z_dot


def _difference_tangent(
    model: nn.Module,
    theta: Parameters,
    v: Parameters,
    x: Tensor,
    here: Tensor | None,
    fd_step: float,
) -> Tensor:
    """A difference to the logits `here`, at theta; without them a central one."""
    check_positive("fd_step", fd_step)
    if torch.is_autocast_enabled(x.device.type):
        raise RuntimeError(
            "mode='fd' under autocast would return rounding errors: the difference of two "
            "half-precision forwards; use mode='jvp', or leave autocast"
        )
    parts = (torch.view_as_real(g) if g.is_complex() else g for g in v.values())
    length = torch.stack([part.square().sum() for part in parts]).sum().sqrt()
    # Where v is zero the tangent is zero, whatever epsilon is; the clamp only avoids 0/0.
    epsilon = fd_step / length.clamp_min(torch.finfo(length.dtype).tiny)
    epsilon = torch.where(length > 0, epsilon, torch.ones_like(epsilon))
    state = random_state(x.device)
    ahead = logits_of(with_parameters(model, theta | _moved(theta, v, epsilon)), x)
    if here is not None:
        return (ahead - here) / epsilon
    set_random_state(state, x.device)
    behind = logits_of(with_parameters(model, theta | _moved(theta, v, -epsilon)), x)
    return (ahead - behind) / (2 * epsilon)


def _moved(theta: Parameters, v: Parameters, step: Tensor) -> Parameters:
    return {name: theta[name] + step * g for name, g in v.items()}


def _warn_of_what_is_held_fixed(model: nn.Module, forward: ForwardPass, v: Parameters) -> None:
    """Compare differences with a gradient, once for each network.

    What a network holds fixed makes a gap that does not depend on the length of the step. A ReLU
    that changes sides makes one at the longer step, and a part in float32 at the shorter one.
    """
    if model in _compared or world_size() > 1 or forward.x.device.type == "mps":
        return
    _compared.add(model)
    try:
        gap = min(_gaps(model, forward, v, steps=(1e-7, 1e-4)))
    except Exception:  # the comparison is an extra, and float64 is not for every network
        return
    if gap > HELD_FIXED:
        warnings.warn(
            f"{type(model).__name__} holds something fixed for its gradient, by `detach`, "
            "`no_grad` or a straight-through estimate, and mode='fd' sees through that: its "
            "tangent is another one than a gradient's. Use mode='jvp'",
            RuntimeWarning,
            stacklevel=4,
        )


def _gaps(
    model: nn.Module, forward: ForwardPass, v: Parameters, *, steps: Sequence[float]
) -> list[float]:
    """By how much <u, J_fd v> and <J^T u, v> differ for some u, on a few rows, in float64.

    With J_fd v the difference of a step. Each gap is a share of the lengths of u and J_fd v.
    """
    twin = copy_of(model)
    move(twin, forward.x.device, torch.float64)
    theta = parameters(twin)
    with torch.no_grad():
        for k, p in enumerate(theta.values()):  # away from ReLUs that are exactly at their kink
            p += 1e-2 * torch.arange(p.numel(), device=p.device).add(k).sin().view(p.shape)
    x = forward.x[:16]
    x = x.double() if x.is_floating_point() else x
    wide = {name: g.to(theta[name].dtype) for name, g in v.items()}
    with same_random_numbers(forward), torch.enable_grad():
        z = logits_of(with_parameters(twin, theta), x)
        u = torch.ones_like(z).cumsum(0).sin()  # as good as any, and the same each time
        slopes = torch.autograd.grad(z, [theta[name] for name in v], u, materialize_grads=True)
    expected = sum((g.conj() * w).real.sum() for g, w in zip(slopes, wide.values(), strict=True))
    gaps = []
    for step in steps:
        with same_random_numbers(forward):
            z_dot = _difference_tangent(twin, theta, wide, x, None, step)
        gap = abs((u * z_dot).sum() - expected) / (u.norm() * z_dot.norm())
        gaps.append(float(gap))
    return gaps
