"""Trial steps: lookahead whose meta-parameters are the network's own, as in MLNT (chapter 10)."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from nlmeta._checks import check_choice, check_count, check_not_negative
from nlmeta._torch import is_compiled
from nlmeta.bilevel._arithmetic import autocast_to, second_derivatives
from nlmeta.bilevel.hypergradient import outer_gradient, virtual_step
from nlmeta.bilevel.lookahead import HALF
from nlmeta.bilevel.passes import (
    ForwardPass,
    Parameters,
    gradients_at,
    parameters,
    repeated,
    same_random_numbers,
    with_parameters,
)
from nlmeta.distributed import sum_over_processes, world_size

__all__ = ["ORDERS", "Order", "mean_trial_gradient", "trial_gradient", "trial_gradients"]

Order = Literal["first", "second"]
ORDERS = ("first", "second")


def trial_gradient(
    model: nn.Module,
    forward: ForwardPass,
    trial_loss: Callable[[Tensor], Tensor],
    outer_loss: Callable[[Callable[..., Any]], Tensor],
    *,
    lr: float,
    order: Order = "first",
) -> tuple[Parameters, Tensor]:
    """Gradient of the outer loss after a trial step, by the parameters before the step.

    The chain rule through (4.1) multiplies the outer gradient (4.2) by the derivative of the step,

        d/dtheta M(theta - lr g(theta)) = v - lr H v,    g = dL/dtheta,  H = d^2 L / dtheta^2,

    and the first order leaves H v out. Both agree if ``lr`` is 0.

    Parameters
    ----------
    model : nn.Module
        Any network that returns logits.
    forward : ForwardPass
        The network's pass over the training batch, from `forward_pass`. The graph is kept, so one
        pass serves many trial steps and the ordinary step.
    trial_loss : callable
        A function of the logits (n, C) that returns the scalar L.
    outer_loss : callable
        A function of one argument that returns the scalar M. The argument is the network after
        the trial step, as a function of a batch.
    lr : float
        Size of the trial step.
    order : {"first", "second"}
        Order of the derivative. ``"first"`` (default) costs one backward pass besides (4.2),
        ``"second"`` two more for H v. Graphs made on the way are freed before the return.

    Returns
    -------
    gradient : dict of str to Tensor
        The gradient, by the names of `parameters`.
    value : Tensor, shape ()
        The outer loss, detached.

    Notes
    -----
    The outer loss repeats the random numbers of the forward pass. So on the same batch, dropout
    leaves out the same units after the step as in the step.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import bilevel
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.ones_(model.weight)
    >>> forward = bilevel.forward_pass(model, torch.tensor([[2.0]]))
    >>> trial = lambda z: z.square().sum() / 2  # g = 4 theta, H = 4
    >>> outer = lambda network: network(torch.ones(1, 1)).square().sum()
    >>> bilevel.trial_gradient(model, forward, trial, outer, lr=0.1)
    ({'weight': tensor([[1.2000]])}, tensor(0.3600))
    >>> bilevel.trial_gradient(model, forward, trial, outer, lr=0.1, order="second")
    ({'weight': tensor([[0.7200]])}, tensor(0.3600))
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
    with second_derivatives():
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

    The forward pass is differentiated once for all sets, and the network runs once for all trial
    steps, with each operation on M sets of parameters side by side. The numbers equal those of one
    set after another up to rounding. The memory is that of M trial networks.

    Parameters
    ----------
    model : nn.Module
        Any network that returns logits and that `torch.func.vmap` can run. It may not draw random
        numbers, as dropout does, because they would not always be those of `forward`.
    forward : ForwardPass
        The network's pass over the training batch, from `forward_pass`. The graph is kept.
    trial_loss : callable
        A function of the logits (n, C) and one set of labels that returns the scalar L. For
        example ``F.cross_entropy``.
    labels : Tensor, shape (M, n, ...)
        One set of labels in each row.
    outer_loss : callable
        A function of one argument that returns a scalar. The argument is the network after a trial
        step, as a function of a batch. It is called once, for all steps.
    lr : float
        Size of the trial steps.

    Returns
    -------
    gradient : dict of str to Tensor
        The gradient, by the names of `parameters`, summed over the sets.
    value : Tensor, shape ()
        The sum of the outer losses, detached.

    Raises
    ------
    RuntimeError
        The network draws random numbers, is compiled by `torch.compile`, or uses an operation that
        `torch.func.vmap` cannot run, as recurrent layers do.

    Notes
    -----
    Fewer and larger operations help on a device that is idle during short ones, such as a GPU with
    a small network; this was not timed. They did not help on one core of a CPU, which is always
    busy: dense layers took about as long as one set after another, and the convolutions of a
    ResNet, with ten sets at once, about twice as long. `nlmeta.experiments.cost` measures the
    effect on a device.

    Only the first order is offered. In PyTorch 2.15, a gradient that `vmap` took through BatchNorm
    or LayerNorm with a learned scale has a wrong derivative, without an error.

    Under autocast the forward pass is differentiated once for each set, as in `trial_gradient`. The
    same holds where PyTorch has no rule for channels last (GroupNorm in 2.11).

    Examples
    --------
    >>> import torch
    >>> from nlmeta import bilevel
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.ones_(model.weight)
    >>> forward = bilevel.forward_pass(model, torch.tensor([[2.0]]))
    >>> trial = lambda z, y: (z[:, 0] * y).sum()
    >>> outer = lambda network: network(torch.ones(1, 1)).square().sum()
    >>> labels = torch.tensor([[1], [3]])
    >>> bilevel.trial_gradients(model, forward, trial, labels, outer, lr=0.1)
    ({'weight': tensor([[2.4000]])}, tensor(0.8000))
    """
    check_not_negative("lr", lr)
    n = len(forward.logits)
    if labels.ndim < 2 or len(labels) == 0 or labels.shape[1] != n:
        raise ValueError(
            f"`labels` has shape {tuple(labels.shape)}; it must be (M, {n}): at least one row, and "
            "a set of labels in each row"
        )
    if is_compiled(model):
        raise RuntimeError(
            "a compiled network cannot take several trial steps at once; leave `compile` out, or "
            "take the steps one after the other, in MLNT by trials_at_once=1"
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
                "recurrent layers do; take the steps one after the other, in MLNT by "
                f"trials_at_once=1. PyTorch says: {error}"
            ) from error
        if "randomness" not in str(error):
            raise
        raise RuntimeError(
            "`model` draws random numbers, as dropout does, and several trial steps at once would "
            "not repeat those of the forward pass; take the steps one after the other, in MLNT by "
            "trials_at_once=1"
        ) from error
    gradients = gradients_at(model, theta_hat, values.sum())
    sums = sum_over_processes([g.sum(0) for g in gradients])
    return dict(zip(theta_hat, sums, strict=True)), values.detach().sum()


def mean_trial_gradient(
    model: nn.Module,
    forward: ForwardPass,
    trial_loss: Callable[[Tensor, Tensor], Tensor],
    labels: Tensor,
    outer_loss: Callable[[Callable[..., Any]], Tensor],
    *,
    lr: float,
    order: Order = "first",
    at_once: int = 1,
    dtype: Literal["bfloat16"] | None = None,
) -> tuple[Parameters, Tensor]:
    """The mean of `trial_gradient` over several sets of labels.

    Parameters
    ----------
    model, forward, trial_loss, labels, outer_loss, lr
        The same as in `trial_gradients`. Its conditions on the network hold if several sets are
        tried at once.
    order : {"first", "second"}
        Order of the derivative, as in `trial_gradient`. Default ``"first"``.
    at_once : int
        Number of sets that are tried at once; more than one only with the first order. Default 1:
        one after the other.
    dtype : {"bfloat16"}, optional
        The type of autocast in the trial steps. Their gradients are then taken from another forward
        pass, which autocast has seen; that of the ordinary step stays as it is. Networks in float64
        are not cast. Default: no autocast beside that of the caller.

    Returns
    -------
    gradient : dict of str to Tensor
        The gradient, by the names of `parameters`.
    value : Tensor, shape ()
        The mean of the outer losses, detached.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import bilevel
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.ones_(model.weight)
    >>> forward = bilevel.forward_pass(model, torch.tensor([[2.0]]))
    >>> trial = lambda z, y: (z[:, 0] * y).sum()
    >>> outer = lambda network: network(torch.ones(1, 1)).square().sum()
    >>> labels = torch.tensor([[1], [3]])
    >>> bilevel.mean_trial_gradient(model, forward, trial, labels, outer, lr=0.1)
    ({'weight': tensor([[1.2000]])}, tensor(0.4000))
    """
    check_at_once("at_once", at_once, order)
    if dtype is not None:
        check_choice("dtype", dtype, HALF)
        own: dict[str, Any] = {"lr": lr, "order": order, "at_once": at_once}
        with autocast_to(dtype, forward.logits.device):
            forward = repeated(model, forward)
            return mean_trial_gradient(model, forward, trial_loss, labels, outer_loss, **own)
    mean = {name: torch.zeros_like(p) for name, p in parameters(model).items()}
    values = []
    for some in labels.split(at_once):
        if len(some) > 1:
            gradient, value = trial_gradients(model, forward, trial_loss, some, outer_loss, lr=lr)
        else:
            gradient, value = trial_gradient(
                model,
                forward,
                lambda logits, y=some[0]: trial_loss(logits, y),  # type: ignore[misc]
                outer_loss,
                lr=lr,
                order=order,
            )
        for name, g in gradient.items():
            mean[name] += g / len(labels)
        values.append(value / len(labels))
    return mean, sum(values[1:], values[0])


def check_at_once(name: str, value: int, order: str) -> None:
    """Refuse several trial steps at once unless they are of the first order."""
    check_count(name, value)
    if value > 1 and order == "second":
        raise ValueError(
            f"`{name}` is {value}; it must be 1 for order='second', whose trial steps are taken "
            "one after the other"
        )


def _trial_steps(model: nn.Module, forward: ForwardPass, slopes: Tensor, lr: float) -> Parameters:
    """Parameters after a step (4.1) for each of the slopes dL/dz (M, n, C), by name: (M, ...)."""
    theta = parameters(model)

    def backward(slope: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            forward.logits, list(theta.values()), slope, retain_graph=True, materialize_grads=True
        )

    def in_turn() -> list[Tensor]:
        return [torch.stack(rows) for rows in zip(*map(backward, slopes), strict=True)]

    if torch.is_autocast_enabled(forward.logits.device.type):
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
