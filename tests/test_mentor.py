"""Tests of nlmeta.procedures.mentor: the filter, and iterations with a mentor."""

import dataclasses
import functools

import pytest
import torch
from helpers import refused, same, weights
from torch import nn

from nlmeta import EMA, CrossEntropy, data, fit, metrics
from nlmeta.data import Samples
from nlmeta.methods import MLNT
from nlmeta.models import MLP
from nlmeta.procedures.mentor import kept_by_mentor, label_confidence, mlnt_iterations

QUIET = {"progress": False, "device": "cpu"}


@functools.cache
def split(seed=3):
    """157 training samples at half wrong labels, and 400 clean ones for validation."""
    sizes = {"meta_size": 20, "validation_size": 400, "test_size": 1220}
    return data.load("digits", rate=0.5, seed=seed, **sizes)


def network(seed=1):
    return MLP(64, 10, (16,), seed=seed)


class Certain(nn.Module):
    """Gives each sample the logits written into it."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * x


def by_hand():
    """Six samples, three classes, and a network that gives the probabilities written here."""
    p = torch.tensor(
        [
            [0.70, 0.20, 0.10],
            [0.10, 0.85, 0.05],
            [0.25, 0.25, 0.50],
            [0.30, 0.45, 0.25],
            [0.05, 0.35, 0.60],
            [0.98, 0.01, 0.01],
        ]
    )
    labels = torch.tensor([0, 0, 2, 1, 1, 2])
    six = Samples(p.log(), labels)
    rows = {"train": torch.arange(6)}
    return dataclasses.replace(split(), train=six, true_labels=labels.flip(0), indices=rows)


def test_confidence_is_the_probability_of_the_given_label():
    """Not the largest one, which is above 0.4 everywhere."""
    got = label_confidence(Certain(), by_hand())
    assert got.tolist() == pytest.approx([0.70, 0.10, 0.50, 0.45, 0.35, 0.01], abs=1e-6)
    assert label_confidence(Certain().double(), by_hand()).dtype == torch.float64


@pytest.mark.parametrize(
    ("threshold", "kept"),
    [
        (0.0, [True, True, True, True, True, True]),
        (0.3, [True, False, True, True, True, False]),
        (0.4, [True, False, True, True, False, False]),
    ],
)
def test_samples_with_a_likely_label_stay(threshold, kept):
    got = kept_by_mentor(Certain(), by_hand(), threshold)
    assert got.dtype == torch.bool
    assert got.tolist() == kept


def test_a_sample_at_the_threshold_stays():
    """A network without an opinion gives each of four classes exactly 1/4."""
    four = Samples(torch.zeros(4, 4), torch.arange(4))
    even = dataclasses.replace(split(), train=four, true_labels=four.y)
    assert kept_by_mentor(Certain(), even, 0.25).all()
    refused("`threshold` is 0.26", lambda: kept_by_mentor(Certain(), even, 0.26))


def test_a_filter_that_empties_a_class_is_refused():
    text = "`threshold` is 0.46; it leaves no sample with label 1, for which the mentor's"
    refused(text + " confidence reaches 0.45", lambda: kept_by_mentor(Certain(), by_hand(), 0.46))
    refused("it leaves no sample with label 0", lambda: kept_by_mentor(Certain(), by_hand(), 0.99))
    refused("`threshold` is 1.5; it must lie in", lambda: kept_by_mentor(Certain(), by_hand(), 1.5))


def test_the_filter_looks_at_no_true_label():
    nonsense = dataclasses.replace(split(), true_labels=split().true_labels.flip(0))
    model = fit(CrossEntropy(), network(), split(), epochs=20, seed=0, **QUIET).model
    kept = [kept_by_mentor(model, s, 0.15) for s in (split(), nonsense)]
    assert torch.equal(*kept)
    assert 0 < kept[0].sum() < 157


def test_the_filter_keeps_right_labels_rather_than_wrong_ones():
    """After few epochs of plain training, before the network knows all by heart."""
    model = fit(CrossEntropy(), network(), split(), epochs=20, seed=0, **QUIET).model
    kept = kept_by_mentor(model, split(), 0.15)
    wrong = split().wrong
    # Measured 0.89 and 0.31; a standard error of about 80 samples each is 0.06.
    assert kept[~wrong].double().mean() > kept[wrong].double().mean() + 0.3


# iterations


def iterate(make_method, s=None, **options):
    """With a threshold that leaves some of each class (measured: down to 0.1)."""
    options = {"threshold": 0.08, "epochs": 20, "seed": 5, "lr": 0.05, **options}
    s = split() if s is None else s
    return mlnt_iterations(network, make_method, s, **{"mentor_epochs": 4, **options}, **QUIET)


def mlnt(model, mentor, iteration, **options):
    """One neighbour, so that every last batch is large enough."""
    options = {"trials": 1, "neighbours": 1, "ramp_steps": 9, "ramp_decay": 0.8, **options}
    share = 1.0 if iteration == 1 else 0.5
    options = {"trial_lr": 0.2, "meta_weight": 2.0, "seed": 7, "decay": 0.9, **options}
    return MLNT(model, mentor, teacher_share=share, **options)


def test_first_iteration_is_mlnt_on_everything_with_features_of_cross_entropy():
    """Against the same two calls of `fit`, bit for bit."""
    got = iterate(mlnt, iterations=1)[0]
    options = {"seed": 5, "lr": 0.05, **QUIET}
    plain = fit(CrossEntropy(), network(), split(), epochs=4, **options).model
    model = network()
    want = fit(mlnt(model, plain, 1), model, split(), epochs=20, **options)
    assert same(weights(got.result.model), weights(want.model))
    assert got.kept.all()
    assert got.kept_share == 1
    assert same(weights(got.result.method.mentor), weights(plain))


def test_later_iterations_start_anew_on_what_the_mentor_keeps():
    """Against the calls by hand: filter of the whole set, new weights, mentor in the target."""
    first, second, third = iterate(mlnt)
    for before, now, number in ((first, second, 2), (second, third, 3)):
        kept = kept_by_mentor(before.mentor, split(), 0.08)
        assert torch.equal(now.kept, kept)
        assert 0.1 < now.kept_share == kept.double().mean() < 0.95
        model = network()
        method = mlnt(model, before.mentor, number)
        want = fit(method, model, split().keep(kept), epochs=20, seed=5, lr=0.05, **QUIET)
        assert same(weights(now.result.model), weights(want.model))
        assert now.result.method.teacher_share == 0.5
        assert same(weights(now.result.method.mentor), weights(before.mentor))


class Prescribed(CrossEntropy):
    """Predicts with a network that came from elsewhere."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def predictor(self, model):
        return self.answer


