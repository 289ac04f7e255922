"""A linear layer on fixed features in closed form: a simple rival that ignores the noise.

"Label Noise: Ignorance Is Bliss" (NeurIPS 2024) trains a linear classifier on features of another
network as if the labels were clean, without any method against noise. Least squares with a penalty
has one solution, and there is no step size, schedule or epoch to choose.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from nlmeta._checks import check_labels, check_positive, check_rows_sum_to_one, check_same_length

__all__ = ["normal_equations", "ridge"]


def ridge(x: Tensor, y: Tensor, num_classes: int, *, penalty: float = 1.0) -> nn.Linear:
    r"""Fit a linear layer to one-hot or soft labels by ridge regression.

    It minimises :math:`\sum_n \|W h_n + b - e_{y_n}\|^2 + \lambda N s \|W\|^2`, with s the mean
    variance of a feature. So the penalty has the same meaning for all scales of the features and
    all numbers of samples. The bias is not penalised. A soft label takes the place of the one-hot
    :math:`e_{y_n}`. The computation is in float64.

    Parameters
    ----------
    x : Tensor, shape (N, D)
        The features h.
    y : Tensor of int64, shape (N,), or of float, shape (N, C)
        Labels, noisy or not; floats are soft labels with rows that sum to one.
    num_classes : int
        C, the number of classes.
    penalty : float
        lambda, above 0. Default 1 (ours).

    Returns
    -------
    nn.Linear
        A layer from features to scores of shape (n, C), in the type of `x`. The scores are not
        logits: only their order counts, and their softmax means little.

    Examples
    --------
    >>> import torch
    >>> layer = ridge(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]), 2, penalty=1e-9)
    >>> layer(torch.tensor([[0.0], [1.0]])).argmax(1)
    tensor([0, 1])
    """
    check_positive("penalty", penalty)
    check_same_length("x", x, "y", y)
    if y.is_floating_point():
        if y.ndim != 2 or y.shape[1] != num_classes:
            raise ValueError(
                f"`y` has shape {tuple(y.shape)}; soft labels of {num_classes} classes must have "
                f"the shape (N, {num_classes})"
            )
        check_rows_sum_to_one("y", y, tolerance=1e-4)  # float32, many classes
        targets = y.double()
    else:
        check_labels("y", y, num_classes)
        targets = one_hot(y, num_classes).double()
    mean_h, h, gram, scale = normal_equations(x)
    mean_t = targets.mean(0)
    targets = targets - mean_t
    gram.diagonal().add_(penalty * scale)
    weight = torch.linalg.solve(gram, h.T @ targets).T  # (C, D)
    layer = nn.Linear(x.shape[1], num_classes, device=x.device, dtype=x.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(mean_t - weight @ mean_h)
    return layer


def normal_equations(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Parts of the normal equations that depend on the features alone, in float64.

    Parameters
    ----------
    x : Tensor of float, shape (N, D)
        The features h.

    Returns
    -------
    mean : Tensor, shape (D,)
        The mean features.
    centred : Tensor, shape (N, D)
        The features H without their mean.
    gram : Tensor, shape (D, D)
        The matrix G = H'H.
    scale : Tensor, shape ()
        N s, the unit of the penalty: the mean of the diagonal of G.
    """
    if x.ndim != 2 or not x.is_floating_point():
        raise ValueError(
            f"`x` is {x.dtype} of shape {tuple(x.shape)}; it must be floats of shape (N, D)"
        )
    h = x.double()
    mean = h.mean(0)
    h = h - mean
    gram = h.T @ h
    scale = gram.diagonal().mean()
    if not scale.isfinite():
        raise ValueError("`x` holds numbers that are not finite, or whose squares are not")
    if scale == 0:
        raise ValueError("`x` has the same features in every row; rows must differ to fit a layer")
    return mean, h, gram, scale
