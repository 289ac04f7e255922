"""The two heads of CLID-MU: what they answer, what they look at, what they draw."""

import copy

import pytest
import torch
import torch.nn.functional as F
from helpers import refused
from torch.testing import assert_close

from nlmeta import bilevel
from nlmeta.methods import LogitMultiplier, WeightNet
from nlmeta.models import MLP

N, C, D = 7, 3, 5
LABELS = torch.tensor([2, 0, 2, 1, 2, 2, 0])  # lopsided


def network():
    return MLP(64, C, (6, D), seed=3).double()


def recorded(n=N, *, features=True):
    x = torch.randn(n, 64, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return bilevel.forward_pass(network(), x, features=features)


def weight_net(seed=1, **options):
    return WeightNet(8, seed=seed, **options).double()


def multiplier(seed=1, **options):
    options = {"embedding": 4, "hidden": (9, 6), **options}
    return LogitMultiplier(D, C, seed=seed, **options).double()


HEADS = {"weights": weight_net, "multipliers": multiplier}
both_heads = pytest.mark.parametrize("make", HEADS.values(), ids=HEADS.keys())


# what both have in common


@both_heads
def test_nothing_of_the_network_is_attached_to_a_correction(make):
    """It enters the virtual step through the loss alone."""
    forward, head = recorded(), make()
    correction = head(forward, LABELS)
    by_logits = torch.autograd.grad(
        correction.sum(), forward.logits, retain_graph=True, allow_unused=True
    )
    assert by_logits == (None,)
    by_head = torch.autograd.grad(correction.square().sum(), list(head.parameters()))
    assert all(g.abs().max() > 0 for g in by_head)


@both_heads
def test_a_head_looks_only_at_samples_that_have_labels(make):
    """A joint pass may go on with unlabelled samples."""
    forward = recorded()
    first = forward._replace(logits=forward.logits[:4], features=forward.features[:4])
    got = make()(forward, LABELS[:4])
    assert_close(got, make()(first, LABELS[:4]), rtol=0, atol=0)
    head = make()
    assert head.loss(forward.logits, LABELS[:4], got) == head.loss(
        forward.logits[:4], LABELS[:4], got
    )


@both_heads
def test_one_seed_gives_one_head_and_another_seed_another(make):
    first, again, other = (make(seed)(recorded(), LABELS) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert (first - other).abs().min() > 0


@both_heads
def test_a_head_neither_reads_nor_moves_the_global_generator(make):
    answers = []
    for outside in (1, 2):
        forward = recorded()
        torch.manual_seed(outside)
        before = torch.get_rng_state()
        answers.append(make()(forward, LABELS))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*answers)


# weights


def test_a_weight_is_one_hidden_layer_and_a_sigmoid_of_the_samples_loss():
    """(11.1), from the layers' own numbers."""
    head, forward = weight_net(normalise=False), recorded()
    first, _, second = head.layers
    p = forward.logits.detach().softmax(1)[torch.arange(N), LABELS]
    hidden = torch.relu(-p.log()[:, None] * first.weight[:, 0] + first.bias)  # (n, hidden)
    want = 1 / (1 + torch.exp(-(hidden @ second.weight[0] + second.bias)))
    assert_close(head.weights(-p.log()), want, rtol=1e-13, atol=0)
    assert_close(head(forward, LABELS), want / N, rtol=1e-13, atol=0)
    assert want.max() - want.min() > 1e-2


def test_normalised_weights_sum_to_one_and_keep_their_ratios():
    plain, normalised = (weight_net(normalise=n)(recorded(), LABELS) for n in (False, True))
    assert_close(normalised.sum(), torch.ones(()).double(), rtol=1e-14, atol=0)
    assert_close(normalised / normalised[0], plain / plain[0], rtol=1e-13, atol=0)
    assert abs(plain.sum() - 1) > 1e-2


def test_weights_that_are_all_zero_stay_zero():
    """The guard of the released code: nothing is divided by nothing."""
    head = weight_net()
    torch.nn.init.constant_(head.layers[2].bias, -1e4)
    w = head(recorded(), LABELS)
    assert (w == 0).all()
    for g in torch.autograd.grad(w.sum(), list(head.parameters())):
        assert g.isfinite().all()


def test_the_weighted_loss_is_a_sum_over_samples():
    """(11.3): the division is in the weights already."""
    head, forward = weight_net(), recorded()
    w = head(forward, LABELS)
    want = sum(
        w[i] * F.cross_entropy(forward.logits[i : i + 1], LABELS[i : i + 1]) for i in range(N)
    )
    assert_close(head.loss(forward.logits, LABELS, w), want, rtol=1e-13, atol=0)


# multipliers


def test_multipliers_come_from_a_gaussian_whose_mean_and_deviation_are_learned():
    """(11.8): the sigmoid of mean + exp(s / 2) xi, from the layers' own numbers."""
    head, forward = multiplier(), recorded()
    noise = copy.deepcopy(head._noise)
    got = head(forward, LABELS)
    seen = torch.cat([forward.features, head.embedding.weight[LABELS]], dim=1)
    for layer in (head.body[0], head.body[2]):
        seen = torch.tanh(seen @ layer.weight.t() + layer.bias)
    assert len(head.body) == 4
    mean = seen @ head.mean.weight.t() + head.mean.bias
    s = seen @ head.log_variance.weight.t() + head.log_variance.bias
    xi = torch.randn(N, C, generator=noise).double()
    assert_close(got, (mean + torch.exp(s / 2) * xi).sigmoid(), rtol=1e-12, atol=0)
    assert got.shape == (N, C)


def test_noise_is_fresh_in_every_call_and_goes_on_from_a_state():
    head, forward = multiplier(), recorded()
    first, second = head(forward, LABELS), head(forward, LABELS)
    assert (first - second).abs().min() > 0
    kept = copy.deepcopy(head.state_dict())
    third = head(forward, LABELS)
    other = multiplier(seed=9)
    other.load_state_dict(kept)
    assert torch.equal(other(forward, LABELS), third)


def test_multipliers_depend_on_features_and_on_the_label():
    forward = recorded()
    want = multiplier()(forward, LABELS)
    other_labels = multiplier()(forward, (LABELS + 1) % C)
    other_features = multiplier()(forward._replace(features=forward.features + 1), LABELS)
    assert (other_labels - want).abs().min() > 0
    assert (other_features - want).abs().min() > 0


def test_multipliers_stand_before_the_softmax():
    """(11.9): a mean over the batch of the cross-entropy of v z."""
    head, forward = multiplier(), recorded()
    v = head(forward, LABELS)
    p = (v * forward.logits).softmax(1)[torch.arange(N), LABELS]
    assert_close(head.loss(forward.logits, LABELS, v), -p.log().mean(), rtol=1e-13, atol=0)


def test_the_released_sizes_are_the_defaults():
    """With the 512 features of a ResNet-18; and one hidden layer of 100 for weights."""
    head = LogitMultiplier(512, 10, seed=0)
    assert [layer.in_features for layer in head.body[::2]] == [576, 1024, 512]
    assert head.mean.in_features == 512
    assert WeightNet(seed=0).layers[0].out_features == 100


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: WeightNet(0, seed=0), "`hidden` is 0; it must be at least 1"),
        (lambda: multiplier(hidden=(4, 0)), "`hidden` is 0; it must be at least 1"),
        (lambda: multiplier(embedding=0), "`embedding` is 0; it must be at least 1"),
        (lambda: LogitMultiplier(0, 3, seed=0), "`num_features` is 0; it must be at least 1"),
        (lambda: LogitMultiplier(5, 0, seed=0), "`num_classes` is 0; it must be at least 1"),
        (lambda: WeightNet(seed=-1), "`seed` is -1; it must be at least 0"),
    ],
)
def test_refuses_sizes_and_seeds_outside_their_range(make, text):
    refused(text, make)


def test_refuses_a_pass_without_features_where_they_are_needed():
    text = "`forward` has no features, which LogitMultiplier needs"
    refused(text, lambda: multiplier()(recorded(features=False), LABELS))
    assert weight_net()(recorded(features=False), LABELS).shape == (N,)