def test_a_sample_once_left_out_may_come_back():
    """The filter of the third iteration does not know that of the second."""
    plain = {"epochs": 20, **QUIET}
    mentors = [fit(CrossEntropy(), network(s), split(), seed=s, **plain).model for s in (1, 2)]
    alone = [kept_by_mentor(mentor, split(), 0.1) for mentor in mentors]
    assert (alone[1] & ~alone[0]).any()
    done = iterate(
        lambda model, mentor, i: Prescribed(mentors[(i - 1) % 2]),
        threshold=0.1,
        epochs=1,
        lr=1e-6,  # so that the student is worse
    )
    assert [iteration.mentor_is_teacher for iteration in done] == [True] * 3
    assert torch.equal(done[1].kept, alone[0])
    assert torch.equal(done[2].kept, alone[1])


@pytest.mark.parametrize("better", ["student", "teacher"])
def test_mentor_is_the_better_network_on_clean_validation_data(better):
    """A teacher that stays where it began, or one that follows closely a student that breaks."""
    decay = 1.0 if better == "student" else 0.97
    lr = 0.05 if better == "student" else 1.5

    def make(model, mentor, iteration):
        return EMA(CrossEntropy(), model, decay=decay)

    options = {"iterations": 1, "schedule": "constant", "epochs": 8, "momentum": 0.0}
    done = iterate(make, **{**options, "lr": lr})[0]
    x, y = split().validation.x, split().validation.y
    student, teacher = (
        metrics.evaluate(network, x, y, batch_size=512)
        for network in (done.result.model, done.result.predictor)
    )
    assert done.mentor_is_teacher == (better == "teacher") == (teacher > student)
    assert done.validation_accuracy == max(student, teacher) > min(student, teacher)
    chosen = done.result.predictor if better == "teacher" else done.result.model
    assert done.mentor is chosen


def test_neither_choice_nor_training_looks_at_the_test_part():
    shuffled = dataclasses.replace(split(), test=Samples(split().test.x, split().test.y.flip(0)))
    ends = [iterate(mlnt, s, iterations=2) for s in (split(), shuffled)]
    for a, b in zip(*ends, strict=True):
        assert same(weights(a.result.model), weights(b.result.model))
        assert same(weights(a.mentor), weights(b.mentor))


def test_other_methods_can_be_iterated_as_controls():
    """A mean teacher, and plain cross-entropy that ignores its mentor."""
    mean_teacher = functools.partial(mlnt, trial_lr=0.0)
    assert len(iterate(mean_teacher, iterations=2)) == 2
    done = iterate(lambda model, mentor, i: CrossEntropy(), iterations=2)
    assert done[1].mentor is done[1].result.model
    assert done[1].kept_share < 1


def test_a_stop_ends_the_iterations_and_leaves_those_that_are_done():
    calls = []

    def stop(epoch, model, method):
        calls.append(type(method).__name__)
        if len(calls) == 4 + 20 + 3:  # features, first iteration, inside the second
            raise KeyboardInterrupt
        return {}

    done = iterate(mlnt, on_epoch=stop)
    assert [iteration.result.finished for iteration in done] == [True, False]
    assert len(calls) == 27


def test_wrong_arguments_are_refused():
    none = dataclasses.replace(split(), validation=Samples(split().test.x[:0], split().test.y[:0]))
    refused("`split` has an empty validation part", lambda: iterate(mlnt, none))
    refused("`iterations` is 0; it must be at least 1", lambda: iterate(mlnt, iterations=0))
    refused("`checkpoint` names one file", lambda: iterate(mlnt, checkpoint="run.pt"))
    refused("`threshold` is 0.999; it leaves no", lambda: iterate(mlnt, threshold=0.999))
