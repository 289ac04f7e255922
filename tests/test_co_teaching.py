"""Tests of Co-teaching: the samples it picks, its limits, its schedule, what it remembers."""

import copy
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import assert_same
from torch import nn
from torch.testing import assert_close

from nlmeta import CrossEntropy
from nlmeta.data import Batch
from nlmeta.methods import CoTeaching
from nlmeta.methods.co_teaching import small_losses
from nlmeta.models import MLP, SmallCNN

LABELS = torch.tensor([2, 0, 2, 1, 2, 2, 0, 1, 2, 0])


def batch(n=10, *, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, 8, 8, generator=g, dtype=torch.float64).to(dtype)
    return Batch(x, LABELS[:n], torch.arange(n))


def network(seed=1):
    return MLP(64, 3, (5,), seed=seed).double()


def sgd(model, lr=0.1, **options):
    return torch.optim.SGD(model.parameters(), lr=lr, **{"momentum": 0.9, **options})


def method(seed=2, **options):
    return CoTeaching(network(seed), **{"forget_rate": 0.4, "ramp_steps": 0, **options})


def train(method, model, steps, **options):
    optimizer, seen = sgd(model, **options), []
    for step in range(steps):
        seen.append(method.step(model, optimizer, batch(seed=step)))
    return seen


# what is picked


@pytest.mark.parametrize("count", [1, 4, 10])
def test_the_samples_of_small_loss_are_those_of_a_sort(count):
    """Against numpy, from losses taken sample by sample."""
    logits = network()(batch().x).detach()
    p = logits.numpy()
    p = np.exp(p) / np.exp(p).sum(1, keepdims=True)
    costs = [-np.log(row[y]) for row, y in zip(p, LABELS.numpy(), strict=True)]
    want = np.sort(np.argsort(costs)[:count])
    assert small_losses(logits, LABELS, count).tolist() == want.tolist()


def test_of_equal_losses_the_earlier_sample_is_picked():
    logits = torch.zeros(4, 3)
    logits[3, 2] = 5.0
    assert small_losses(logits, torch.tensor([0, 1, 2, 2]), 2).tolist() == [0, 3]


def test_each_network_learns_from_what_the_other_picked():
    """One step of both, literally: 6 of 10 samples each."""
    one, two = network(1), network(2)
    costs = [F.cross_entropy(net(batch().x), LABELS, reduction="none") for net in (one, two)]
    picked = [np.sort(np.argsort(c.detach().numpy())[:6]) for c in costs]
    assert set(picked[0]) != set(picked[1])
    wanted = [copy.deepcopy(one), copy.deepcopy(two)]
    for net, rows in zip(wanted, reversed(picked), strict=True):
        optimizer = sgd(net)
        F.cross_entropy(net(batch().x[rows]), LABELS[rows]).backward()
        optimizer.step()
    teaching = method()
    seen = teaching.step(one, sgd(one), batch())
    for got, want, start in zip((one, teaching.peer), wanted, (1, 2), strict=True):
        assert (want.classifier.weight - network(start).classifier.weight).abs().max() > 1e-3
        for name, p in want.named_parameters():
            assert_close(got.get_parameter(name), p, rtol=0, atol=1e-14)
    assert seen["loss"].item() == pytest.approx(costs[0][picked[1]].mean().item(), abs=1e-14)
    assert seen["peer_loss"].item() == pytest.approx(costs[1][picked[0]].mean().item(), abs=1e-14)
    assert seen["used"].item() == pytest.approx(0.6)


def test_networks_with_equal_first_weights_pick_alike_and_stay_equal():
    model = network(1)
    teaching = method(1)
    seen = train(teaching, model, 4)
    assert_same(model, teaching.peer)
    assert all(row["loss"] == row["peer_loss"] for row in seen)
    assert not torch.equal(model.classifier.weight, network(1).classifier.weight)


# limits


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_without_forgetting_both_networks_are_cross_entropy_bit_for_bit(name):
    def make(seed):
        return MLP(64, 3, (5,), seed=seed) if name == "mlp" else SmallCNN(1, 3, width=2, seed=seed)

    teaching = CoTeaching(make(2), forget_rate=0.0, ramp_steps=3)
    model, alone, peer_alone = make(1), make(1), make(2)
    runs = ((teaching, model), (CrossEntropy(), alone), (CrossEntropy(), peer_alone))
    for single, net in runs:
        optimizer = sgd(net, weight_decay=1e-2)
        for step in range(4):
            single.step(net, optimizer, batch(seed=step, dtype=torch.float32))
    assert_same(model, alone)
    assert_same(teaching.peer, peer_alone)
    assert not torch.equal(model.classifier.weight, make(1).classifier.weight)


def test_warm_up_trains_both_on_all_samples_and_does_not_count_as_steps():
    model, alone, peer_alone = network(1), network(1), network(2)
    teaching = method(ramp_steps=4)
    for single, net in ((teaching, model), (CrossEntropy(), alone), (CrossEntropy(), peer_alone)):
        optimizer = sgd(net)
        for step in range(3):
            assert set(single.warmup_step(net, optimizer, batch(seed=step))) == {"loss"}
    assert_same(model, alone)
    assert_same(teaching.peer, peer_alone)
    assert train(teaching, model, 1)[0]["used"] == 1  # the schedule begins now


def test_the_share_falls_on_a_straight_line_to_one_minus_tau():
    seen = train(method(ramp_steps=4, forget_rate=0.8), network(), 7)
    want = [1.0, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2]  # whole samples of 10
    assert [round(row["used"].item(), 6) for row in seen] == want


def test_without_a_ramp_the_first_step_leaves_samples_out():
    assert train(method(ramp_steps=0), network(), 1)[0]["used"].item() == pytest.approx(0.6)


