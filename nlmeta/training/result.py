"""The result of a training run."""

from dataclasses import dataclass

import pandas as pd
from torch import nn

from nlmeta.methods import Method

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """The result of a training run.

    Attributes
    ----------
    model : nn.Module
        The trained network.
    method : Method
        The method, with all that it learned beside the network.
    history : pandas.DataFrame
        One row per epoch, with the columns ``epoch``; ``lr``, the learning rate of the last step;
        the method's diagnostics (``loss``, ...) as means over the epoch's steps; ``test_accuracy``,
        NaN without a test part; ``train_accuracy``, the share of the *given* training labels that
        are predicted; ``memorised``, the share of the wrongly labelled training samples whose wrong
        label is predicted, NaN if no label is wrong or if the true labels are unknown; the numbers
        returned by `on_epoch`; ``seconds``. If the training images stay on disk, ``train_accuracy``
        and ``memorised`` are left out, since all images would have to be decoded once more.
    finished : bool
        False if the run was stopped by Ctrl-C or by `stop_after`. The network is then in the state
        of that moment, perhaps inside an epoch. The checkpoint holds the last whole epoch, and a
        run continues from there.
    """

    model: nn.Module
    method: Method
    history: pd.DataFrame
    finished: bool

    @property
    def predictor(self) -> nn.Module:
        """The network to predict with: the trained one, or the method's average of it."""
        return self.method.predictor(self.model)

    @property
    def accuracy(self) -> float:
        """Clean test accuracy after the last epoch, not that of the best epoch.

        It is NaN if the split has no test part.
        """
        if "test_accuracy" not in self.history:
            raise ValueError(
                "the run was stopped before its first evaluation, so there is no accuracy"
            )
        return float(self.history["test_accuracy"].iloc[-1])
