"""Losses that meta-parameters enter, as functions of logits.

Each takes logits of shape (n, C) and returns a scalar; the docstring has formula and source.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nlmeta._checks import (
    check_choice,
    check_class_indices,
    check_labels_in_step,
    check_not_negative,
    check_rate,
    check_same_length,
)

__all__ = [
    "Direction",
    "DivergenceGradient",
    "Reduction",
    "Scale",
    "Space",
    "clamped_probabilities",
    "cross_entropy",
    "cross_layer_divergence",
    "early_learning_regulariser",
    "entropy",
    "generalised_cross_entropy",
    "mean_absolute_error",
    "reverse_cross_entropy",
    "soft_label_divergence",
    "transition_cross_entropy",
]

Direction = Literal["prediction-first", "label-first"]
DivergenceGradient = Literal["released", "full"]
Reduction = Literal["mean", "sum"]
Scale = Literal["samples", "entries"]
Space = Literal["probability", "logit"]

# Stands in for a transition probability of exactly zero inside a logarithm. It is far below what
# float32 can tell from zero beside a probability, and its inverse is far from overflowing.
TINY = 1e-20

# Keeps the logarithm of a graph's entry finite; as in the released code of CLID-MU.
GRAPH_FLOOR = 1e-7

# A label that no sample has, for PyTorch to pass over in place of -100.
NO_LABEL = torch.iinfo(torch.int64).min

# Probabilities are kept this far from 0 and 1; as in the released code of ELR.
PROBABILITY_FLOOR = 1e-4


def cross_entropy(logits: Tensor, labels: Tensor, *, reduction: str = "mean") -> Tensor:
    """Cross-entropy of one given label for each sample: minus the logarithm of its p.

    This is `torch.nn.functional.cross_entropy` for one label per sample only. PyTorch's function
    also accepts labels of -100, whose samples it ignores, and rows of numbers as soft labels.

    Parameters
    ----------
    logits : Tensor, shape (n, C)
        The logits z; p = softmax(z).
    labels : Tensor of int64, shape (n,)
        Given labels.
    reduction : {"mean", "sum", "none"}
        Reduction over the batch. Default ``"mean"``.

    Returns
    -------
    Tensor, shape (), or (n,) with ``"none"``
        The loss.

    Raises
    ------
    ValueError
        `labels` have another type or shape.
    IndexError
        A label lies outside of 0 to C - 1, on a CPU. A GPU ends the process instead.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import losses
    >>> z = torch.tensor([[0.5, 0.3, 0.2]]).log()
    >>> losses.cross_entropy(z, torch.tensor([0]))  # -log 0.5
    tensor(0.6931)
    """
    check_class_indices("labels", labels)
    return F.cross_entropy(logits, labels, reduction=reduction, ignore_index=NO_LABEL)


def transition_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    transition: Tensor,
    *,
    space: Space = "probability",
    reduction: Reduction = "mean",
    q_floor: float = 0.0,
) -> Tensor:
    r"""Cross-entropy of the given labels after the prediction is multiplied by a transition matrix.

    With p = softmax(z), the two spaces are

    * ``"probability"``: -log q with q = (p T) at the given label. This is forward loss correction
      (Patrini et al., CVPR 2017, theorem 2); its minimiser is the clean posterior if T is the true
      one.
    * ``"logit"``: -log softmax(z T) at the given label, as in the released code of MLC. It is not
      forward correction, since the last layer of a network can absorb T.

    Parameters
    ----------
    logits : Tensor, shape (n, C)
        The logits z.
    labels : Tensor of int64, shape (n,)
        Given labels.
    transition : Tensor, shape (C, C)
        The matrix T; row: true class, column: given label.
    space : {"probability", "logit"}
        The quantity that T is applied to. Default ``"probability"``.
    reduction : {"mean", "sum"}
        Reduction over the batch. Default ``"mean"``.
    q_floor : float
        Bound on the pull of one sample on T, in probability space: the derivative of its loss by T,
        p / q, becomes p / max(q, q_floor). The value of the loss and its derivative by the logits
        stay as they are. Default 0: no bound.

    Returns
    -------
    Tensor, shape ()

    Examples
    --------
    >>> import torch
    >>> from nlmeta import losses
    >>> z = torch.tensor([[0.0, 0.0]])  # p = (0.5, 0.5)
    >>> transition = torch.tensor([[0.8, 0.2], [0.4, 0.6]])
    >>> losses.transition_cross_entropy(z, torch.tensor([0]), transition)  # -log 0.6
    tensor(0.5108)
    """
    check_choice("space", space, ("probability", "logit"))
    check_choice("reduction", reduction, ("mean", "sum"))
    check_not_negative("q_floor", q_floor)
    num_classes = logits.shape[1]
    if transition.shape != (num_classes, num_classes):
        raise ValueError(
            f"`transition` has shape {tuple(transition.shape)}; "
            f"for logits of {num_classes} classes it must be {(num_classes, num_classes)}"
        )
    # Indexing would take -1 for the last class, and one label for all samples.
    check_labels_in_step("labels", labels, num_classes)
    check_same_length("logits", logits, "labels", labels)
    logits = logits.to(torch.promote_types(logits.dtype, transition.dtype))
    transition = transition.to(logits.dtype)
    if space == "logit":
        return cross_entropy(logits @ transition, labels, reduction=reduction)
    log_p = F.log_softmax(logits, dim=1)  # (n, C)
    columns = transition.t()[labels]  # (n, C): row b holds P(label b | each true class)
    if q_floor > 0 and columns.requires_grad:
        q = (log_p.exp() * (columns + TINY)).sum(1, keepdim=True).detach()  # (n, 1)
        fixed = columns.detach()
        columns = fixed + (q / q_floor).clamp(max=1) * (columns - fixed)
    # In the log domain, so that p may underflow. A label that T calls impossible costs -log TINY,
    # about 46, and no more.
    log_q = torch.logsumexp(log_p + (columns + TINY).log(), dim=1)  # (n,)
    return -log_q.mean() if reduction == "mean" else -log_q.sum()


def soft_label_divergence(
    logits: Tensor,
    label_logits: Tensor,
    *,
    direction: Direction = "prediction-first",
    scale: Scale = "samples",
) -> Tensor:
    r"""Kullback-Leibler divergence between a prediction and a soft label, both given by logits.

    With p = softmax(z) and the soft label s = softmax(u),

    * ``"prediction-first"``: KL(p || s) = sum p (log p - log s), which MSLG trains with (Algan &
      Ulusoy, ICPR 2020). Classes with a small p have little effect, whatever the label.
    * ``"label-first"``: KL(s || p) = sum s (log s - log p), the cross-entropy of a soft label up to
      a constant. Classes with a small s have little effect, whatever the prediction.

    Parameters
    ----------
    logits : Tensor, shape (n, C)
        The logits z.
    label_logits : Tensor, shape (n, C)
        The logits u of the soft labels.
    direction : {"prediction-first", "label-first"}
        Order of the two arguments. Default ``"prediction-first"``.
    scale : {"samples", "entries"}
        The divisor of the sum over the batch: n (default), or n C as in the released code of MSLG,
        which makes every step C times smaller.

    Returns
    -------
    Tensor, shape ()

    Examples
    --------
    >>> import torch
    >>> from nlmeta import losses
    >>> z, u = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    >>> losses.soft_label_divergence(z, u)
    tensor(0.1438)
    >>> losses.soft_label_divergence(z, u, direction="label-first")
    tensor(0.1308)
    """
    check_choice("direction", direction, ("prediction-first", "label-first"))
    if logits.shape != label_logits.shape:
        raise ValueError(
            f"`label_logits` has shape {tuple(label_logits.shape)}; "
            f"it must have the shape of the logits, {tuple(logits.shape)}"
        )
    log_p, log_s = F.log_softmax(logits, dim=1), F.log_softmax(label_logits, dim=1)
    first, second = (log_p, log_s) if direction == "prediction-first" else (log_s, log_p)
    return _scaled(first.exp() * (first - second), scale)


def reverse_cross_entropy(
    logits: Tensor, label_logits: Tensor, *, scale: Scale = "samples"
) -> Tensor:
    """Cross-entropy with the two sides exchanged: -sum p log s, for a soft label s = softmax(u).

    It equals KL(p || s) plus the entropy of p; MSLG trains with this sum. For u = K times a one-hot
    it is K (1 - p at the label), the mean absolute error up to a scale and a constant, which is
    robust (Ghosh, Kumar & Sastry, AAAI 2017).

    Parameters
    ----------
    logits : Tensor, shape (n, C)
        The logits z; p = softmax(z).
    label_logits : Tensor, shape (n, C)
        The logits u of the soft labels.
    scale : {"samples", "entries"}
        The divisor of the sum, as in `soft_label_divergence`. Default ``"samples"``.

    Returns
    -------
    Tensor, shape ()

    Examples
    --------
    >>> import torch
    >>> from nlmeta import losses
    >>> z, u = torch.tensor([[0.8, 0.2]]).log(), torch.tensor([[10.0, 0.0]])
    >>> losses.reverse_cross_entropy(z, u)  # about 10 (1 - 0.8)
    tensor(2.0000)
    """
    return _scaled(-F.softmax(logits, dim=1) * F.log_softmax(label_logits, dim=1), scale)


def entropy(logits: Tensor, *, scale: Scale = "samples") -> Tensor:
    """Entropy of the prediction, -sum p log p; small if one class has a high probability.

    Parameters
    ----------
    logits : Tensor, shape (n, C)
        The logits z; p = softmax(z).
    scale : {"samples", "entries"}
        The divisor of the sum, as in `soft_label_divergence`. Default ``"samples"``.

    Returns
    -------
    Tensor, shape ()

    Examples
    --------
    >>> import torch
    >>> from nlmeta import losses
    >>> losses.entropy(torch.tensor([[0.0, 0.0], [100.0, 0.0]]))  # half of log 2
    tensor(0.3466)
    """
    log_p = F.log_softmax(logits, dim=1)
    return _scaled(-log_p.exp() * log_p, scale)


def generalised_cross_entropy(logits: Tensor, labels: Tensor, *, q: float = 0.7) -> Tensor:
    """Between cross-entropy and mean absolute error: (1 - p^q) / q, p at the given label.

    Z. Zhang, M. Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with
    Noisy Labels", NeurIPS 2018.

    Parameters
    ----------
    logits : Tensor, shape (n, C)
        The logits z; p = softmax(z).
    labels : Tensor of int64, shape (n,)
        Given labels.
    q : float
        Exponent in [0, 1]. 1 gives half of `mean_absolute_error`, and 0 the limit for small q,
        cross-entropy. Default 0.7, published.

    Returns
    -------
    Tensor, shape ()
        Mean over the batch.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import losses
    >>> z, y = torch.tensor([[0.25, 0.75]]).log(), torch.tensor([0])
    >>> [round(losses.generalised_cross_entropy(z, y, q=q).item(), 4) for q in (0, 0.5, 1)]
    [1.3863, 1.0, 0.75]
    """
    check_rate("q", q)
    log_p = -cross_entropy(logits, labels, reduction="none")  # (n,)
    # expm1 keeps the digits where p is near 1.
    return -(torch.expm1(q * log_p) / q if q > 0 else log_p).mean()


def mean_absolute_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Distance between prediction and one-hot label, sum of |p - e|, which is 2 (1 - p_label).

    Robust to symmetric noise (Ghosh, Kumar & Sastry, AAAI 2017), and slow to train with.

    Parameters
    ----------
    logits : Tensor, shape (n, C)
        The logits z; p = softmax(z).
    labels : Tensor of int64, shape (n,)
        Given labels.

    Returns
    -------
    Tensor, shape ()
        Mean over the batch.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import losses
    >>> losses.mean_absolute_error(torch.tensor([[0.25, 0.75]]).log(), torch.tensor([0]))
    tensor(1.5000)
    """
    check_class_indices("labels", labels)
    check_same_length("logits", logits, "labels", labels)
    p = logits.softmax(1).gather(1, labels[:, None])  # (n, 1)
    return 2 * (1 - p).mean()


