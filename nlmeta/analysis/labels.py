"""Which given labels are suspect, and what they may be instead.

The scores are those of the field: the predicted probability of the given label, its margin over
the best other class (both in C. Northcutt, L. Jiang, I. Chuang, "Confident Learning", JAIR 2021),
the loss, the two-component mixture of losses (see `mixture`), and what a method has learned per
sample. None looks at the truth.
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

    The predictions are those of a network on samples that it was trained on. One that has memorised
    its labels suspects nobody: take an early or a robust one, or pass probabilities of networks
    that did not see the sample.

    Parameters
    ----------
    run : Result or nn.Module, optional
        What `fit` returned, or a network that returns logits. Not needed with `probabilities`.
    split : Split
        Its training part, with the given labels.
    by : str
        The score to rank by. Equal scores stay in the order of the training part. Default
        ``"self_confidence"`` (ours, and that of cleanlab).
    probabilities : array, shape (N, C), optional
        Predictions to use in place of the network's, for example those of a cross-validation: a
        tensor, a NumPy array or a frame, in the order of the training part. Rows sum to one. A
        frame with the ids or the class names in another order is refused; an index without a name
        that counts from 0 is taken for none.

    Returns
    -------
    DataFrame
        A row for each training sample:

        - `id`: the reader's own, else the row of the original dataset; `row`: that of the training
          part.
        - `given`, `given_name`: the label; `suggested`, `suggested_name`: the likeliest class,
          which may be the same.
        - `self_confidence`: p of the given label. Suspect if small.
        - `margin`: that minus the largest p of another class, in [-1, 1]. Suspect if small.
        - `loss`: minus the logarithm of `self_confidence`. Suspect if large.
        - `high_loss`: posterior of the component of high losses, see `fit_loss_mixture`. Suspect
          if large. Meant for a threshold more than for a ranking: see `LossMixture.boundaries`.
        - `soft_label`: what the learned soft label leaves to the given class. Suspect if small; not
          a number, and last in the ranking, for a sample that was not trained on. Only for a run
          whose method has `Method.learned_labels`: MSLG's labels, ELR's targets.
        - `weight`: what is given to that loss. Suspect if small, if the method has learned what
          weights are for. Only for a run whose method has `Method.sample_weights`: CLID-MU with
          weights, Meta-Weight-Net.
        - `rank`: from 1.

    Raises
    ------
    TypeError
        `run` is neither, and there are no `probabilities`, or these are no array of numbers.
    ValueError
        `by` is no score of this run, shapes do not fit, or all losses are equal.
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
    """Propose a label for each training sample: another class where it is likely enough.

    Each rule gives the classes of a sample probabilities:

    - ``"prediction"``: the network's, p.
    - ``"soft label"``: the learned soft label, see `Method.learned_labels`.
    - ``"posterior"``: that of the true class behind the given label, p_i T_ij / sum_k p_k T_kj for
      the given j, with the T that makes p a prediction of the clean label, see
      `Method.forward_transition`. T must say all about the noise. Where it holds the given label
      for impossible, p stays.

    The likeliest class replaces the given one if its probability is at least the threshold. As for
    `suspects`, a network that has memorised its labels corrects nothing.

    Parameters
    ----------
    run : Result or nn.Module, optional
        What `fit` returned, or a network that returns logits. Not needed with `probabilities`.
    split : Split
        Its training part, with the given labels.
    threshold : float
        In [0, 1]. Default 0.5 (ours): likelier than all other classes together.
    rule : {"prediction", "soft label", "posterior"}, optional
        Default: ``"soft label"`` for MSLG and ELR, ``"posterior"`` for MLC in its default form,
        forward correction and GLC, and ``"prediction"`` for all others.
    probabilities : array, shape (N, C), optional
        Predictions to use in place of the network's, as for `suspects`.

    Returns
    -------
    DataFrame
        In the order of the training part: `id`, `row`, `given`, `given_name`, `corrected`,
        `corrected_name`, `confidence` (what the rule gives to the corrected label), `changed` and
        `rule`. A sample that the method has no soft label of yet stays, its confidence not a
        number.

    Raises
    ------
    TypeError
        `run` is neither, and there are no `probabilities`, or these are no array of numbers.
    ValueError
        The run has not what the rule needs, or shapes do not fit.
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
                "`rule` is 'soft label'; `run` must be of a method that learns them, as MSLG and "
                "ELR do"
            )
        p = labels
    else:
        p = log_probabilities(run, split, probabilities).exp()  # (N, C)
    if rule == "posterior":
        if transition is None:
            raise ValueError(
                "`rule` is 'posterior'; `run` must be of a method whose T takes a prediction of "
                "the clean label to the given one: MLC with space='probability', a T that is kept "
                "and rows that sum to one, forward correction or GLC"
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
