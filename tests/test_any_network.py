"""Networks as people bring them: what they keep, freeze, hold fixed and write into.

Each test is named for a kind of fault that was found and mended.
"""

import copy
import threading
import warnings
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize
from torch.testing import assert_close

import nlmeta
from nlmeta import (
    EMA,
    MLC,
    MLNT,
    MSLG,
    CrossEntropy,
    bilevel,
    data,
    fit,
    losses,
    metrics,
)
from nlmeta.data import Batch
from nlmeta.methods import (
    CLIDMU,
    ELR,
    CoTeaching,
    GoldLossCorrection,
    LearningToReweight,
    MetaWeightNet,
    WeightNet,
)
from nlmeta.models import CIFARResNet, FeaturesOf, SmallCNN, copy_of, with_features
from nlmeta.procedures.selection import Ensemble, divergence_score

SMOOTHED = 0.7 * torch.eye(3) + 0.1
START = SMOOTHED.double()


def features(n=94, d=8, dtype=torch.float32):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0)).to(dtype)


def batches(dtype=torch.float32, d=8, classes=3):
    """A training batch of 64 samples with ids and a meta batch of 30."""
    x, y = features(d=d, dtype=dtype), torch.arange(94) % classes
    return Batch(x[:64], y[:64], torch.arange(64)), Batch(x[64:], y[64:])


def split_of(x=None, **options):
    x = features(120) if x is None else x
    y = (x.flatten(1)[:, 0].real > 0).long()
    options = {"seed": 0, "test_size": 20, "true_labels": y, "meta_size": 10, **options}
    return data.from_arrays(x, y, **options)


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr)


class Net(nn.Module):
    """Eight numbers to three classes, with features."""

    def __init__(self, classes=3):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, classes)

    def body(self, x):
        return self.a(x).tanh()

    def forward(self, x, return_features=False):
        h = self.body(x)
        return (self.b(h), h) if return_features else self.b(h)


METHODS = {
    "CrossEntropy": lambda net: CrossEntropy(),
    "MLC": lambda net: MLC(3, virtual_lr=0.5, transition_lr=1.0, initial=SMOOTHED),
    "MLC lean": lambda net: MLC(
        3,
        virtual_lr=0.5,
        transition_lr=1.0,
        initial=SMOOTHED,
        mode=bilevel.Lookahead(recompute=True),
    ),
    "MLC fd": lambda net: MLC(3, virtual_lr=0.5, transition_lr=1.0, initial=SMOOTHED, mode="fd"),
    "MSLG": lambda net: MSLG(torch.arange(64) % 3, 3, virtual_lr=0.5, label_lr=1.0),
    "CLID-MU": lambda net: CLIDMU(WeightNet(seed=0), head_lr=0.1),
    "Meta-Weight-Net": lambda net: MetaWeightNet(seed=0),
    "reweighting": lambda net: LearningToReweight(),
    "MLNT": lambda net: MLNT(net, net, trial_lr=0.5, meta_weight=1.0, seed=0),
    "MLNT at once": lambda net: MLNT(
        net, net, trial_lr=0.5, meta_weight=1.0, seed=0, trials_at_once=10
    ),
    "MLNT second order": lambda net: MLNT(
        net, net, trial_lr=0.5, meta_weight=1.0, seed=0, order="second"
    ),
    "MLNT two-step": lambda net: MLNT(
        net, net, trial_lr=0.5, meta_weight=1.0, seed=0, update="two-step"
    ),
    "Co-teaching": lambda net: CoTeaching(net, forget_rate=0.2, ramp_steps=0),
    "ELR": lambda net: ELR(64, 3),
    "GLC": lambda net: GoldLossCorrection(SMOOTHED),
    "EMA": lambda net: EMA(CrossEntropy(), net, decay=0.5),
}
LOOKAHEAD = [name for name in METHODS if name.split()[0] in ("MLC", "MSLG", "CLID-MU", "MLNT")]
LOOKAHEAD += ["Meta-Weight-Net", "reweighting"]


def steps(name, net, count=2):
    """The network after some steps of a method."""
    train, meta = batches()
    method, optimizer = METHODS[name](net), sgd(net)
    for _ in range(count):
        method.step(net, optimizer, train, meta)
    return net


