r"""Labels learned with the inner problem solved exactly: ridge regression on fixed features.

After DMLP (Y. Tu et al., "Learning from Noisy Labels with Decoupled Meta Label Purifier", CVPR
2023). With centred features H (N, D), G = H'H and a penalty mu, the inner problem has the solution

    W(Y) = (G + mu I)^-1 H'Y,    b(Y) = mean of the labels,

so the scores S of clean samples are linear in the labels Y, and the derivative of the outer loss
M(S) needs no lookahead, no step size and no warm-up:

    dM/dY = K R,    K = H (G + mu I)^-1 H_m' + 1/N,    R = dM/dS,

with H_m the clean features less the mean of H, and 1/N the share of the bias. The (N, M) matrix K
is never formed. A lookahead of k steps of gradient descent, from the solution at the present labels
and with the step alpha = 1 / (largest eigenvalue of G + mu I), replaces the inverse by

    (I - (I - alpha (G + mu I))^k) (G + mu I)^-1,

whose first term, alpha I, is the vote of features of the other methods here (chapter 4).

K R is a linear function of the features. So without the simplex, learning labels would be nothing
but fine-tuning the layer on the clean samples, by gradient descent with the preconditioner
(G + mu I)^-1 G (G + mu I)^-1. Labels that stay probabilities are what is more here.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from nlmeta._checks import (
    check_choice,
    check_count,
    check_labels,
    check_positive,
    check_same_length,
)
from nlmeta.data import Images, Samples, Split
from nlmeta.procedures.ridge import normal_equations, ridge

__all__ = ["PurifiedLabels", "purified_labels", "ridge_label_gradient"]

Objective = Literal["squared", "cross-entropy"]
CURVATURE = {"squared": 2.0, "cross-entropy": 0.5}  # largest second derivative by a row of scores
PATIENCE = 5  # steps without a lower loss of held-out samples, ours


@dataclass(frozen=True)
class PurifiedLabels:
    """Learned labels, with the layer that is fitted to them.

    Attributes
    ----------
    labels : Tensor of float, shape (N, C)
        The learned labels in the order of the training part. Rows are probabilities, so they are an
        argument `probabilities` of `nlmeta.analysis.suspects` and `corrected_labels`.
    network : nn.Module
        A linear layer from inputs to scores, see `ridge`, fitted to the labels.
    steps : int
        Number of steps that the labels were moved. With 0 they are the given ones.
    history : pandas.DataFrame
        One row per step of the run that chose this number, from 0: ``step``, ``meta_loss`` (of the
        clean samples that were learned from), ``held_out_loss`` and ``held_out_accuracy``.
    """

    labels: Tensor
    network: nn.Module
    steps: int
    history: pd.DataFrame


def purified_labels(
    split: Split,
    *,
    penalty: float = 1.0,
    objective: Objective = "squared",
    inner_steps: int | None = None,
    steps: int = 100,
) -> PurifiedLabels:
    """Learn the labels of all training samples so that a ridge regression fits the clean ones.

    Projected gradient descent from the given labels: a step along K R, then the nearest point of
    the simplex for each row. With the exact solution, M is a convex function of the labels, and the
    step is 1 over its largest curvature, so M never rises and there is no rate to choose.

    A meta set is soon fitted better than it is known: N C labels are learned from M samples. So
    each second clean sample of a class is held out, and the number of steps is the one with the
    lowest loss there; the search ends five steps after it. Then the labels are learned anew from
    all clean samples, with that number. It may be 0, and then `network` is that of `ridge`.

    The released code (commit 05f90b2) differs: no penalty and no bias, batches of 7,000 samples,
    Adam on labels without a constraint, the sum of both objectives and a prior of equal classes,
    two further linear layers on the learned labels, and the best test accuracy of all epochs.

    Parameters
    ----------
    split : Split
        Data with features as inputs, see `nlmeta.data.features`; other inputs are flattened. The
        meta set needs two samples of each of its classes.
    penalty : float
        lambda of `ridge`, above 0. Default 1 (ours).
    objective : {"squared", "cross-entropy"}
        Outer loss of the scores, the mean over clean samples of the squared distance to the one-hot
        label (default), or of the cross-entropy with scores as logits. Scores lie near [0, 1], so
        cross-entropy is far from zero even for perfect ones and keeps pushing.
    inner_steps : int, optional
        Number of steps of gradient descent on the inner problem that the derivative looks through.
        Default: the exact solution. The scores and the layer are always those of the solution.
    steps : int
        Largest number of steps of the labels. Default 100 (ours).

    Returns
    -------
    PurifiedLabels
        The labels, the layer and the course of the search.

    Raises
    ------
    ValueError
        An argument is out of range, or a class of the meta set has only one sample.

    Examples
    --------
    >>> from nlmeta import data
    >>> split = data.load("digits", rate=0.5, meta_size=100, test_size=1000, seed=0)
    >>> found = purified_labels(split)
    >>> found.labels.shape, found.steps > 0
    (torch.Size([697, 10]), True)
    """
    check_count("steps", steps, minimum=0)
    x, (chosen, held_out) = _vectors(split.train), _halves(split)
    inner = _Inner(x, penalty, inner_steps)
    start = one_hot(split.train.y, split.num_classes).to(x.dtype)

    outer, judge = (
        _Outer(inner, part, split.num_classes, objective) for part in (chosen, held_out)
    )
    labels, rows = start, list[dict[str, float]]()
    lowest = 0
    for step in range(steps + 1):
        votes = inner.votes(labels)
        rows.append(
            {
                "step": step,
                "meta_loss": outer.loss(labels, votes).item(),
                "held_out_loss": judge.loss(labels, votes).item(),
                "held_out_accuracy": judge.accuracy(labels, votes),
            }
        )
        if rows[step]["held_out_loss"] < rows[lowest]["held_out_loss"]:
            lowest = step
        if step - lowest == PATIENCE:
            break
        labels = outer.moved(labels, votes)

    outer = _Outer(inner, split.meta, split.num_classes, objective)
    labels = start
    for _ in range(lowest):
        labels = outer.moved(labels, inner.votes(labels))
    layer = ridge(x, labels, split.num_classes, penalty=penalty)
    return PurifiedLabels(labels, nn.Sequential(nn.Flatten(), layer), lowest, pd.DataFrame(rows))


def ridge_label_gradient(
    x: Tensor,
    labels: Tensor,
    meta: Samples,
    *,
    penalty: float = 1.0,
    objective: Objective = "squared",
    inner_steps: int | None = None,
) -> tuple[Tensor, Tensor]:
    """dM/dY = K R in closed form: how the labels of a ridge regression change its outer loss.

    Parameters
    ----------
    x : Tensor of float, shape (N, D)
        Features of the training samples.
    labels : Tensor of float, shape (N, C)
        Their present labels Y, any numbers.
    meta : Samples
        Clean samples with features of shape (M, D).
    penalty, objective, inner_steps
        The same as in `purified_labels`.

    Returns
    -------
    gradient : Tensor of float, shape (N, C)
        The derivative; with `inner_steps` that of a lookahead from the solution at `labels`.
    loss : Tensor, shape ()
        The outer loss M at the solution.

    Examples
    --------
    A clean sample of class 0, where its only neighbour has both labels alike. More of label 0, and
    less of label 1, would help.

    >>> import torch
    >>> from nlmeta.data import Samples
    >>> x, labels = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    >>> clean = Samples(torch.tensor([[1.0]]), torch.tensor([0]))
    >>> gradient, loss = ridge_label_gradient(x, labels, clean, penalty=1e-6)
    >>> gradient.round(decimals=3) + 0.0
    tensor([[ 0.,  0.],
            [-1.,  1.]])
    """
    check_same_length("x", x, "labels", labels)
    if labels.ndim != 2 or not labels.is_floating_point():
        raise ValueError(
            f"`labels` is {labels.dtype} of shape {tuple(labels.shape)}; it must be floats of "
            "shape (N, C)"
        )
    if len(meta) == 0:
        raise ValueError("`meta` is empty; the outer loss is a mean over clean samples")
    check_labels("meta.y", meta.y, labels.shape[1])
    inner = _Inner(x, penalty, inner_steps)
    outer = _Outer(inner, meta, labels.shape[1], objective)
    votes = inner.votes(labels)
    return outer.gradient(labels, votes), outer.loss(labels, votes)


class _Inner:
    """Ridge regression of all training samples, for any labels."""

    def __init__(self, x: Tensor, penalty: float, inner_steps: int | None) -> None:
        check_positive("penalty", penalty)
        self.mean, h, self.gram, scale = normal_equations(x)
        self.h = h.to(x.dtype)  # (N, D)
        penalised, vectors = torch.linalg.eigh(self.gram)
        penalised = penalised.clamp_min(0) + penalty * scale  # of G + mu I, (D,)
        looked = 1 / penalised
        self.inverse = (vectors * looked) @ vectors.T  # (G + mu I)^-1, (D, D)
        self.lookahead = self.inverse
        if inner_steps is not None:
            check_count("inner_steps", inner_steps)
            left = (1 - penalised / penalised[-1]) ** inner_steps
            self.lookahead = (vectors * ((1 - left) * looked)) @ vectors.T

    def votes(self, labels: Tensor) -> Tensor:
        """H'Y, (D, C), all that the layer sees of the labels beside their mean."""
        return self.h.T @ labels


