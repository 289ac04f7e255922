"""What a training run leaves behind."""

from dataclasses import dataclass

import pandas as pd
from torch import nn

from nlmeta.methods import Method

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """What a training run leaves behind.

    Attributes
    ----------
    model : nn.Module
        The trained network.
    method : Method
        The method, with whatever it learned beside the network.
    history : pandas.DataFrame
        A row an epoch: ``epoch``; ``lr``, the learning rate of the last step; the method's
        diagnostics (``loss``, ...) as means over the epoch's steps; ``test_accuracy``, NaN without
        a test part; ``train_accuracy``, the share of the *given* training labels that are
        predicted; ``memorised``, the share of the wrongly labelled training samples whose wrong
        label is predicted, NaN if no label is wrong or if the true labels are unknown; what
        `on_epoch` returned; ``seconds``. If the training images stay on disk, ``train_accuracy``
        and ``memorised`` are left out, since all of them would have to be decoded once more.
    finished : bool
        False if the run was stopped by Ctrl-C. The network is then as it was at that moment, maybe
        inside an epoch; the checkpoint holds the last whole epoch, and continues from there.
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
        """Clean test accuracy after the last epoch. Never that of the best one.

        It is not a number where the split has no test part.
        """
        if "test_accuracy" not in self.history:
            raise ValueError("the run was stopped before anything was evaluated")
        return float(self.history["test_accuracy"].iloc[-1])
