"""Tests of what all methods share, of CrossEntropy, and of EMA around other methods."""

import copy

import pytest
import torch
import torch.nn.functional as F
from helpers import assert_same, weights
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.testing import assert_close

from nlmeta import EMA, MLC, CrossEntropy, Method, bilevel
from nlmeta.data import Batch, Samples, draw_batch
from nlmeta.methods import MLNT, EveryKth, GeneralisedCrossEntropy
from nlmeta.methods.average import WeightAverage
from nlmeta.models import MLP, SmallCNN

N, C = 7, 3
LABELS = torch.tensor([2, 0, 2, 1, 2, 2, 0])  # lopsided


def batch(n=N, *, seed=0, dtype=torch.float64):
    """Inputs that differ in scale from one pixel to the next, so that no order is forgiven."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, 8, 8, generator=draw, dtype=dtype)
    return Batch(x * torch.linspace(0.2, 2, 64).view(8, 8).to(dtype), LABELS[:n], torch.arange(n))


def network(name="mlp", seed=1):
    if name == "mlp":
        return MLP(64, C, (5,), seed=seed).double()
    return SmallCNN(1, C, width=2, hidden=5, seed=seed).double()


def sgd(model, lr=0.1, momentum=0.9):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)


def mlc(**options):
    return MLC(C, **{"virtual_lr": 0.1, "transition_lr": 2.0, **options}).double()


def train(method, model, steps, *, lr=0.1):
    """A reader's own loop: some steps, and the weights after each."""
    optimizer, after = sgd(model, lr), []
    for step in range(steps):
        meta = batch(4, seed=100 + step) if method.needs_meta else None
        method.step(model, optimizer, batch(seed=step), meta)
        after.append(weights(model))
    return after


def test_a_method_without_a_step_cannot_be_made():
    with pytest.raises(TypeError, match="abstract.*step"):
        Method()


def test_a_method_predicts_with_the_network_unless_it_keeps_a_better_one():
    model = network()
    assert CrossEntropy().predictor(model) is model
    assert mlc().predictor(model) is model


def test_a_method_says_whether_it_needs_clean_samples():
    model = network()
    assert not CrossEntropy.needs_meta
    assert MLC.needs_meta
    assert EMA(mlc(), model, decay=0.5).needs_meta
    assert not EMA(CrossEntropy(), model, decay=0.5).needs_meta


class Invented(Method):
    """A method with every kind of attribute."""

    def __init__(self):
        super().__init__()
        self.rate = 0.5
        self.rounds = 3
        self.kind = "soft"
        self.keep = True
        self._private = 1.0
        self.scores = torch.zeros(3)
        self.layer = nn.Linear(2, 2)
        self.inner = CrossEntropy()
        self.register_buffer("labels", torch.zeros(3))

    def step(self, model, optimizer, train, meta=None):
        return self.warmup_step(model, optimizer, train)


def test_settings_are_the_name_and_the_plain_options():
    """Tensors and layers are state; a wrapped method is described by its own settings."""
    assert Invented().settings == {
        "name": "Invented",
        "rate": 0.5,
        "rounds": 3,
        "kind": "soft",
        "keep": True,
        "inner": {"name": "CrossEntropy"},
    }


def test_settings_do_not_depend_on_the_training_mode_or_on_steps_taken():
    method, model = mlc(), network()
    before = method.settings
    train(method.eval(), model, 2)
    assert method.settings == before


def test_settings_of_mlc_hold_every_switch():
    switches = {
        "space": "logit",
        "keep_transition": False,
        "normalise": "column",
        "reduction": "sum",
        "q_floor": 0.5,
        "mode": "fd",
    }
    settings = mlc(**switches).settings
    others = {"virtual_lr": 0.1, "transition_lr": 2.0, "initial": "identity"}
    switches["mode"] = repr(bilevel.Lookahead("fd"))
    assert settings == {"name": "MLC", **others, **switches, "objective": "LabelCrossEntropy()"}
    assert mlc(initial=torch.full((C, C), 1 / C)).settings["initial"] != "identity"


def test_settings_of_an_average_hold_those_of_the_method_inside():
    settings = EMA(mlc(), network(), decay=0.25).settings
    assert settings["name"] == "EMA"
    assert settings["decay"] == 0.25
    assert settings["method"] == mlc().settings


def test_a_cross_entropy_step_by_hand_on_a_linear_model():
    """W - lr (p - e)' x / n, and b likewise: softmax regression."""
    model, lr = nn.Linear(4, C).double(), 0.3
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=draw, dtype=p.dtype))
    x = torch.randn(N, 4, generator=draw, dtype=torch.float64)
    before = weights(model)
    logits = x @ before["weight"].T + before["bias"]
    slope = (logits.softmax(1) - F.one_hot(LABELS, C)) / N
    assert slope.abs().max() > 1e-2

    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    seen = CrossEntropy().step(model, optimizer, Batch(x, LABELS, torch.arange(N)))
    # Round-off of sums of seven products of size 1.
    assert_close(model.weight.detach(), before["weight"] - lr * slope.T @ x, rtol=0, atol=1e-14)
    assert_close(model.bias.detach(), before["bias"] - lr * slope.sum(0), rtol=0, atol=1e-14)
    want = -logits.log_softmax(1)[torch.arange(N), LABELS].mean()
    assert seen["loss"].item() == pytest.approx(want.item(), abs=1e-14)  # before the step


