"""MLNT's further iterations: the best network so far selects samples and joins the target.

Li et al., CVPR 2019 (chapter 10). A first iteration trains on all samples. The better of its
student and teacher becomes the mentor: samples with a low probability of the given label are left
out, and a new network is trained on the rest, with the mentor's predictions in its target. The
released code does not contain these iterations, so the reader must choose the threshold and the
mentor's share; inspect `label_confidence` first."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nlmeta import metrics
from nlmeta._checks import check_count, check_rate
from nlmeta.data import Split
from nlmeta.methods import CrossEntropy, Method
from nlmeta.training import Result, fit

__all__ = ["Iteration", "kept_by_mentor", "label_confidence", "mlnt_iterations"]


@dataclass(frozen=True)
class Iteration:
    """One training run among several.

    Attributes
    ----------
    result : Result
        The run.
    kept : Tensor of bool, shape (N,)
        True for the samples of the whole training part that were used.
    mentor : nn.Module
        The better of student and teacher by clean validation data, for the next iteration.
    mentor_is_teacher : bool
        Whether the mentor is the teacher; else it is the student.
    validation_accuracy : float
        The mentor's accuracy on the validation part after the last epoch.
    """

    result: Result
    kept: Tensor
    mentor: nn.Module
    mentor_is_teacher: bool
    validation_accuracy: float

    @property
    def kept_share(self) -> float:
        """Share of the whole training part that was used."""
        return float(self.kept.double().mean())


def label_confidence(mentor: nn.Module, split: Split) -> Tensor:
    """A network's probability of each given training label.

    Parameters
    ----------
    mentor : nn.Module
        A network that returns logits.
    split : Split
        The data; its training part with the given labels is used.

    Returns
    -------
    Tensor of float, shape (N,)
        The probabilities.
    """
    p = metrics.predict(mentor, split.train.x).softmax(1)  # (N, C)
    return p.gather(1, split.train.y[:, None]).squeeze(1)


def kept_by_mentor(mentor: nn.Module, split: Split, threshold: float) -> Tensor:
    """The training samples to keep: the mentor's probability of their given label is high enough.

    Parameters
    ----------
    mentor : nn.Module
        A network that returns logits.
    split : Split
        The data; its training part with the given labels is used.
    threshold : float
        tau; a sample is kept if its `label_confidence` is at least tau. A network trained against
        noise seldom has high probabilities, so one value may keep everything or nothing.

    Returns
    -------
    Tensor of bool, shape (N,)
        True for the samples to keep, as an argument of `Split.keep`.

    Raises
    ------
    ValueError
        A class would lose all its samples.
    """
    check_rate("threshold", threshold)
    confidence = label_confidence(mentor, split)
    kept = confidence >= threshold
    for c in split.train.y.unique().tolist():
        of_class = split.train.y == c
        if not kept[of_class].any():
            raise ValueError(
                f"`threshold` is {threshold}; it leaves no sample with label {c}, for which the "
                f"mentor's confidence reaches {float(confidence[of_class].max()):.3g}"
            )
    return kept


def mlnt_iterations(
    make_model: Callable[[], nn.Module],
    make_method: Callable[[nn.Module, nn.Module, int], Method],
    split: Split,
    *,
    threshold: float,
    epochs: int,
    seed: int,
    iterations: int = 3,
    mentor_epochs: int = 10,
    **options: Any,
) -> list[Iteration]:
    """Train several times from scratch, each time on the samples that the last mentor keeps.

    Every iteration filters the whole training part, so a sample that was left out may come back.
    The mentor is chosen by the accuracy on clean validation images after the last epoch. So clean
    data are used, though not for training.

    Parameters
    ----------
    make_model : callable
        A function that returns a new network.
    make_method : callable
        A function ``make_method(model, mentor, iteration)`` that returns the method for iteration
        1, 2, ... The first mentor is trained by plain cross-entropy. For MLNT::

            lambda model, mentor, i: MLNT(
                model, mentor, teacher_share=1.0 if i == 1 else 0.5, trial_lr=1.0, ...
            )
    split : Split
        Data with a validation part.
    threshold : float
        The threshold of `kept_by_mentor`.
    epochs : int
        Epochs of each iteration.
    seed : int
        Seed of each run, as in `nlmeta.fit`.
    iterations : int
        Number of iterations. Default 3, reported of the paper by others.
    mentor_epochs : int
        Epochs of plain cross-entropy on all samples for the first mentor. Default 10.
    **options
        Further arguments of `nlmeta.fit`, the first mentor's training included.

    Returns
    -------
    list of Iteration
        One entry per iteration; fewer than `iterations` if the training was stopped.
    """
    check_count("iterations", iterations)
    if len(split.validation) == 0:
        raise ValueError(
            "`split` has an empty validation part, by which the mentor is chosen; load the data "
            "with `validation_size`"
        )
    if "checkpoint" in options:
        raise ValueError("`checkpoint` names one file, and there are several runs; leave it out")
    plain = fit(CrossEntropy(), make_model(), split, epochs=mentor_epochs, seed=seed, **options)
    mentor, stopped = plain.model, not plain.finished
    kept = torch.ones(len(split.train), dtype=torch.bool, device=split.train.y.device)
    done: list[Iteration] = []
    while len(done) < iterations and not stopped:
        if done:
            kept = kept_by_mentor(mentor, split, threshold)
        model = make_model()
        method = make_method(model, mentor, len(done) + 1)
        result = fit(method, model, split.keep(kept), epochs=epochs, seed=seed, **options)
        done.append(_judged(result, kept, split))
        mentor, stopped = done[-1].mentor, not result.finished
    return done


def _judged(result: Result, kept: Tensor, split: Split) -> Iteration:
    """The run with its better network by clean validation data; the teacher if both are equal."""
    student, teacher = (
        metrics.evaluate(network, split.validation.x, split.validation.y)
        for network in (result.model, result.predictor)
    )
    of_teacher = teacher >= student
    mentor = result.predictor if of_teacher else result.model
    return Iteration(result, kept, mentor, of_teacher, max(student, teacher))
