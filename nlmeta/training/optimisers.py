"""The optimiser of a run, and the course of its learning rates."""

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import torch
from torch import nn

from nlmeta._checks import check_one_gradient

__all__ = ["MakeOptimizer", "described", "optimizer_of", "rate_factor"]

MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

SGD_OPTIONS = ("lr", "momentum", "weight_decay")


def optimizer_of(
    make: MakeOptimizer | None,
    model: nn.Module,
    options: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> torch.optim.Optimizer:
    """The optimiser of a network's parameters.

    Parameters
    ----------
    make : callable or None
        The argument `optimizer` of `fit`; with None it is SGD with the options of `fit`.
    model : nn.Module
        The network, on the device of the run.
    options, defaults : mapping
        The options of `fit`, and its defaults. Options of SGD that are given beside `make` would
        have no effect and are refused.

    Raises
    ------
    TypeError
        `make` does not return an optimiser whose step takes one gradient.
    ValueError
        An option of SGD is given beside `make`, or the optimiser's parameters or rates are not
        usable.
    """
    if make is None:
        return torch.optim.SGD(model.parameters(), **{name: options[name] for name in SGD_OPTIONS})
    if not callable(make):
        what = type(make).__name__ if isinstance(make, torch.optim.Optimizer) else repr(make)
        raise TypeError(
            f"`optimizer` is {what}; it must be a function of the parameters that returns their "
            "optimiser, `lambda parameters: torch.optim.AdamW(parameters, lr=1e-3)`"
        )
    for name in SGD_OPTIONS:
        if options[name] != defaults[name]:
            raise ValueError(
                f"`{name}` is {options[name]} and `optimizer` is given, which has options of its "
                f"own; give it `{name}` there, or leave one of the two out"
            )
    optimizer = make(list(model.parameters()))
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"`optimizer` returned a {type(optimizer).__name__}; it must return a "
            "`torch.optim.Optimizer`"
        )
    check_one_gradient(optimizer)
    own = {id(p) for p in model.parameters()}
    if not all(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise ValueError(
            "`optimizer` returned an optimiser of parameters that are not the network's; make it "
            "of the parameters that it is given"
        )
    for group in optimizer.param_groups:
        if not isinstance(group.get("lr"), Real):
            raise ValueError(
                f"`optimizer` returned a {type(optimizer).__name__} with the rate "
                f"{group.get('lr')!r}; `lr` must be a number, which the schedule multiplies"
            )
    return optimizer


def described(optimizer: torch.optim.Optimizer) -> str:
    """The kind of an optimiser and the options of its groups, before the first step."""
    groups = [
        {name: value for name, value in group.items() if name != "params"}
        | {"parameters": sum(p.numel() for p in group["params"])}
        for group in optimizer.param_groups
    ]
    return f"{type(optimizer).__name__} of {groups}"


def rate_factor(settings: Mapping[str, Any], epoch: int, step: int, steps: int) -> float:
    """The factor of all learning rates in a step.

    Parameters
    ----------
    settings : mapping
        ``epochs``, ``schedule`` and ``lr_warmup_epochs``, the arguments of `fit`.
    epoch : int
        The epoch, counted from 1.
    step : int
        The step within the epoch, counted from 0.
    steps : int
        Number of steps in an epoch.

    Returns
    -------
    float
        The product of the warm-up, which rises linearly to 1 in its last step, and of the
        schedule; the cosine begins after the warm-up.
    """
    done = (epoch - 1) * steps + step
    rising = round(settings["lr_warmup_epochs"] * steps)
    warmup = min((done + 1) / rising, 1.0) if rising else 1.0
    schedule = settings["schedule"]
    if isinstance(schedule, list):
        return warmup * 0.1 ** sum(epoch >= drop for drop in schedule)
    if schedule == "constant" or done < rising:
        return warmup
    position = (done - rising) / (settings["epochs"] * steps - rising)  # from 0 to 1
    return 0.5 * (1 + math.cos(math.pi * position))
