"""To and from the conventions of cleanlab, which is not needed for it.

Its documentation (docs.cleanlab.ai, `cleanlab.internal.latent_algebra`,
`cleanlab.classification.CleanLearning.find_label_issues`, `cleanlab.filter.find_label_issues`)
has the noise matrix as P(given | true) with columns that sum to one, which is the transpose of T
here, and names the columns of its frame of label issues.
"""

import numpy as np
import pandas as pd
from torch import Tensor, nn

from nlmeta import _checks
from nlmeta._arrays import Array, as_tensor
from nlmeta.analysis._rows import log_probabilities
from nlmeta.data import Split
from nlmeta.training import Result

__all__ = ["from_cleanlab", "label_issues", "pred_probs", "to_cleanlab"]


def to_cleanlab(transition: Array) -> np.ndarray:
    """Give cleanlab's `noise_matrix`: the transpose of a transition matrix.

    Parameters
    ----------
    transition : Tensor, NumPy array or DataFrame, shape (C, C)
        T; row: true class, column: given label. Rows sum to one.

    Returns
    -------
    numpy.ndarray of float64, shape (C, C)
        Row: given label, column: true class. Columns sum to one.

    Raises
    ------
    TypeError
        `transition` is no array of numbers.
    ValueError
        `transition` is no transition matrix.
    """
    matrix = as_tensor("transition", transition).detach().cpu().double()
    _checks.check_transition("transition", matrix)
    return matrix.numpy().T.copy()


def from_cleanlab(noise_matrix: Array) -> Tensor:
    """Give the transition matrix of cleanlab's `noise_matrix`: its transpose.

    Parameters
    ----------
    noise_matrix : NumPy array, Tensor or DataFrame, shape (C, C)
        Row: given label, column: true class. Columns sum to one. Not its `inverse_noise_matrix`.

    Returns
    -------
    Tensor of float64, shape (C, C)
        T; row: true class, column: given label. Rows sum to one.

    Raises
    ------
    TypeError
        `noise_matrix` is no array of numbers.
    ValueError
        The transpose of `noise_matrix` is no transition matrix.
    """
    matrix = as_tensor("noise_matrix", noise_matrix).detach().cpu().double().T.clone()
    _checks.check_transition("noise_matrix.T", matrix)
    return matrix


def pred_probs(run: Result | nn.Module, split: Split) -> np.ndarray:
    """Give the predicted probabilities of the training samples, in cleanlab's `pred_probs` format.

    cleanlab wants them from networks that did not see the sample; these are of one that did. Such a
    network may be very sure, and then one of cleanlab's scores misleads: in version 2.9.0 the order
    of ``confidence_weighted_entropy`` turns over where the entropy falls below a millionth of its
    maximum, for which a gap of 18 between logits is enough. Labels that the network agrees with
    then get scores near 0, the worst. The other two, ``self_confidence`` (the default) and
    ``normalized_margin``, keep their order.

    Parameters
    ----------
    run : Result or nn.Module
        What `fit` returned, or a network that returns logits.
    split : Split
        Its training part.

    Returns
    -------
    numpy.ndarray of float64, shape (N, C)
        In the order of the training part. Rows sum to one.
    """
    return log_probabilities(run, split, None).exp().numpy()


def label_issues(frame: pd.DataFrame) -> pd.DataFrame:
    """Give the frame of `suspects` with the columns of cleanlab's `find_label_issues`.

    Join it with a table of your own by `id`, never by position: a split draws its parts, so the
    k-th training sample is not the k-th line of your table. cleanlab's own frame, of
    ``CleanLearning``, has no ids and counts its rows from 0 in the order in which it was given the
    samples. For those of the training part, in its order, that is the index here.

    Parameters
    ----------
    frame : DataFrame
        From `suspects`, or a part of it.

    Returns
    -------
    DataFrame
        In the order of the training part, with its rows as index, and the columns

        - `is_label_issue`: another class is predicted than given, cleanlab's simplest rule
          (``filter_by="predicted_neq_given"``), not its default;
        - `label_quality`: self-confidence, in [0, 1], the lower the worse;
        - `given_label`, `predicted_label`: classes;
        - `id`, which cleanlab has not.

    Raises
    ------
    ValueError
        `frame` lacks a column.

    Examples
    --------
    With `table`, a frame of your own whose column ``file`` has the ids of the split, and `theirs`,
    cleanlab's frame for ``pred_probs(run, split)`` and ``split.train.y``::

        issues = label_issues(suspects(run, split))
        table.merge(issues, left_on="file", right_on="id")
        table.merge(theirs.join(issues["id"]), left_on="file", right_on="id")
    """
    wanted = ["id", "row", "given", "suggested", "self_confidence"]
    missing = [column for column in wanted if column not in frame]
    if missing:
        raise ValueError(f"`frame` has the columns {list(frame)}; it lacks {missing}")
    ordered = frame.set_index("row").sort_index().rename_axis(None)
    return pd.DataFrame(
        {
            "is_label_issue": ordered["given"] != ordered["suggested"],
            "label_quality": ordered["self_confidence"],
            "given_label": ordered["given"],
            "predicted_label": ordered["suggested"],
            "id": ordered["id"],
        }
    )
