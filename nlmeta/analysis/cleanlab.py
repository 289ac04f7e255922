"""To and from the conventions of cleanlab, which is not needed for it.

Its documentation (docs.cleanlab.ai, `cleanlab.internal.latent_algebra`,
`cleanlab.classification.CleanLearning.find_label_issues`, `cleanlab.filter.find_label_issues`)
has the noise matrix as P(given | true) with columns that sum to one, which is the transpose of T
here, and names the columns of its frame of label issues.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from nlmeta import _checks
from nlmeta.analysis._rows import log_probabilities
from nlmeta.data import Split
from nlmeta.training import Result

__all__ = ["from_cleanlab", "label_issues", "pred_probs", "to_cleanlab"]


def to_cleanlab(transition: Tensor | pd.DataFrame) -> np.ndarray:
    """Give cleanlab's `noise_matrix`: the transpose of a transition matrix.

    Parameters
    ----------
    transition : Tensor or DataFrame, shape (C, C)
        T; row: true class, column: given label. Rows sum to one.

    Returns
    -------
    numpy.ndarray of float64, shape (C, C)
        Row: given label, column: true class. Columns sum to one.

    Raises
    ------
    ValueError
        `transition` is no transition matrix.
    """
    if isinstance(transition, pd.DataFrame):
        transition = torch.tensor(transition.to_numpy().tolist(), dtype=torch.float64, device="cpu")
    matrix = transition.detach().cpu().double()
    _checks.check_transition("transition", matrix)
    return matrix.numpy().T.copy()


def from_cleanlab(noise_matrix: np.ndarray) -> Tensor:
    """Give the transition matrix of cleanlab's `noise_matrix`: its transpose.

    Parameters
    ----------
    noise_matrix : array, shape (C, C)
        Row: given label, column: true class. Columns sum to one. Not its `inverse_noise_matrix`.

    Returns
    -------
    Tensor of float64, shape (C, C)
        T; row: true class, column: given label. Rows sum to one.

    Raises
    ------
    ValueError
        The transpose of `noise_matrix` is no transition matrix.
    """
    matrix = torch.from_numpy(np.array(noise_matrix, dtype=np.float64).T)
    _checks.check_transition("noise_matrix.T", matrix)
    return matrix


def pred_probs(run: Result | nn.Module, split: Split) -> np.ndarray:
    """Give the predicted probabilities of the training samples, in cleanlab's `pred_probs` format.

    cleanlab wants them from networks that did not see the sample; these are of one that did.

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
