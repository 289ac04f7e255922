"""The loss of an ordinary step on soft labels, which MSLG and label heads share."""

from torch import Tensor

from nlmeta import losses

__all__ = ["divergence_with_entropy"]


def divergence_with_entropy(
    logits: Tensor,
    label_logits: Tensor,
    *,
    direction: losses.Direction,
    scale: losses.Scale,
    entropy_weight: float,
) -> Tensor:
    """The loss (9.6), the divergence plus gamma times the entropy, with the options of `MSLG`."""
    entropy = losses.entropy(logits, scale=scale)
    if direction == "label-first":
        divergence = losses.soft_label_divergence(
            logits, label_logits, direction=direction, scale=scale
        )
        return divergence + entropy_weight * entropy
    # KL(p || s) is reverse cross-entropy minus the entropy, so gamma = 1 leaves the former.
    reverse = losses.reverse_cross_entropy(logits, label_logits, scale=scale)
    return reverse - (1 - entropy_weight) * entropy
