"""Tests of forward and gold loss correction; and what all further baselines share."""

import copy
import dataclasses
import functools
import re

import pytest
import torch
from torch.testing import assert_close

from nlmeta import EMA, MLC, CrossEntropy, data, fit, metrics
from nlmeta.data import Batch
from nlmeta.methods import (
    ELR,
    CoTeaching,
    ForwardCorrection,
    GoldLossCorrection,
    LearningToReweight,
    MetaWeightNet,
)
from nlmeta.models import MLP, SmallCNN

LOPSIDED = torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.55, 0.4], [0.3, 0.1, 0.6]], dtype=torch.float64)


def batch(n=7, *, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, 8, 8, generator=g, dtype=torch.float64).to(dtype)
    return Batch(x, torch.tensor([2, 0, 2, 1, 2, 2, 0])[:n], torch.arange(n))


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
    return {name: p.detach().clone() for name, p in model.state_dict().items()}


def assert_same(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


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
    with pytest.raises(ValueError, match=re.escape("logits of 3 classes need (3, 3)")):
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
    meta = batch(4, seed=9)
    one, two = (SmallCNN(1, 3, width=2, hidden=5, seed=1).double() for _ in range(2))
    GoldLossCorrection(LOPSIDED).step(one, sgd(one), batch(), meta)
    two(torch.cat([batch().x, meta.x]))
    for name, value in two.named_buffers():
        assert torch.equal(one.get_buffer(name), value), name
    assert two.get_buffer("body.1.num_batches_tracked") == 1


@pytest.mark.parametrize("meta", [None, Batch(torch.zeros(0, 64), torch.zeros(0).long(), None)])
def test_gold_refuses_a_step_without_trusted_samples(meta):
    model = network()
    with pytest.raises(ValueError, match="`meta` is empty; GoldLossCorrection needs"):
        GoldLossCorrection(LOPSIDED).step(model, sgd(model), batch(), meta)


# what all further baselines share: averages, checkpoints, no look at the truth


@functools.cache
def split(seed=3):
    sizes = {"meta_size": 20, "validation_size": 0, "test_size": 1600}
    whole = data.load("digits", rate=0.5, seed=seed, **sizes)
    few = data.Samples(whole.test.x[:50], whole.test.y[:50])
    return dataclasses.replace(whole, test=few)


def cnn(seed=1):
    return SmallCNN(1, 10, width=2, hidden=8, seed=seed)


BASELINES = {
    "forward": lambda: ForwardCorrection(split().transition),
    "gold": lambda: GoldLossCorrection(split().transition),
    "reweight": LearningToReweight,
    "meta-weight-net": lambda: MetaWeightNet(hidden=6, head_lr=0.02, seed=1),
    "co-teaching": lambda: CoTeaching(cnn(7), forget_rate=0.5, ramp_steps=5),
    "elr": lambda: ELR(len(split().train), 10),
}
each_baseline = pytest.mark.parametrize("make", BASELINES.values(), ids=BASELINES)


def run(method, model=None, **options):
    defaults = {"epochs": 4, "seed": 0, "meta_batch_size": 7, "progress": False}
    options = {**defaults, "evaluate_every": 4, **options}
    return fit(method, cnn() if model is None else model, split(), device="cpu", **options)


def stopped(method, model, path, **options):
    """A run broken off by an error after its third epoch was trained."""

    def on_epoch(epoch, model, method):
        if epoch == 3:
            raise ZeroDivisionError
        return {}

    with pytest.raises(ZeroDivisionError):
        run(method, model, checkpoint=path, on_epoch=on_epoch, **options)


def leaves(state, prefix=""):
    for name, value in state.items():
        if isinstance(value, dict | list):
            inner = value if isinstance(value, dict) else dict(enumerate(value))
            yield from leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def assert_same_run(one, two):
    for a, b in ((one.model, two.model), (one.method, two.method)):
        a, b = dict(leaves(a.state_dict())), dict(leaves(b.state_dict()))
        assert a.keys() == b.keys()
        for name in a:
            same = torch.equal(a[name], b[name]) if torch.is_tensor(a[name]) else a[name] == b[name]
            assert same, name
    histories = [result.history.drop(columns="seconds") for result in (one, two)]
    assert histories[0].equals(histories[1])


@each_baseline
def test_a_resumed_run_ends_at_the_numbers_of_an_uninterrupted_one(make, tmp_path):
    """Bit for bit, in new objects; the network has other first weights, which are not used."""
    whole, path = run(make(), warmup_epochs=1), tmp_path / "run.pt"
    stopped(make(), cnn(), path, warmup_epochs=1)
    second = run(make(), cnn(2), checkpoint=path, resume=True, warmup_epochs=1)
    assert_same_run(whole, second)
    assert len(set(whole.history["loss"])) == 4  # it moved in every epoch


@each_baseline
def test_an_average_without_memory_is_the_method_itself_bit_for_bit(make):
    plain, model = run(make(), epochs=2), cnn()
    averaged = run(EMA(make(), model, decay=0.0), model, epochs=2)
    for name, value in plain.predictor.state_dict().items():
        assert torch.equal(averaged.model.state_dict()[name], value), name
        assert torch.equal(averaged.predictor.state_dict()[name], value), name
    assert averaged.predictor is not averaged.model
    assert averaged.accuracy == plain.accuracy


@each_baseline
def test_an_average_of_a_baseline_can_be_resumed(make, tmp_path):
    def pair(seed):
        model = cnn(seed)
        return EMA(make(), model, decay=0.8), model

    whole = run(*pair(1))
    stopped(*pair(1), tmp_path / "run.pt")
    assert_same_run(whole, run(*pair(2), checkpoint=tmp_path / "run.pt", resume=True))


@each_baseline
def test_double_precision_reaches_all_that_a_method_keeps_and_agrees_with_single(make):
    single, double = (run(make(), epochs=1, precision=f"float{bits}") for bits in (32, 64))
    kept = [t for t in double.method.state_dict().values() if torch.is_tensor(t)]
    assert all(t.dtype == torch.float64 for t in kept if t.is_floating_point())
    # Three steps from equal weights; float32 has seven digits.
    assert single.history["loss"][0] == pytest.approx(double.history["loss"][0], rel=1e-5)


@each_baseline
def test_warm_up_is_cross_entropy_bit_for_bit(make):
    warm = run(make(), epochs=2, warmup_epochs=2)
    plain = run(CrossEntropy(), epochs=2)
    for name, value in plain.model.state_dict().items():
        assert torch.equal(warm.model.state_dict()[name], value), name


@each_baseline
def test_a_method_sees_neither_the_true_labels_nor_the_split(make):
    """`fit` hands out batches alone; a split with other true labels gives the same training."""
    one = run(make(), epochs=1)
    lied = dataclasses.replace(split(), true_labels=(split().true_labels + 1) % 10)
    options = {"epochs": 1, "seed": 0, "meta_batch_size": 7, "progress": False, "device": "cpu"}
    two = fit(make(), cnn(), lied, **options)
    assert metrics.memorised(split().train.y, split().train.y, lied.true_labels) == 1
    for name, value in one.model.state_dict().items():
        assert torch.equal(two.model.state_dict()[name], value), name


@each_baseline
def test_diagnostics_are_detached_numbers_and_hold_the_loss(make):
    model, method = cnn(), make()
    train = Batch(split().train.x[:20], split().train.y[:20], torch.arange(20))
    meta = Batch(split().meta.x, split().meta.y)
    seen = method.float().step(model, sgd(model), train, meta)
    assert seen["loss"].isfinite()
    for value in seen.values():
        assert value.shape == ()
        assert not value.requires_grad
