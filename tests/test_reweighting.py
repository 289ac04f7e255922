"""Tests of learning to reweight and of Meta-Weight-Net: closed forms, modes, limits, refusals."""

import copy

import properties
import pytest
import torch
import torch.nn.functional as F
from helpers import batch
from torch import nn
from torch.testing import assert_close

from nlmeta import bilevel
from nlmeta.data import Batch
from nlmeta.methods import (
    CLIDMU,
    EveryKth,
    LabelCrossEntropy,
    LearningToReweight,
    MetaWeightNet,
    WeightNet,
)
from nlmeta.models import MLP, SmallCNN

MODES = [*bilevel.MODES, bilevel.Lookahead(recompute=True)]


def smooth(seed=1):
    """Without kinks, so that finite differences have an error of second order."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def sgd(model, lr=0.1, **options):
    return torch.optim.SGD(model.parameters(), lr=lr, **options)


def gradient(model, loss):
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([g.flatten() for g in slopes])


def inner_products(model, train, meta):
    """<grad l_i, grad M>, one sample at a time; the network has no BatchNorm."""
    clean = gradient(model, F.cross_entropy(model(meta.x), meta.y))
    rows = [
        gradient(model, F.cross_entropy(model(train.x[i : i + 1]), train.y[i : i + 1])) @ clean
        for i in range(len(train.y))
    ]
    return torch.stack(rows)


def normalised(values):
    positive = values.clamp_min(0)
    return positive / positive.sum()


# learning to reweight


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_weight_gradient_is_minus_the_inner_product_with_the_meta_gradient(mode):
    """One sample at a time by autograd, in float64."""
    model, train, meta = smooth(), batch(), batch(4, seed=9)
    method = LearningToReweight(mode=mode)
    want = inner_products(model, train, meta)
    assert want.min() < -1e-2 < 1e-2 < want.max()  # both signs, so that the cut is seen
    hyper = method.weight_gradient(model, bilevel.forward_pass(model, train.x), train.y, meta)
    # A central difference with a step of 1e-2 in parameter space; all other modes round off.
    atol = 1e-4 if method.mode.mode == "fd" else 1e-13
    assert_close(-hyper.gradients[0], want, rtol=0, atol=atol)
    value = F.cross_entropy(model(meta.x), meta.y).detach()
    assert_close(hyper.outer_loss, value, rtol=0, atol=1e-14)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_step_is_one_on_the_weighted_loss(mode):
    """The weights of the closed form, positive parts over their sum."""
    model, train, meta = smooth(), batch(), batch(4, seed=9)
    weights = normalised(inner_products(model, train, meta))
    want = copy.deepcopy(model)
    optimizer = sgd(want, momentum=0.9, weight_decay=1e-2)
    loss = (weights * F.cross_entropy(want(train.x), train.y, reduction="none")).sum()
    loss.backward()
    optimizer.step()
    method = LearningToReweight(mode=mode)
    seen = method.step(model, sgd(model, momentum=0.9, weight_decay=1e-2), train, meta)
    atol = 1e-5 if method.mode.mode == "fd" else 1e-14
    assert (want[1].weight - smooth()[1].weight).abs().max() > 1e-3
    for got, p in zip(model.parameters(), want.parameters(), strict=True):
        assert_close(got.detach(), p.detach(), rtol=0, atol=atol)
    assert seen["loss"].item() == pytest.approx(loss.item(), abs=10 * atol)
    assert seen["used"].item() == pytest.approx((weights > 0).double().mean().item())
    assert 0 < seen["used"] < 1


@pytest.mark.parametrize("lr", [0.01, 3.0])
def test_the_size_of_the_virtual_step_has_no_effect_on_the_weights(lr):
    """So it is no option: the hypergradient is proportional to it, and weights sum to one."""
    model, train, meta = smooth(), batch(), batch(4, seed=9)
    w = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    hyper = bilevel.hypergradient(
        model,
        bilevel.forward_pass(model, train.x),
        lambda logits: (w * F.cross_entropy(logits, train.y, reduction="none")).sum(),
        lambda network: F.cross_entropy(network(meta.x), meta.y),
        [w],
        lr=lr,
    )
    want = inner_products(model, train, meta)
    assert_close(-hyper.gradients[0], lr * want, rtol=0, atol=1e-12)
    assert_close(normalised(-hyper.gradients[0]), normalised(want), rtol=0, atol=1e-12)


def test_forward_mode_equals_double_backward_on_a_network_with_batch_norm():
    train, meta = batch(), batch(4, seed=9)
    found = []
    for mode in ("exact", "jvp"):
        model = SmallCNN(1, 3, width=2, hidden=5, seed=1).double()
        forward = bilevel.forward_pass(model, train.x)
        hyper = LearningToReweight(mode=mode).weight_gradient(model, forward, train.y, meta)
        found.append(hyper.gradients[0])
    assert found[0].abs().max() > 1e-3
    assert_close(found[1], found[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["exact", "jvp", "fd", bilevel.Lookahead(recompute=True)], ids=str)
def test_running_statistics_move_once_a_step(mode):
    model = SmallCNN(1, 3, width=2, hidden=5, seed=1).double()
    method = LearningToReweight(mode=mode)
    properties.running_statistics_move_once(method, model, batch(), batch(4, seed=9))


def contrary():
    """A linear network at zero, and a batch whose every sample opposes the clean one."""
    model = nn.Linear(2, 2).double()
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    x = torch.tensor([[1.0, 0.5], [2.0, 0.1]], dtype=torch.float64)
    return model, Batch(x, torch.tensor([1, 1])), Batch(x[:1], torch.tensor([0]))


def test_where_no_sample_helps_the_network_does_not_move():
    model, train, meta = contrary()
    assert (inner_products(model, train, meta) < -1e-2).all()
    seen = LearningToReweight().step(model, sgd(model), train, meta)
    assert all((p == 0).all() for p in model.parameters())
    assert seen["loss"] == seen["used"] == 0


def test_where_no_sample_helps_weight_decay_still_pulls():
    model, train, meta = contrary()
    with torch.no_grad():
        model.bias.fill_(2.0)
    LearningToReweight().step(model, sgd(model, weight_decay=0.5), train, meta)
    assert_close(model.bias.detach(), torch.full((2,), 2 - 0.1 * 0.5 * 2).double())


def test_a_sample_twice_in_the_batch_shares_its_weight():
    """Weights sum to one whatever the batch: copying it halves each, and the step stays."""
    train, meta = batch(), batch(4, seed=9)
    double = Batch(train.x.repeat(2, 1, 1, 1), train.y.repeat(2))
    one, two = smooth(), smooth()
    LearningToReweight().step(one, sgd(one), train, meta)
    LearningToReweight().step(two, sgd(two), double, meta)
    assert (one[1].weight - smooth()[1].weight).abs().max() > 1e-3
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert_close(a.detach(), b.detach(), rtol=0, atol=1e-13)


def test_only_the_last_layer_can_look_ahead():
    """Inner products over its parameters alone, and other weights than with all of them."""
    model, train, meta = MLP(64, 3, (5,), seed=1).double(), batch(), batch(4, seed=9)
    forward = bilevel.forward_pass(model, train.x)
    part, whole = (
        LearningToReweight(mode=bilevel.Lookahead(only=only)).weight_gradient(
            model, forward, train.y, meta
        )
        for only in (("classifier",), None)
    )
    frozen = copy.deepcopy(model)
    frozen.body.requires_grad_(False)
    head = frozen.classifier
    features, clean = frozen.body(train.x), frozen.body(meta.x)
    v = gradient(head, F.cross_entropy(head(clean), meta.y))
    rows = [
        gradient(head, F.cross_entropy(head(features[i : i + 1]), train.y[i : i + 1])) @ v
        for i in range(7)
    ]
    assert_close(-part.gradients[0], torch.stack(rows), rtol=0, atol=1e-13)
    assert (part.gradients[0] - whole.gradients[0]).abs().max() > 1e-3


@pytest.mark.parametrize("meta", [None, Batch(torch.zeros(0, 64), torch.zeros(0).long(), None)])
@pytest.mark.parametrize("make", [LearningToReweight, lambda: MetaWeightNet(seed=1)])
def test_refuses_a_step_without_meta_samples(make, meta):
    model = smooth()
    with pytest.raises(ValueError, match="`meta` is empty"):
        make().double().step(model, sgd(model), batch(), meta)


@pytest.mark.parametrize("make", [LearningToReweight, lambda **o: MetaWeightNet(seed=1, **o)])
def test_refuses_an_unknown_mode(make):
    with pytest.raises(ValueError, match="`mode` is 'hvp'; it must be one of 'jvp', 'fd', 'exact'"):
        make(mode="hvp")


def test_a_method_that_keeps_nothing_has_no_step_between_meta_steps():
    with pytest.raises(ValueError, match="`method` is LearningToReweight"):
        EveryKth(LearningToReweight(), 2)


# L2B


def literal_l2b(model, optimizer, train, meta, *, lr):
    """A step as the released code takes it: weights of two rows, double backward, one sum."""
    theta = dict(model.named_parameters())

    def costs():
        logits = model(train.x)
        rows = [F.cross_entropy(logits, y, reduction="none") for y in (train.y, logits.argmax(1))]
        return torch.stack(rows)  # (2, n)

    eps = torch.zeros(2, len(train.y), dtype=torch.float64, requires_grad=True)
    slopes = torch.autograd.grad((eps * costs()).sum(), list(theta.values()), create_graph=True)
    moved = {name: p - lr * g for (name, p), g in zip(theta.items(), slopes, strict=True)}
    outer = F.cross_entropy(torch.func.functional_call(model, moved, (meta.x,)), meta.y)
    (slope,) = torch.autograd.grad(outer, eps)
    weights = (-slope).clamp_min(0)
    weights = weights / (weights.sum() + 1e-10)
    optimizer.zero_grad()
    (weights * costs()).sum().backward()
    optimizer.step()
    return weights


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_step_of_l2b_is_that_of_the_released_code(mode):
    """But for the 1e-10 that it adds to the sum of the weights, here about 0.5."""
    train, meta = batch(), batch(4, seed=9)
    got, want = smooth(), smooth()
    options = {"momentum": 0.9, "weight_decay": 1e-2}
    weights = literal_l2b(want, sgd(want, **options), train, meta, lr=0.5)
    method = LearningToReweight(bootstrap=True, mode=mode)
    seen = method.step(got, sgd(got, **options), train, meta)
    atol = 1e-5 if method.mode.mode == "fd" else 1e-9
    assert ((weights[0] > 0) != (weights[1] > 0)).any()
    assert (want[1].weight - smooth()[1].weight).abs().max() > 1e-3
    for a, b in zip(got.parameters(), want.parameters(), strict=True):
        assert_close(a.detach(), b.detach(), rtol=0, atol=atol)
    assert seen["bootstrapped"].item() == pytest.approx(weights[1].sum().item(), abs=10 * atol)
    assert 0.1 < seen["bootstrapped"] < 0.9


class Forced(LearningToReweight):
    """L2B whose predicted classes are forced to have no weight."""

    def weight_gradient(self, *args):
        hyper = super().weight_gradient(*args)
        given, predicted = hyper.gradients
        assert predicted.abs().max() > 1e-3
        return hyper._replace(gradients=(given, torch.zeros_like(predicted)))


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_l2b_without_weights_of_predictions_is_learning_to_reweight_bit_for_bit(mode):
    ends = []
    for method in (Forced(bootstrap=True, mode=mode), LearningToReweight(mode=mode)):
        model = smooth()
        optimizer = sgd(model, momentum=0.9)
        for step in range(3):
            seen = method.step(model, optimizer, batch(seed=step), batch(4, seed=100 + step))
        ends.append([*model.parameters()])
        assert seen.get("bootstrapped", 0) == 0
    assert (ends[0][0] - smooth()[1].weight).abs().max() > 1e-3
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_where_all_given_labels_are_predicted_l2b_is_learning_to_reweight():
    """Both weights of a sample are then equal, and half of its weight without the second."""
    model, meta = smooth(), batch(4, seed=9)
    train = batch()._replace(y=model(batch().x).argmax(1))
    one, two = copy.deepcopy(model), copy.deepcopy(model)
    LearningToReweight().step(one, sgd(one), train, meta)
    seen = LearningToReweight(bootstrap=True).step(two, sgd(two), train, meta)
    assert seen["bootstrapped"].item() == pytest.approx(0.5, abs=1e-12)
    assert (one[1].weight - model[1].weight).abs().max() > 1e-4
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert_close(a.detach(), b.detach(), rtol=0, atol=1e-14)


def test_a_wrong_label_can_teach_its_predicted_class():
    """Where no given label helps, the network of L2R does not move, and that of L2B does."""
    model, train, meta = contrary()
    with torch.no_grad():
        model.bias.copy_(torch.tensor([0.5, 0.0]))  # so that the clean class is predicted
    seen = LearningToReweight(bootstrap=True).step(model, sgd(model), train, meta)
    assert seen["used"] == 0
    assert seen["bootstrapped"] == 1
    assert model(meta.x).softmax(1)[0, 0] > torch.tensor([0.5, 0.0]).double().softmax(0)[0] + 0.01


def test_l2b_says_so_in_its_settings():
    assert LearningToReweight(bootstrap=True).settings["bootstrap"] is True
    assert LearningToReweight().settings["bootstrap"] is False


# Meta-Weight-Net


@pytest.mark.parametrize("normalise", [False, True])
def test_meta_weight_net_is_clid_mu_with_a_weight_and_clean_labels_bit_for_bit(normalise):
    options = {"head_lr": 0.03, "head_weight_decay": 1e-3}
    head = WeightNet(6, normalise=normalise, seed=5)
    methods = (
        MetaWeightNet(hidden=6, normalise=normalise, seed=5, **options),
        CLIDMU(head, head_optimizer="adam", objective=LabelCrossEntropy(), **options),
    )
    ends = []
    for method in methods:
        method.double()
        model = smooth()
        optimizer = sgd(model, momentum=0.9)
        for step in range(3):
            method.step(model, optimizer, batch(seed=step), batch(4, seed=100 + step))
        ends.append({**model.state_dict(), **dict(method.head.named_parameters())})
    assert (ends[0]["1.weight"] - smooth()[1].weight).abs().max() > 1e-3
    assert ends[0].keys() == ends[1].keys()
    for name in ends[0]:
        assert torch.equal(ends[0][name], ends[1][name]), name


@pytest.mark.parametrize("mode", ["jvp", "fd"])
def test_head_gradient_of_meta_weight_net_equals_double_backward(mode):
    """Literally, as the released code has it: through the network's step, in float64."""
    model, train, meta = smooth(), batch(), batch(4, seed=9)
    method = MetaWeightNet(hidden=6, mode=mode, seed=5).double()
    forward = bilevel.forward_pass(model, train.x)
    got = method.head_gradient(model, forward, train.y, meta, lr=0.5).gradients

    sample_losses = F.cross_entropy(model(train.x), train.y, reduction="none")
    seen = sample_losses.detach()[:, None]
    weights = method.head.layers(seen).sigmoid()[:, 0]
    theta = dict(model.named_parameters())
    slopes = torch.autograd.grad(
        (weights * sample_losses).sum() / 7, list(theta.values()), create_graph=True
    )
    moved = {name: p - 0.5 * g for (name, p), g in zip(theta.items(), slopes, strict=True)}
    outer = F.cross_entropy(torch.func.functional_call(model, moved, (meta.x,)), meta.y)
    want = torch.autograd.grad(outer, list(method.head.parameters()))
    assert max(g.abs().max() for g in want) > 1e-4
    for a, b in zip(got, want, strict=True):
        assert_close(a, b, rtol=0, atol=1e-15 if mode == "jvp" else 1e-6)


def test_meta_weight_net_has_the_released_defaults_and_needs_clean_labels():
    method = MetaWeightNet(seed=1)
    assert method.needs_meta
    assert method.needs_meta_labels
    assert LearningToReweight().needs_meta_labels
    settings = method.settings
    assert settings["name"] == "MetaWeightNet"
    assert settings["head"] == {"name": "WeightNet", "hidden": 100, "normalise": False, "seed": 1}
    assert (settings["head_lr"], settings["head_weight_decay"]) == (1e-3, 1e-4)
    assert settings["head_optimizer"] == "adam"
    assert method.virtual_lr is None


@pytest.mark.parametrize(
    ("options", "text"),
    [({"head_lr": -1.0}, "`head_lr` is -1.0"), ({"hidden": 0}, "`hidden` is 0")],
)
def test_meta_weight_net_refuses_wrong_options_by_name(options, text):
    with pytest.raises(ValueError, match=text):
        MetaWeightNet(seed=1, **options)
