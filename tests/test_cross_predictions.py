"""Tests of nlmeta.procedures.cross_predictions: by hand, without leaks, resumed, refused."""

import dataclasses

import pytest
import torch
from helpers import digits, mlp, refused
from torch.testing import assert_close

from nlmeta import CrossEntropy, analysis, data, fit, metrics
from nlmeta.methods import MSLG
from nlmeta.models import MLP
from nlmeta.procedures import cross_predictions

QUICK = {"epochs": 2, "seed": 3, "progress": False}


def make(part, fold):
    return CrossEntropy(), mlp(fold)


def make_two(part, fold):
    return CrossEntropy(), MLP(64, 2, (32,), seed=fold)


def split_of(x, y, groups=None):
    """Rows of numbers in two classes, all of them training samples."""
    few = data.Samples(x[:2], y[:2])
    indices = {**digits().indices, "train": torch.arange(len(y))}
    return dataclasses.replace(
        digits(),
        train=data.Samples(x, y, groups=groups),
        true_labels=None,
        meta=few,
        test=few,
        class_names=("a", "b"),
        indices=indices,
    )


def test_each_row_is_that_of_a_network_trained_on_the_other_folds():
    """By hand: the rows that a part lacks, predicted by a network that is trained on the part."""
    split, seen = digits(), []

    def watched(part, fold):
        seen.append(part.indices["train"])
        return make(part, fold)

    got = cross_predictions(watched, split, folds=3, **QUICK)
    assert got.dtype == torch.float64
    assert got.shape == (len(split.train), 10)
    assert_close(got.sum(1), torch.ones(len(got), dtype=torch.float64))
    times = torch.zeros(len(got))
    for fold, rows in enumerate(seen):
        left_out = ~torch.isin(split.indices["train"], rows)
        times += left_out
        run = fit(CrossEntropy(), mlp(fold), split.keep(~left_out), **QUICK)
        want = metrics.predict(run.model, split.train.x[left_out]).double().softmax(1)
        assert torch.equal(got[left_out], want)
    assert (times == 1).all()


@pytest.mark.parametrize("folds", [2, 5])
def test_given_labels_are_spread_evenly_over_the_folds(folds):
    split, counts = digits(), []

    def watched(part, fold):
        left_out = ~torch.isin(split.indices["train"], part.indices["train"])
        counts.append(split.train.y[left_out].bincount(minlength=10))
        return make(part, fold)

    cross_predictions(watched, split, folds=folds, **QUICK)
    spread = torch.stack(counts)
    assert (spread.amax(0) - spread.amin(0)).max() <= 1
    assert spread.sum(1).max() - spread.sum(1).min() <= 1


def memorised(p, y):
    """Share of the labels that are predicted."""
    return (p.argmax(1) == y).double().mean().item()


def noise(n=60):
    """Labels that have nothing to do with the inputs, so that they can only be memorised."""
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, 64, generator=g), torch.arange(n) % 2


def test_a_network_that_memorises_does_not_know_the_labels_of_its_own_fold():
    x, y = noise()
    split = split_of(x, y)
    options = {"epochs": 60, "seed": 0, "batch_size": 16, "progress": False}
    run = fit(*make_two(None, 0), split, evaluate_every=60, **options)
    assert memorised(metrics.predict(run.model, split.train.x), split.train.y) == 1
    p = cross_predictions(make_two, split, folds=5, **options)
    # Half of 60 labels at random have a standard deviation of 0.065; this is four of them.
    assert abs(memorised(p, split.train.y) - 0.5) < 0.26


def test_copies_are_in_one_fold_and_tell_nothing():
    """Each sample twice: with its copy in another fold, memorising would look like knowledge."""
    x, y = noise(30)
    x, y, groups = x.repeat(2, 1), y.repeat(2), torch.arange(60) % 30
    options = {"epochs": 60, "seed": 0, "batch_size": 16, "progress": False}
    leaks = memorised(cross_predictions(make_two, split_of(x, y), **options), y)
    knows = memorised(cross_predictions(make_two, split_of(x, y, groups), **options), y)
    assert leaks > 0.85
    assert knows < 0.8


def test_the_truth_and_the_test_part_have_no_say():
    split = digits()
    lied = dataclasses.replace(split, true_labels=split.true_labels.flip(0))
    got = [cross_predictions(make, s, folds=2, **QUICK) for s in (split, lied)]
    assert torch.equal(*got)
    other = cross_predictions(make, split, folds=2, **{**QUICK, "seed": 4})
    assert not torch.equal(got[0], other)


