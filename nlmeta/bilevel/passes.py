"""Passes of any network, at its own parameters and at others, that leave the network as it was.

Only `forward_pass` moves running statistics. The callers differentiate.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nlmeta._interface import Inputs, arguments_of, check_inputs, device_of, each, parts_of
from nlmeta._torch import is_compiled
from nlmeta.bilevel._arithmetic import no_casts_kept
from nlmeta.models.copies import check_initialised
from nlmeta.models.outputs import logits_of, with_features
from nlmeta.seeding import random_state, set_random_state

__all__ = [
    "ForwardPass",
    "Parameters",
    "forward_pass",
    "parameters",
    "same_random_numbers",
    "with_parameters",
]

Parameters = dict[str, Tensor]

# In training mode these write their buffers, and in evaluation mode they read them: never both.
RUNNING_STATISTICS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)


class ForwardPass(NamedTuple):
    """A forward pass on the training batch whose graph is kept, with the random numbers it drew.

    Attributes
    ----------
    x : Tensor of shape (n, ...), or a tuple or dict of such tensors
        The batch.
    logits : Tensor, shape (n, C)
        The network's output, attached to its parameters.
    random_state : tuple of Tensor
        State of PyTorch's global generators before the pass, so that dropout can be repeated. A
        network that draws from elsewhere (`random`, NumPy, a generator of its own) differs from
        pass to pass, and its hypergradients are wrong.
    features : Tensor, shape (n, D), optional
        The input of the last linear layer, detached; None if `features` was False.
    buffers : dict of str to Tensor
        Copies, by name, of the buffers before the pass that may enter its outcome: all but the
        running statistics of norm layers. An example are the vectors of a spectral norm, which the
        pass has moved.
    """

    x: Inputs
    logits: Tensor
    random_state: tuple[Tensor, ...]
    features: Tensor | None = None
    buffers: Parameters = {}


def parameters(model: nn.Module, only: tuple[str, ...] | None = None) -> Parameters:
    """The network's trainable parameters by name; frozen ones take no part in the virtual step.

    Parameters
    ----------
    model : nn.Module
        Any network.
    only : tuple of str, optional
        Beginnings of the names of the parameters that are returned. Default: all of them.

    Returns
    -------
    dict of str to Tensor
        The parameters themselves, not copies.

    Examples
    --------
    >>> from torch import nn
    >>> from nlmeta import bilevel
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    >>> list(bilevel.parameters(model, only=("1.",)))
    ['1.weight', '1.bias']
    """
    theta: Parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    check_initialised("model", model)
    if not theta:
        raise ValueError("`model` has no trainable parameter; a virtual step needs at least one")
    if only is None:
        return theta
    chosen = {n: p for n, p in theta.items() if n.startswith(tuple(only))}
    if not chosen:
        raise ValueError(
            f"`only` is {only!r}; no parameter's name begins so. The names are {[*theta]}"
        )
    return chosen


def with_parameters(model: nn.Module, theta: Parameters) -> Callable[..., Any]:
    """The network as a function, with parameters `theta` in the place of its own.

    A call leaves `model` as it was. Buffers (running statistics) are copied for each call, and so
    is the batch. Attributes that the network sets during the call, such as a counter or a stored
    activation, are set back afterwards, unless the network is compiled. Changes made in place
    inside such an attribute are not undone.

    Parameters
    ----------
    model : nn.Module
        Any network.
    theta : dict of str to Tensor
        Parameters by name, as returned by `parameters`; buffers may be given as well. Those that
        are missing are taken from `model`.

    Returns
    -------
    callable
        A function ``f(x, **options)`` of one batch, with the output of ``model(x, **options)``. If
        the batch is a tuple or a dict, it is that of ``model(*x, **options)`` or
        ``model(**x, **options)``.

    Notes
    -----
    The network may not use activation checkpointing (`torch.utils.checkpoint`). In the backward
    pass it would run again at the network's own parameters, and the gradient would be wrong.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import bilevel
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> network = bilevel.with_parameters(model, {"weight": torch.tensor([[3.0]])})
    >>> network(torch.tensor([[2.0]]))
    tensor([[6.]])
    """

    # PyTorch's own handling of tied weights leaves a network that uses one layer twice at the given
    # parameters for good (pytorch issue 164759). So each place is named once, and ties are ours.
    places = _places(model)

    def network(x: Inputs, **options: Any) -> Any:
        check_inputs(x)
        buffers = {name: theta.get(name, b).detach().clone() for name, b in model.named_buffers()}
        state = {**theta, **buffers}
        given = {place: state[name] for place, name in places.items() if name in state}
        positional, named = arguments_of(each(Tensor.clone, x))
        with no_casts_kept(model, device_of(x)), _attributes_put_back(model):
            return functional_call(model, given, positional, named | options, tie_weights=False)

    return network


def forward_pass(model: nn.Module, x: Inputs, *, features: bool = False) -> ForwardPass:
    """The forward pass that the virtual step and the ordinary step share.

    It runs on the network itself, so running statistics move here and nowhere else.

    Parameters
    ----------
    model : nn.Module
        Any network that returns logits.
    x : Tensor of shape (n, ...), or a tuple or dict of such tensors
        Training batch, as in `models.logits_of`.
    features : bool
        If True, the features are kept as well, as `models.with_features` returns them.
        Default False.

    Returns
    -------
    ForwardPass
        The logits with their graph, and the state of the random numbers before dropout drew.

    Raises
    ------
    ValueError
        The batch and the network lie on different devices.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import bilevel
    >>> model = torch.nn.BatchNorm1d(1)
    >>> forward = bilevel.forward_pass(model, torch.tensor([[1.0], [3.0]]))
    >>> forward.logits.detach()
    tensor([[-1.0000],
            [ 1.0000]])
    >>> model.running_mean  # moved by a tenth of the batch's mean
    tensor([0.2000])
    """
    check_inputs(x)
    place = next(iter(parameters(model).values())).device
    for part in parts_of(x).values():
        if part.device != place:
            raise ValueError(
                f"`x` lies on {part.device} and `model` on {place}; move one of them with `.to`"
            )
    state, buffers = random_state(place), _entering_buffers(model)
    if features:
        logits, seen = with_features(model, x)
        return ForwardPass(x, logits, state, seen.detach(), buffers)
    return ForwardPass(x, logits_of(model, x), state, None, buffers)


@contextmanager
def same_random_numbers(forward: ForwardPass) -> Iterator[None]:
    """Repeat the random numbers of a forward pass; afterwards the stream goes on where it was.

    With other dropout masks, the tangent and the virtual step would belong to different networks.

    Parameters
    ----------
    forward : ForwardPass
        A pass from `forward_pass`.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import bilevel
    >>> model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(8, 2))
    >>> forward = bilevel.forward_pass(model, torch.ones(4, 8))
    >>> with bilevel.same_random_numbers(forward):
    ...     again = model(forward.x)
    >>> torch.equal(again, forward.logits)
    True
    """
    device = forward.logits.device
    now = random_state(device)
    set_random_state(forward.random_state, device)
    try:
        yield
    finally:
        set_random_state(now, device)


def repeated(model: nn.Module, forward: ForwardPass) -> ForwardPass:
    """The same pass once more, with a graph of its own; running statistics stay."""
    with same_random_numbers(forward):
        network = with_parameters(model, parameters(model) | forward.buffers)
        return forward._replace(logits=logits_of(network, forward.x))


def gradients_at(model: nn.Module, theta: Parameters, value: Tensor) -> list[Tensor]:
    """Gradients by `theta` of a pass at `theta`; refused if the network's own parameters enter."""
    own = {name: p for name, p in parameters(model).items() if name in theta}
    both = [*theta.values(), *own.values()]  # those of the network cost nothing if they are unused
    gradients = torch.autograd.grad(value, both, allow_unused=True)
    for name, gradient in zip(own, gradients[len(theta) :], strict=True):
        if gradient is not None:
            raise RuntimeError(
                f"`model` uses its own {name!r} in a pass at other parameters, so gradients would "
                "be wrong. Either the network holds it in a list, a closure or a cache, where it "
                "cannot be replaced: use it through the module that owns it. Or the outer loss "
                "uses the network itself: detach that part. Or it reads an attribute that the "
                "network sets, which is set back after each pass: return it, or keep it by a hook"
            )
    pairs = zip(theta.values(), gradients, strict=False)
    return dense(torch.zeros_like(p) if g is None else g for p, g in pairs)


def dense(gradients: Iterable[Tensor]) -> list[Tensor]:
    """Gradients as dense tensors; dual numbers and sums over processes refuse sparse ones."""
    return [g.to_dense() if g.is_sparse else g for g in gradients]


def _entering_buffers(model: nn.Module) -> Parameters:
    """Copies of the buffers that may enter what the network computes in training mode."""
    return {
        f"{prefix}.{name}" if prefix else name: buffer.detach().clone()
        for prefix, module in model.named_modules()
        if not isinstance(module, RUNNING_STATISTICS)
        for name, buffer in module.named_buffers(recurse=False)
    }


def _places(model: nn.Module) -> dict[str, str]:
    """For each place of the network that holds a parameter or a buffer, the name of that tensor."""
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


@contextmanager
def _attributes_put_back(model: nn.Module) -> Iterator[None]:
    """Undo what a pass sets on the modules, since it belongs to a network at other parameters."""
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
