"""Tests of the distilled network behind feature-dependent noise: loss, table, seeds, refusals."""

import dataclasses
import functools

import pytest
import torch
import torch.nn.functional as F
from helpers import refused
from torch.testing import assert_close

from nlmeta import data, fit, noise
from nlmeta.data import Samples
from nlmeta.models import MLP
from nlmeta.procedures.distillation import distillation_loss, distilled_predictions

QUIET = {"progress": False}


def batch(n=7, num_classes=4):
    """Logits of a student and of a teacher, far from equal, and labels; float64."""
    g = torch.Generator().manual_seed(11)
    student, teacher = (
        scale * torch.randn(n, num_classes, generator=g, dtype=torch.float64) for scale in (2, 5)
    )
    return student.requires_grad_(), torch.arange(n) % num_classes, teacher.requires_grad_()


# The loss.


@pytest.mark.parametrize(("temperature", "label_weight"), [(16.0, 0.1), (2.0, 0.3), (0.5, 0.0)])
def test_the_loss_is_its_formula_written_out_sample_by_sample(temperature, label_weight):
    """Equation (3.13), by plain sums."""
    z, labels, v = batch()
    terms = []
    for k in range(len(z)):
        own = -torch.log(z[k].exp()[labels[k]] / z[k].exp().sum())
        soft = (v[k] / temperature).exp() / (v[k] / temperature).exp().sum()
        softened = (z[k] / temperature).exp() / (z[k] / temperature).exp().sum()
        imitation = temperature**2 * -(soft * softened.log()).sum()
        terms.append(label_weight * own + (1 - label_weight) * imitation)
    want = sum(terms) / len(terms)
    got = distillation_loss(z, labels, v, temperature=temperature, label_weight=label_weight)
    assert want > 0.1
    assert_close(got, want, rtol=1e-12, atol=0)


def test_at_temperature_one_the_loss_is_cross_entropy_of_the_mixed_target():
    z, labels, v = batch()
    mixed = 0.3 * F.one_hot(labels, 4).double() + 0.7 * v.softmax(1)
    got = distillation_loss(z, labels, v, temperature=1.0, label_weight=0.3)
    assert_close(got, F.cross_entropy(z, mixed), rtol=1e-12, atol=0)
    assert abs(got - F.cross_entropy(z, labels)) > 0.1  # the teacher has a say


def test_with_the_whole_weight_on_labels_the_loss_is_plain_cross_entropy():
    z, labels, v = batch()
    got = distillation_loss(z, labels, v, temperature=7.0, label_weight=1.0)
    assert_close(got, F.cross_entropy(z, labels), rtol=1e-12, atol=0)


def test_the_gradient_vanishes_where_the_student_is_the_teacher():
    """Without labels the loss is least there, at any temperature; and elsewhere it is not."""
    z, labels, v = batch()
    same = v.detach().clone().requires_grad_()
    options = {"temperature": 4.0, "label_weight": 0.0}
    (at_teacher,) = torch.autograd.grad(distillation_loss(same, labels, v, **options), same)
    (elsewhere,) = torch.autograd.grad(distillation_loss(z, labels, v, **options), z)
    assert at_teacher.abs().max() < 1e-15  # round-off of numbers of size 1
    assert elsewhere.abs().max() > 0.01


def test_the_gradient_keeps_its_size_at_a_high_temperature():
    """For large T it tends to (z - v) / (n C), both centred (Hinton et al., section 2.1)."""
    z, labels, v = batch()
    loss = distillation_loss(z, labels, v, temperature=1e4, label_weight=0.0)
    (got,) = torch.autograd.grad(loss, z)
    difference = (z - v).detach()
    want = (difference - difference.mean(1, keepdim=True)) / z.numel()
    assert want.abs().max() > 0.1
    assert_close(got, want, rtol=0, atol=1e-3)  # the next term of the series is of order |v|^2 / T


def test_no_gradient_goes_to_the_teacher():
    z, labels, v = batch()
    distillation_loss(z, labels, v, temperature=2.0, label_weight=0.1).backward()
    assert v.grad is None
    assert z.grad.abs().max() > 0


# The table.


@functools.cache
def split(rate=0.0):
    sizes = {"meta_size": 0, "validation_size": 0, "test_size": 1400}
    kind = "none" if rate == 0 else "symmetric"
    return data.load("digits", noise=kind, rate=rate, seed=2, **sizes)


def networks(first=1, hidden=16):
    return MLP(64, 10, (hidden,), seed=first), MLP(64, 10, (hidden,), seed=first + 1)