def test_a_method_that_keeps_labels_is_made_for_each_part():
    def with_labels(part, fold):
        return MSLG(part.train.y, 10, virtual_lr=0.1, label_lr=50.0), mlp(fold)

    got = cross_predictions(with_labels, digits(), folds=2, **QUICK)
    assert got.isfinite().all()
    assert not torch.equal(got, cross_predictions(make, digits(), folds=2, **QUICK))


def test_a_call_that_was_stopped_goes_on_at_the_same_numbers(tmp_path):
    path, trained = tmp_path / "cross.ckpt", []

    def stopped(part, fold):
        if fold == 1:
            raise OSError("no power")
        return make(part, fold)

    def on_epoch(epoch, model, method):
        trained.append(epoch)
        return {}

    options = {**QUICK, "folds": 3, "checkpoint": path}
    with pytest.raises(OSError, match="no power"):
        cross_predictions(stopped, digits(), **options)
    assert [file.name for file in tmp_path.iterdir()] == ["cross-fold-0.ckpt"]
    got = cross_predictions(make, digits(), resume=True, **options)
    assert torch.equal(got, cross_predictions(make, digits(), folds=3, **QUICK))
    again = cross_predictions(make, digits(), resume=True, on_epoch=on_epoch, **options)
    assert torch.equal(again, got)
    assert trained == []


def test_a_run_that_is_stopped_has_no_predictions():
    with pytest.raises(KeyboardInterrupt):
        cross_predictions(make, digits(), folds=2, stop_after=1e-9, **QUICK)


@pytest.mark.parametrize("what", ["method", "network"])
def test_what_an_earlier_fold_has_trained_is_refused(what):
    """It would predict samples that it was trained on, and hide their wrong labels."""
    method, network = make(None, 0)

    def again(part, fold):
        return (method, mlp(fold)) if what == "method" else (CrossEntropy(), network)

    refused(
        f"`make` returns the same {what} for fold 1 as for an earlier one",
        lambda: cross_predictions(again, digits(), folds=2, **QUICK),
    )


@pytest.mark.parametrize(
    ("made", "kinds"),
    [
        (mlp(0), "MLP"),
        (None, "NoneType"),
        ((mlp(0), CrossEntropy()), "MLP, CrossEntropy"),
        ((CrossEntropy(),), "CrossEntropy"),
    ],
)
def test_what_is_no_method_with_a_network_is_refused(made, kinds):
    refused(
        f"`make` returns {kinds} for fold 0; it must return a method and a network, in this order",
        lambda: cross_predictions(lambda part, fold: made, digits(), folds=2, **QUICK),
        TypeError,
    )


def test_suspects_and_cleanlab_take_them():
    """Of the wrong labels, a network that has memorised them shows few, and cross-validation most.

    A label is shown if another class is predicted, cleanlab's simplest rule.
    """
    split = digits(rate=0.3)
    options = {"epochs": 80, "seed": 0, "weight_decay": 0.0, "progress": False}

    def wide(part, fold):
        return CrossEntropy(), MLP(64, 10, (128,), seed=fold)

    run = fit(*wide(split, 0), split, evaluate_every=80, **options)
    p = cross_predictions(wide, split, folds=5, **options)
    shown = []
    for given in (None, p, p.numpy()):
        frame = analysis.suspects(run if given is None else None, split, probabilities=given)
        issues = analysis.label_issues(frame)["is_label_issue"].to_numpy()
        shown.append(torch.tensor(issues)[split.wrong].double().mean().item())
    assert shown[1] == shown[2]
    assert shown[0] < 0.2
    assert shown[1] > 0.6


def test_bad_input_is_refused():
    def call(split, make=make_two, **options):
        return lambda: cross_predictions(make, split, **{**QUICK, **options})

    refused("`folds` is 1; it must be at least 2", call(digits(), folds=1))
    x, y = torch.randn(9, 64, generator=torch.Generator().manual_seed(0)), torch.arange(9) // 6
    refused(
        "`folds` is 4; the class 'b' has 3 training samples and needs at least one in each fold",
        call(split_of(x, y), folds=4),
    )
    copies = torch.tensor([0, 1, 2, 3, 4, 5, 6, 6, 6])
    refused(
        "`split` has all samples of the class 'b' in one fold, since they are copies",
        call(split_of(x, y, copies), folds=2),
    )
    refused(
        "`make` returns a network that predicts 10 classes; for `split` it must predict 2",
        call(split_of(x, y), make, folds=2),
    )
    refused("`resume` is True and `checkpoint` is None", call(digits(), make, resume=True, folds=2))
