"""What MLNT's trial networks shall agree with: its teacher, and a mentor beside it (chapter 7)."""

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
    """The mixture of two predictions for a batch, equation (7.3), and the mentor's features.

    Parameters
    ----------
    model : nn.Module
        The student. The teacher runs in its mode and with its buffers.
    forward : bilevel.ForwardPass
        The student's pass over the batch, of which the teacher repeats the random numbers.
    teacher : nn.Module
        The student's average.
    mentor : nn.Module
        In evaluation mode.
    share : float
        lambda, the teacher's part; with 1 the mentor has none.

    Returns
    -------
    log_q : Tensor, shape (n, C)
        Log-probabilities, detached.
    features : Tensor, shape (n, D)
        The mentor's, detached.
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