def test_at_least_one_sample_is_used():
    seen = train(method(forget_rate=1.0), network(), 2)
    assert [row["used"].item() for row in seen] == pytest.approx([0.1, 0.1])
    assert all(row["loss"].isfinite() for row in seen)


# the peer and its optimiser


def test_the_peer_is_a_copy_and_follows_the_mode_of_the_network():
    given, model = network(2), network(1)
    teaching = CoTeaching(given, forget_rate=0.4, ramp_steps=0)
    teaching.peer.eval()
    train(teaching, model, 1)
    assert teaching.peer.training
    assert_same(given, network(2))
    assert not torch.equal(teaching.peer.classifier.weight, given.classifier.weight)
    assert teaching.predictor(model) is model


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_the_peer_is_trained_with_the_optimiser_of_the_network(kind):
    """Kind, groups with settings of their own, and a learning rate that changes on the way."""
    wanted, model = network(2), network(1)
    teaching = method(forget_rate=0.0)

    def optimiser(net):
        groups = [
            {"params": list(net.body.parameters())},
            {"params": list(net.classifier.parameters()), "weight_decay": 0.5, "lr": 0.03},
        ]
        return kind(groups, lr=0.01, weight_decay=0.0)

    for single, net in ((teaching, model), (CrossEntropy(), wanted)):
        optimizer = optimiser(net)
        for step in range(3):
            optimizer.param_groups[0]["lr"] = 0.01 * (step + 1)
            single.step(net, optimizer, batch(seed=step))
    assert_same(teaching.peer, wanted)


def test_a_state_dict_takes_peer_momentum_and_schedule_to_another_object():
    """Also if it is taken twice, the second time before a step."""
    model, teaching = network(1), method(ramp_steps=8)
    optimizer = sgd(model)
    for step in range(3):
        teaching.step(model, optimizer, batch(seed=step))
    other_model, other = network(1), method(5, ramp_steps=8)
    other.load_state_dict(copy.deepcopy(teaching.state_dict()))
    third = method(6, ramp_steps=8)
    third.load_state_dict(copy.deepcopy(other.state_dict()))
    other_model.load_state_dict(model.state_dict())
    other_optimizer = sgd(other_model)
    other_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for step in range(3, 6):
        one = teaching.step(model, optimizer, batch(seed=step))
        two = third.step(other_model, other_optimizer, batch(seed=step))
        assert one["used"] == two["used"] < 1
    assert_same(model, other_model)
    assert_same(teaching.peer, third.peer)


def test_momentum_moves_to_another_type_with_the_peer():
    model = network(1).float()
    teaching = method().float()
    optimizer = sgd(model)
    teaching.step(model, optimizer, batch(dtype=torch.float32))
    model, teaching = model.double(), teaching.double()
    optimizer.load_state_dict(optimizer.state_dict())
    teaching.step(model, optimizer, batch())
    assert teaching.peer.classifier.weight.dtype == torch.float64


def test_settings_are_the_two_options():
    settings = method(ramp_steps=7).settings
    assert settings == {"name": "CoTeaching", "forget_rate": 0.4, "ramp_steps": 7}


@pytest.mark.parametrize(
    "peer", [MLP(64, 3, (6,), seed=1), nn.Sequential(nn.Flatten(), nn.Linear(64, 3))]
)
def test_refuses_a_peer_of_another_shape_in_the_first_step(peer):
    model = network()
    teaching = CoTeaching(peer.double(), forget_rate=0.4, ramp_steps=0)
    text = f"`peer` is a {type(peer).__name__} and the network a MLP; the parameters of both must"
    with pytest.raises(ValueError, match=re.escape(text)):
        teaching.step(model, sgd(model), batch())
    assert_same(model, network())


@pytest.mark.parametrize(
    ("options", "text", "error"),
    [
        ({"forget_rate": 1.2}, r"`forget_rate` is 1.2; it must lie in \[0, 1\]", ValueError),
        ({"ramp_steps": -1}, "`ramp_steps` is -1; it must be at least 0", ValueError),
        ({"ramp_steps": 2.5}, "`ramp_steps` is 2.5; it must be an integer", TypeError),
    ],
)
def test_refuses_wrong_options_by_name(options, text, error):
    with pytest.raises(error, match=text):
        method(**options)


def test_a_layer_that_is_held_fixed_is_so_in_the_peer():
    """Its running statistics stay, in both networks."""
    model, peer = (SmallCNN(1, 3, width=4, hidden=8, seed=seed).double() for seed in (1, 2))
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    norms[0].eval()
    both = CoTeaching(peer, forget_rate=0.4, ramp_steps=0)
    train(both, model, 2)
    twins = [m for m in both.peer.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.num_batches_tracked.item() for m in norms] == [0] + [2] * (len(norms) - 1)
    assert [m.num_batches_tracked.item() for m in twins] == [0] + [2] * (len(norms) - 1)


def test_an_optimiser_with_a_parameter_of_another_network_is_refused():
    model = network()
    optimizer = torch.optim.SGD([*model.parameters(), nn.Parameter(torch.ones(1))], lr=0.1)
    with pytest.raises(ValueError, match="`optimizer` holds a parameter that is not the network's"):
        method().step(model, optimizer, batch())


def test_a_loaded_state_does_not_share_its_moments():
    one, model = method(), network()
    train(one, model, 2)
    other, twin = method(), copy.deepcopy(model)
    other.load_state_dict(one.state_dict())
    want = copy.deepcopy(other), copy.deepcopy(twin)
    train(one, model, 3)
    train(want[0], want[1], 1)
    train(other, twin, 1)
    assert_same(other.peer, want[0].peer)
