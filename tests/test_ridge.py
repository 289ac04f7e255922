"""Tests of nlmeta.procedures.ridge: the closed form against another one, limits, refusals."""

import pytest
import torch
from helpers import refused
from sklearn.linear_model import Ridge
from torch.nn.functional import one_hot
from torch.testing import assert_close

from nlmeta import data, metrics
from nlmeta.procedures import ridge


def problem(n=40, dimension=5, num_classes=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dimension, generator=g, dtype=torch.float64) * torch.arange(1, dimension + 1)
    return x + 2.0, torch.randint(num_classes, (n,), generator=g)


def test_it_is_the_ridge_regression_of_scikit_learn():
    x, y = problem()
    layer = ridge(x, y, 3, penalty=0.3)
    centred = x - x.mean(0)
    alpha = 0.3 * centred.square().sum(0).mean().item()
    theirs = Ridge(alpha=alpha).fit(x.numpy(), one_hot(y, 3).double().numpy())
    assert_close(layer.weight, torch.from_numpy(theirs.coef_), rtol=1e-9, atol=1e-12)
    assert_close(layer.bias, torch.from_numpy(theirs.intercept_), rtol=1e-9, atol=1e-12)
    assert layer.weight.abs().max() > 1e-3


def test_the_gradient_of_what_it_minimises_is_zero():
    x, y = problem()
    layer = ridge(x, y, 3, penalty=0.2)
    scale = (x - x.mean(0)).square().sum(0).mean()
    loss = (layer(x) - one_hot(y, 3)).square().sum() + 0.2 * scale * layer.weight.square().sum()
    for gradient in torch.autograd.grad(loss, list(layer.parameters())):
        assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-10)


def test_scale_shift_and_number_of_samples_leave_the_scores_as_they_are():
    x, y = problem()
    want = ridge(x, y, 3)(x)
    assert_close(ridge(10 * x, y, 3)(10 * x), want)
    assert_close(ridge(x - 7, y, 3)(x - 7), want)
    assert_close(ridge(x.repeat(3, 1), y.repeat(3), 3)(x), want)


def test_a_large_penalty_leaves_the_class_frequencies():
    x, y = problem()
    got = ridge(x, y, 3, penalty=1e9)(x)
    assert_close(got, (one_hot(y, 3).double().mean(0)).expand_as(got), rtol=0, atol=1e-6)


def test_no_penalty_to_speak_of_fits_as_many_samples_as_there_are_features():
    x, y = problem(n=5, dimension=6)
    assert (ridge(x, y, 3, penalty=1e-9)(x).argmax(1) == y).all()


def test_a_linear_layer_that_ignores_the_noise_memorises_little():
    """On the digits half of whose labels are wrong, without any choice."""
    split = data.load("digits", noise="symmetric", rate=0.5, meta_size=20, seed=0)
    layer = ridge(split.train.x.flatten(1), split.train.y, 10)
    assert layer.weight.dtype == torch.float32
    test = metrics.predict(layer, split.test.x.flatten(1))
    train = metrics.predict(layer, split.train.x.flatten(1))
    assert metrics.accuracy(test, split.test.y) > 0.85
    assert metrics.memorised(train, split.train.y, split.true_labels) < 0.05


def test_bad_input_is_refused():
    x, y = problem()
    refused("`penalty` is 0", lambda: ridge(x, y, 3, penalty=0.0))
    refused("`x` is torch.float64 of shape (40,)", lambda: ridge(x[:, 0], y, 3))
    refused("`y`", lambda: ridge(x, y + 1, 3))
    refused("`x`", lambda: ridge(x[1:], y, 3))
    refused("same features in every row", lambda: ridge(torch.ones(4, 2), torch.arange(4) % 2, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_layer_has_the_type_of_the_features(dtype):
    x, y = problem()
    assert ridge(x.to(dtype), y, 3).weight.dtype == dtype
