"""Label noise that depends on the sample, which no matrix can describe.

There are two generators. The part-dependent noise of Xia et al., "Part-dependent label noise:
towards instance-dependent label noise" (NeurIPS 2020), draws a flip probability for each sample,
and a random projection of the input decides the wrong label. The feature-dependent noise of Algan &
Ulusoy, "Label noise types and their effects on deep learning" (2020), which the MSLG paper
(ICPR 2020) uses, relabels the samples that a given network finds most similar to another class.

`nlmeta.procedures` trains the network behind such predictions, and `nlmeta.data` reads published
tables.
"""

import math
import warnings

import torch
from torch import Tensor

from nlmeta import _checks
from nlmeta._arrays import Array, as_tensor
from nlmeta.noise._arguments import check_distributions, check_generator

__all__ = ["feature_dependent", "instance_dependent"]

# Standard deviation of the samples' flip rates before truncation; published (Xia et al.).
_DEVIATION = 0.1


def instance_dependent(
    x: Tensor,
    labels: Array,
    num_classes: int,
    rate: float,
    *,
    generator: torch.Generator,
    raw: bool = False,
) -> Tensor:
    """A distribution of the given label for each sample (Xia et al., part-dependent).

    Sample k flips with probability q_k, drawn from a normal distribution of mean `rate` and
    standard deviation 0.1 that is truncated to [0, 1]. Its wrong label has the distribution
    softmax of x_k W over the other classes; W, standard normal, belongs to the true class. Labels
    are then drawn by `corrupt_by_probabilities`.

    The mean of the truncated distribution is not `rate` near the ends: 0.1 gives 0.129, 0.2 gives
    0.206, and from 0.3 to 0.7 it is right within 0.001. The mean of ``1 - P[k, labels[k]]`` is the
    rate to expect.

    The softmax is taken over numbers with a spread of about the norm of x, so for images it is
    nearly one-hot: if a sample flips, its input decides the wrong label. If inputs are not
    normalised, the mean image, which all samples share, decides it instead, and the noise comes
    close to one target per class. On CIFAR-10 at rate 0.4 the most frequent target of a class took
    62 % of its wrong labels from pixels in [0, 1] and 26 % from normalised ones (mean over the
    classes, one draw). For this reason `x` is checked. The check does not find a pattern that the
    images of a class share, so inspect the matrix too, see `empirical_transition`. The released
    code of CLID-MU draws from raw pixels of 0 to 255.

    Parameters
    ----------
    x : Tensor of float, shape (n, ...)
        Normalised inputs, on any device. Over all entries, the mean must lie within half a standard
        deviation of 0, and the standard deviation in [0.5, 2]. The bounds are ours.
    labels : array
        The true classes, (n,), int64.
    num_classes : int
        C, the number of classes, at least 2.
    rate : float
        The rate r, in (0, 1). The ends are refused: at 0 the truncated distribution still has mean
        0.08.
    generator : torch.Generator
        A generator on the CPU; W of all classes is drawn first, then the flip rates.
    raw : bool, default False
        If True, `x` is not checked, so that noise from raw pixels can be repeated.

    Returns
    -------
    Tensor
        A table (n, C), float64, on the CPU; row k is the distribution of the given label of sample
        k. It is the same on all machines and for all numbers of threads up to rounding, about 1e-13
        for images like CIFAR-10's; a label drawn from it could differ only if its random number
        comes that close to a limit.

    Raises
    ------
    ValueError
        If an argument is outside its range, or `x` is not normalised and `raw` is False.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import noise, seeding
    >>> x, labels = torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1])
    >>> draw = seeding.generator(0, "noise map")
    >>> noise.instance_dependent(x, labels, 3, 0.5, generator=draw)
    tensor([[0.4163, 0.0622, 0.5215],
            [0.1365, 0.5494, 0.3141]], dtype=torch.float64)
    """
    _checks.check_count("num_classes", num_classes, minimum=2)
    _checks.check_rate("rate", rate)
    if not 0 < rate < 1:
        raise ValueError(
            f"`rate` is {rate}; it must lie in (0, 1), since the flip rates vary around it"
        )
    if not isinstance(x, Tensor):
        raise TypeError(f"`x` is a {type(x).__name__}; it must be a tensor of shape (n, ...)")
    labels = as_tensor("labels", labels)
    _checks.check_labels("labels", labels, num_classes)
    _checks.check_same_length("x", x, "labels", labels)
    check_generator(generator)
    if not raw:
        _check_normalised(x)
    true, features = labels.cpu(), x.detach()[:, None].flatten(1)  # (n,), (n, S)
    goes_to = torch.zeros(len(x), num_classes, dtype=torch.float64, device="cpu")
    for c in range(num_classes):  # draws for absent classes too, so that the others stay the same
        size = (features.shape[1], num_classes)
        projection = torch.randn(size, generator=generator, dtype=torch.float64, device="cpu")
        rows = (true == c).nonzero().flatten()
        scores = features[rows.to(x.device)].to("cpu", torch.float64) @ projection  # (n_c, C)
        scores[:, c] = -math.inf
        goes_to[rows] = scores.softmax(1)
    flips = _truncated_normal(len(x), rate, generator)[:, None]  # (n, 1)
    return (flips * goes_to).scatter(1, true[:, None], 1 - flips)


