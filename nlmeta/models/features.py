"""The one way in which the package asks a network for its features."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

__all__ = ["with_features"]


def with_features(network: Callable[..., Any], x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of a batch and the features that the last linear layer saw.

    Parameters
    ----------
    network : callable
        A network, or `bilevel.at` of one, that takes ``return_features=True`` as all of
        `nlmeta.models` do.
    x : Tensor, shape (n, ...)
        Batch of inputs.

    Returns
    -------
    logits : Tensor, shape (n, C)
    features : Tensor, shape (n, D)

    Raises
    ------
    TypeError
        The network cannot hand out its features.
    """
    asked = (
        "`model` cannot hand out its features; its `forward` must take `return_features=True` and "
        "then return (logits, features), of shapes (n, C) and (n, D), as the networks in "
        "nlmeta.models do"
    )
    try:
        output = network(x, return_features=True)
    except TypeError as error:
        if "return_features" in str(error):
            raise TypeError(asked) from error
        raise
    if not (isinstance(output, tuple) and len(output) == 2 and output[1].ndim == 2):
        raise TypeError(asked)
    return output
