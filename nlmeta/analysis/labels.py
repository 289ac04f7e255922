"""Suspect labels, and proposals for new ones.

The scores are the usual ones: the predicted probability of the given label, its margin over the
best other class (both in C. Northcutt, L. Jiang, I. Chuang, "Confident Learning", JAIR 2021), the
loss, the two-component mixture of losses (see `mixture`), and quantities that a method has learned
per sample. None of them uses the true labels.
"""

from typing import Literal

import pandas as pd
import torch
from torch import Tensor, nn

from nlmeta._arrays import Array
from nlmeta._checks import check_choice, check_rate
from nlmeta.analysis._rows import identified, log_probabilities, named
from nlmeta.analysis.learned import forward_transition, soft_labels, weights
from nlmeta.analysis.mixture import fit_loss_mixture
from nlmeta.data import Split
from nlmeta.training import Result

__all__ = ["corrected_labels", "suspects"]

#: Whether a large score makes a label suspect.
SUSPECT_IF_LARGE = {
    "self_confidence": False,
    "margin": False,
    "loss": True,
    "high_loss": True,
    "soft_label": False,
    "weight": False,
}
Rule = Literal["prediction", "soft label", "posterior"]


def suspects(
    run: Result | nn.Module | None,
    split: Split,
    *,
    by: str = "self_confidence",
    probabilities: Array | None = None,
) -> pd.DataFrame:
    """Rank the training samples by how suspect their given label is, the most suspect first.

    The predictions are those of a network on samples that it was trained on. If the network has
    memorised its labels, no label looks suspect: use an early or a robust network, or pass
    probabilities of networks that were not trained on the sample, see
    `nlmeta.procedures.cross_predictions`.

    Parameters
    ----------
    run : Result or nn.Module, optional
        The result of `fit`, or a network that returns logits. It is not needed with
        `probabilities`.
    split : Split
        The data; the training part with the given labels is used.
    by : str
        The score to rank by. Equal scores stay in the order of the training part. Default
        ``"self_confidence"`` (ours, and that of cleanlab).
    probabilities : array, shape (N, C), optional
        Predictions that replace those of the network, for example those of
        `nlmeta.procedures.cross_predictions`, whose networks were not trained on the sample: a
        tensor, a NumPy array or a frame, in the order of the training part. Rows sum to one. A
        frame with the ids or the class names in another order is refused; an unnamed index that
        counts from 0 is ignored.

    Returns
    -------
    DataFrame
        One row for each training sample:

        - `id`: the reader's own, else the row of the original dataset; `row`: the row of the
          training part.
        - `given`, `given_name`: the label; `suggested`, `suggested_name`: the most probable class,
          which may be the same.
        - `self_confidence`: p of the given label. Suspect if small.
        - `margin`: `self_confidence` minus the largest p of another class, in [-1, 1]. Suspect if
          small.
        - `loss`: minus the logarithm of `self_confidence`. Suspect if large.
        - `high_loss`: posterior of the component of high losses, see `fit_loss_mixture`. Suspect
          if large. It is meant for a threshold more than for a ranking, see
          `LossMixture.boundaries`.
        - `soft_label`: the probability of the given class in the learned soft label. Suspect if
          small; NaN, and last in the ranking, for a sample that was not trained on. Only for a run
          whose method has `Method.learned_labels`: MSLG's labels, ELR's targets.
        - `weight`: the learned weight at this loss. Suspect if small, provided that the learned
          weights fall with the loss. Only for a run whose method has `Method.sample_weights`:
          CLID-MU with weights, Meta-Weight-Net.
        - `rank`: the place in the ranking, counted from 1.

    Raises
    ------
    TypeError
        `run` is of another type and there are no `probabilities`, or these are not an array of
        numbers.
    ValueError
        `by` is not a score of this run, shapes do not fit, or all losses are equal.
    """
    frame = identified(split)
    log_p = log_probabilities(run, split, probabilities)  # (N, C)
    p, given = log_p.exp(), split.train.y.cpu()[:, None]  # (N, C), (N, 1)
    own = p.gather(1, given).squeeze(1)  # (N,)
    losses = -log_p.gather(1, given).squeeze(1)
    suggested = p.argmax(1).tolist()
    frame["suggested"] = suggested
    frame["suggested_name"] = named(suggested, split.class_names)
    frame["self_confidence"] = own.numpy()
    frame["margin"] = (own - p.scatter(1, given, -1.0).amax(1)).numpy()
    frame["loss"] = losses.numpy()
    frame["high_loss"] = fit_loss_mixture(losses).posterior.numpy()
    labels = soft_labels(run, split)
    if labels is not None:
        frame["soft_label"] = labels.gather(1, given).squeeze(1).numpy()
    w = weights(run, losses)
    if w is not None:
        frame["weight"] = w.numpy()
    check_choice("by", by, [score for score in SUSPECT_IF_LARGE if score in frame])
    ascending = not SUSPECT_IF_LARGE[by]
    frame = frame.sort_values(by, ascending=ascending, kind="stable", ignore_index=True)
    return frame.assign(rank=range(1, len(frame) + 1))


