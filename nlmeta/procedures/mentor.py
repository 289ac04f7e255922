"""MLNT's further iterations: the best network so far names the samples to train on, and advises.

Li et al., CVPR 2019 (chapter 7). A first iteration trains on all samples. The better of its student
and teacher becomes the mentor: samples whose given label it finds unlikely are left out, and a new
network is trained on the rest with the mentor's advice. The released code does not reach so far, so
the threshold and the mentor's share are the reader's to choose; look at `label_confidence` first.
"""

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
        Which samples of the whole training part it was trained on.
    mentor : nn.Module
        The better of student and teacher by clean validation data; advises the next iteration.
    mentor_is_teacher : bool
        Which of them that is.
    validation_accuracy : float
        The mentor's, after the last epoch.
    """

    result: Result
    kept: Tensor
    mentor: nn.Module
    mentor_is_teacher: bool
    validation_accuracy: float

    @property
    def kept_share(self) -> float:
        """Share of the whole training part."""
        return float(self.kept.double().mean())


def label_confidence(mentor: nn.Module, split: Split) -> Tensor:
    """The probability that a network gives to each given training label.

    Parameters
    ----------
    mentor : nn.Module
        Returns logits.
    split : Split
        Its training part, with the given labels.

    Returns
    -------
    Tensor of float, shape (N,)
    """
    p = metrics.predict(mentor, split.train.x).softmax(1)  # (N, C)
    return p.gather(1, split.train.y[:, None]).squeeze(1)


def kept_by_mentor(mentor: nn.Module, split: Split, threshold: float) -> Tensor:
    """Which training samples stay: those whose given label the mentor finds likely enough.

    Parameters
    ----------
    mentor : nn.Module
        Returns logits.
    split : Split
        Its training part, with the given labels.
    threshold : float
        tau; a sample stays if its `label_confidence` is at least that. A network trained against
        noise is seldom sure, so the same value may keep everything or nothing.

    Returns
    -------
    Tensor of bool, shape (N,)
        For `Split.keep`.

    Raises
    ------
    ValueError
        A class that was there would lose all its samples.
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
    """Train again and again from scratch, each time on what the last mentor leaves.

    Every iteration filters the whole training part, so a sample once left out may come back. The
    mentor is chosen by the accuracy on clean validation images after the last epoch. That is a use
    of clean data, though not in training.

    Parameters
    ----------
    make_model : callable
        Returns a new network.
    make_method : callable
        ``make_method(model, mentor, iteration)`` returns the method for iteration 1, 2, ... The
        first mentor is trained by plain cross-entropy. For MLNT::

            lambda model, mentor, i: MLNT(
                model, mentor, teacher_share=1.0 if i == 1 else 0.5, trial_lr=1.0, ...
            )
    split : Split
        With a validation part.
    threshold : float
        As for `kept_by_mentor`.
    epochs : int
        Of each iteration.
    seed : int
        As for `nlmeta.fit`, in each iteration.
    iterations : int
        Default 3, the paper's from second hand.
    mentor_epochs : int
        Epochs of plain cross-entropy on all samples for the first mentor. Default 10.
    **options
        Further arguments of `nlmeta.fit`, the first mentor's training included.

    Returns
    -------
    list of Iteration
        Fewer than `iterations` if the training was stopped.
    """
    check_count("iterations", iterations)
    if len(split.validation) == 0:
        raise ValueError("`split` has an empty validation part; the mentor is chosen by it")
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
    """The run with its better network by clean validation data; the teacher where both are even."""
    student, teacher = (
        metrics.evaluate(network, split.validation.x, split.validation.y)
        for network in (result.model, result.predictor)
    )
    of_teacher = teacher >= student
    mentor = result.predictor if of_teacher else result.model
    return Iteration(result, kept, mentor, of_teacher, max(student, teacher))