def cross_layer_divergence(
    features: Tensor,
    logits: Tensor,
    *,
    temperature: float = 0.5,
    gradient: DivergenceGradient = "released",
    one_hot: bool = False,
) -> Tensor:
    r"""CLID: how far the neighbours in feature space differ from those in the predictions.

    There are two graphs over the B samples of a batch. Their rows sum to one, and each sample is
    also its own neighbour: A = softmax over b of max(cos(h_a, h_b), 0) / temperature from the
    features, and Q-bar, the cosines Q_ab of the predictions divided by their row sums R_a. The
    value is the cross-entropy of the predictions' graph relative to the features' graph,
    -1/B sum_ab Q-bar_ab log A_ab. No label is used (Hu et al., KDD 2025; the form is that of their
    released code).

    It equals the entropy of Q-bar plus KL(Q-bar || A). So it is *not* zero if the graphs agree, and
    values for different batch sizes or temperatures cannot be compared. For uninformative features
    it is log B.

    Parameters
    ----------
    features : Tensor, shape (B, D)
        The features h, inputs of the last linear layer. Only their directions count.
    logits : Tensor, shape (B, C)
        The logits z; p = softmax(z).
    temperature : float
        Temperature of the features' graph. Default 0.5, released. Infinity gives the uniform graph:
        the value is log B, and only the released gradient is left, which repels all pairs equally.
    gradient : {"released", "full"}
        Form of the gradient. ``"released"`` (default) holds A and the row sums R fixed, so every
        pair has a positive coefficient: all predictions of a batch are pushed apart, near pairs
        least. ``"full"`` is the derivative of the value.
    one_hot : bool
        If True, the predicted class replaces the probabilities, so neighbours count and confidence
        does not. This is ours, not the paper's, and has no gradient. Default False.

    Returns
    -------
    Tensor, shape ()

    Examples
    --------
    >>> import torch
    >>> from nlmeta import losses
    >>> features, logits = torch.eye(2), torch.eye(2)  # apart in both spaces, then in one
    >>> losses.cross_layer_divergence(features, logits, one_hot=True)
    tensor(0.1269)
    >>> losses.cross_layer_divergence(features, torch.ones(2, 2), one_hot=True)
    tensor(1.1269)
    """
    check_choice("gradient", gradient, ("released", "full"))
    if not temperature > 0:  # written so that NaN fails too; infinity is the uniform graph
        raise ValueError(f"`temperature` is {temperature}; it must be above 0")
    check_same_length("features", features, "logits", logits)
    h = F.normalize(features, dim=1)
    graph = ((h @ h.t()).clamp_min(0) / temperature).softmax(1)  # A, (B, B)
    p = F.one_hot(logits.argmax(1), logits.shape[1]).to(h) if one_hot else logits.softmax(1)
    p = F.normalize(p, dim=1)
    similarity = p @ p.t()  # Q, (B, B)
    sums = similarity.sum(1, keepdim=True)  # R, (B, 1)
    if gradient == "released":
        graph, sums = graph.detach(), sums.detach()
    return -(similarity / sums * (graph + GRAPH_FLOOR).log()).sum(1).mean()