def _vectors(samples: Samples) -> Tensor:
    """The inputs of each sample as a row of numbers, (n, D), of at least 32 bits if floats."""
    if not isinstance(samples.x, Tensor | Images):
        raise ValueError(
            "`split` has several inputs for each sample, and a ridge regression needs one tensor; "
            "pass a split of fixed features"
        )
    x = samples.x[:].reshape(len(samples), -1)
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class _Outer:
    """The outer loss of some clean samples, as a function of the labels."""

    def __init__(
        self, inner: _Inner, clean: Samples, num_classes: int, objective: Objective
    ) -> None:
        check_choice("objective", objective, CURVATURE)
        self.inner, self.objective = inner, objective
        kind = inner.h.dtype
        h = _vectors(clean).to(inner.mean)  # (M, D)
        if h.shape[1] != len(inner.mean):
            raise ValueError(
                f"the clean samples have {h.shape[1]} features and the training samples "
                f"{len(inner.mean)}; both must have the same ones"
            )
        h = h - inner.mean
        self.forward, self.back = (h @ inner.inverse).to(kind), (h @ inner.lookahead).to(kind)
        self.target = one_hot(clean.y, num_classes).to(kind)  # (M, C)

    def scores(self, labels: Tensor, votes: Tensor) -> Tensor:
        """S, (M, C), by the layer that is fitted to the labels."""
        return labels.mean(0) + self.forward @ votes

    def loss(self, labels: Tensor, votes: Tensor) -> Tensor:
        """M, a mean over the clean samples."""
        s = self.scores(labels, votes)
        if self.objective == "squared":
            return (s - self.target).square().sum(1).mean()
        return -(s.log_softmax(1) * self.target).sum(1).mean()

    def accuracy(self, labels: Tensor, votes: Tensor) -> float:
        """Share of the clean samples whose class has the highest score."""
        s = self.scores(labels, votes)
        return (s.argmax(1) == self.target.argmax(1)).double().mean().item()

    def gradient(self, labels: Tensor, votes: Tensor) -> Tensor:
        """K R, (N, C)."""
        s = self.scores(labels, votes)
        difference = (
            2 * (s - self.target) if self.objective == "squared" else s.softmax(1) - self.target
        )
        residuals = difference / len(s)  # R, (M, C)
        return self.inner.h @ (self.back.T @ residuals) + residuals.sum(0) / len(labels)

    @cached_property
    def step_size(self) -> float:
        """1 over the largest curvature of M along K R, by power iteration on K'K."""
        m, n = len(self.target), len(self.inner.h)
        u = torch.arange(1, m + 1, device=self.forward.device).to(self.forward).sin()
        gram, largest = self.inner.gram.to(self.forward), 0.0
        for _ in range(100):  # what is above half of the curvature would do: the step descends
            u = self.forward @ (gram @ (self.back.T @ u)) + u.sum() / n
            largest = u.norm().item()
            u = u / largest
        return m / (CURVATURE[self.objective] * largest)

    def moved(self, labels: Tensor, votes: Tensor) -> Tensor:
        """The labels after a step, on the simplex."""
        return _onto_simplex(labels - self.step_size * self.gradient(labels, votes))


def _onto_simplex(rows: Tensor) -> Tensor:
    """The nearest probabilities to each row, (N, C): what is above a threshold, less it."""
    descending = rows.sort(1, descending=True).values
    excess = descending.cumsum(1) - 1
    places = torch.arange(1, rows.shape[1] + 1, device=rows.device)
    count = (descending * places > excess).sum(1, keepdim=True)  # entries that stay, (N, 1)
    return (rows - excess.gather(1, count - 1) / count).clamp_min(0)


def _halves(split: Split) -> tuple[Samples, Samples]:
    """The clean samples to learn from, and each second one of a class to judge by."""
    if len(split.meta) == 0:
        raise ValueError("`split` has an empty meta set; labels are learned from clean samples")
    of_class = one_hot(split.meta.y, split.num_classes)  # (M, C)
    for name, count in zip(split.class_names, of_class.sum(0).tolist(), strict=True):
        if count == 1:
            raise ValueError(
                f"`split` has one meta sample of the class {name!r}; it needs two, one to learn "
                "from and one to stop by"
            )
    place = of_class.cumsum(0).gather(1, split.meta.y[:, None]).squeeze(1)  # from 1, in its class
    return split.meta.subset(place % 2 == 1), split.meta.subset(place % 2 == 0)