def same_weights(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# The batch


class InPlace(Net):
    def body(self, x):
        return self.a(x.sub_(1.0).div_(2.0)).tanh()


class OutOfPlace(Net):
    def body(self, x):
        return self.a((x - 1.0) / 2.0).tanh()


@pytest.mark.parametrize("name", METHODS)
def test_a_network_that_writes_into_its_input_takes_the_step_of_one_that_does_not(name):
    writing, plain = InPlace(), OutOfPlace()
    train, _ = batches()
    before = train.x.clone()
    assert same_weights(steps(name, writing), steps(name, plain))
    assert not same_weights(writing, OutOfPlace())
    assert torch.equal(train.x, before)


@pytest.mark.parametrize("method", ["cross-entropy", "MLC"])
def test_training_with_a_network_that_writes_into_its_input_leaves_the_data_alone(method):
    """A slice of a tensor shares its numbers, and so does the whole meta set as one batch."""
    found = []
    for net in (InPlace(2), OutOfPlace(2)):
        split = split_of()
        kept = {p: getattr(split, p).x.clone() for p in ("train", "meta", "test")}
        chosen = (
            CrossEntropy()
            if method == "cross-entropy"
            else nlmeta.MLC(2, virtual_lr=0.1, transition_lr=1.0)
        )
        run = fit(chosen, net, split, epochs=3, batch_size=32, seed=0, progress=False)
        for part, x in kept.items():
            assert torch.equal(getattr(split, part).x, x), part
        found.append(run.history["train_accuracy"].tolist())
    assert found[0] == found[1]


def test_predicting_with_a_network_that_writes_into_its_input_leaves_the_data_alone():
    x = features()
    before = x.clone()
    first = metrics.predict(InPlace(), x, batch_size=20)
    assert torch.equal(metrics.predict(InPlace(), x, batch_size=20), first)
    assert torch.equal(Ensemble([InPlace(), InPlace()])(x), 2 * metrics.predict(OutOfPlace(), x))
    assert divergence_score(InPlace(), x, batch_size=20, seed=0) == divergence_score(
        OutOfPlace(), x, batch_size=20, seed=0
    )
    assert torch.equal(x, before)


# What a pass at other parameters replaces and puts back


class Listed(Net):
    """Weights reached through a plain list."""

    def __init__(self):
        super().__init__()
        self.listed = [self.a.weight, self.a.bias]

    def body(self, x):
        return F.linear(x, *self.listed).tanh()


class Closed(Net):
    """Weights reached through a closure."""

    def __init__(self):
        super().__init__()
        weight, bias = self.a.weight, self.a.bias
        self.body = lambda x: F.linear(x, weight, bias).tanh()


class Shared(Net):
    """Weights of one layer in another: parameters of two modules, which a pass can replace."""

    def __init__(self):
        super().__init__()
        self.twin = nn.Linear(8, 8)
        self.twin.weight, self.twin.bias = self.a.weight, self.a.bias

    def body(self, x):
        return self.twin(x).tanh()


@pytest.mark.parametrize("make", [Listed, Closed])
@pytest.mark.parametrize("name", LOOKAHEAD)
def test_weights_that_no_pass_can_replace_are_refused_by_name(name, make):
    with pytest.raises(RuntimeError, match=r"`model` uses its own 'a\.(weight|bias)' in a pass at"):
        steps(name, make())


@pytest.mark.parametrize("mode", ["jvp", "fd", "exact"])
def test_the_hypergradient_is_refused_where_weights_lie_in_a_list_in_every_mode(mode):
    with pytest.raises(RuntimeError, match="in a list, a closure or a cache"):
        transition_gradient(Listed().double(), mode)


class Halved(nn.Module):
    def forward(self, weight):
        return weight / 2


def test_weights_kept_in_a_cache_are_refused():
    net = Net()
    parametrize.register_parametrization(net.a, "weight", Halved())
    steps("MLC", net)  # computed in each pass
    with parametrize.cached(), pytest.raises(RuntimeError, match="own 'a.parametrizations"):
        steps("MLC", net)


@pytest.mark.parametrize("name", LOOKAHEAD)
def test_shared_and_frozen_weights_are_taken(name):
    assert same_weights_by_value(steps(name, Shared()), steps(name, Net()))
    frozen = Listed()
    frozen.a.requires_grad_(False)  # the same in every pass, so a list does no harm
    plain = Net()
    plain.a.requires_grad_(False)
    assert same_weights_by_value(steps(name, frozen), steps(name, plain))


def same_weights_by_value(one, other):
    theirs = dict(other.named_parameters())
    return all(torch.equal(p, theirs[n]) for n, p in one.named_parameters() if n in theirs)


class Counting(Net):
    """Keeps a count, an activation, and running statistics that it assigns."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.register_buffer("mean", torch.zeros(8))

    def body(self, x):
        self.calls += 1
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0).detach()
        self.seen = self.a(x)
        return self.seen.tanh()


@pytest.mark.parametrize("name", LOOKAHEAD)
def test_what_a_network_sets_on_its_way_is_that_of_the_ordinary_pass(name):
    net = Counting()
    train, meta = batches()
    expected = Net().a(train.x)
    METHODS[name](net).step(net, sgd(net), train, meta)
    assert net.calls == 1
    assert_close(net.mean, 0.1 * train.x.mean(0))
    assert_close(net.seen, expected)


class Detached(Net):
    def body(self, x):
        h = self.a(x)
        return (h / h.detach().abs().max()).tanh()


class Straight(Net):
    """A sign with a straight-through gradient."""

    def body(self, x):
        h = self.a(x)
        return h + (h.sign() - h).detach()


def transition_gradient(net, mode, dtype=torch.float64):
    train, meta = batches(dtype)
    method = MLC(3, virtual_lr=0.5, transition_lr=1.0, mode=mode, initial=START.to(dtype))
    forward = bilevel.forward_pass(net, train.x)
    return method.transition_gradient(net, forward, train.y, meta).gradients[0]


@pytest.mark.parametrize("make", [Detached, Straight])
def test_a_difference_that_sees_through_detach_is_told_once(make):
    net = make().double()
    exact = transition_gradient(net, "exact")
    assert_close(transition_gradient(net, "jvp"), exact, rtol=0, atol=1e-12)
    with pytest.warns(RuntimeWarning, match="holds something fixed for its gradient"):
        found = transition_gradient(net, "fd")
    assert (found - exact).norm() > 1e-3 * exact.norm()  # so there is something to tell
    transition_gradient(net, "fd")  # a second time would be an error here


class Dropping(Net):
    def body(self, x):
        return F.dropout(self.a(x), 0.4, self.training).relu()


@pytest.mark.parametrize("make", [Net, Dropping, OutOfPlace, InPlace, Counting])
def test_no_difference_is_told_of_where_there_is_none(make):
    net = make()
    transition_gradient(net, "fd", torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        transition_gradient(make().double(), "fd")


def test_deep_networks_with_batch_norm_hold_nothing_fixed():
    for net in (CIFARResNet(18, 3, width=4, seed=0), SmallCNN(1, 3, seed=0)):
        channels = 3 if isinstance(net, CIFARResNet) else 1
        x = torch.randn(12, channels, 8, 8, generator=torch.Generator().manual_seed(1))
        y = torch.arange(12) % 3
        method = MLC(3, virtual_lr=0.5, transition_lr=1.0, mode="fd", initial=SMOOTHED)
        method.step(net, sgd(net), Batch(x, y), Batch(x, y))


class Float32Inside(Net):
    """A norm in float32 whatever the rest is in, as in many transformers."""

    def body(self, x):
        h = self.a(x)
        scale = h.float().square().mean(1, keepdim=True).add(1e-6).rsqrt()
        return (h * scale.to(h.dtype)).tanh()


class AtTheKink(Net):
    """Rows of zeros and no biases: every ReLU is exactly at its kink."""

    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.a.bias)

    def body(self, x):
        return self.a(torch.cat([0 * x[:4], x[4:]])).relu()


class Choosy(Net):
    def body(self, x):
        if x.dtype != torch.float32:
            raise ValueError("float32 alone")
        return super().body(x)


@pytest.mark.parametrize("make", [Float32Inside, AtTheKink, Choosy])
def test_the_comparison_of_a_difference_gives_no_false_alarm_and_stops_no_step(make):
    steps("MLC fd", make(), count=1)


# Weights of every kind


class Spectral(nn.Module):
    """A complex weight for each frequency, and a fixed rotation."""

    def __init__(self, classes=3):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(5, dtype=torch.cfloat))
        self.register_buffer("turn", torch.polar(torch.ones(5), torch.arange(5.0)))
        self.last = nn.Linear(8, classes)

    def forward(self, x):
        return self.last(torch.fft.irfft(torch.fft.rfft(x) * self.weight * self.turn, n=8))


@pytest.mark.parametrize(("precision", "wanted"), [("float32", "64"), ("float64", "128")])
def test_complex_weights_and_buffers_are_trained_as_complex_ones(precision, wanted):
    net = Spectral(2)
    before = net.weight.detach().clone()
    run = fit(CrossEntropy(), net, split_of(), epochs=2, seed=0, precision=precision)
    assert str(net.weight.dtype) == str(net.turn.dtype) == f"torch.complex{wanted}"
    assert (net.weight - before).imag.abs().max() > 1e-4
    assert run.accuracy >= 0
    assert nlmeta.analysis.pred_probs(net, split_of()).shape == (90, 2)


def test_an_average_of_complex_weights_is_an_average():
    net = Spectral()
    train, _ = batches()
    ema, optimizer, weights = EMA(CrossEntropy(), net, decay=0.75), sgd(net), []
    for _ in range(3):
        ema.step(net, optimizer, train)
        weights.append(net.weight.detach().clone())
    expected = weights[0]
    for weight in weights[1:]:
        expected = 0.75 * expected + 0.25 * weight
    assert_close(ema.average.module.weight.detach(), expected)
    assert not torch.equal(expected, weights[-1])


def test_the_hypergradient_of_a_complex_network_is_the_same_in_every_mode():
    net = Spectral().double()
    net.weight.data, net.turn = net.weight.data.cdouble(), net.turn.cdouble()
    found = {mode: transition_gradient(net, mode) for mode in ("exact", "jvp", "fd")}
    assert found["exact"].abs().max() > 1e-4
    assert_close(found["jvp"], found["exact"], rtol=0, atol=1e-12)
    assert_close(found["fd"], found["exact"], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("mode", ["jvp", "fd", "exact"])
def test_an_embedding_with_sparse_gradients_gives_the_hypergradient_of_a_dense_one(mode):
    words, y = torch.arange(94 * 4).view(94, 4) % 9, torch.arange(94) % 3
    found = []
    for sparse in (True, False):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Embedding(9, 4, sparse=sparse), nn.Flatten(), nn.Linear(16, 3))
        net = net.double()
        method = MLC(3, virtual_lr=0.5, transition_lr=1.0, mode=mode, initial=START)
        meta, forward = Batch(words[64:], y[64:]), bilevel.forward_pass(net, words[:64])
        found.append(method.transition_gradient(net, forward, y[:64], meta).gradients[0])
    assert found[1].abs().max() > 1e-4
    assert_close(*found, rtol=0, atol=1e-12)


def test_an_operation_without_a_second_derivative_is_refused_with_the_way_out():
    words, y = torch.arange(94 * 4).view(94, 4) % 9, torch.arange(94) % 3
    net = nn.Sequential(nn.EmbeddingBag(9, 4), nn.Linear(4, 3))
    train, meta = Batch(words[:64], y[:64]), Batch(words[64:], y[64:])
    for mode, text in (("exact", "cannot be differentiated twice"), ("jvp", "mode='fd'")):
        method = MLC(3, virtual_lr=0.5, transition_lr=1.0, mode=mode)
        with pytest.raises(NotImplementedError, match=text):
            method.step(net, sgd(net), train, meta)
    MLC(3, virtual_lr=0.5, transition_lr=1.0, mode="fd").step(net, sgd(net), train, meta)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.last = nn.GRU(1, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x, return_features=False):
        h = self.body(x[:, :, None])[0].mean(1)
        return (self.last(h), h) if return_features else self.last(h)


def test_recurrent_networks_are_refused_for_several_trial_steps_at_once():
    steps("MLNT", Recurrent())
    with pytest.raises(
        RuntimeError, match="recurrent layers do; take the steps one after the other"
    ):
        steps("MLNT at once", Recurrent())


# What is frozen


class Normed(Net):
    def __init__(self, classes=2):
        super().__init__(classes)
        self.norm = nn.BatchNorm1d(8)

    def body(self, x):
        return self.norm(self.a(x)).tanh()


def frozen():
    net = Normed()
    net.norm.eval().requires_grad_(False)
    return net


@pytest.mark.parametrize("name", ["CrossEntropy", "MLC", "MLNT", "Co-teaching", "EMA"])
def test_training_leaves_a_frozen_norm_layer_asleep(name, tmp_path):
    """Also where what is called after an epoch changes modes, and after a resume."""
    split, path = split_of(), tmp_path / "run.pt"
    make = METHODS[name]
    if name == "MLC":
        make = lambda net: MLC(2, virtual_lr=0.1, transition_lr=1.0)  # noqa: E731
    calls = []

    def wake(epoch, model, method):
        model.train(epoch % 2 == 0)
        calls.append(epoch)
        if len(calls) == 2:
            raise KeyboardInterrupt

    for resume in (False, True):
        net = frozen()
        before = copy.deepcopy(net.norm.state_dict())
        options = {"epochs": 3, "batch_size": 32, "seed": 0, "progress": False}
        run = fit(make(net), net, split, checkpoint=path, resume=resume, on_epoch=wake, **options)
        assert run.finished is resume
        after = net.norm.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)
    assert calls == [1, 2, 2, 3]
    assert not same_weights(net, frozen())  # the rest has been trained


def test_a_network_in_evaluation_mode_as_a_whole_is_trained_as_a_whole():
    net = Normed().eval()
    fit(CrossEntropy(), net, split_of(), epochs=1, seed=0, progress=False)
    assert net.training
    assert net.norm.training
    assert net.norm.num_batches_tracked > 0


# Copies


class Keeping(Net):
    def body(self, x):
        self.seen = self.a(x).relu()
        self.all_of_them = {"now": [self.seen, 2 * self.seen]}
        return self.seen


def after_a_backward(net):
    x, y = features(), torch.arange(94) % 3
    F.cross_entropy(net(x), y).backward()
    return net


@pytest.mark.parametrize("name", ["MLNT", "Co-teaching", "EMA"])
def test_a_network_that_keeps_an_activation_can_be_copied(name):
    steps(name, after_a_backward(Keeping()))


def test_a_copy_has_the_numbers_of_what_is_kept_and_shares_nothing():
    net = after_a_backward(Keeping())
    twin = copy_of(net)
    assert same_weights(net, twin)
    assert torch.equal(twin.seen, net.seen.detach())
    assert twin.all_of_them["now"][0] is twin.seen
    assert not twin.seen.requires_grad
    for p in twin.parameters():
        p.data.zero_()
    twin.seen.zero_()
    assert all(p.abs().max() > 0 for p in net.parameters())
    assert net.seen.abs().max() > 0


def test_what_cannot_be_copied_is_named_by_module_and_attribute():
    net = Net()
    net.a.lock = threading.Lock()
    with pytest.raises(TypeError, match="`lock` of Linear 'a' is a lock, which Python cannot copy"):
        EMA(CrossEntropy(), net, decay=0.9)


def test_a_view_of_a_weight_that_no_copy_would_follow_is_refused_by_name():
    """The average would predict with the weight that the network had when it was copied."""

    class Tied(Net):
        def __init__(self):
            super().__init__()
            self.back = self.a.weight.t()

        def body(self, x):
            return (self.a(x) @ self.back.t()).tanh()

    with pytest.raises(TypeError, match="`back` of Tied is a view of a weight and"):
        EMA(CrossEntropy(), Tied(), decay=0.9)


def lazy():
    return nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, 3))


@pytest.mark.parametrize(
    "use",
    [
        lambda net: fit(CrossEntropy(), net, split_of(), epochs=1, seed=0),
        lambda net: EMA(CrossEntropy(), net, decay=0.9),
        lambda net: bilevel.parameters(net),
    ],
    ids=["fit", "a copy", "lookahead"],
)
def test_a_lazy_layer_without_weights_is_refused_by_name(use):
    with pytest.raises(ValueError, match="`model` has a lazy layer without weights, '0'"):
        use(lazy())


# What comes out, what goes in, and what takes the step


class Output(dict):
    """As libraries of language models have it: a dictionary with attributes."""

    @property
    def logits(self):
        return self["logits"]


class WithAux(NamedTuple):
    """As torchvision's Inception has it."""

    aux: torch.Tensor | None
    logits: torch.Tensor


OUTPUTS = {
    "dict with attributes": lambda z: Output(logits=z, hidden=2 * z),
    "dict": lambda z: {"loss": z.sum(), "logits": z},
    "object": lambda z: SimpleNamespace(logits=z, loss=None),
    "named tuple": lambda z: WithAux(None, z),
    "tuple": lambda z: (z, 2 * z),
    "tuple of one": lambda z: (z,),
}


class Wrapped(Net):
    def __init__(self, form, classes=3):
        super().__init__(classes)
        self.form = form

    def forward(self, x, return_features=False):
        logits, h = super().forward(x, return_features=True)
        return (OUTPUTS[self.form](logits), h) if return_features else OUTPUTS[self.form](logits)


@pytest.mark.parametrize("form", OUTPUTS)
@pytest.mark.parametrize("name", METHODS)
def test_logits_inside_an_output_take_the_step_of_plain_logits(name, form):
    assert same_weights(steps(name, Wrapped(form)), steps(name, Net()))


@pytest.mark.parametrize("form", OUTPUTS)
def test_logits_inside_an_output_are_the_predictions(form):
    assert torch.equal(
        metrics.predict(Wrapped(form), features()), metrics.predict(Net(), features())
    )


class Without(Net):
    def forward(self, x, return_features=False):
        h = {"last_hidden_state": super().forward(x)}
        return (h, x) if return_features else h


@pytest.mark.parametrize("name", METHODS)
def test_an_output_without_logits_is_refused_with_the_way_out(name):
    with pytest.raises(TypeError, match="`model` (returned a dict|cannot return its features)"):
        steps(name, Without())


def test_predicting_refuses_an_output_without_logits_or_of_another_shape():
    with pytest.raises(TypeError, match="returned a dict; it must return logits of shape"):
        metrics.predict(Without(), features())
    with pytest.raises(
        ValueError, match=r"returned logits of shape \(94, 4, 2\); it must be \(n, C\)"
    ):
        metrics.predict(nn.Unflatten(1, (4, 2)), features())


class TwoInputs(Net):
    """The eight numbers in two halves; it writes into one."""

    def forward(self, left, right, return_features=False):
        left.mul_(1.0)
        return super().forward(torch.cat([left, right], 1), return_features)


HALVES = {
    "dict": lambda x: {"right": x[:, 4:], "left": x[:, :4]},
    "tuple": lambda x: (x[:, :4], x[:, 4:]),
}


@pytest.mark.parametrize("form", HALVES)
@pytest.mark.parametrize("name", METHODS)
def test_several_inputs_take_the_step_of_one_that_holds_them_all(name, form):
    net = TwoInputs()
    train, meta = batches()
    method, optimizer = METHODS[name](net), sgd(net)
    for _ in range(2):
        halves = [batch._replace(x=HALVES[form](batch.x)) for batch in (train, meta)]
        method.step(net, optimizer, *halves)
    assert same_weights(net, steps(name, Net()))


@pytest.mark.parametrize("form", HALVES)
def test_several_inputs_give_the_predictions_of_one_that_holds_them_all(form):
    net, x = TwoInputs(), features()
    halves = HALVES[form](x)
    expected = metrics.predict(Net(), x)
    assert torch.equal(metrics.predict(net, halves, batch_size=20), expected)
    assert metrics.evaluate(net, halves, expected.argmax(1)) == 1
    assert torch.equal(
        Ensemble([net])(*halves) if form == "tuple" else Ensemble([net])(**halves), expected
    )
    scores = [
        divergence_score(n, inputs, batch_size=20, seed=0)
        for n, inputs in ((net, halves), (Net(), x))
    ]
    assert scores[0] == scores[1]
    network = bilevel.with_parameters(net, {})
    assert torch.equal(network(halves), expected)


BAD_INPUTS = [
    ([], "`x` is a list; the inputs of a batch must be a tensor"),
    ({}, "`x` is an empty dict; the inputs of a batch must be"),
    ({"a": [[1]] * 64}, "`x` holds at 'a' a list; the inputs of a batch must be"),
    ((torch.ones(64, 8), torch.tensor(1.0)), r"`x` holds at 1 a tensor of shape \(\)"),
    ({0: torch.ones(64, 8)}, "`x` is a dict with the key 0; a key must be an argument's name"),
    (
        {"a": torch.ones(64, 8), "b": torch.ones(63, 8)},
        "`x` holds numbers of rows {'a': 64, 'b': 63}; all must have one for each sample",
    ),
]


@pytest.mark.parametrize(("x", "text"), BAD_INPUTS)
@pytest.mark.parametrize("name", METHODS)
def test_inputs_of_another_form_are_refused(name, x, text):
    train, meta = batches()
    net = Net()
    with pytest.raises((TypeError, ValueError), match=text):
        METHODS[name](net).step(net, sgd(net), train._replace(x=x), meta)


@pytest.mark.parametrize(
    ("x", "text"), [*BAD_INPUTS, ({"a": np.ones((64, 8))}, "`x` holds at 'a' a ndarray")]
)
def test_predicting_refuses_inputs_of_another_form(x, text):
    with pytest.raises((TypeError, ValueError), match=text):
        metrics.predict(Net(), x)


class Foreign(Net):
    """A network that returns no features, and its logits in an object."""

    def forward(self, x):
        return SimpleNamespace(logits=super().forward(x))


@pytest.mark.parametrize("name", METHODS)
def test_features_of_a_layer_of_any_network_are_those_that_it_could_return(name):
    net = FeaturesOf(Foreign(), "b")
    steps(name, net)
    assert same_weights(net.network, steps(name, Net()))
    assert not net.network.b._forward_pre_hooks


class ByName(Net):
    """A network that calls its last layer with a keyword argument."""

    def forward(self, x):
        return self.b(input=self.body(x))


def test_the_input_of_a_layer_may_be_passed_by_name():
    net, x = ByName(), features()
    _, found = with_features(FeaturesOf(net, "b"), x)
    assert torch.equal(found, net.body(x))


def test_features_are_refused_where_no_layer_has_them():
    with pytest.raises(ValueError, match="`layer` is 'c'; the network's layers are a, b"):
        FeaturesOf(Net(), "c")
    idle = Net()
    idle.spare = nn.Linear(8, 3)
    with pytest.raises(ValueError, match="`layer` is 'spare', which no pass runs"):
        FeaturesOf(idle, "spare")(features(), return_features=True)
    tokens = FeaturesOf(nn.Sequential(nn.Linear(8, 3), nn.Flatten()), "0")
    with pytest.raises(ValueError, match=r"whose input is of shape \(94, 2, 8\); it must be the"):
        tokens(torch.ones(94, 2, 8), return_features=True)
    with pytest.raises(TypeError, match=r"`models.FeaturesOf\(model, 'classifier'\)` adds this"):
        steps("CLID-MU", Foreign())


def test_an_optimiser_that_wants_a_closure_is_refused():
    net = Net()
    train, meta = batches()
    with pytest.raises(TypeError, match="`optimizer` is LBFGS, whose step evaluates the loss"):
        CrossEntropy().step(net, torch.optim.LBFGS(net.parameters()), train, meta)


@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("MSLG",)])
def test_labels_that_are_no_class_numbers_are_refused_in_a_step(name):
    """Whole numbers of another type, a column of labels, and PyTorch's -100."""
    train, meta = batches()
    for labels in (train.y.int(), train.y[:, None]):
        net = Net()
        with pytest.raises(ValueError, match=r"labels must be torch.int64 of shape \(n,\)|samples"):
            METHODS[name](net).step(net, sgd(net), train._replace(y=labels), meta)
    skipped = train.y.clone()
    skipped[3] = -100
    net = Net()
    with pytest.raises((IndexError, ValueError, RuntimeError), match="-100"):
        METHODS[name](net).step(net, sgd(net), train._replace(y=skipped), meta)