def clamped_probabilities(logits: Tensor) -> Tensor:
    """Softmax, clamped to [1e-4, 1 - 1e-4] as in the released code of ELR (commit 513693e).

    Parameters
    ----------
    logits : Tensor, shape (n, C)
        The logits z.

    Returns
    -------
    Tensor, shape (n, C)
        The probabilities; rows sum to one up to the clamp. A clamped entry has no gradient.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import losses
    >>> losses.clamped_probabilities(torch.tensor([[0.0, 20.0]]))
    tensor([[1.0000e-04, 9.9990e-01]])
    """
    return logits.softmax(1).clamp(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)


def early_learning_regulariser(logits: Tensor, targets: Tensor) -> Tensor:
    """ELR: log(1 - <p, t>), which falls as the prediction agrees more with its target.

    S. Liu et al., "Early-Learning Regularization Prevents Memorization of Noisy Labels",
    NeurIPS 2020. The derivative by logit c is p_c (<p, t> - t_c) / (1 - <p, t>). The p are those of
    `clamped_probabilities`, so the logarithm stays finite.

    Parameters
    ----------
    logits : Tensor, shape (n, C)
        The logits z; p = softmax(z).
    targets : Tensor, shape (n, C)
        The targets t; held fixed, not negative, with row sums of at most one.

    Returns
    -------
    Tensor, shape ()
        Mean over the batch, at most 0.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import losses
    >>> z, targets = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.9, 0.1]])
    >>> losses.early_learning_regulariser(z, targets)  # log(1 - 0.5)
    tensor(-0.6931)
    """
    if logits.shape != targets.shape:
        raise ValueError(
            f"`targets` has shape {tuple(targets.shape)}; "
            f"it must have the shape of the logits, {tuple(logits.shape)}"
        )
    agreement = (clamped_probabilities(logits) * targets.detach()).sum(1)  # (n,)
    return torch.log1p(-agreement).mean()


def _scaled(terms: Tensor, scale: Scale) -> Tensor:
    """Sum of (n, C) terms over n, or over n C."""
    check_choice("scale", scale, ("samples", "entries"))
    return terms.mean() if scale == "entries" else terms.sum(1).mean()
