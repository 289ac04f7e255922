"""Tests of nlmeta.procedures.transition: T from networks whose noisy posterior is known exactly."""

import math
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nlmeta.data import Samples
from nlmeta.models import MLP
from nlmeta.procedures import transition_from_anchors, transition_from_clean

# Far from its transpose and with an entry of zero, so that mixing up rows and columns fails.
LOPSIDED = torch.tensor([[0.7, 0.3, 0.0], [0.05, 0.55, 0.4], [0.3, 0.1, 0.6]], dtype=torch.float64)


class Posterior(nn.Module):
    """A network without parameters: inputs are clean posteriors (n, C), predictions x T."""

    def forward(self, x):
        return (x @ LOPSIDED).log()


class Given(nn.Module):
    """A network whose inputs are its predictions."""

    def forward(self, x):
        return x.log()


def draw(n, seed=4):
    """Probabilities (n, 3) whose classes differ in how sure they get."""
    g = torch.Generator().manual_seed(seed)
    scale = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)
    return (scale * torch.randn(n, 3, generator=g, dtype=torch.float64)).softmax(1)


def doubtful_and_sure(n=40):
    """Mixtures of classes, and one sample of each class beyond doubt, not in order."""
    x = draw(n)
    x[[31, 5, 17]] = torch.eye(3, dtype=torch.float64)
    return x


def test_anchors_recover_the_true_matrix_from_the_exact_noisy_posterior():
    """T's diagonal leads each column, so a class is likeliest where the true class is certain."""
    got = transition_from_anchors(Posterior(), doubtful_and_sure())
    assert_close(got, LOPSIDED, rtol=0, atol=1e-12)  # round-off of log and softmax


def test_clean_samples_recover_the_true_matrix_from_the_exact_noisy_posterior():
    labels = torch.tensor([2, 0, 2, 1, 2, 2, 0])
    clean = Samples(torch.eye(3, dtype=torch.float64)[labels], labels)
    assert_close(transition_from_clean(Posterior(), clean), LOPSIDED, rtol=0, atol=1e-12)


def test_clean_rows_are_means_over_the_samples_of_a_class():
    x, labels = draw(9), torch.tensor([1, 1, 0, 2, 1, 0, 2, 2, 2])
    got = transition_from_clean(Given(), Samples(x, labels))
    want = torch.stack([x[labels == c].mean(0) for c in range(3)])
    assert (want - want.t()).abs().max() > 0.05
    assert_close(got, want, rtol=0, atol=1e-14)


@pytest.mark.parametrize("percentile", [100.0, 97.0, 50.0, 0.0])
def test_the_anchor_of_a_class_is_the_sample_at_the_percentile_of_its_probability(percentile):
    x = draw(53)
    got = transition_from_anchors(Given(), x, percentile=percentile)
    p = x.numpy()
    values = np.percentile(p, percentile, axis=0, method="lower")
    want = [p[p[:, c] == values[c]][0] for c in range(3)]
    assert_close(got, torch.tensor(np.array(want)), rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", [53, 100, 177])
def test_97_is_the_released_rule_that_leaves_outliers_out(n):
    """The highest below the 97th percentile, the upper of two neighbours; 0.97 (n - 1) no integer.

    The released code zeroes what it leaves out in the array that it still reads from; this does
    not.
    """
    assert 0.97 * (n - 1) % 1 > 0.01
    x = draw(n)
    p, want = x.numpy(), []
    for c in range(3):
        bound = np.percentile(p[:, c], 97, method="higher")
        want.append(p[np.where(p[:, c] < bound, p[:, c], 0).argmax()])
    got = transition_from_anchors(Given(), x, percentile=97)
    assert_close(got, torch.tensor(np.array(want)), rtol=0, atol=1e-14)
    highest = transition_from_anchors(Given(), x)
    assert (got - highest).abs().max() > 1e-3


def test_the_order_of_samples_does_not_matter():
    x, labels = draw(40), torch.arange(40) % 3
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    one, two = (transition_from_anchors(Given(), rows) for rows in (x, x[order]))
    assert torch.equal(one, two)
    one, two = (
        transition_from_clean(Given(), Samples(x[rows], labels[rows]))
        for rows in (torch.arange(40), order)
    )
    assert_close(one, two, rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_estimates_are_transition_matrices_of_any_network(dtype):
    """Rows sum to one in float64, whatever the network computes in; its mode is as it was."""
    network = MLP(64, 3, (5,), seed=1).to(dtype).train()
    x = torch.randn(30, 64, generator=torch.Generator().manual_seed(2)).to(dtype)
    for got in (
        transition_from_anchors(network, x, percentile=97),
        transition_from_clean(network, Samples(x, torch.arange(30) % 3)),
    ):
        assert got.dtype == torch.float64
        assert not got.requires_grad
        assert (got > 0).all()
        assert_close(got.sum(1), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-14)
        assert got.std(0).max() > 1e-4  # rows differ
    assert network.training


@pytest.mark.parametrize("percentile", [-1.0, 100.5, math.nan])
def test_refuses_a_percentile_outside_0_to_100(percentile):
    text = f"`percentile` is {percentile}; it must lie in [0, 100]"
    with pytest.raises(ValueError, match=re.escape(text)):
        transition_from_anchors(Given(), draw(5), percentile=percentile)


def test_refuses_an_estimate_from_no_sample():
    nothing = torch.zeros(0, 3)
    with pytest.raises(ValueError, match="`x` is empty"):
        transition_from_anchors(Given(), nothing)
    with pytest.raises(ValueError, match="`clean` is empty"):
        transition_from_clean(Given(), Samples(nothing, torch.zeros(0).long()))


def test_refuses_clean_samples_without_a_class_and_labels_that_are_none():
    with pytest.raises(ValueError, match="`clean` has no sample of class 1"):
        transition_from_clean(Given(), Samples(draw(4), torch.tensor([0, 2, 2, 0])))
    with pytest.raises(ValueError, match="`clean` holds 3 at position 2; labels must lie in 0 to"):
        transition_from_clean(Given(), Samples(draw(4), torch.tensor([0, 2, 3, 1])))
