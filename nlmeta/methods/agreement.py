"""The prediction that MLNT's trial networks should match: teacher and mentor mixed (chapter 10)."""

import torch
from torch import Tensor, nn

from nlmeta import bilevel
from nlmeta._host import from_host
from nlmeta.models import logits_of, with_features

__all__ = ["mixed_target"]


def mixed_target(
    model: nn.Module,
    forward: bilevel.ForwardPass,
    teacher: nn.Module,
    mentor: nn.Module,
    *,
    share: float,
) -> tuple[Tensor, Tensor]:
    """The mixture of two predictions for a batch, equation (10.3), and the mentor's features.

    Parameters
    ----------
    model : nn.Module
        The student. The teacher runs in the student's mode and with its buffers.
    forward : bilevel.ForwardPass
        The student's pass over the batch; the teacher repeats its random numbers.
    teacher : nn.Module
        The average of the student.
    mentor : nn.Module
        The mentor, in evaluation mode.
    share : float
        lambda, the teacher's share of the mixture; with 1 the mentor has none.

    Returns
    -------
    log_q : Tensor, shape (n, C)
        Log-probabilities, detached.
    features : Tensor, shape (n, D)
        The mentor's features, detached.
    """
    average: dict[str, Tensor] = dict(teacher.named_parameters())
    with torch.no_grad(), bilevel.same_random_numbers(forward):
        log_q = logits_of(bilevel.with_parameters(model, average), forward.x).log_softmax(1)
        logits, features = with_features(mentor, forward.x)
    if share < 1:
        both = share, 1 - share
        made = from_host(lambda: torch.tensor(both, dtype=torch.float64), log_q.device)
        shares = made.to(log_q.dtype)[:, None, None]
        log_q = (shares.log() + torch.stack([log_q, logits.log_softmax(1)])).logsumexp(0)
    return log_q, features
