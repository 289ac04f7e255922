"""The one way in which the package runs a network: on a copy of the batch, for logits and features.

A network may write into its input. A step uses the same batch in several passes, and a slice of a
tensor shares its numbers with the tensor. So each pass runs on a copy.

Several inputs, such as tokens with their attention mask, are a dict, which a network gets as its
keyword arguments, or a tuple, which it gets as positional ones.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from nlmeta._interface import Inputs, arguments_of, check_inputs, each, logits_in

__all__ = ["FeaturesOf", "logits_of", "with_features"]


def logits_of(network: Callable[..., Any], x: Inputs) -> Tensor:
    """Logits of a batch.

    Parameters
    ----------
    network : callable
        A network, or `bilevel.with_parameters` of one. It returns the logits, an object or a dict
        with ``logits``, or a tuple that begins with them.
    x : Tensor of shape (n, ...), or a tuple or dict of such tensors
        Batch of inputs. A network gets a tuple as positional arguments and a dict as keyword
        arguments. A network that changes its input in place changes a copy.

    Returns
    -------
    Tensor, shape (n, C)
        The logits.

    Raises
    ------
    TypeError
        The batch is of another kind, or the network's output holds no logits.
    ValueError
        The logits are not of shape (n, C), or tensors of the batch have different numbers of rows.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import models
    >>> class Masked(torch.nn.Module):
    ...     def forward(self, tokens, mask):
    ...         return {"logits": tokens * mask}
    >>> batch = {"tokens": torch.tensor([[1.0, 2.0]]), "mask": torch.tensor([[1, 0]])}
    >>> models.logits_of(Masked(), batch)
    tensor([[1., 0.]])
    """
    return _checked(_run(network, x))


def with_features(network: Callable[..., Any], x: Inputs) -> tuple[Tensor, Tensor]:
    """Logits of a batch and the features that enter the last linear layer.

    Parameters
    ----------
    network : callable
        A network, or `bilevel.with_parameters` of one, with an argument ``return_features`` like
        the networks of `nlmeta.models`.
    x : Tensor of shape (n, ...), or a tuple or dict of such tensors
        Batch of inputs, as in `logits_of`.

    Returns
    -------
    logits : Tensor, shape (n, C)
        The logits.
    features : Tensor, shape (n, D)
        The features.

    Raises
    ------
    TypeError
        The network cannot return its features.
    """
    asked = (
        "`model` cannot return its features; its `forward` must take `return_features=True` and "
        "then return (logits, features), of shapes (n, C) and (n, D), as the networks in "
        "nlmeta.models do. `models.FeaturesOf(model, 'classifier')` adds this to any network"
    )
    try:
        output = _run(network, x, return_features=True)
    except TypeError as error:
        if "return_features" in str(error):
            raise TypeError(asked) from error
        raise
    if not (isinstance(output, tuple) and len(output) == 2):
        raise TypeError(asked)
    logits, features = logits_in(output[0]), output[1]
    if not all(isinstance(part, Tensor) and part.ndim == 2 for part in (logits, features)):
        raise TypeError(asked)
    return logits, features


class FeaturesOf(nn.Module):
    """Any network, with `return_features`: the features are what enters one of its layers.

    MLNT and CLID-MU need features, and the networks of other libraries do not return them.

    Parameters
    ----------
    network : nn.Module
        The network. It is not copied.
    layer : str
        Name of the last linear layer among the network's modules, such as ``"classifier"``.

    Raises
    ------
    ValueError
        The network has no such layer, or a pass does not run it.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import models
    >>> body = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    >>> logits, features = models.with_features(models.FeaturesOf(body, "2"), torch.ones(4, 2))
    >>> tuple(logits.shape), tuple(features.shape)
    ((4, 3), (4, 5))
    """

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        names = [name for name, _ in network.named_modules() if name]
        if layer not in names:
            raise ValueError(f"`layer` is {layer!r}; the network's layers are {', '.join(names)}")
        self.network, self.layer = network, layer

    def forward(self, *positional: Any, return_features: bool = False, **named: Any) -> Any:
        """The network's output; with `return_features` its logits and the features, (n, D)."""
        if not return_features:
            return self.network(*positional, **named)
        seen: list[Tensor] = []
        layer = self.network.get_submodule(self.layer)

        def note(_: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
            seen.append(inputs[0] if inputs else options["input"])

        hook = layer.register_forward_pre_hook(note, with_kwargs=True)
        try:
            output = self.network(*positional, **named)
        finally:
            hook.remove()
        if not seen or seen[-1].ndim != 2:
            found = "which no pass runs"
            if seen:
                found = f"whose input is of shape {tuple(seen[-1].shape)}"
            raise ValueError(
                f"`layer` is {self.layer!r}, {found}; it must be the last linear layer, with an "
                "input of shape (n, D)"
            )
        return logits_in(output), seen[-1]


def _run(network: Callable[..., Any], x: Inputs, **options: Any) -> Any:
    """A pass on a copy that the network may change; `bilevel.with_parameters` makes its own."""
    check_inputs(x)
    if not isinstance(network, nn.Module):
        return network(x, **options)
    positional, named = arguments_of(each(Tensor.clone, x))
    return network(*positional, **named, **options)


def _checked(output: Any) -> Tensor:
    """The logits in an output, of shape (n, C)."""
    logits = logits_in(output)
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"`model` returned a {type(output).__name__}; it must return logits of shape (n, C): a "
            "tensor, an object or a dict with `logits`, or a tuple that begins with them. Wrap it "
            "in a module whose `forward` returns only the logits"
        )
    if logits.ndim != 2:
        raise ValueError(
            f"`model` returned logits of shape {tuple(logits.shape)}; it must be (n, C)"
        )
    return logits
