"""The two sequences of a step with a meta step: look first, then act, or the other way round.

Methods say what their two steps are, and `both_steps` takes them as `bilevel.Lookahead` says.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nlmeta import bilevel
from nlmeta._checks import check_not_negative
from nlmeta.methods.base import backward, descend

__all__ = ["both_steps", "check_virtual_lr"]


def both_steps(
    how: bilevel.Lookahead,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    forward: bilevel.ForwardPass,
    *,
    learn: Callable[[bilevel.TakenStep | None], dict[str, Tensor]],
    loss: Callable[[bilevel.ForwardPass], Tensor],
) -> dict[str, Tensor]:
    """The meta step and the ordinary step, from one forward pass.

    Parameters
    ----------
    how : bilevel.Lookahead
        The options of the method.
    model, optimizer
        The arguments of `Method.step`.
    forward : bilevel.ForwardPass
        The network's pass over the training batch.
    learn : callable
        The meta step: ``learn(taken)`` moves the meta-parameters and returns diagnostics. Its
        argument is the ordinary step where that came first, else None.
    loss : callable
        The loss of the ordinary step, as a function of the pass. It uses the meta-parameters as
        they are when it is called, and holds them fixed.

    Returns
    -------
    dict of str to Tensor
        The loss, detached, and the diagnostics.
    """
    if how.acts_first:
        value = loss(forward)
        backward(optimizer, value)
        diagnostics = learn(bilevel.act(model, optimizer))
    else:
        diagnostics = learn(None)
        value = loss(bilevel.recomputed(model, forward, how))
        descend(optimizer, value)
    return {"loss": value.detach(), **diagnostics}


def check_virtual_lr(value: float | None, how: bilevel.Lookahead, *, needed: bool = True) -> None:
    """Require a size of the virtual step where one is taken, and none where the network acts."""
    if how.acts_first:
        if value is not None:
            raise ValueError(
                f"`virtual_lr` is {value}; with sequence='act-first' no virtual step is taken, and "
                "the size of the real one is the optimiser's, so it must be None"
            )
    elif value is not None or needed:
        check_not_negative("virtual_lr", value)  # type: ignore[arg-type]  # it refuses None
