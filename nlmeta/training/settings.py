"""What a run is, as names, numbers and digests: runs with equal settings end at equal numbers.

A checkpoint holds the settings of its run, and is read only into a run with the same ones. All
processes of one run must have the same ones as well.
"""

import hashlib
from collections.abc import Container, Iterator, Mapping
from inspect import signature
from itertools import chain
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
from torch import nn

from nlmeta import distributed
from nlmeta._torch import bytes_of
from nlmeta.data import ImageFiles, Images, Samples, Split
from nlmeta.methods import Method

__all__ = ["check_alike", "differences", "plain", "settings_of"]

PARTS = ("train", "meta", "test")


def settings_of(
    method: Method, model: nn.Module, split: Split, options: Mapping[str, Any], *, whole: bool
) -> dict[str, Any]:
    """The settings of a run, in plain types.

    Parameters
    ----------
    method, model, split
        As for `fit`, where the run computes.
    options : mapping
        The arguments of `fit` that decide what is computed.
    whole : bool
        Whether a digest of all inputs is among them. It takes a look at every number.

    Returns
    -------
    dict
        What `torch.load` reads with ``weights_only=True``.
    """
    settings = {
        "method": method.settings,
        "network": f"{type(model).__name__}, {sum(p.numel() for p in model.parameters())} "
        "parameters",
        "layers": _layers(model),
        "split": split.digest,
        "inputs": {part: _inputs(getattr(split, part), whole=whole) for part in PARTS},
        **options,
        "processes": distributed.world_size(),
    }
    return plain(settings)


def plain(value: Any) -> Any:
    """The same without NumPy's numbers, which a checkpoint read with `weights_only` may not hold.

    Parameters
    ----------
    value : object
        A number, an array, anything else, or a mapping or list of such values. An array becomes a
        list.
    """
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def differences(theirs: Any, ours: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two mappings differ, level by level: the place, and what each has there."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in dict.fromkeys(chain(ours, theirs)):
            place = f"{name}.{key}" if name else str(key)
            yield from differences(theirs.get(key), ours.get(key), place)
    elif theirs != ours:
        yield name, theirs, ours


def check_alike(settings: Mapping[str, Any]) -> None:
    """Require that all processes were started for the same run."""
    for number, theirs in enumerate(distributed.gather_objects(settings)):
        for name, there, here in differences(theirs, settings):
            raise ValueError(
                f"all processes must run the same: `{name}` is {there!r} in process {number}, "
                f"{here!r} in process {distributed.rank()}"
            )


def _inputs(samples: Samples, *, whole: bool) -> str:
    """What inputs are beside their rows and labels, which the digest has: size, scale, change.

    As a whole: and the numbers themselves, or, of images on disk, the names of their files.
    """
    x = samples.x
    said = x.description if isinstance(x, Images) else str(tuple(x.shape))
    if not whole:
        return said
    stored = x.stored if isinstance(x, Images) else x
    if isinstance(stored, ImageFiles):
        numbers = "\n".join(stored.names).encode()
    else:
        numbers = bytes_of(stored)
    return f"{said}, SHA-256 {hashlib.sha256(numbers).hexdigest()}"


def _layers(model: nn.Module) -> dict[str, str]:
    """Of each module what its weights do not tell: rates, activation functions, what is frozen."""
    told = float | str | FunctionType | BuiltinFunctionType
    layers = {}
    for name, module in model.named_modules():
        chosen = _parameters(type(module))  # what else a module notes may change in training
        options = [
            f"{option}={getattr(value, '__name__', value)}"
            for option, value in vars(module).items()
            if option in chosen and isinstance(value, told)
        ]
        frozen = [n for n, p in module.named_parameters(recurse=False) if not p.requires_grad]
        state = ["in evaluation mode"] * (not module.training) + [f"{n} frozen" for n in frozen]
        said = filter(None, [module.extra_repr(), *options, *state])
        layers[name or "network"] = f"{type(module).__name__}({', '.join(said)})"
    return layers


def _parameters(kind: type[nn.Module]) -> Container[str]:
    """The names of what its constructor takes; none of one that is not written in Python."""
    try:
        return signature(kind).parameters
    except ValueError:
        return ()