def test_cross_entropy_is_that_of_pytorch_for_one_label_each():
    logits, y = features()[:, :3], torch.arange(94) % 3
    for reduction in ("mean", "sum", "none"):
        expected = F.cross_entropy(logits, y, reduction=reduction)
        assert torch.equal(losses.cross_entropy(logits, y, reduction=reduction), expected)


@pytest.mark.parametrize("mode", ["exact", "fd"])
def test_vectors_that_a_pass_moves_are_those_of_the_recorded_pass_in_the_tangent(mode):
    """The older spectral norm takes its factor from vectors that each pass moves first."""

    class Moving(Net):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", torch.tensor(1.0, dtype=torch.float64))

        def body(self, x):
            with torch.no_grad():
                self.scale.mul_(0.5)
            return (self.a(x) * self.scale).tanh()

    wanted = transition_gradient(Moving().double(), "exact")
    net = Moving().double()
    train, meta = batches(torch.float64)
    forward = bilevel.forward_pass(net, train.x)
    assert net.scale == 0.5
    assert_close(
        bilevel.recomputed(net, forward, bilevel.Lookahead(recompute=True)).logits, forward.logits
    )
    assert net.scale == 0.5
    found = transition_gradient(Moving().double(), "jvp" if mode == "exact" else mode)
    assert_close(found, wanted, rtol=1e-3 if mode == "fd" else 1e-12, atol=1e-9)


