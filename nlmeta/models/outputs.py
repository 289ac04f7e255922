"""The one way in which the package runs a network: on a copy of the batch, for logits and features.

A network may write into its input. A step uses the same batch in several passes, and a slice of a
tensor shares its numbers with the tensor. So each pass runs on a copy.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

__all__ = ["check_inputs", "logits_of", "with_features"]


def logits_of(network: Callable[..., Any], x: Tensor) -> Tensor:
    """Logits of a batch.

    Parameters
    ----------
    network : callable
        A network, or `bilevel.with_parameters` of one.
    x : Tensor, shape (n, ...)
        Batch of inputs. A network that changes its input in place changes a copy.

    Returns
    -------
    Tensor, shape (n, C)
        The logits.

    Raises
    ------
    TypeError
        The batch is not a tensor, or the network does not return a tensor.
    ValueError
        The network's output is not of shape (n, C).
    """
    logits = network(_own(network, x))
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"`model` returned a {type(logits).__name__}; it must return logits, a tensor of shape "
            f"(n, C). {_way_out(logits)}"
        )
    if logits.ndim != 2:
        raise ValueError(
            f"`model` returned a tensor of shape {tuple(logits.shape)}; it must be (n, C)"
        )
    return logits


def with_features(network: Callable[..., Any], x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of a batch and the features that enter the last linear layer.

    Parameters
    ----------
    network : callable
        A network, or `bilevel.with_parameters` of one, with an argument ``return_features`` like
        the networks of `nlmeta.models`.
    x : Tensor, shape (n, ...)
        Batch of inputs. A network that changes its input in place changes a copy.

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
        "nlmeta.models do"
    )
    try:
        output = network(_own(network, x), return_features=True)
    except TypeError as error:
        if "return_features" in str(error):
            raise TypeError(asked) from error
        raise
    if not (
        isinstance(output, tuple)
        and len(output) == 2
        and all(isinstance(part, Tensor) and part.ndim == 2 for part in output)
    ):
        raise TypeError(asked)
    return output


def check_inputs(x: object) -> None:
    """Require that the inputs of a batch are one tensor."""
    if not isinstance(x, Tensor):
        raise TypeError(
            f"`x` is a {type(x).__name__}; the inputs of a batch must be one tensor of shape "
            "(n, ...). Join several tensors into one, and split it in the network"
        )


def _own(network: Callable[..., Any], x: Tensor) -> Tensor:
    """A copy that the network may change; `bilevel.with_parameters` makes its own."""
    check_inputs(x)
    return x.clone() if isinstance(network, nn.Module) else x


def _way_out(output: Any) -> str:
    if hasattr(output, "logits") or (isinstance(output, dict) and "logits" in output):
        return "Wrap it in a module whose `forward` returns its `logits`"
    return "Wrap it in a module whose `forward` returns only the logits"
