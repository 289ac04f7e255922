"""Tests of labels learned through ridge regression: the closed form, its limits, simplex, stop."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from helpers import digits, refused
from torch import nn
from torch.testing import assert_close

from nlmeta import analysis, bilevel, data, metrics
from nlmeta.data import Samples
from nlmeta.procedures import purified_labels, ridge, ridge_label_gradient
from nlmeta.procedures.purified_labels import _onto_simplex

OBJECTIVES = ("squared", "cross-entropy")


def problem(n=30, m=8, dimension=6, num_classes=3, seed=0):
    """Lopsided features of some samples, soft labels, and clean samples; float64."""
    g = torch.Generator().manual_seed(seed)
    scale = torch.arange(1, dimension + 1, dtype=torch.float64)
    x, clean = (
        torch.randn(count, dimension, generator=g, dtype=torch.float64) * scale + 2.0
        for count in (n, m)
    )
    labels = torch.randn(n, num_classes, generator=g, dtype=torch.float64).softmax(1)
    return x, labels, Samples(clean, torch.randint(num_classes, (m,), generator=g))


def outer_loss(scores, y, objective):
    if objective == "cross-entropy":
        return F.cross_entropy(scores, y)
    return (scores - F.one_hot(y, scores.shape[1])).square().sum(1).mean()


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_the_gradient_is_that_of_autograd_through_the_solution(objective, penalty):
    """Literally: the normal equations with a free bias, through `torch.linalg.solve`."""
    x, labels, clean = problem()
    y = labels.clone().requires_grad_()
    ones = torch.ones(len(x), 1, dtype=torch.float64)
    h = torch.cat([x, ones], dim=1)
    scale = (x - x.mean(0)).square().sum(0).mean()
    penalties = torch.diag(torch.cat([penalty * scale.expand(x.shape[1]), torch.zeros(1)]))
    w = torch.linalg.solve(h.T @ h + penalties, h.T @ y)
    scores = torch.cat([clean.x, ones[: len(clean)]], dim=1) @ w
    loss = outer_loss(scores, clean.y, objective)
    (want,) = torch.autograd.grad(loss, y)
    got, value = ridge_label_gradient(x, labels, clean, penalty=penalty, objective=objective)
    assert want.abs().max() > 1e-3
    assert_close(got, want, rtol=0, atol=1e-10)
    assert_close(value, loss.detach(), rtol=0, atol=1e-10)


def step_of(x, penalty):
    """mu and 1 / (largest eigenvalue of G + mu I)."""
    h = x - x.mean(0)
    mu = penalty * h.square().sum(0).mean()
    return mu, 1 / (torch.linalg.eigvalsh(h.T @ h)[-1] + mu)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("learned", [True, False])
def test_one_inner_step_is_the_lookahead_of_a_linear_network_under_squared_loss(objective, learned):
    """By `bilevel.hypergradient`, from the solution; with all labels alike that is from W = 0.

    The network has no bias. That of the inner problem is solved, and adds the mean residual.
    """
    x, labels, clean = problem()
    if not learned:
        labels = labels[:1].expand_as(labels)
    _, alpha = step_of(x, 0.5)
    h, h_clean = x - x.mean(0), clean.x - x.mean(0)
    layer = ridge(x, labels, 3, penalty=0.5)
    network = nn.Linear(6, 3, bias=False).double()
    network.weight = nn.Parameter(layer.weight.detach())
    assert learned == (network.weight.abs().max() > 1e-12).item()
    y = labels.clone().requires_grad_()
    offset = labels.mean(0)
    # At the solution the inner gradient with the penalty is zero, so the virtual step stays there.
    there = {"weight": network.weight.detach().requires_grad_()}
    hyper = bilevel.hypergradient(
        network,
        bilevel.forward_pass(network, h),
        lambda z: 0.5 * (z - y).square().sum(),
        lambda network: outer_loss(network(h_clean) + offset, clean.y, objective),
        [y],
        lr=alpha.item(),
        theta_hat=there,
    )
    scores = (h_clean @ network.weight.T + offset).detach().requires_grad_()
    (r,) = torch.autograd.grad(outer_loss(scores, clean.y, objective), scores)
    want = hyper.gradients[0] + r.sum(0) / len(x)
    got, value = ridge_label_gradient(
        x, labels, clean, penalty=0.5, objective=objective, inner_steps=1
    )
    assert hyper.gradients[0].abs().max() > 1e-4
    assert_close(got, want, rtol=0, atol=1e-12)
    assert_close(value, hyper.outer_loss, rtol=0, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_inner_steps_are_those_of_gradient_descent(steps):
    """By autograd through the steps, written one after the other."""
    x, labels, clean = problem()
    mu, alpha = step_of(x, 0.5)
    h, h_clean = x - x.mean(0), clean.x - x.mean(0)
    y = labels.clone().requires_grad_()
    w = ridge(x, labels, 3, penalty=0.5).weight.detach().T
    for _ in range(steps):
        w = w - alpha * (h.T @ (h @ w - y) + mu * w)
    (want,) = torch.autograd.grad(outer_loss(h_clean @ w + y.mean(0), clean.y, "squared"), y)
    got, _ = ridge_label_gradient(x, labels, clean, penalty=0.5, inner_steps=steps)
    assert_close(got, want, rtol=0, atol=1e-12)


def test_more_inner_steps_come_nearer_to_the_solution_geometrically():
    """The error of each step is the last one times at most 1 - alpha times the least eigenvalue."""
    x, labels, clean = problem()
    mu, alpha = step_of(x, 0.5)
    h = x - x.mean(0)
    rate = (1 - alpha * (torch.linalg.eigvalsh(h.T @ h)[0] + mu)).item()
    exact, _ = ridge_label_gradient(x, labels, clean, penalty=0.5)
    errors = []
    for steps in (1, 2, 4, 8, 16, 32):
        near, _ = ridge_label_gradient(x, labels, clean, penalty=0.5, inner_steps=steps)
        errors.append((near - exact).norm().item() / exact.norm().item())
        assert errors[-1] <= 1.01 * errors[0] * rate ** (steps - 1)
    assert 0.05 < errors[0] < 1
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05 * errors[0]
    limit, _ = ridge_label_gradient(x, labels, clean, penalty=0.5, inner_steps=10_000)
    assert_close(limit, exact, rtol=0, atol=1e-13)


def test_without_the_simplex_learning_labels_is_fine_tuning_with_a_preconditioner():
    """A step along K R, and the layer fitted anew, against one step of the layer itself."""
    x, labels, clean = problem()
    mu, _ = step_of(x, 0.5)
    h = x - x.mean(0)
    gram = h.T @ h
    inverse = torch.linalg.inv(gram + mu * torch.eye(6, dtype=torch.float64))
    gradient, _ = ridge_label_gradient(x, labels, clean, penalty=0.5)
    layer = ridge(x, labels, 3, penalty=0.5)
    scores = (clean.x - x.mean(0)) @ layer.weight.T + labels.mean(0)
    loss = outer_loss(scores, clean.y, "squared")
    (slope,) = torch.autograd.grad(loss, layer.weight)
    want = layer.weight - 0.3 * slope @ inverse @ gram @ inverse
    got = ridge(x, labels - 0.3 * gradient, 3, penalty=0.5)
    assert (got.weight - layer.weight).abs().max() > 1e-4
    assert_close(got.weight, want.detach(), rtol=0, atol=1e-12)


def test_rows_go_to_the_nearest_probabilities():
    """Optimality: with q the projection of v, <v - q, p - q> <= 0 for all p on the simplex."""
    g = torch.Generator().manual_seed(0)
    v = torch.randn(50, 4, generator=g, dtype=torch.float64)
    q = _onto_simplex(v)
    assert q.min() >= 0
    assert_close(q.sum(1), torch.ones(50, dtype=torch.float64), rtol=0, atol=1e-14)
    assert (q == 0).any()
    vertices = torch.eye(4, dtype=torch.float64)  # a linear function is largest at one of them
    assert ((v - q) @ vertices.T - ((v - q) * q).sum(1, keepdim=True)).max() < 1e-14
    assert_close(_onto_simplex(q), q, rtol=0, atol=1e-15)


def split_of(meta_size=100):
    return data.load("digits", rate=0.5, meta_size=meta_size, test_size=1000, seed=0)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_outer_loss_of_what_is_learned_from_never_rises(objective):
    found = purified_labels(split_of(), objective=objective)
    values = found.history["meta_loss"].to_numpy()
    assert len(values) > 5
    assert (values[1:] < values[:-1]).all()
    assert found.steps == found.history["held_out_loss"].argmin() > 0
    assert len(found.history) <= found.steps + 6


def test_labels_stay_probabilities_and_come_nearer_to_the_truth():
    split = split_of()
    found = purified_labels(split)
    assert found.labels.shape == (len(split.train), 10)
    assert found.labels.min() >= 0
    assert_close(found.labels.sum(1), torch.ones(len(split.train)))
    recovery = metrics.label_recovery(found.labels, split.train.y, split.true_labels)
    assert recovery["recovered"] > 5 * recovery["destroyed"]
    control = ridge(split.train.x.flatten(1), split.train.y, 10)
    ours, plain = (
        metrics.evaluate(network, split.test.x.flatten(1), split.test.y)
        for network in (found.network, control)
    )
    assert ours > plain + 0.01


def test_with_no_step_it_is_ridge_bit_for_bit():
    split = split_of()
    found = purified_labels(split, steps=0)
    layer = ridge(split.train.x.flatten(1), split.train.y, 10)
    assert found.steps == 0
    assert torch.equal(found.labels, F.one_hot(split.train.y, 10).float())
    assert torch.equal(found.network[1].weight, layer.weight)
    assert torch.equal(found.network[1].bias, layer.bias)
    assert len(found.history) == 1


def test_where_the_clean_samples_that_judge_disagree_the_labels_stay():
    """Half of the clean samples say that each digit is the next one, and the other half not."""
    split = split_of()
    by_class = split.meta.y.argsort(stable=True).view(10, 10)
    rows = torch.stack([by_class[:, :5].roll(1, 0), by_class[:, 5:]], dim=2)  # one of each in turn
    told = Samples(split.meta.x[rows.flatten()], torch.arange(10).repeat_interleave(10))
    found = purified_labels(dataclasses.replace(split, meta=told))
    assert found.steps == 0
    assert torch.equal(found.labels, F.one_hot(split.train.y, 10).float())
    assert found.history["meta_loss"].iloc[-1] < 0.9 * found.history["meta_loss"].iloc[0]


def test_the_truth_the_test_part_and_the_validation_part_have_no_say():
    split = split_of()
    lied = dataclasses.replace(
        split,
        true_labels=split.true_labels.flip(0),
        test=Samples(split.test.x, split.test.y.flip(0)),
    )
    assert torch.equal(purified_labels(split).labels, purified_labels(lied).labels)


def test_a_run_of_it_goes_into_the_analysis():
    split = split_of()
    found = purified_labels(split, objective="cross-entropy")
    frame = analysis.suspects(found.network, split, probabilities=found.labels)
    first = split.wrong[torch.tensor(frame["row"][:100].to_numpy())].double().mean()
    assert first > split.wrong.double().mean() + 0.2
    proposed = analysis.corrected_labels(None, split, probabilities=found.labels)
    right = (torch.tensor(proposed["corrected"].to_numpy()) == split.true_labels).double().mean()
    assert right > (~split.wrong).double().mean() + 0.1
    analysis.suspects(found.network, split)


def test_double_precision_reaches_labels_and_layer():
    split = split_of().to("cpu", torch.float64)
    found = purified_labels(split, inner_steps=2, steps=3)
    assert found.labels.dtype == found.network[1].weight.dtype == torch.float64


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_features_of_half_precision_have_labels_and_a_layer_in_float32(kind):
    """Their sums of labels would be wrong in the third digit, and `ridge` refused them."""
    split = split_of()
    parts = {p: getattr(split, p) for p in ("train", "meta")}
    halves = {p: dataclasses.replace(s, x=s.x[:].to(kind)) for p, s in parts.items()}
    wide = {p: dataclasses.replace(s, x=s.x.float()) for p, s in halves.items()}
    found, want = (purified_labels(dataclasses.replace(split, **p)) for p in (halves, wide))
    assert found.labels.dtype == found.network[1].weight.dtype == torch.float32
    assert torch.equal(found.labels, want.labels)
    assert torch.equal(found.network[1].weight, want.network[1].weight)


def test_one_number_for_each_sample_is_a_feature():
    split = split_of()
    parts = {p: getattr(split, p) for p in ("train", "meta")}
    single = {p: dataclasses.replace(s, x=s.x[:].flatten(1).mean(1)) for p, s in parts.items()}
    found = purified_labels(dataclasses.replace(split, **single), steps=1)
    assert found.network[1].weight.shape == (10, 1)


def test_bad_input_is_refused():
    split = digits()
    refused("`penalty` is 0", lambda: purified_labels(split, penalty=0.0))
    refused("`objective` is 'l1'; it must be", lambda: purified_labels(split, objective="l1"))
    refused("`inner_steps` is 0", lambda: purified_labels(split, inner_steps=0))
    refused("`steps` is -1", lambda: purified_labels(split, steps=-1))
    few = dataclasses.replace(split, meta=split.meta.subset(split.meta.y.argsort()[:3]))
    refused("`split` has one meta sample of the class '1'", lambda: purified_labels(few))
    none = dataclasses.replace(split, meta=split.meta.subset(torch.arange(0)))
    refused("`split` has an empty meta set", lambda: purified_labels(none))
    x, labels, clean = problem()
    refused("`x` holds 29 samples", lambda: ridge_label_gradient(x[1:], labels, clean))
    refused(
        "it must be floats of shape (N, D)", lambda: ridge_label_gradient(x[:, 0], labels, clean)
    )
    for wrong in (labels.argmax(1), labels.long()):
        refused("`labels` is torch.int64 of", lambda w=wrong: ridge_label_gradient(x, w, clean))
    beyond = dataclasses.replace(clean, y=clean.y + 3)
    refused("`meta.y` holds", lambda: ridge_label_gradient(x, labels, beyond))
    none = clean.subset(torch.arange(0))
    refused("`meta` is empty", lambda: ridge_label_gradient(x, labels, none))
    short = dataclasses.replace(clean, x=clean.x[:, 1:])
    refused("the clean samples have", lambda: ridge_label_gradient(x, labels, short))
    for wrong in (float("nan"), 1e200):
        refused("`x` holds numbers that are not", lambda w=wrong: ridge(x * w, labels, 3))
    refused("`y` has shape (30, 3)", lambda: ridge(x, labels, 4))
    refused("`y` has row 0 summing to", lambda: ridge(x, 2 * labels, 3))
