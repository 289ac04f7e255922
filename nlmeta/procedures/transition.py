"""Estimates of the transition matrix from a network that was trained on the noisy labels.

Such a network predicts *given* labels. If the true class of a sample is known, the prediction is a
row of T. Patrini et al. (CVPR 2017) search such samples among the noisy ones; Hendrycks et al.
(NeurIPS 2018) use trusted samples. The predictions of a network that has memorised the noise no
longer show the noise, so training should be stopped early.
"""

import torch
from torch import Tensor, nn

from nlmeta import metrics
from nlmeta._checks import check_labels
from nlmeta.data import Samples

__all__ = ["transition_from_anchors", "transition_from_clean"]


def transition_from_anchors(
    network: nn.Module, x: metrics.Inputs, *, percentile: float = 100.0
) -> Tensor:
    """T from the samples with the highest predicted probabilities, one anchor for each class.

    Row i is the prediction for the anchor of class i. It is right if the anchor is certainly of
    class i and the network's probabilities are those of the noisy labels. No label is used.

    Parameters
    ----------
    network : nn.Module
        A network trained on the noisy labels that returns logits of shape (n, C).
    x : Tensor or nlmeta.data.Images, shape (N, ...)
        Samples to choose from; the noisy training samples are suitable.
    percentile : float
        Percentile in [0, 100]. The anchor of a class is the sample at this percentile of the
        predicted probability of the class; between two samples, the lower is taken. Default 100,
        published: the highest. Released code (commits 09f21ac and acfb9ab): the highest for
        CIFAR-100 only, else the highest below the 97th, which leaves outliers out. 97 gives the
        same, except for sizes N with 0.97 (N - 1) whole.

    Returns
    -------
    Tensor of float64, shape (C, C)
        The matrix T on the CPU; row: true class, column: given label. Rows sum to one.
    """
    if not 0 <= percentile <= 100:  # written so that NaN fails too
        raise ValueError(f"`percentile` is {percentile}; it must lie in [0, 100]")
    if len(x) == 0:
        raise ValueError("`x` is empty; anchors need samples to choose from")
    p = _predictions(network, x)  # (N, C)
    anchors = p.argsort(dim=0, stable=True)[int(percentile * (len(p) - 1) / 100)]  # (C,)
    return p[anchors]


def transition_from_clean(network: nn.Module, clean: Samples) -> Tensor:
    """T from trusted samples: row i is the mean prediction for the samples of class i.

    Parameters
    ----------
    network : nn.Module
        A network trained on the noisy labels, and not on these samples, that returns logits of
        shape (n, C).
    clean : Samples
        Inputs with true labels, for example the meta set. Every class must have a sample.

    Returns
    -------
    Tensor of float64, shape (C, C)
        The matrix T on the CPU; row: true class, column: given label. Rows sum to one.
    """
    if len(clean) == 0:
        raise ValueError("`clean` is empty; every class needs at least one trusted sample")
    p, labels = _predictions(network, clean.x), clean.y.cpu()  # (M, C), (M,)
    check_labels("clean", labels, p.shape[1])
    counts = labels.bincount(minlength=p.shape[1])
    missing = (counts == 0).nonzero().flatten().tolist()
    if missing:
        raise ValueError(
            f"`clean` has no sample of class {missing[0]}; T needs trusted samples of every class"
        )
    sums = torch.zeros(p.shape[1], p.shape[1], dtype=p.dtype).index_add(0, labels, p)
    return sums / counts[:, None]


def _predictions(network: nn.Module, x: metrics.Inputs) -> Tensor:
    """Probabilities of all samples, in float64, so that rows sum to one as exactly as possible."""
    return metrics.predict(network, x).cpu().double().softmax(1)