@pytest.mark.parametrize(
    "make",
    [CrossEntropy, GeneralisedCrossEntropy, mlc, lambda: EMA(mlc(), network(), decay=0.5)],
)
def test_diagnostics_are_detached_numbers_and_hold_the_loss(make):
    model = network()
    seen = make().step(model, sgd(model), batch(), batch(4, seed=9))
    assert seen["loss"] > 0
    for value in seen.values():
        assert value.shape == ()
        assert not value.requires_grad


def test_cross_entropy_does_not_look_at_the_meta_batch():
    one, two = network(), network()
    CrossEntropy().step(one, sgd(one), batch())
    CrossEntropy().step(two, sgd(two), batch(), batch(4, seed=9))
    assert_same(weights(one), weights(two))


def test_gradients_that_were_lying_about_do_not_enter_a_step():
    clean, dirty = network(), network()
    for p in dirty.parameters():
        p.grad = torch.full_like(p, 1e3)
    CrossEntropy().step(clean, sgd(clean), batch())
    CrossEntropy().step(dirty, sgd(dirty), batch())
    assert_same(weights(clean), weights(dirty))


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_warm_up_step_of_any_method_is_a_step_of_cross_entropy(name):
    trained = []
    for make in (CrossEntropy, mlc, lambda: EMA(mlc(), network(name), decay=0.5)):
        model, method = network(name), make()
        seen = method.warmup_step(model, sgd(model), batch())
        assert set(seen) == {"loss"}
        trained.append(weights(model))
    assert_same(trained[0], trained[1])
    assert_same(trained[0], trained[2])
    assert not torch.equal(trained[0]["classifier.bias"], network(name).classifier.bias)


def test_warm_up_does_not_move_the_transition_matrix():
    method, model = mlc(), network()
    method.warmup_step(model, sgd(model), batch())
    assert torch.equal(method.transition.detach(), torch.eye(C).double())


def test_what_a_method_learned_is_not_among_the_parameters_of_the_network():
    model = network()
    method = mlc()
    train(method, model, 2)
    assert not torch.equal(method.transition.detach(), torch.eye(C).double())
    assert [tuple(p.shape) for p in method.parameters()] == [(C, C)]
    ours = {id(p) for p in model.parameters()}
    assert not any(id(p) in ours for p in method.parameters())


# generalised cross-entropy


def test_a_step_of_generalised_cross_entropy_weighs_samples_by_their_prediction():
    """Its gradient is that of cross-entropy with p^q as weights that are held fixed."""
    one, two = network(), network()
    seen = GeneralisedCrossEntropy(q=0.6).step(one, sgd(one), batch())
    cost = F.cross_entropy(two(batch().x), LABELS, reduction="none")
    p = (-cost).exp().detach()
    optimizer = sgd(two)
    (p**0.6 * cost).mean().backward()
    optimizer.step()
    assert p.max() / p.min() > 1.5
    assert_close(weights(one), weights(two), rtol=0, atol=1e-14)
    assert seen["loss"].item() == pytest.approx(((1 - p**0.6) / 0.6).mean().item(), abs=1e-14)


def test_generalised_cross_entropy_with_exponent_zero_is_cross_entropy():
    plain, general = network(), network()
    train(CrossEntropy(), plain, 3)
    train(GeneralisedCrossEntropy(q=0.0), general, 3)
    assert_close(weights(general), weights(plain), rtol=0, atol=1e-13)


def test_generalised_cross_entropy_needs_no_meta_set_and_records_its_exponent():
    assert not GeneralisedCrossEntropy.needs_meta
    assert GeneralisedCrossEntropy().settings == {"name": "GeneralisedCrossEntropy", "q": 0.7}


@pytest.mark.parametrize("q", [-0.1, 1.1])
def test_refuses_an_exponent_outside_zero_to_one(q):
    with pytest.raises(ValueError, match=rf"`q` is {q}; it must lie in \[0, 1\]"):
        GeneralisedCrossEntropy(q=q)


# EMA


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("decay", [0.3, 0.9])
def test_the_average_after_k_steps_in_closed_form(name, decay):
    """d^(k-1) w_1 + (1-d) sum of d^(k-j) w_j: it starts at the weights after the first step.

    Buffers count as weights, so BatchNorm's running statistics are averaged too.
    """
    model = network(name)
    method = EMA(CrossEntropy(), model, decay=decay)
    after = train(method, model, 5)
    averaged = method.predictor(model).state_dict()
    for key, got in averaged.items():
        if not got.is_floating_point():
            continue  # the number of batches BatchNorm has seen is no weight
        want = decay**4 * after[0][key]
        want = want + sum((1 - decay) * decay ** (5 - j) * after[j - 1][key] for j in range(2, 6))
        assert (want - after[-1][key]).abs().max() > 1e-6, key  # the average lags behind
        assert_close(got, want, rtol=0, atol=1e-13)
    if name == "cnn":
        assert any("running_var" in key for key in averaged)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_no_memory_gives_the_network_itself_bit_for_bit(name):
    model = network(name).float()
    method = EMA(CrossEntropy(), model, decay=0.0)
    optimizer = sgd(model)
    for step in range(4):
        method.step(model, optimizer, batch(seed=step, dtype=torch.float32))
    assert_same(weights(method.predictor(model)), weights(model))


