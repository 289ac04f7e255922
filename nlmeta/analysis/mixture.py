"""Two normal components of the losses: right labels have low losses, wrong ones high losses.

J. Li, R. Socher, S. Hoi, "DivideMix: Learning with Noisy Labels as Semi-supervised Learning",
ICLR 2020. They follow E. Arazo et al., "Unsupervised Label Noise Modeling and Loss Correction",
ICML 2019, whose components are beta distributions.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nlmeta._arrays import Array, as_tensor

__all__ = ["LossMixture", "fit_loss_mixture"]

ADDED_VARIANCE = 5e-4  # for losses scaled to [0, 1]; released code of DivideMix (39740b2)


@dataclass(frozen=True)
class LossMixture:
    """A mixture of two normal components, the one with the lower mean first.

    Attributes
    ----------
    weights, means, deviations : tuple of float
        Weights, means and standard deviations of the two components, the last two in the unit of
        the losses.
    posterior : Tensor of float64, shape (N,)
        The probability of each loss that it comes from the component of high losses.
    """

    weights: tuple[float, float]
    means: tuple[float, float]
    deviations: tuple[float, float]
    posterior: Tensor

    def densities(self, losses: Array) -> Tensor:
        """Each component's weight times its density, shape (2, n), at losses of shape (n,)."""
        at = as_tensor("losses", losses).detach().cpu().double()
        components = zip(self.weights, self.means, self.deviations, strict=True)
        heights = [
            w / (s * math.sqrt(2 * math.pi)) * (-0.5 * ((at - m) / s).square()).exp()
            for w, m, s in components
        ]
        return torch.stack(heights)

    def boundaries(self) -> list[float]:
        """The losses at which the posterior is one half, ascending: none, one or two.

        If there are two, the wider component is more probable outside of them. Mostly it is the
        component of high losses, so the posterior first falls with the loss before it grows.
        """
        # log(w / s) - (x - m)^2 / (2 s^2) is quadratic in x; where is it the same for both?
        low, high = (
            np.array([-0.5, m, -0.5 * m**2]) / s**2 + [0, 0, math.log(w / s)]
            for w, m, s in zip(self.weights, self.means, self.deviations, strict=True)
        )
        roots = np.roots(high - low)
        return sorted(float(root.real) for root in roots if abs(root.imag) < 1e-12)


def fit_loss_mixture(losses: Array) -> LossMixture:
    """Fit two normal components to the losses of samples.

    The losses are scaled to [0, 1] first, and 5e-4 is added to each variance there, so that none
    vanishes; both as in the released code of DivideMix (commit 39740b2). That code starts from
    k-means, which draws random numbers, and stops after at most ten rounds. Here the start is the
    two parts on either side of the mean loss, nothing is drawn, and the rounds continue until the
    fit no longer changes (ours).

    Parameters
    ----------
    losses : array of float, shape (N,)
        Losses, finite and not all equal: a tensor, a NumPy array or a column of a frame.

    Returns
    -------
    LossMixture
        The fitted mixture.

    Raises
    ------
    TypeError
        `losses` is not an array of numbers.
    ValueError
        A loss is not finite, or all are equal.
    """
    from sklearn.mixture import GaussianMixture  # a second or two, for which few runs need to wait

    values = as_tensor("losses", losses).detach().cpu().double()
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"`losses` has shape {tuple(values.shape)}; it must be (N,) with N at least 2"
        )
    if not values.isfinite().all():
        first = int((~values.isfinite()).nonzero()[0])
        raise ValueError(f"`losses` holds {values[first]} at position {first}; all must be finite")
    lowest, span = values.min(), values.max() - values.min()
    if span == 0:
        raise ValueError(
            f"`losses` are all {lowest:g}; two components need losses that differ. Every given "
            "label has the same predicted probability, so use another network"
        )
    scaled = ((values - lowest) / span).numpy()  # (N,), in [0, 1]
    parts = [scaled[scaled <= scaled.mean()], scaled[scaled > scaled.mean()]]
    fitted = GaussianMixture(
        2,
        covariance_type="spherical",
        reg_covar=ADDED_VARIANCE,
        max_iter=1000,
        weights_init=[len(part) / len(scaled) for part in parts],
        means_init=[[part.mean()] for part in parts],
        precisions_init=[1 / (part.var() + ADDED_VARIANCE) for part in parts],
        random_state=0,  # for nothing: with a start that is given, scikit-learn draws no number
    ).fit(scaled[:, None])
    order = fitted.means_[:, 0].argsort()
    low, high = (
        (
            float(fitted.weights_[k]),
            float(lowest + span * fitted.means_[k, 0]),
            float(span) * math.sqrt(fitted.covariances_[k]),
        )
        for k in order
    )
    weights, means, deviations = zip(low, high, strict=True)
    posterior = torch.from_numpy(fitted.predict_proba(scaled[:, None])[:, order[1]])
    return LossMixture(weights, means, deviations, posterior)
