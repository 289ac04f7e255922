"""Synthetic wrong labels that resemble plausible ones: the labels of neighbours (chapter 10)."""

import math

import torch
from torch import Tensor

from nlmeta._checks import check_class_indices
from nlmeta._host import from_host

__all__ = ["neighbour_labels"]


def neighbour_labels(
    features: Tensor,
    labels: Tensor,
    *,
    trials: int,
    replaced: float,
    neighbours: int,
    generator: torch.Generator,
) -> Tensor:
    """Sets of labels in which some are copied from neighbours, equation (10.1).

    In each set floor(rho n) samples are drawn without replacement. The label of each is replaced by
    the given label of one of its nearest samples, itself left out. The two labels are often equal,
    so many samples keep theirs. All sets are drawn in one call.

    Parameters
    ----------
    features : Tensor of float, shape (n, D)
        Features; samples are near each other by Euclidean distance.
    labels : Tensor of int64, shape (n,)
        Given labels.
    trials : int
        M, the number of sets.
    replaced : float
        rho, the share of labels that are replaced, in [0, 1].
    neighbours : int
        Number of nearest samples from which one is drawn; below n.
    generator : torch.Generator
        A generator on the CPU.

    Returns
    -------
    Tensor of int64, shape (M, n)
        One set of labels in each row.

    Raises
    ------
    ValueError
        The batch is too small for so many neighbours.
    """
    check_class_indices("labels", labels)
    n = len(labels)
    if n <= neighbours:
        raise ValueError(
            f"the batch has {n} samples; with `neighbours` {neighbours} it must have at least "
            f"{neighbours + 1}. Choose a batch size that leaves no smaller last batch, or fewer "
            "neighbours"
        )
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()  # which is what distances are computed for
    # Without the matrix product, whose rounding would mix up what is near.
    distance = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distance.fill_diagonal_(math.inf).topk(neighbours, largest=False).indices  # (n, k)
    count = int(replaced * n + 1e-9)  # 0.29 * 100 is 28.999999999999996

    def draw() -> Tensor:  # which of its neighbours a sample takes after, -1 for none; (M, n)
        place = torch.rand(trials, n, generator=generator, device="cpu").argsort(1)
        drawn = torch.randint(neighbours, (trials, n), generator=generator, device="cpu")
        return torch.where(place < count, drawn, -1)

    chosen = from_host(draw, labels.device)
    taken = nearest[torch.arange(n, device=labels.device), chosen.clamp_min(0)]  # (M, n)
    return torch.where(chosen >= 0, labels[taken], labels)