def test_a_loss_without_a_second_derivative_is_refused_by_name():
    net = Net().double()
    train, _ = batches(torch.float64)
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    with pytest.raises(NotImplementedError, match="`inner_loss` uses an operation that cannot be"):
        bilevel.hypergradient(
            net,
            bilevel.forward_pass(net, train.x),
            lambda logits: weight * F.multi_margin_loss(logits, train.y),
            lambda network: F.cross_entropy(network(train.x), train.y),
            [weight],
            lr=0.1,
        )


@pytest.mark.parametrize("evaluate_every", [1, 3])
def test_what_is_drawn_after_an_epoch_moves_no_dropout_of_the_run(evaluate_every):
    """Neither a callback nor an evaluation with dropout left on."""

    class Drawing(Net):
        def body(self, x):
            return F.dropout(self.a(x), 0.5, training=True)

    def draw(epoch, model, method):
        torch.manual_seed(epoch)
        torch.rand(3)

    options = {"epochs": 3, "batch_size": 32, "seed": 0, "progress": False}
    plain, other = Drawing(2), Drawing(2)
    fit(CrossEntropy(), plain, split_of(), **options)
    fit(CrossEntropy(), other, split_of(), on_epoch=draw, evaluate_every=evaluate_every, **options)
    assert same_weights(plain, other)


