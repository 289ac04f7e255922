"""The network behind feature-dependent noise: a distilled student that predicts similar classes.

Algan & Ulusoy, "Label noise types and their effects on deep learning" (2020), relabel the images
that a network finds most similar to another class. A network trained on the labels alone predicts
nearly every label with a high probability. So a teacher is trained first, on clean labels, and the
predictions come from its student, distilled (Hinton, Vinyals & Dean, 2015) from the teacher's
softened predictions. Chapter 3, *Injecting noise*, uses it.

`noise.inject` with "feature-dependent" turns the table into labels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nlmeta import losses, metrics
from nlmeta._checks import check_count, check_positive, check_rate
from nlmeta.data import Batch, Samples, Split
from nlmeta.methods import CrossEntropy, Method
from nlmeta.methods.base import descend
from nlmeta.models import logits_of
from nlmeta.seeding import generator
from nlmeta.training import fit

__all__ = ["distillation_loss", "distilled_predictions"]


def distillation_loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float,
    label_weight: float,
) -> Tensor:
    r"""Cross-entropy of the labels, and of a teacher's predictions at a temperature.

    With z the student's logits, z' the teacher's, omega the weight and tau the temperature, it is
    the mean over the batch of

    omega H(y, softmax(z)) + (1 - omega) tau^2 H(softmax(z' / tau), softmax(z / tau)),

    where H is the cross-entropy (3.13).

    At tau = 1 this is the cross-entropy of the mixed target omega y + (1 - omega) softmax(z'), at
    omega = 1 plain cross-entropy. Without the factor tau^2 the gradient of the second term by z
    would shrink like 1 / tau^2 (Hinton et al., 2015). The released code of Algan & Ulusoy has no
    such factor.

    Parameters
    ----------
    logits : Tensor, shape (n, C)
        The student's logits z.
    labels : Tensor of int64, shape (n,)
        The labels y.
    teacher_logits : Tensor, shape (n, C)
        The teacher's logits z', held fixed.
    temperature : float
        The temperature tau, positive. The higher it is, the more the small probabilities count.
    label_weight : float
        The weight omega, in [0, 1].

    Returns
    -------
    Tensor, shape ()
        The loss.
    """
    check_positive("temperature", temperature)
    check_rate("label_weight", label_weight)
    soft = (teacher_logits.detach() / temperature).softmax(1)  # (n, C)
    imitation = temperature**2 * F.cross_entropy(logits / temperature, soft)
    return label_weight * losses.cross_entropy(logits, labels) + (1 - label_weight) * imitation


def distilled_predictions(
    teacher: nn.Module,
    student: nn.Module,
    split: Split,
    *,
    temperature: float = 16.0,
    label_weight: float = 0.1,
    trained_share: float = 0.5,
    epochs: int,
    seed: int,
    **options: Any,
) -> Tensor:
    """Train a teacher, distil a student from it, and predict the training samples by the student.

    Both networks are trained on only a share of the samples, so the student has not memorised the
    labels of the others. The table holds its predictions for all samples, with softmax applied
    once, at temperature 1. (The table that is shipped with MSLG's code went through softmax twice,
    see `noise.feature_dependent`.)

    The defaults are those of the released code (commit 044183b), which trains two networks of the
    same shape, with dropout and shifted images. It also lists tau = 2 and a = 0.3 for CIFAR-10,
    which its main script does not read. That code divides the teacher's softened predictions by
    their sum over the whole table instead of each row, so its student learns almost only from the
    labels. Ours divides by the sum of each row.

    Parameters
    ----------
    teacher, student : nn.Module
        New networks that return logits of shape (n, C). They are trained in place.
    split : Split
        Data with clean training labels: ``noise="none"``. Meta and validation part are not used;
        the test part is evaluated as in `nlmeta.fit`.
    temperature, label_weight
        tau and omega of `distillation_loss`. Defaults 16 and 0.1, released.
    trained_share : float
        Share of the training samples, in (0, 1], that the networks are trained on. Default 0.5,
        released. With 1 the student has memorised the labels of all samples that it predicts.
    epochs : int
        Epochs of the teacher. The student is trained for twice as many, released.
    seed : int
        Seed of the choice of samples and of the batches. The networks are seeded where they are
        made.
    **options
        Further arguments of `nlmeta.fit`, for both. By default both are evaluated only at their
        end.

    Returns
    -------
    Tensor of float64, shape (N, C)
        A table on the CPU; row i is the student's prediction for training sample i and sums to one.

    Raises
    ------
    ValueError
        If an argument is out of range, labels are known to be wrong, or the share has no sample.
    """
    check_count("epochs", epochs)
    check_rate("trained_share", trained_share)
    check_positive("temperature", temperature)
    check_rate("label_weight", label_weight)
    if split.true_labels is not None and split.wrong.any():
        raise ValueError(
            f"`split` has {int(split.wrong.sum())} wrong labels in its training part; the teacher "
            "needs clean labels, so load the data with noise 'none'"
        )
    n = len(split.train)
    order = torch.randperm(n, generator=generator(seed, "distillation"), device="cpu")
    trained = torch.zeros(n, dtype=torch.bool, device="cpu")
    trained[order[: round(trained_share * n)]] = True
    if not trained.any():
        raise ValueError(
            f"`trained_share` is {trained_share}; that is none of {n} samples, choose a larger one"
        )
    part = split.keep(trained.to(split.train.y.device))

    options = {"evaluate_every": 2 * epochs, **options}
    fit(CrossEntropy(), teacher, part, epochs=epochs, seed=seed, **options)
    distillation = _Distillation(
        _logits(teacher, part.train), temperature=temperature, label_weight=label_weight
    )
    fit(distillation, student, part, epochs=2 * epochs, seed=seed, **options)
    return _logits(student, split.train).cpu().double().softmax(1)  # once; (N, C)


class _Distillation(Method):
    """Steps on `distillation_loss`; keeps the teacher's logits of every sample, (N, C)."""

    logits: Tensor

    scalable = True

    def __init__(self, logits: Tensor, *, temperature: float, label_weight: float) -> None:
        super().__init__()
        self.num_samples = len(logits)
        self.temperature, self.label_weight = temperature, label_weight
        self.register_buffer("logits", logits)

    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """One step; the meta batch is not used. See `Method.step`."""
        loss = distillation_loss(
            logits_of(model, train.x),
            train.y,
            self.logits[train.ids],
            temperature=self.temperature,
            label_weight=self.label_weight,
        )
        descend(optimizer, loss)
        return {"loss": loss.detach()}


def _logits(network: nn.Module, samples: Samples) -> Tensor:
    """Logits of all samples, (n, C), in the network's floating type."""
    x = samples.to(samples.y.device, metrics.floating_type(network)).x
    return metrics.predict(network, x)