def corrected_labels(
    run: Result | nn.Module | None,
    split: Split,
    *,
    threshold: float = 0.5,
    rule: Rule | None = None,
    probabilities: Array | None = None,
) -> pd.DataFrame:
    """Propose a label for each training sample: another class if its probability is high enough.

    Each rule assigns probabilities to the classes of a sample:

    - ``"prediction"``: the network's prediction p.
    - ``"soft label"``: the learned soft label, see `Method.learned_labels`.
    - ``"posterior"``: the posterior of the true class behind the given label,
      p_i T_ij / sum_k p_k T_kj for the given j, with the T that makes p a prediction of the clean
      label, see `Method.forward_transition`. T must describe the noise completely. If the given
      label has probability zero under p T, p is used.

    The most probable class replaces the given one if its probability is at least the threshold. As
    in `suspects`, a network that has memorised its labels corrects nothing.

    Parameters
    ----------
    run : Result or nn.Module, optional
        The result of `fit`, or a network that returns logits. It is not needed with
        `probabilities`.
    split : Split
        The data; the training part with the given labels is used.
    threshold : float
        Smallest probability for a change, in [0, 1]. Default 0.5 (ours): more than all other
        classes together.
    rule : {"prediction", "soft label", "posterior"}, optional
        The rule. Default: ``"soft label"`` for MSLG and ELR, ``"posterior"`` for MLC in its default
        form, forward correction and GLC, and ``"prediction"`` for all others.
    probabilities : array, shape (N, C), optional
        Predictions that replace those of the network, as in `suspects`.

    Returns
    -------
    DataFrame
        A frame in the order of the training part: `id`, `row`, `given`, `given_name`, `corrected`,
        `corrected_name`, `confidence` (the rule's probability of the corrected label), `changed`
        and `rule`. If the method has no soft label of a sample yet, the label stays and its
        confidence is NaN.

    Raises
    ------
    TypeError
        `run` is of another type and there are no `probabilities`, or these are not an array of
        numbers.
    ValueError
        The run lacks what the rule needs, or shapes do not fit.
    """
    check_rate("threshold", threshold)
    labels, transition = soft_labels(run, split), forward_transition(run, split)
    if rule is None:
        rule = "prediction" if transition is None else "posterior"
        rule = rule if labels is None else "soft label"
    check_choice("rule", rule, ("prediction", "soft label", "posterior"))
    given = split.train.y.cpu()  # (N,)
    if rule == "soft label":
        if labels is None:
            raise ValueError(
                "`rule` is 'soft label'; `run` must have a method that learns soft labels, such as "
                "MSLG or ELR. Choose another rule"
            )
        p = labels
    else:
        p = log_probabilities(run, split, probabilities).exp()  # (N, C)
    if rule == "posterior":
        if transition is None:
            raise ValueError(
                "`rule` is 'posterior'; `run` must have a method whose T maps a prediction of the "
                "clean label to the given one: MLC with space='probability', a T that is kept and "
                "rows that sum to one, forward correction or GLC. Choose another rule"
            )
        p = _posterior(p, transition, given)
    best, likeliest = p.max(1)
    changed = (likeliest != given) & (best >= threshold)
    corrected = torch.where(changed, likeliest, given)
    return identified(split).assign(
        corrected=corrected.numpy(),
        corrected_name=named(corrected.tolist(), split.class_names),
        confidence=p.gather(1, corrected[:, None]).squeeze(1).numpy(),
        changed=changed.numpy(),
        rule=rule,
    )


def _posterior(p: Tensor, transition: Tensor, given: Tensor) -> Tensor:
    """P(true class | sample, given label), shape (N, C), from predictions of the clean label."""
    joint = p * transition.T[given]  # (N, C)
    q = joint.sum(1, keepdim=True)  # (N, 1)
    return torch.where(q > 0, joint / q, p)