def test_a_full_memory_keeps_the_weights_after_the_first_step():
    """decay = 1 is allowed: average <- average."""
    model = network()
    method = EMA(CrossEntropy(), model, decay=1.0)
    after = train(method, model, 3)
    assert_same(weights(method.predictor(model)), after[0])
    assert not torch.equal(after[2]["classifier.bias"], after[0]["classifier.bias"])


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("make", [CrossEntropy, mlc], ids=["cross-entropy", "mlc"])
def test_averaging_does_not_change_the_training_bit_for_bit(name, make):
    plain, averaged = network(name), network(name)
    inside, inside_too = make(), make()
    without = train(inside, plain, 4)
    with_average = train(EMA(inside_too, averaged, decay=0.7), averaged, 4)
    for one, two in zip(without, with_average, strict=True):
        assert_same(one, two)
    assert_same(weights(inside), weights(inside_too))  # T of MLC


def test_the_average_follows_warm_up_steps_too():
    model = network()
    method = EMA(mlc(), model, decay=0.5)
    optimizer, after = sgd(model), []
    for step in range(2):
        method.warmup_step(model, optimizer, batch(seed=step))
        after.append(weights(model))
    want = {key: 0.5 * after[0][key] + 0.5 * after[1][key] for key in after[0]}
    assert_close(weights(method.predictor(model)), want, rtol=0, atol=1e-14)


def test_the_average_is_no_view_of_the_network():
    model = network()
    method = EMA(CrossEntropy(), model, decay=0.5)
    method.step(model, sgd(model), batch())
    kept = weights(method.predictor(model))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    assert_same(weights(method.predictor(model)), kept)
    assert method.predictor(model) is not model


@pytest.mark.parametrize("make", [CrossEntropy, mlc], ids=["cross-entropy", "mlc"])
def test_a_state_dict_takes_an_average_to_another_object(make):
    """Average, counter and what the inner method learned: the next step is then the same."""
    model = network("cnn")
    method = EMA(make(), model, decay=0.7)
    train(method, model, 3)
    other_model = network("cnn", seed=5)
    other = EMA(make(), other_model, decay=0.7)
    assert not torch.equal(
        other.predictor(other_model).classifier.bias, method.predictor(model).classifier.bias
    )
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    other_model.load_state_dict(model.state_dict())
    assert_same(weights(other), weights(method))
    for pair in ((method, model), (other, other_model)):
        train(*pair, 2)
    assert_same(weights(other), weights(method))


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_refuses_a_decay_outside_zero_to_one(decay):
    with pytest.raises(ValueError, match=rf"`decay` is {decay}; it must lie in \[0, 1\]"):
        EMA(CrossEntropy(), network(), decay=decay)


def test_a_method_works_in_a_loop_of_ones_own():
    """Ten lines without `fit`: the loss on a fixed set falls."""
    samples = Samples(batch().x, LABELS)
    draw = torch.Generator().manual_seed(0)
    model, method = network(), CrossEntropy()
    optimizer, losses = sgd(model, lr=0.05), []
    for _ in range(20):
        losses.append(method.step(model, optimizer, draw_batch(samples, 5, generator=draw))["loss"])
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("as_tensor", [False, True])
def test_the_average_is_that_of_pytorch(as_tensor):
    """Bit for bit, its running statistics too; `AveragedModel` is what it stands in for."""
    model = SmallCNN(1, 3, width=2, hidden=4, seed=0)
    ours = WeightAverage(model)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.7), use_buffers=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for step in range(4):
        CrossEntropy().step(model, optimizer, Batch(x, torch.arange(8) % 3))
        share = ours.count(0.7)
        ours.update(model, torch.tensor(share, dtype=torch.float64) if as_tensor else share)
        theirs.update_parameters(model)
        assert ours.n_averaged == theirs.n_averaged == step + 1
    wanted = dict(theirs.module.state_dict())
    assert not torch.equal(wanted["body.1.running_mean"], model.body[1].running_mean)
    for name, value in ours.module.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, wanted[name])
        else:  # a count of batches is copied; an average of counts says nothing
            assert torch.equal(value, model.state_dict()[name])


@pytest.mark.parametrize("wrap", [lambda m: EMA(m, network(), decay=0.5), lambda m: EveryKth(m, 2)])
def test_a_wrapper_names_the_networks_of_its_method(wrap):
    """`distributed.joint` must know them."""
    method = MLNT(network(), network(seed=2), trial_lr=0.1, meta_weight=1.0, seed=3)
    assert wrap(method).networks == method.networks == (method.mentor,)
