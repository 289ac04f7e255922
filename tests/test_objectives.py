"""Outer objectives: each is its loss, and each fits MLC, MSLG and the heads of CLID-MU."""

import math

import pytest
import torch
import torch.nn.functional as F
from helpers import network
from torch import nn
from torch.testing import assert_close

from nlmeta import MLC, MSLG, bilevel, losses
from nlmeta.data import Batch
from nlmeta.methods import (
    CLIDMU,
    CrossLayerDivergence,
    LabelAbsoluteError,
    LabelCrossEntropy,
    PredictionEntropy,
    WeightNet,
)

GIVEN = torch.tensor([0, 0, 2, 1, 0, 2, 0])


def problem():
    """Seven samples in three unequal classes, and six meta samples."""
    g = torch.Generator().manual_seed(3)
    x = torch.randn(7, 1, 8, 8, generator=g, dtype=torch.float64)
    meta_x = torch.randn(6, 1, 8, 8, generator=g, dtype=torch.float64)
    meta = Batch(meta_x, torch.tensor([0, 1, 2, 2, 1, 2]), torch.arange(6))
    return Batch(x, GIVEN, torch.arange(7)), meta


def clid(**options):
    return lambda z, h, y: losses.cross_layer_divergence(h, z, **options)


OBJECTIVES = {
    "cross-entropy": (LabelCrossEntropy(), lambda z, h, y: F.cross_entropy(z, y)),
    "absolute error": (LabelAbsoluteError(), lambda z, h, y: losses.mean_absolute_error(z, y)),
    "divergence": (CrossLayerDivergence(), clid()),
    "full gradient": (
        CrossLayerDivergence(temperature=0.2, gradient="full"),
        clid(temperature=0.2, gradient="full"),
    ),
    "uniform graph": (CrossLayerDivergence(temperature=math.inf), clid(temperature=math.inf)),
    "entropy": (PredictionEntropy(), lambda z, h, y: losses.entropy(z)),
}
every_objective = pytest.mark.parametrize("name", OBJECTIVES)


@every_objective
def test_an_objective_is_its_loss_on_the_meta_batch(name):
    """Value and gradient by the network's parameters."""
    objective, loss = OBJECTIVES[name]
    model, (_, meta) = network(), problem()
    got = objective(bilevel.with_parameters(model, bilevel.parameters(model)), meta)
    logits, features = model(meta.x, return_features=True)
    want = loss(logits, features, meta.y)
    assert_close(got, want, rtol=1e-13, atol=0)
    theta = list(model.parameters())
    slopes = torch.autograd.grad(want, theta)
    assert slopes[0].abs().max() > 1e-6
    assert_close(torch.autograd.grad(got, theta), slopes, rtol=1e-10, atol=1e-15)


@every_objective
def test_an_objective_says_whether_it_looks_at_labels(name):
    objective, _ = OBJECTIVES[name]
    model, (_, meta) = network(), problem()
    as_function = bilevel.with_parameters(model, {})
    other = objective(as_function, meta._replace(y=meta.y.flip(0)))
    assert (other != objective(as_function, meta)) == objective.uses_labels


def methods(objective, mode="jvp"):
    """MLC, MSLG and Meta-Weight-Net, all judged by one objective."""
    return {
        "mlc": MLC(3, virtual_lr=0.5, transition_lr=1.0, objective=objective, mode=mode),
        "mslg": MSLG(GIVEN, 3, virtual_lr=0.5, label_lr=1.0, k=2, objective=objective, mode=mode),
        "weights": CLIDMU(
            WeightNet(8, seed=1), head_lr=0.1, virtual_lr=0.5, objective=objective, mode=mode
        ),
    }


def gradients(method, model, train, meta):
    forward = bilevel.forward_pass(model, train.x)
    if isinstance(method, MLC):
        return method.transition_gradient(model, forward, train.y, meta)
    if isinstance(method, MSLG):
        u = method.memory.read(train.ids, like=forward.logits)
        return method.label_gradient(model, forward, u, meta)
    return method.head_gradient(model, forward, train.y, meta, lr=0.3)


@every_objective
@pytest.mark.parametrize("which", ["mlc", "mslg", "weights"])
def test_every_objective_fits_every_method(which, name):
    """Forward mode against double backward, with BatchNorm in training mode."""
    objective, _ = OBJECTIVES[name]
    train, meta = problem()
    found = [
        gradients(methods(objective, mode)[which].double(), network(), train, meta)
        for mode in ("jvp", "exact")
    ]
    assert found[1].norm > 1e-6
    assert_close(found[0].outer_loss, found[1].outer_loss, rtol=1e-12, atol=0)
    scale = found[1].norm.item()
    assert_close(found[0].gradients, found[1].gradients, rtol=1e-9, atol=1e-12 * scale)


@pytest.mark.parametrize("which", ["mlc", "mslg"])
def test_without_a_word_mlc_and_mslg_are_judged_by_clean_labels(which):
    (train, meta), found = problem(), []
    for objective in (None, LabelCrossEntropy()):
        model, method = network(), methods(objective)[which].double()
        method.step(model, torch.optim.SGD(model.parameters(), lr=0.1), train, meta)
        found.append([*model.state_dict().values(), *method.state_dict().values()])
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("which", ["mlc", "mslg", "weights"])
def test_a_function_of_ones_own_is_an_objective(which):
    """It counts as one that looks at labels, so that `fit` asks for every class."""

    def margin(network, meta):
        z = network(meta.x)
        return -z[torch.arange(len(z)), meta.y].mean()

    (train, meta), model = problem(), network()
    method = methods(margin)[which].double()
    seen = method.step(model, torch.optim.SGD(model.parameters(), lr=0.1), train, meta)
    assert seen["hypergradient"] > 0
    assert method.needs_meta_labels


@every_objective
@pytest.mark.parametrize("which", ["mlc", "mslg", "weights"])
def test_a_method_records_its_objective_and_needs_the_labels_that_it_looks_at(which, name):
    objective, _ = OBJECTIVES[name]
    method = methods(objective)[which]
    assert method.settings["objective"] == repr(objective)
    assert method.needs_meta
    assert method.needs_meta_labels == objective.uses_labels


def test_every_option_of_the_divergence_is_among_the_settings():
    one, two = (CrossLayerDivergence(temperature=0.2, gradient=g) for g in ("full", "released"))
    assert len({repr(CrossLayerDivergence()), repr(one), repr(two)}) == 3


def test_a_network_without_features_is_refused_where_they_are_needed():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double()
    train, meta = problem()
    method = methods(CrossLayerDivergence())["mlc"].double()
    with pytest.raises(TypeError, match="`model` cannot return its features"):
        gradients(method, model, train, meta)
    assert gradients(methods(PredictionEntropy())["mlc"].double(), model, train, meta).norm > 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"temperature": 0.0}, "`temperature` is 0.0; it must be above 0"),
        ({"gradient": "none"}, "`gradient` is 'none'; it must be one of 'released', 'full'"),
    ],
)
def test_wrong_options_are_refused_when_the_objective_is_made(options, text):
    """Not only by the first step, which may come after a long warm-up."""
    with pytest.raises(ValueError, match=text):
        CrossLayerDivergence(**options)
