"""Predictions of each training sample by a network that was not trained on it: cross-validation.

A network that has memorised a wrong label predicts it with confidence, so its own predictions hide
what is sought. Confident learning (C. Northcutt, L. Jiang, I. Chuang, JAIR 2021) therefore takes
predictions out of sample: the training part is cut into K folds, and each fold is predicted by a
network that was trained on the others. The price is K training runs.
"""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from nlmeta import metrics
from nlmeta._checks import check_count
from nlmeta.data import Split
from nlmeta.methods import Method
from nlmeta.seeding import generator
from nlmeta.training import fit, progress_wanted

__all__ = ["cross_predictions"]


def cross_predictions(
    make: Callable[[Split, int], tuple[Method, nn.Module]],
    split: Split,
    *,
    folds: int = 5,
    epochs: int,
    seed: int,
    checkpoint: str | Path | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Tensor:
    """Probabilities of all training samples, each by a network that was trained on other samples.

    They are meant for the argument `probabilities` of `nlmeta.analysis.suspects` and
    `corrected_labels`, and for cleanlab's ``pred_probs``. The folds are drawn at random, with the
    given labels spread evenly over them. Copies of one input, see `Samples.groups`, are in one
    fold, since a network that has memorised the copy would know the sample.

    Parameters
    ----------
    make : callable
        A function ``make(part, fold)`` that returns a new method and a new network for a fold,
        counted from 0. `part` is the split whose training part lacks the fold; its ids are counted
        anew, so what is kept per sample must be made for it. For MSLG::

            lambda part, fold: (MSLG(part.train.y, 10, virtual_lr=0.1, label_lr=1.0), network())
    split : Split
        The data; the training part with its given labels is predicted. The meta set, if the method
        needs one, is the same for all folds.
    folds : int
        K, at least 2. Each class that has a sample needs K of them. Default 5, as in cleanlab.
    epochs : int
        Epochs of each run.
    seed : int
        Seed of the folds and of each run.
    checkpoint : path, optional
        A file name; the run of fold k is kept beside it, with ``-fold-k`` in front of the suffix.
        With ``resume=True`` a call that was stopped goes on where it was.
    progress : bool, optional
        Whether progress bars are shown, as in `nlmeta.fit`.
    **options
        Further arguments of `nlmeta.fit`. By default only the last epoch is evaluated.

    Returns
    -------
    Tensor of float64, shape (N, C)
        The probabilities on the CPU, in the order of the training part. Rows sum to one.

    Raises
    ------
    TypeError
        `make` returns no method with a network.
    ValueError
        A class has fewer samples than there are folds, or is in no sample outside of a fold; `make`
        returns a method or a network that an earlier fold has trained, or a network that predicts
        another number of classes.
    KeyboardInterrupt
        A run was stopped; the rest would have no predictions.

    Examples
    --------
    >>> from nlmeta import CrossEntropy, data, models
    >>> split = data.load("digits", rate=0.2, meta_size=20, test_size=1600, seed=0)
    >>> make = lambda part, fold: (CrossEntropy(), models.MLP(64, 10, seed=fold))
    >>> p = cross_predictions(make, split, folds=2, epochs=1, seed=0, progress=False)
    >>> p.shape, len(split.train)  # then: analysis.suspects(None, split, probabilities=p)
    (torch.Size([177, 10]), 177)
    """
    check_count("folds", folds, minimum=2)
    fold_of = _folds(split, folds, seed)  # (N,)
    options = {"evaluate_every": epochs, **options}
    found = torch.zeros(len(fold_of), split.num_classes, dtype=torch.float64, device="cpu")
    shown = tqdm(
        range(folds), desc="folds", unit="fold", leave=False, disable=not progress_wanted(progress)
    )
    trained: list[weakref.ref[nn.Module]] = []
    for fold in shown:
        left_out = fold_of == fold
        part = split.keep(~left_out.to(split.train.y.device))
        method, model = _made(make, part, fold, trained)
        if checkpoint is not None:
            path = Path(checkpoint)
            options["checkpoint"] = path.with_name(f"{path.stem}-fold-{fold}{path.suffix}")
        run = fit(method, model, part, epochs=epochs, seed=seed, progress=progress, **options)
        if not run.finished:
            raise KeyboardInterrupt
        rest = split.train.subset(left_out)
        rest = rest.to(rest.y.device, metrics.floating_type(run.predictor))
        logits = metrics.predict(run.predictor, rest.x)
        if logits.shape[1] != split.num_classes:
            raise ValueError(
                f"`make` returns a network that predicts {logits.shape[1]} classes; for `split` it "
                f"must predict {split.num_classes}"
            )
        found[left_out] = logits.cpu().double().softmax(1)
    return found


def _made(
    make: Callable[[Split, int], tuple[Method, nn.Module]],
    part: Split,
    fold: int,
    trained: list[weakref.ref[nn.Module]],
) -> tuple[Method, nn.Module]:
    """The method and the network of a fold, which no earlier fold has trained."""
    made = make(part, fold)
    pair = made if isinstance(made, tuple | list) else (made,)
    if [*map(isinstance, pair, (Method, nn.Module))] != [True, True]:
        kinds = ", ".join(type(part).__name__ for part in pair)
        raise TypeError(
            f"`make` returns {kinds} for fold {fold}; it must return a method and a network, in "
            "this order"
        )
    for what, module in zip(("method", "network"), made, strict=True):
        if any(earlier() is module for earlier in trained):
            raise ValueError(
                f"`make` returns the same {what} for fold {fold} as for an earlier one, where it "
                "was trained on samples that it would predict; make a new one for each fold"
            )
        trained.append(weakref.ref(module))
    return made


def _folds(split: Split, folds: int, seed: int) -> Tensor:
    """The fold of each training sample, int64 (N,): random, and even within each given label."""
    given, groups = split.train.y.cpu(), split.train.groups
    counts = given.bincount(minlength=split.num_classes).tolist()
    for name, count in zip(split.class_names, counts, strict=True):
        if 0 < count < folds:
            raise ValueError(
                f"`folds` is {folds}; the class {name!r} has {count} training samples and needs at "
                "least one in each fold. Take fewer folds, or leave the class out by `Split.keep`"
            )
    order = torch.randperm(len(given), generator=generator(seed, "folds"), device="cpu")
    order = order[given[order].argsort(stable=True)]  # class by class, at random within each
    fold_of = torch.empty_like(given)
    fold_of[order] = torch.arange(len(given), device="cpu") % folds
    if groups is not None:  # copies follow one of them
        fold_of = fold_of[_leaders(groups)]
        for fold in range(folds):
            rest = given[fold_of != fold].bincount(minlength=split.num_classes).tolist()
            for name, count, left in zip(split.class_names, counts, rest, strict=True):
                if count and not left:
                    raise ValueError(
                        f"`split` has all samples of the class {name!r} in one fold, since they "
                        "are copies of one input; leave the class out by `Split.keep`"
                    )
    return fold_of


def _leaders(groups: Tensor) -> Tensor:
    """The last row of each sample's group, int64 (N,)."""
    _, group = groups.unique(return_inverse=True)
    rows = torch.arange(len(group), device="cpu")
    return torch.zeros_like(rows).scatter_reduce(0, group, rows, "amax")[group]
