"""The ordinary step as the lookahead: what it was, for the derivative of where it led.

Act first, then look where that led. The released code of EMLC (M. K. Taraday, C. Baskin, "Enhanced
Meta Label Correction for Coping with Label Corruption", ICCV 2023) takes its steps in this
sequence; it treats the optimiser's step as a plain one. Here momentum's part is exact as well.
"""

from typing import NamedTuple

import torch
from torch import nn

from nlmeta._torch import has_hooks_before_step
from nlmeta.bilevel.passes import Parameters, parameters

__all__ = ["TakenStep", "act"]


class TakenStep(NamedTuple):
    """An ordinary step of the network that was taken, from `act`.

    Attributes
    ----------
    before : dict of str to Tensor
        Copies of the parameters before the step, by the names of `parameters`.
    rates : dict of str to float
        A number c for each parameter that the optimiser moves: the derivative of the new parameter
        by its gradient is -c times the identity.
    """

    before: Parameters
    rates: dict[str, float]


def act(model: nn.Module, optimizer: torch.optim.Optimizer) -> TakenStep:
    """Take the optimiser's step with the gradients that the parameters have, and note what it was.

    A step of SGD is linear in the gradient of its own batch, whatever momentum and weight decay add
    to it: theta' = theta - c g + (what does not depend on g). With learning rate lr, momentum mu
    and dampening tau, as PyTorch defines them,

        c = lr (1 - tau)     in general, tau = 0 without momentum and in the first step,
        c = lr (1 + mu)      with Nesterov's momentum,

    and -c if the optimiser maximises. So with v the outer gradient at theta', the hypergradient of
    the step is (4.4) with c for lr and the tangent at theta, the parameters before.

    Parameters
    ----------
    model : nn.Module
        The network, with gradients in its parameters.
    optimizer : torch.optim.SGD
        The optimiser of its parameters; each group may have options of its own. Its ``step`` is
        called. A hook after the step may read the parameters, but not change them.

    Returns
    -------
    TakenStep
        The parameters before the step, and the number c of each.

    Raises
    ------
    TypeError
        The optimiser is not `torch.optim.SGD` itself; rules of others are not written yet.
    ValueError
        A hook before the step, of the optimiser or of all optimisers, could change the gradients.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import bilevel
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.ones_(model.weight)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.5, nesterov=True)
    >>> model(torch.ones(1, 1)).sum().backward()
    >>> taken = bilevel.act(model, optimizer)
    >>> model.weight.data
    tensor([[0.2500]])
    >>> taken.before
    {'weight': tensor([[1.]])}
    >>> taken.rates
    {'weight': 0.75}
    """
    rates = _rates(model, optimizer)
    before = {name: p.detach().clone() for name, p in parameters(model).items()}
    optimizer.step()
    return TakenStep(before, rates)


def _rates(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The number c of each parameter in the optimiser's next step."""
    if type(optimizer) is not torch.optim.SGD:
        raise TypeError(
            f"`optimizer` is {type(optimizer).__name__}; sequence='act-first' differentiates the "
            "optimiser's own step and has the rule of torch.optim.SGD alone: use that, or "
            "sequence='look-first'"
        )
    if has_hooks_before_step(optimizer):
        raise ValueError(
            "`optimizer` has a hook before its step, as for clipping gradients; "
            "sequence='act-first' differentiates the step and does not see what a hook changes: "
            "remove the hook, or use sequence='look-first'"
        )
    names = {id(p): name for name, p in parameters(model).items()}
    rates = {}
    for group in optimizer.param_groups:
        momentum, dampening = group["momentum"], group["dampening"]
        for p in group["params"]:
            if id(p) not in names:
                continue
            first = optimizer.state.get(p, {}).get("momentum_buffer") is None
            share = 1.0 if momentum == 0 or first else 1 - dampening
            if group["nesterov"]:
                share = 1 + momentum  # PyTorch allows it without dampening alone
            rates[names[id(p)]] = (-share if group["maximize"] else share) * group["lr"]
    return rates