# No test part


class Strict(Net):
    """Cannot take an empty batch."""

    def forward(self, x, return_features=False):
        return super().forward(x.view(x.size(0), -1), return_features)


def test_without_a_test_part_the_network_is_not_called_and_the_accuracy_is_no_number():
    split = split_of(test_size=0)
    run = fit(CrossEntropy(), Strict(2), split, epochs=2, seed=0, progress=False)
    assert run.history["test_accuracy"].isna().all()
    assert run.accuracy != run.accuracy
    assert run.history["train_accuracy"].between(0, 1).all()
    assert metrics.evaluate(Strict(2), split.test.x, split.test.y) != 0
    assert tuple(metrics.predict(Strict(2), split.test.x).shape) == (0, 0)


# A resumed run


def resumed(first, second, tmp_path, **changed):
    """Two epochs of the one network, then one of the other from its checkpoint."""
    split, path = split_of(), tmp_path / "run.pt"
    options = {"epochs": 3, "seed": 0, "progress": False, "checkpoint": path, "batch_size": 32}
    fit(CrossEntropy(), first, split, on_epoch=_stop_after(2), **options)
    return fit(CrossEntropy(), second, changed.get("split", split), resume=True, **options)


def _stop_after(last):
    def stop(epoch, model, method):
        if epoch == last + 1:
            raise KeyboardInterrupt

    return stop