def feature_dependent(
    predictions: Array,
    labels: Array,
    rate: float,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Relabel the samples that a network finds most similar to another class (Algan & Ulusoy).

    ``int(n * rate)`` labels change. Samples whose most probable class is wrong change first, those
    with the largest probability before the others; they take that class. Then the other samples
    change, in the order of their second largest probability; they take its class. So a higher rate
    changes the labels that a lower one changes, and more.

    Probabilities can be equal. Without a generator the highest class number wins, as by sorting in
    the released code (commit 044183b), and among equal samples the last, which that code leaves
    open. This is harmless for a few ties and a bias for many. The table that is shipped with MSLG's
    code went through softmax twice: the small probabilities of most images are equal there in
    float32, and half of the wrong labels at rate 0.8 are the last class.

    Parameters
    ----------
    predictions : array
        The network's probabilities, (n, C); rows sum to 1 within 1e-4.
    labels : array
        The true classes, (n,), int64.
    rate : float
        The rate r, in [0, 1].
    generator : torch.Generator, optional
        A generator on the CPU that breaks all ties at random (ours). A sample whose other
        probabilities are all exactly 0 then takes a random other class, as in the released code.

    Returns
    -------
    Tensor
        The given labels, (n,), int64, on the device of `labels`.

    Raises
    ------
    ValueError
        If a row is not a distribution or labels do not fit.

    Warns
    -----
    UserWarning
        If no entry is above e / (e + C - 1), the largest that softmax can make of
        probabilities: softmax was then probably applied twice.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import noise
    >>> predictions = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> noise.feature_dependent(predictions, torch.tensor([0, 0, 1]), 0.34)  # the least sure one
    tensor([0, 1, 1])
    """
    _checks.check_rate("rate", rate)
    predictions, labels = as_tensor("predictions", predictions), as_tensor("labels", labels)
    check_distributions("predictions", predictions, tolerance=1e-4)
    n, num_classes = predictions.shape
    _checks.check_labels("labels", labels, num_classes)
    _checks.check_same_length("predictions", predictions, "labels", labels)
    p, true = predictions.detach().to("cpu", torch.float64), labels.cpu()
    _warn_of_second_softmax(p)
    # Sorting is stable and ascending: of equal entries the one that stands last wins.
    if generator is None:
        columns = torch.arange(num_classes, device="cpu").expand(n, -1)
        samples = torch.arange(n, device="cpu")
    else:
        check_generator(generator)
        u = torch.rand(n, num_classes, generator=generator, dtype=torch.float64, device="cpu")
        columns = u.argsort(dim=1, stable=True)
        samples = torch.randperm(n, generator=generator, device="cpu")
    ordered, places = p.gather(1, columns).sort(dim=1, stable=True)
    classes = columns.gather(1, places)  # (n, C): from the least to the most probable
    mistaken = classes[:, -1] != true
    target = torch.where(mistaken, classes[:, -1], classes[:, -2])
    # Above 1 for a wrong first class, so that these come before all second ones.
    likeness = torch.where(mistaken, 2 + ordered[:, -1], ordered[:, -2])
    queue = samples[likeness[samples].argsort(stable=True)]
    changed = queue[n - int(n * rate) :]  # not [-int(n * rate):], which is everything at rate 0
    return true.index_copy(0, changed, target[changed]).to(labels.device)


def _truncated_normal(n: int, mean: float, generator: torch.Generator) -> Tensor:
    """n draws from a normal distribution truncated to [0, 1], one uniform number for each."""
    bounds = torch.tensor([0 - mean, 1 - mean], dtype=torch.float64, device="cpu") / _DEVIATION
    low, high = torch.special.ndtr(bounds)
    u = torch.rand(n, generator=generator, dtype=torch.float64, device="cpu")
    draws = mean + _DEVIATION * torch.special.ndtri(low + u * (high - low))
    return draws.clamp(0, 1)  # rounding alone can leave the interval


def _check_normalised(x: Tensor) -> None:
    if len(x) == 0:
        return
    advice = "pass (x - x.mean()) / x.std(), or `raw=True` to use it as it is"
    if not x.is_floating_point():
        raise ValueError(f"`x` is {x.dtype}; it must be normalised floating point: {advice}")
    variance, mean = (moment.item() for moment in torch.var_mean(x.detach(), correction=0))
    deviation = math.sqrt(variance)
    if not (0.5 <= deviation <= 2 and abs(mean) <= deviation / 2):  # written so that NaN fails too
        raise ValueError(
            f"`x` has mean {mean:.3g} and standard deviation {deviation:.3g}; normalised inputs "
            "have a standard deviation in [0.5, 2] and a mean within half of it from 0: " + advice
        )


def _warn_of_second_softmax(p: Tensor) -> None:
    num_classes = p.shape[1]
    largest = math.e / (math.e + num_classes - 1)
    if len(p) and p.max() <= largest + 1e-6:
        warnings.warn(
            f"`predictions` holds no entry above {p.max():.4f}; softmax of probabilities of "
            f"{num_classes} classes has none above {largest:.4f}, so softmax was probably "
            "applied twice, which leaves many exact ties",
            stacklevel=3,
        )
