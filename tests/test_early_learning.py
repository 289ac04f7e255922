"""Tests of ELR: targets by sample id, the step by hand, limits, refusals."""

import copy

import properties
import pytest
import torch
import torch.nn.functional as F
from helpers import assert_same, weights
from torch.testing import assert_close

from nlmeta import CrossEntropy, data, fit
from nlmeta.data import Batch
from nlmeta.methods import ELR
from nlmeta.models import MLP

N, C = 9, 3


def batch(ids=(4, 0, 7, 2, 8), *, seed=0, dtype=torch.float64):
    ids = torch.tensor(ids)
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(N, 1, 8, 8, generator=g, dtype=torch.float64).to(dtype)
    return Batch(x[ids], (ids * ids) % C, ids)


def network(seed=1):
    return MLP(64, C, (5,), seed=seed).double()


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-2)


def elr(**options):
    return ELR(N, C, **options).double()


def test_two_steps_by_hand():
    """As the released code has them: targets move first, clamped p is normalised in them alone."""
    model, method, beta, weight = network(), elr(beta=0.6, weight=2.5), 0.6, 2.5
    with torch.no_grad():
        model.classifier.weight *= 10  # so sure of some samples that the clamp is felt
    start = model.classifier.weight.detach().clone()
    want, targets = copy.deepcopy(model), torch.zeros(N, C, dtype=torch.float64)
    ours, theirs = sgd(model), sgd(want)
    for ids in ((4, 0, 7, 2, 8), (0, 3, 4, 1)):
        train = batch(ids)
        p = want(train.x).softmax(1).clamp(1e-4, 1 - 1e-4)
        seen = p.detach()
        free = (seen > 1e-4) & (seen < 1 - 1e-4)
        assert seen.min() == 1e-4
        assert free.all(1).any()
        for row, i in enumerate(ids):
            targets[i] = beta * targets[i] + (1 - beta) * seen[row] / seen[row].sum()
        agreement = torch.stack([p[row] @ targets[i] for row, i in enumerate(ids)])
        loss = F.cross_entropy(want(train.x), train.y) + weight * (1 - agreement).log().mean()
        theirs.zero_grad()
        loss.backward()
        theirs.step()
        diagnostics = method.step(model, ours, train)
        assert diagnostics["loss"].item() == pytest.approx(loss.item(), abs=1e-13)
        assert_close(method.targets, targets, rtol=0, atol=1e-14)
    assert (targets[0] - targets[7]).abs().max() > 1e-3
    assert (want.classifier.weight - start).abs().max() > 1e-3
    for name, p in want.named_parameters():
        assert_close(model.get_parameter(name), p, rtol=0, atol=1e-14)


def test_without_weight_it_is_cross_entropy_bit_for_bit():
    properties.trains_as(
        lambda model: ELR(N, C, weight=0.0),
        lambda model: CrossEntropy(),
        lambda: network().float(),
        [(batch(seed=step, dtype=torch.float32), None) for step in range(4)],
    )


def test_with_beta_one_targets_stay_at_zero_and_it_is_cross_entropy():
    one, two, method = network(), network(), elr(beta=1.0)
    method.step(one, sgd(one), batch())
    CrossEntropy().step(two, sgd(two), batch())
    assert (method.targets == 0).all()
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert_close(a, b, rtol=0, atol=1e-15)


def test_only_the_rows_of_the_batch_move_and_they_sum_to_one_minus_a_power_of_beta():
    model, method = network(), elr(beta=0.6)
    for _ in range(3):
        method.step(model, sgd(model), batch())
    sums = method.targets.sum(1)
    moved = torch.zeros(N, dtype=torch.bool)
    moved[batch().ids] = True
    want = torch.full((5,), 1 - 0.6**3, dtype=torch.float64)
    assert_close(sums[moved], want, rtol=0, atol=1e-14)
    assert (method.targets[~moved] == 0).all()


def test_ids_address_the_targets_whatever_the_order_of_the_batch():
    one, two, ids = elr(), elr(), (4, 0, 7, 2, 8)
    for method, order in ((one, ids), (two, ids[::-1])):
        model = network()
        method.step(model, sgd(model), batch(order))
    assert one.targets.abs().max() > 0.1
    assert_close(one.targets, two.targets, rtol=0, atol=1e-15)


def test_a_label_the_network_never_believed_is_pushed_away():
    """p = (0.9, 0.1) and label 1: cross-entropy alone would raise its logit, by a slope of -0.9.

    With beta = 0 the target is p, so the regulariser adds 3 p_1 (p.p - p_1) / (1 - p.p) = 1.2.
    """
    model = torch.nn.Linear(1, 2, bias=False).double()
    start = torch.tensor([[9.0], [1.0]], dtype=torch.float64).log()
    with torch.no_grad():
        model.weight.copy_(start)
    method = ELR(1, 2, weight=3.0, beta=0.0).double()
    train = Batch(torch.ones(1, 1, dtype=torch.float64), torch.tensor([1]), torch.tensor([0]))
    method.step(model, torch.optim.SGD(model.parameters(), lr=0.1), train)
    slope = torch.tensor([[-0.3], [0.3]], dtype=torch.float64)
    assert_close(model.weight.detach(), start - 0.1 * slope, rtol=0, atol=1e-13)


def test_targets_lie_in_the_state_and_may_stay_on_the_cpu():
    method = elr(memory_device="cpu")
    model = network()
    method.step(model, sgd(model), batch())
    other = ELR(N, C, memory_device="cpu")
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.targets, method.targets)
    assert method.targets.dtype == torch.float32  # what stays keeps its type as well
    assert method.targets.abs().max() > 0.1


def test_settings_are_the_plain_options_with_the_released_defaults():
    assert elr().settings == {"name": "ELR", "num_samples": N, "weight": 3.0, "beta": 0.7}


def test_fit_refuses_targets_for_another_number_of_samples():
    split = data.load("digits", rate=0.5, seed=3)
    with pytest.raises(ValueError, match="`method` is made for 9 training samples, and"):
        fit(ELR(9, 10), MLP(64, 10, (5,), seed=1), split, epochs=1, seed=0, progress=False)


@pytest.mark.parametrize(
    ("ids", "text"),
    [(None, "`train.ids` is missing"), (torch.tensor([0, 1, 2, 3, 9]), "`train.ids` holds 9")],
)
def test_refuses_a_batch_that_does_not_say_which_samples_it_holds(ids, text):
    model = network()
    with pytest.raises(ValueError, match=text):
        elr().step(model, sgd(model), batch()._replace(ids=ids))
    assert_same(weights(model), weights(network()))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"weight": -1.0}, "`weight` is -1.0; it must be a finite number, not negative"),
        ({"beta": 1.5}, r"`beta` is 1.5; it must lie in \[0, 1\]"),
        ({"num_samples": 0}, "`num_samples` is 0; it must be at least 1"),
        ({"num_classes": 1}, "`num_classes` is 1; it must be at least 2"),
    ],
)
def test_refuses_wrong_options_by_name(options, text):
    with pytest.raises(ValueError, match=text):
        ELR(**{"num_samples": N, "num_classes": C, **options})
