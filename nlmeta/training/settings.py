"""The settings of a run as names, numbers and digests; equal settings give equal results.

A checkpoint holds the settings of its run, and is read only into a run with the same settings. All
processes of one run must have the same settings as well.
"""

import hashlib
from collections.abc import Container, Iterator, Mapping
from inspect import signature
from itertools import chain
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
from torch import Tensor, nn

from nlmeta import distributed
from nlmeta._interface import parts_of
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
        The arguments of `fit`, on the device of the run.
    options : mapping
        The arguments of `fit` that decide what is computed.
    whole : bool
        Whether to include a digest of all inputs, which reads every number.

    Returns
    -------
    dict
        The settings, in types that `torch.load` reads with ``weights_only=True``.
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
    """The value without NumPy's numbers, which a checkpoint read by `weights_only` may not hold.

    Parameters
    ----------
    value : object
        Any value, or a mapping or list of values. NumPy's numbers become Python's, and arrays
        become lists.
    """
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def differences(theirs: Any, ours: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The differences of two mappings, level by level: the place and the two values."""
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
                f"all processes must call `fit` with the same arguments: `{name}` is {there!r} in "
                f"process {number} and {here!r} in process {distributed.rank()}"
            )


def _inputs(samples: Samples, *, whole: bool) -> str:
    """Size, scale and augmentation of inputs; the split's digest has their rows and labels.

    With `whole` also a digest of the numbers or, for images on disk, of the names of their files.
    """
    parts = {name: _input(part, whole=whole) for name, part in parts_of(samples.x).items()}
    return "; ".join(said if name == "x" else f"{name}: {said}" for name, said in parts.items())


def _input(x: Tensor | Images, *, whole: bool) -> str:
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
    """For each module the facts that are not in its weights: rates, activations, frozen parts."""
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
    """The names of the constructor's arguments; none if it is not written in Python."""
    try:
        return signature(kind).parameters
    except ValueError:
        return ()