class Rated(Net):
    def __init__(self, rate=0.5, activation=torch.tanh):
        super().__init__(2)
        self.rate, self.activation = rate, activation

    def body(self, x):
        return F.dropout(self.activation(self.a(x)), self.rate, self.training)


class OtherActivation(Net):
    def body(self, x):
        return self.a(x).relu()


def layers(rate=0.5, activation=nn.Tanh):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), activation(), nn.Dropout(rate), nn.Linear(8, 2))


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (layers(), layers(rate=0.2), "`layers.2` is 'Dropout"),
        (layers(), layers(activation=nn.ReLU), "`layers.1` is 'Tanh"),
        (Rated(), Rated(rate=0.2), "`layers.network` is 'Rated"),
        (Rated(), Rated(activation=torch.relu), "`layers.network` is 'Rated"),
        (Normed(), frozen(), "`layers.norm` is 'BatchNorm1d"),
    ],
    ids=["dropout", "activation", "functional dropout", "functional activation", "frozen"],
)
def test_a_run_resumed_with_another_layer_is_refused_by_name(first, second, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        resumed(first, second, tmp_path)


def test_a_run_resumed_with_a_network_that_computes_otherwise_is_refused(tmp_path):
    """Nothing but the code of `forward` differs."""
    tanh, relu = Net(2), OtherActivation(2)
    relu.__class__.__name__ = "Net"
    with pytest.raises(ValueError, match="returns other logits for the same samples"):
        resumed(tanh, relu, tmp_path)


def test_a_run_resumed_with_another_state_is_refused(tmp_path):
    """A buffer more, which neither a layer nor the number of parameters shows."""
    more = Net(2)
    more.register_buffer("shift", torch.zeros(1))
    with pytest.raises(ValueError, match="belongs to another network: Error.* in loading"):
        resumed(Net(2), more, tmp_path)


def test_a_run_resumed_with_other_inputs_is_refused(tmp_path):
    x = features(120)
    x[-1, -1] += 1e-3
    with pytest.raises(ValueError, match=r"there `inputs.(train|meta|test)` is"):
        resumed(Net(2), Net(2), tmp_path, split=split_of(x))


class Noting(Net):
    """Notes a number of its own in each pass, which is no option."""

    def __init__(self):
        super().__init__(2)
        self.largest = 0.0

    def body(self, x):
        self.largest = float(x.abs().max())
        return super().body(x)


def test_a_resumed_run_of_the_same_network_goes_on(tmp_path):
    assert resumed(Rated(), Rated(), tmp_path).finished


def test_a_run_goes_on_with_the_very_network_that_was_stopped(tmp_path):
    net = Noting()
    assert resumed(net, net, tmp_path).finished


def test_a_network_that_moves_in_a_way_of_its_own_is_moved_so():
    class Moving(Net):
        def __init__(self):
            super().__init__(2)
            self.shift = torch.ones(8)  # no buffer

        def to(self, *args, **options):
            self.shift = self.shift.to(*args, **options)
            return super().to(*args, **options)

        def body(self, x):
            return (self.a(x) @ torch.diag(self.shift)).tanh()

    net = Moving()
    fit(CrossEntropy(), net, split_of(), epochs=1, seed=0, precision="float64", progress=False)
    assert net.shift.dtype == torch.float64