def table(part=None, *, first=1, seed=0, **options):
    options = {"epochs": 15, **QUIET, **options}
    return distilled_predictions(*networks(first), part or split(), seed=seed, **options)


def test_the_table_has_a_distribution_for_every_training_sample():
    p = table()
    assert p.shape == (397, 10)
    assert p.dtype == torch.float64
    assert ((p >= 0) & (p <= 1)).all()
    assert_close(p.sum(1), torch.ones(397, dtype=torch.float64), rtol=0, atol=1e-14)
    assert (p.argmax(1) == split().train.y).double().mean() > 0.7  # chance: 0.1


def test_the_table_is_the_softmax_of_the_students_logits_taken_once():
    """The table shipped with MSLG's code has none above e / (e + 9), as softmax of softmax has."""
    teacher, student = networks()
    p = distilled_predictions(teacher, student, split(), epochs=15, seed=0, **QUIET)
    student.eval()
    with torch.no_grad():
        logits = student(split().train.x).double()
    assert_close(p, logits.softmax(1), rtol=0, atol=1e-6)  # float32 in batches of another size
    assert p.max() > 0.5 > torch.e / (torch.e + 9)


def test_the_same_seed_gives_the_same_table_and_leaves_the_global_state_alone():
    state = torch.get_rng_state()
    first, again = table(), table()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"first": 5},
        {"temperature": 1.0},
        {"label_weight": 0.9},
        {"trained_share": 0.8},
        {"epochs": 12},
        {"lr": 0.01},
    ],
)
def test_every_argument_reaches_the_table(changed):
    assert (table() - table(**changed)).abs().max() > 1e-3


def test_both_networks_see_the_same_half_of_the_samples_and_nothing_else(monkeypatch):
    seen = []

    def watched(method, model, part, **options):
        seen.append(part.indices["train"])
        return fit(method, model, part, **options)

    monkeypatch.setattr("nlmeta.procedures.distillation.fit", watched)
    honest = table()
    teachers, students = seen
    assert torch.equal(teachers, students)
    assert len(teachers) == round(397 / 2)
    held_out = ~torch.isin(split().indices["train"], teachers)
    x = split().train.x.clone()
    x[held_out] = 3.0
    other = table(dataclasses.replace(split(), train=Samples(x, split().train.y)))
    assert_close(other[~held_out], honest[~held_out], rtol=0, atol=1e-6)
    assert (other[held_out] - honest[held_out]).abs().max() > 0.1


def test_the_student_learns_from_the_teacher_and_not_from_the_labels_alone():
    """Without any weight on the labels it still predicts them, through the teacher."""
    p = table(label_weight=0.0)
    assert (p.argmax(1) == split().train.y).double().mean() > 0.7


def test_the_table_drives_feature_dependent_noise():
    p, labels = table(), split().train.y
    told = noise.inject("feature-dependent", labels, 10, 0.3, seed=0, predictions=p)
    assert int(told.changed.sum()) == int(0.3 * 397)
    top_two = p.topk(2, dim=1).indices
    goes_to = told.labels[told.changed]
    assert (top_two[told.changed] == goes_to[:, None]).any(1).all()
    # Those who changed were harder to tell than those who did not.
    own = p.gather(1, labels[:, None]).squeeze(1)
    assert own[told.changed].mean() < own[~told.changed].mean() - 0.1


# Refusals.


def test_wrong_labels_are_refused_before_any_training():
    teacher, student = networks()
    before = [p.clone() for p in teacher.parameters()]
    refused(
        "wrong labels in its training part; the teacher needs clean labels",
        lambda: distilled_predictions(teacher, student, split(0.4), epochs=1, seed=0, **QUIET),
    )
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"temperature": 0.0}, "`temperature` is 0.0; it must be a finite number above 0"),
        ({"label_weight": 1.5}, "`label_weight` is 1.5; it must lie in [0, 1]"),
        ({"trained_share": 2.0}, "`trained_share` is 2.0; it must lie in [0, 1]"),
        ({"trained_share": 0.0}, "`trained_share` is 0.0; that is none of 397 samples"),
        ({"epochs": 0}, "`epochs` is 0; it must be at least 1"),
    ],
)
def test_arguments_out_of_range_are_refused(options, text):
    refused(text, lambda: table(**options))


def test_a_network_in_another_floating_type_is_asked_in_its_own():
    """`precision` leaves the networks in float64, while the split stays in float32."""
    p = table(precision="float64")
    assert not torch.equal(p, table())
    assert_close(p, table(), rtol=0, atol=0.01)  # float32 rounding, grown over 45 and 90 steps
