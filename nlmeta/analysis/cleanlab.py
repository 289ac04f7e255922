"""To and from the conventions of cleanlab, which need not be installed.

In its documentation (docs.cleanlab.ai, `cleanlab.internal.latent_algebra`,
`cleanlab.classification.CleanLearning.find_label_issues`, `cleanlab.filter.find_label_issues`)
the noise matrix is P(given | true) with columns that sum to one, the transpose of T here. The
documentation also names the columns of the frame of label issues.
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
    """cleanlab's `noise_matrix`: the transpose of a transition matrix.

    Parameters
    ----------
    transition : Tensor, NumPy array or DataFrame, shape (C, C)
        The matrix T; row: true class, column: given label. Rows sum to one.

    Returns
    -------
    numpy.ndarray of float64, shape (C, C)
        The noise matrix; row: given label, column: true class. Columns sum to one.

    Raises
    ------
    TypeError
        `transition` is not an array of numbers.
    ValueError
        `transition` is not a transition matrix.
    """
    matrix = as_tensor("transition", transition).detach().cpu().double()
    _checks.check_transition("transition", matrix)
    return matrix.numpy().T.copy()


def from_cleanlab(noise_matrix: Array) -> Tensor:
    """The transition matrix of cleanlab's `noise_matrix`: its transpose.

    Parameters
    ----------
    noise_matrix : NumPy array, Tensor or DataFrame, shape (C, C)
        cleanlab's `noise_matrix`, and not its `inverse_noise_matrix`; row: given label, column:
        true class. Columns sum to one.

    Returns
    -------
    Tensor of float64, shape (C, C)
        The matrix T; row: true class, column: given label. Rows sum to one.

    Raises
    ------
    TypeError
        `noise_matrix` is not an array of numbers.
    ValueError
        The transpose of `noise_matrix` is not a transition matrix.
    """
    matrix = as_tensor("noise_matrix", noise_matrix).detach().cpu().double().T.clone()
    _checks.check_transition("noise_matrix.T", matrix)
    return matrix


def pred_probs(run: Result | nn.Module, split: Split) -> np.ndarray:
    """The predicted probabilities of the training samples, in cleanlab's `pred_probs` format.

    cleanlab needs predictions of networks that were not trained on the sample: those are
    ``cross_predictions(make, split, ...).numpy()``, see `nlmeta.procedures.cross_predictions`.
    These here come from a network that was trained on the sample. Its probabilities may be close to
    one, and then one of cleanlab's scores misleads: in version 2.9.0 the order of
    ``confidence_weighted_entropy`` is reversed if the entropy falls below a millionth of its
    maximum, for which a gap of 18 between logits is enough. Labels that the network predicts then
    have scores near 0, the worst. The other two scores, ``self_confidence`` (the default) and
    ``normalized_margin``, keep their order.

    Parameters
    ----------
    run : Result or nn.Module
        The result of `fit`, or a network that returns logits.
    split : Split
        The data; the training part is used.

    Returns
    -------
    numpy.ndarray of float64, shape (N, C)
        Probabilities in the order of the training part. Rows sum to one.
    """
    return log_probabilities(run, split, None).exp().numpy()


def label_issues(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame of `suspects` with the columns of cleanlab's `find_label_issues`.

    Join it with a table of your own by `id`, never by position: the parts of a split are drawn, so
    the k-th training sample is not the k-th line of your table. cleanlab's own frame, of
    ``CleanLearning``, has no ids; its rows are counted from 0 in the order of its samples. If these
    are the samples of the training part in its order, the rows are the index here.

    Parameters
    ----------
    frame : DataFrame
        A frame from `suspects`, or some of its rows.

    Returns
    -------
    DataFrame
        A frame in the order of the training part, with its rows as index, and the columns

        - `is_label_issue`: whether the predicted class differs from the given label, cleanlab's
          simplest rule (``filter_by="predicted_neq_given"``), not its default;
        - `label_quality`: self-confidence, in [0, 1]; low is bad;
        - `given_label`, `predicted_label`: classes;
        - `id`, which cleanlab does not have.

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
