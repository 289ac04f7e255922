"""Losses that meta-parameters enter, as functions of logits.

Each takes logits of shape (n, C), says its formula and its source, and reduces to a scalar. Those
that PyTorch has (cross-entropy) are not repeated here.
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

    `torch.nn.functional.cross_entropy` with one label for each sample and nothing else. That one
    takes labels of -100 for samples to pass over, and rows of numbers for soft labels.

    Parameters
    ----------
    logits : Tensor, shape (n, C)
        z, with p = softmax(z).
    labels : Tensor of int64, shape (n,)
        Given labels.
    reduction : {"mean", "sum", "none"}
        Over the batch. Default ``"mean"``.

    Returns
    -------
    Tensor, shape (), or (n,) with ``"none"``

    Raises
    ------
    ValueError
        `labels` are of another type or shape.
    IndexError
        On a CPU: a label lies outside of 0 to C - 1. A GPU ends the process.

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
    r"""Cross-entropy of the given labels after the prediction went through a transition matrix.

    With p = softmax(z), the two spaces are

    * ``"probability"``: -log q with q = (p T) at the given label. This is forward loss correction
      (Patrini et al., CVPR 2017, theorem 2); its minimiser is the clean posterior if T is the true
      one.
    * ``"logit"``: -log softmax(z T) at the given label. This is what the released code of MLC
      computes; it is not forward correction, for the last layer of a network can absorb T.

    Parameters
    ----------
    logits : Tensor, shape (n, C)
        z.
    labels : Tensor of int64, shape (n,)
        Given labels.
    transition : Tensor, shape (C, C)
        T; row: true class, column: given label.
    space : {"probability", "logit"}
        Default ``"probability"``.
    reduction : {"mean", "sum"}
        Over the batch. Default ``"mean"``.
    q_floor : float
        Bounds how strongly one sample can pull on T, in probability space: the derivative of its
        loss by T, p / q, becomes p / max(q, q_floor). The value of the loss and its derivative by
        the logits stay as they are. Default 0: no bound.

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
            f"logits of {num_classes} classes need {(num_classes, num_classes)}"
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
      Ulusoy, ICPR 2020). Where p is small it does not matter what the label says.
    * ``"label-first"``: KL(s || p) = sum s (log s - log p), cross-entropy of a soft label but for
      a constant. Where s is small it does not matter what the network says.

    Parameters
    ----------
    logits : Tensor, shape (n, C)
        z.
    label_logits : Tensor, shape (n, C)
        u.
    direction : {"prediction-first", "label-first"}
        Default ``"prediction-first"``.
    scale : {"samples", "entries"}
        The sum over the batch is divided by n (default), or by n C as the released code of MSLG
        has it, which makes every step C times smaller.

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
            f"it must be that of the logits, {tuple(logits.shape)}"
        )
    log_p, log_s = F.log_softmax(logits, dim=1), F.log_softmax(label_logits, dim=1)
    first, second = (log_p, log_s) if direction == "prediction-first" else (log_s, log_p)
    return _scaled(first.exp() * (first - second), scale)


def reverse_cross_entropy(
    logits: Tensor, label_logits: Tensor, *, scale: Scale = "samples"
) -> Tensor:
    """Cross-entropy with the two sides exchanged: -sum p log s, for a soft label s = softmax(u).

    It is KL(p || s) plus the entropy of p, which is how MSLG arrives at it. For u = K times a
    one-hot it is K (1 - p at the label), the mean absolute error up to scale and constant (Ghosh,
    Kumar & Sastry, AAAI 2017, for why that is robust).

    Parameters
    ----------
    logits : Tensor, shape (n, C)
        z, with p = softmax(z).
    label_logits : Tensor, shape (n, C)
        u.
    scale : {"samples", "entries"}
        As for `soft_label_divergence`.

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
    """Entropy of the prediction, -sum p log p; small where the network is sure.

    Parameters
    ----------
    logits : Tensor, shape (n, C)
        z, with p = softmax(z).
    scale : {"samples", "entries"}
        As for `soft_label_divergence`.

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
        z, with p = softmax(z).
    labels : Tensor of int64, shape (n,)
        Given labels.
    q : float
        In [0, 1]. 1 is half of `mean_absolute_error`; 0 is taken as its limit, cross-entropy.
        Default 0.7, published.

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
        z, with p = softmax(z).
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
    r"""CLID: does a batch have the same neighbours in feature space and in the predictions?

    Two graphs over the B samples of a batch, rows summing to one, each sample its own neighbour
    too: A = softmax over b of max(cos(h_a, h_b), 0) / temperature from the features, and Q-bar,
    the cosines Q_ab of the predictions divided by their row sums R_a. The value is the
    cross-entropy of the graphs, -1/B sum_ab Q-bar_ab log A_ab: of the predictions' graph relative
    to the features' graph. No label is used (Hu et al., KDD 2025, as their released code has it).

    It is the entropy of Q-bar plus KL(Q-bar || A). So it is *not* zero where the graphs agree, and
    values for another batch size or temperature cannot be compared. For uninformative features it
    is log B.

    Parameters
    ----------
    features : Tensor, shape (B, D)
        h, what the last linear layer saw. Only directions count.
    logits : Tensor, shape (B, C)
        z, with p = softmax(z).
    temperature : float
        Of the features' graph. Default 0.5, released. Infinite: the uniform graph, for which the
        value is log B and only the released gradient is left, repelling all pairs alike.
    gradient : {"released", "full"}
        ``"released"`` (default) holds A and the row sums R fixed, which leaves a positive
        coefficient for every pair: all predictions of a batch are pushed apart, near pairs least.
        ``"full"`` is the derivative of the value.
    one_hot : bool
        Take the predicted class in place of the probabilities. Ours, not the paper's: it looks at
        neighbours without looking at confidence. It has no gradient. Default False.

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
        z.

    Returns
    -------
    Tensor, shape (n, C)
        Rows sum to one but for the clamp. A clamped entry has no gradient.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import losses
    >>> losses.clamped_probabilities(torch.tensor([[0.0, 20.0]]))
    tensor([[1.0000e-04, 9.9990e-01]])
    """
    return logits.softmax(1).clamp(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)


def early_learning_regulariser(logits: Tensor, targets: Tensor) -> Tensor:
    """ELR: log(1 - <p, t>), which falls where the prediction agrees with a target.

    S. Liu et al., "Early-Learning Regularization Prevents Memorization of Noisy Labels",
    NeurIPS 2020. The derivative by logit c is p_c (<p, t> - t_c) / (1 - <p, t>). p is that of
    `clamped_probabilities`, so the logarithm stays finite.

    Parameters
    ----------
    logits : Tensor, shape (n, C)
        z, with p = softmax(z).
    targets : Tensor, shape (n, C)
        t; held fixed, not negative, with row sums of at most one.

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
            f"it must be that of the logits, {tuple(logits.shape)}"
        )
    agreement = (clamped_probabilities(logits) * targets.detach()).sum(1)  # (n,)
    return torch.log1p(-agreement).mean()


def _scaled(terms: Tensor, scale: Scale) -> Tensor:
    """Sum of (n, C) terms over n, or over n C."""
    check_choice("scale", scale, ("samples", "entries"))
    return terms.mean() if scale == "entries" else terms.sum(1).mean()
