"""Tests of forward and gold loss correction: by hand, limits, refusals."""

import copy
import re

import properties
import pytest
import torch
from helpers import assert_same, batch, weights
from torch.testing import assert_close

from nlmeta import MLC, CrossEntropy
from nlmeta.data import Batch
from nlmeta.methods import ForwardCorrection, GoldLossCorrection
from nlmeta.models import MLP, SmallCNN

LOPSIDED = torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.55, 0.4], [0.3, 0.1, 0.6]], dtype=torch.float64)


def network(seed=1):
    return MLP(64, 3, (5,), seed=seed).double()


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)


def train(method, model, steps=4, *, meta=None):
    """A loop of ones own; the weights at the end."""
    optimizer = sgd(model)
    dtype = next(model.parameters()).dtype
    for step in range(steps):
        method.step(model, optimizer, batch(seed=step, dtype=dtype), meta)
    return weights(model)


# forward correction


def test_a_forward_corrected_step_by_hand():
    """q sample by sample, and the gradient by autograd through it, without logarithms of p."""
    model = network()
    want = copy.deepcopy(model)
    p = want(batch().x).softmax(1)
    q = torch.stack([p[i] @ LOPSIDED[:, y] for i, y in enumerate(batch().y)])
    optimizer = sgd(want)
    (-q.log().mean()).backward()
    optimizer.step()
    seen = ForwardCorrection(LOPSIDED).step(model, sgd(model), batch())
    assert seen["loss"].item() == pytest.approx(-q.log().mean().item(), abs=1e-13)
    moved = want.classifier.weight - network().classifier.weight
    assert moved.abs().max() > 1e-4
    for name, p in want.named_parameters():
        assert_close(model.get_parameter(name), p, rtol=0, atol=1e-14)


def test_with_the_identity_it_is_cross_entropy_bit_for_bit():
    one, two = network().float(), network().float()
    corrected = train(ForwardCorrection(torch.eye(3)), one)
    assert_same(corrected, train(CrossEntropy(), two))
    assert not torch.equal(corrected["classifier.weight"], network().float().classifier.weight)


def test_it_is_mlc_that_starts_at_this_matrix_and_never_moves_it():
    """Bit for bit: MLC divides rows by their sums, and these sums are exact."""
    exact = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.75, 0.25], [0.375, 0.125, 0.5]]).double()
    one, two = network(), network()
    mlc = MLC(3, virtual_lr=0.3, transition_lr=0.0, initial=exact).double()
    want = train(mlc, two, meta=batch(4, seed=9))
    assert_same(train(ForwardCorrection(exact), one), want)
    assert not torch.equal(
        want["classifier.bias"], train(CrossEntropy(), network())["classifier.bias"]
    )


def test_no_step_changes_the_matrix_and_the_copy_is_its_own():
    given = LOPSIDED.clone()
    method = ForwardCorrection(given)
    given.zero_()
    train(method, network())
    assert torch.equal(method.transition, LOPSIDED)
    assert not list(method.parameters())
    assert torch.equal(method.state_dict()["transition"], LOPSIDED)


def test_settings_tell_one_matrix_from_another():
    one, two = ForwardCorrection(LOPSIDED), ForwardCorrection(torch.eye(3))
    assert one.settings["name"] == "ForwardCorrection"
    assert one.settings != two.settings


@pytest.mark.parametrize("kind", [ForwardCorrection, GoldLossCorrection])
@pytest.mark.parametrize(
    ("matrix", "text"),
    [
        (torch.ones(2, 3) / 3, "`transition` has shape (2, 3); it must be square"),
        (0.5 * torch.eye(3), "`transition` has row 0 summing to 0.5"),
        (torch.tensor([[1.5, -0.5], [0.0, 1.0]]), "`transition` holds 1.5 at row 0, column 0"),
    ],
)
def test_refuses_what_is_no_transition_matrix(kind, matrix, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        kind(matrix)


def test_refuses_a_matrix_of_another_number_of_classes_in_the_first_step():
    model = network()
    with pytest.raises(ValueError, match=re.escape("for logits of 3 classes it must be (3, 3)")):
        ForwardCorrection(torch.eye(4)).step(model, sgd(model), batch())


# gold loss correction


def test_a_gold_loss_is_the_mean_over_noisy_and_trusted_samples_together():
    meta, model = batch(4, seed=9), network()
    p, log_p = model(batch().x).softmax(1), model(meta.x).log_softmax(1)
    noisy = sum(-(p[i] @ LOPSIDED[:, y]).log() for i, y in enumerate(batch().y))
    trusted = sum(-log_p[i, y] for i, y in enumerate(meta.y))
    want = (noisy + trusted) / 11
    slopes = torch.autograd.grad(want, list(model.parameters()))
    before = [p.detach().clone() for p in model.parameters()]
    assert (noisy / 7 - trusted / 4).abs() > 1e-3  # so that another weighting would show
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = GoldLossCorrection(LOPSIDED).step(model, optimizer, batch(), meta)
    assert seen["loss"].item() == pytest.approx(want.item(), abs=1e-13)
    for p, old, slope in zip(model.parameters(), before, slopes, strict=True):
        assert_close(p.detach(), old - 0.1 * slope, rtol=0, atol=1e-14)


def test_gold_with_the_identity_is_cross_entropy_on_the_joint_batch():
    meta, one, two = batch(4, seed=9), network(), network()
    joint = Batch(torch.cat([batch().x, meta.x]), torch.cat([batch().y, meta.y]))
    GoldLossCorrection(torch.eye(3)).step(one, sgd(one), batch(), meta)
    CrossEntropy().step(two, sgd(two), joint)
    for name, p in two.named_parameters():
        assert_close(one.get_parameter(name), p, rtol=0, atol=1e-14)  # summed in another order


def test_running_statistics_of_gold_move_once_from_the_joint_batch():
    meta, model = batch(4, seed=9), SmallCNN(1, 3, width=2, hidden=5, seed=1).double()
    seen, method = torch.cat([batch().x, meta.x]), GoldLossCorrection(LOPSIDED)
    properties.running_statistics_move_once(method, model, batch(), meta, seen=seen)
    assert model.get_buffer("body.1.num_batches_tracked") == 1


@pytest.mark.parametrize("meta", [None, Batch(torch.zeros(0, 64), torch.zeros(0).long(), None)])
def test_gold_refuses_a_step_without_trusted_samples(meta):
    model = network()
    with pytest.raises(ValueError, match="`meta` is empty; GoldLossCorrection needs"):
        GoldLossCorrection(LOPSIDED).step(model, sgd(model), batch(), meta)
