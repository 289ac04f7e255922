"""Tests of steps that are recorded once and replayed, with a stand-in for CUDA's graphs.

`replay.Graph` repeats noted operations on fixed places in memory and runs no Python, so what goes
wrong with a graph goes wrong here: a number baked in, a batch that is not copied, a state that is
made anew. What only a GPU can tell is in `test_gpu.py`.
"""

import copy
import functools
import pickle
import sys

import methods
import properties
import pytest
import replay
import torch
from methods import LINES, Problem
from torch import nn

from nlmeta import EMA, MLC, CrossEntropy, data, fit
from nlmeta._host import Tape, from_host
from nlmeta.data import Batch
from nlmeta.methods import (
    Captured,
    EveryKth,
    MetaWeightNet,
    WeightNet,
    captured,
    recording,
)
from nlmeta.methods.memory import LabelMemory
from nlmeta.models import MLP, SmallCNN

CPU = torch.device("cpu")
N, CLASSES = 60, 3


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X = draw(N, 1, 4, 4)
Y = (X.flatten(1) @ draw(16, CLASSES, seed=1)).argmax(1)
META = Batch(draw(9, 1, 4, 4, seed=2), torch.arange(9) % CLASSES)


def network(seed=1):
    return SmallCNN(1, CLASSES, width=2, hidden=4, seed=seed).double()


PROBLEM = Problem(Y, (0.7 * torch.eye(CLASSES) + 0.1).double(), X, network)
mlc = functools.partial(methods.mlc, PROBLEM)
RECORDED = [line for line in LINES if line.recorded]
NOT_RECORDED = [line for line in LINES if not line.recorded]


@pytest.fixture
def graphs(monkeypatch):
    """Steps on the CPU are recorded, by the stand-in, as those on a GPU are by CUDA."""
    monkeypatch.setattr(recording, "CUDAGraph", replay.Graph)
    monkeypatch.setattr(captured, "_can_record", lambda device: True)
    monkeypatch.setattr(LabelMemory, "_checked", lambda self, ids: ids)  # as on a GPU
    adam = sys.modules["torch.optim.adam"]  # `torch.optim` hides the module
    monkeypatch.setattr(adam, "_get_capturable_supported_devices", lambda *_, **__: ["cpu"])


def train(method, model, *, steps=10, first=0, optimizer=None, device=CPU):
    """Steps at falling rates, one of them with a smaller batch. Counts runs of the method."""
    on_device = [t.to(device) for t in (X, Y, *META[:2])]
    x, y, meta = *on_device[:2], Batch(*on_device[2:])
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    order = torch.Generator().manual_seed(3)
    rows = [torch.randperm(N, generator=order)[: 12 if i == 6 else 20] for i in range(20)]
    inside = method.method if isinstance(method, Captured) else method
    runs, found, own = [], [], inside.step
    inside.__dict__["step"] = lambda *given: runs.append(1) or own(*given)
    for i in range(first, first + steps):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - i / 20)
        ids = rows[i].to(device)
        found.append(method.step(model, optimizer, Batch(x[ids], y[ids], ids), meta))
    del inside.__dict__["step"]
    return found, runs


def everything(model, method):
    states = {**model.state_dict(), **method.state_dict(prefix="its ")}
    return {
        name.replace("its method.", "its "): value
        for name, value in states.items()
        if isinstance(value, torch.Tensor)
    }


def assert_same(ones, others):
    """But for rounding: sums in a kernel may depend on where its numbers lie."""
    for one, other in zip(ones, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def run(line, device=CPU, *, recorded):
    """Ten steps, in float64: what they said, how often Python ran them, and the states in the end.

    For a graph Adam counts its steps in float32, so here it does so in both runs.
    """
    model = network().to(device)
    method = line.build(PROBLEM, model).double().to(device)
    if not recorded:
        captured._set_capturable(method, True)
    said, runs = train(Captured(method) if recorded else method, model, device=device)
    assert not torch.equal(model.classifier.weight.cpu(), network().classifier.weight)
    return said, len(runs), everything(model, method)


def lines(chosen):
    return pytest.mark.parametrize("line", chosen, ids=lambda line: line.name)


@lines(RECORDED)
def test_ten_steps_are_the_same_with_and_without(line, graphs):
    """Three run as usual, the fourth is recorded, and six more are replayed, but for one batch of
    another size.
    """
    counts = {"steps": 10, "recorded_steps": 3 + 1 + 1}
    properties.recorded_equals_plain(functools.partial(run, line), **counts, rtol=1e-9, atol=1e-12)


def test_the_methods_tested_here_are_all_that_can_be_recorded():
    assert {line.kind for line in RECORDED if not line.kind.capturable} == set()
    everywhere, found = [captured.Method], set()
    while everywhere:
        kind = everywhere.pop()
        everywhere += kind.__subclasses__()
        if kind.capturable and kind.__module__.startswith("nlmeta.methods"):
            found.add(kind)
    assert found == {line.kind for line in RECORDED}


@lines(NOT_RECORDED)
def test_what_cannot_be_recorded_is_refused(line):
    kind = line.kind.__name__
    with pytest.raises(ValueError, match=f"`method` is {kind}, whose step cannot be recorded"):
        Captured(line.build(PROBLEM, network()))


def test_on_the_cpu_nothing_is_recorded():
    models = network(), network()
    want, _ = train(mlc().double(), models[0])
    got, runs = train(Captured(mlc()).double(), models[1])
    assert len(runs) == 10
    assert got == want


def test_an_average_and_rare_meta_steps_go_around(graphs):
    ends = []
    for wrap in (lambda method: method, Captured):
        model = network()
        method = EMA(EveryKth(wrap(mlc()), 2), model, decay=0.6).double()
        train(method, model, steps=14)
        ends.append([*model.parameters(), *method.average.parameters()])
    assert_same(*ends)


def test_warm_up_steps_have_a_recording_of_their_own(graphs):
    ends = []
    for wrap in (lambda method: method, Captured):
        model = network()
        method = wrap(mlc()).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for i in range(14):
            given = Batch(X[i : i + 20], Y[i : i + 20])
            if i % 2:
                method.step(model, optimizer, given, META)
            else:
                method.warmup_step(model, optimizer, given)
        ends.append([*model.parameters(), *method.parameters()])
    assert_same(*ends)
    assert len(method._recordings) == 2


CHANGES = ("weights anew", "option", "frozen", "mode", "mode of a part", "optimiser")
CHANGES += ("head", "rate of the head", "loaded", "loaded inside", "moved")


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_since_is_recorded_anew(change, graphs):
    """A method with an optimiser of its own, whose state a recording holds as well."""
    ends = []
    for wrap in (lambda method: method, Captured):
        model = network()
        inside = MetaWeightNet(seed=2, head_lr=0.1).double()
        captured._set_capturable(inside, True)
        method = wrap(inside)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        train(method, model, steps=6, optimizer=optimizer)
        if change == "weights anew":
            model.classifier.weight.data = 0.5 * model.classifier.weight.data
        elif change == "option":
            inside.max_norm = 0.01
        elif change == "frozen":
            model.classifier.bias.requires_grad_(False)
        elif change == "mode":
            model.eval()
        elif change == "mode of a part":
            next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)).eval()
        elif change == "optimiser":
            optimizer = torch.optim.SGD([{"params": [p]} for p in model.parameters()], lr=0.1)
        elif change == "head":
            inside.head.normalise = True
        elif change == "rate of the head":
            inside._optimizer.param_groups[0]["lr"] = 0.01
        elif change == "moved":
            method.float().double()
        else:
            part = method if change == "loaded" else inside
            part.load_state_dict(copy.deepcopy(part.state_dict()))
        _, runs = train(method, model, steps=6, first=6, optimizer=optimizer)
        ends.append([*model.parameters(), *method.parameters()])
    assert len(runs) == 3 + 1 + 1
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)


def test_any_optimiser_takes_the_step_outside(graphs):
    ends = []
    for wrap in (lambda method: method, Captured):
        model = network()
        groups = [
            {"params": model.classifier.parameters()},
            {"params": model.body.parameters()},
        ]
        optimizer = torch.optim.AdamW(groups, lr=0.01)
        optimizer.param_groups[1]["lr"] = 0.002
        train(wrap(mlc()).double(), model, optimizer=optimizer)
        ends.append(list(model.parameters()))
    assert_same(*ends)


class Difference(nn.Module):
    """Of two inputs of one shape, so that their order matters; the output holds the logits."""

    def __init__(self):
        super().__init__()
        self.inner = MLP(16, CLASSES, (6,), seed=1).double()

    def forward(self, left, right):
        return {"logits": self.inner((left - 0.5 * right).flatten(1))}


@pytest.mark.parametrize("names", [("left", "right"), None])
def test_several_inputs_are_recorded_as_well_in_whatever_order_they_come(names, graphs):
    """A dict whose order changes from step to step, or a tuple."""

    def batch(i):
        both = {"left": X[i : i + 20], "right": X[i + 20 : i + 40]}
        if names is None:
            return Batch(tuple(both.values()), Y[i : i + 20])
        order = names if i % 2 else names[::-1]
        return Batch({name: both[name] for name in order}, Y[i : i + 20])

    trained = []
    for wrap in (lambda method: method, Captured):
        model = Difference()
        method = wrap(mlc())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for i in range(12):
            method.step(model, optimizer, batch(i), batch(i + 3))
        trained.append(model)
    pairs = zip(*(model.parameters() for model in trained), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert len(method._recordings) == (1 if names is None else 2)


def test_the_learning_rate_that_clid_mu_looks_at_is_that_of_each_step(graphs):
    """With a constant in its place the head would go elsewhere."""
    heads = []
    for schedule in (lambda i: 0.2, lambda i: 0.2 / (i + 1)):
        for wrap in (lambda method: method, Captured):
            model, head = network(), WeightNet(8, seed=2).double()
            method = wrap(methods.clid_mu(PROBLEM, lambda _, head=head: head))
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for i in range(8):
                optimizer.param_groups[0]["lr"] = schedule(i)
                method.step(model, optimizer, Batch(X[:20], Y[:20]), META)
            heads.append(head.layers[0].weight)
    assert_same(heads[0::2], heads[1::2])
    assert not torch.allclose(heads[0], heads[2], rtol=1e-6)


class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.drop = MLP(16, 8, (8,), seed=1), nn.Dropout(0.5)
        self.last = MLP(8, CLASSES, (8,), seed=1)

    def forward(self, x):
        return self.last(self.drop(self.first(x)))


def test_a_network_with_dropout_is_refused(graphs):
    model = Dropping().double()
    with pytest.raises(RuntimeError, match="the network draws random numbers, as dropout does"):
        train(Captured(mlc()).double(), model)


def test_a_step_that_looks_at_a_number_is_refused(graphs):
    def objective(network, meta):
        loss = nn.functional.cross_entropy(network(meta.x), meta.y)
        return loss if loss.item() > 0 else -loss

    with pytest.raises(RuntimeError, match="could not be recorded: something in it waits"):
        train(Captured(mlc(objective=objective)).double(), network())


class Twice(CrossEntropy):
    def step(self, model, optimizer, train, meta=None):
        super().step(model, optimizer, train)
        return super().step(model, optimizer, train)


class After(CrossEntropy):
    def step(self, model, optimizer, train, meta=None):
        found = super().step(model, optimizer, train)
        with torch.no_grad():
            model.classifier.bias.zero_()
        return found


@pytest.mark.parametrize(("method", "times"), [(Twice(), 2), (After(), 1)])
def test_a_step_that_does_not_end_with_the_optimisers_is_refused(method, times, graphs):
    message = f"the method's step called the optimiser's step {times} times, or changed"
    with pytest.raises(RuntimeError, match=message):
        train(Captured(method), network())


def test_what_could_not_be_recorded_says_so_again(graphs):
    """Nothing half done is left that would fail in another way, or be replayed."""
    model, method = (
        network(),
        Captured(mlc(objective=lambda f, meta: f(meta.x).sum() * float(Y[0]))),
    )
    method.double()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="a graph cannot look at a number"):
            train(method, model)
        assert method._recordings == {}


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_records_for_itself(duplicate, graphs):
    model = network()
    method = Captured(mlc()).double()
    train(method, model, steps=5)
    other_model, other = duplicate((model, method))
    assert len(method._recordings) == 1
    assert other._recordings == {}
    want, _ = train(method, model, steps=5, first=10)
    got, runs = train(other, other_model, steps=5, first=10)
    assert len(runs) == 4
    assert_same([d["loss"] for d in got], [d["loss"] for d in want])


def test_a_whole_run_is_the_same_and_resumes(graphs, tmp_path):
    split = data.load("digits", rate=0.4, seed=1, meta_size=20, validation_size=0, test_size=1500)

    def run(wrap, **options):
        model = MLP(64, 10, (8,), seed=1)
        method = wrap(MLC(10, virtual_lr=0.1, transition_lr=3.0))
        chosen = {"epochs": 4, "warmup_epochs": 1, "seed": 0, "progress": False, "device": "cpu"}
        return fit(method, model, split, **{**chosen, **options})

    def stop(epoch, model, method):
        if epoch == 3:
            raise KeyboardInterrupt
        return {}

    want = run(lambda method: method).history
    whole = run(Captured).history
    assert whole["loss"].tolist() == pytest.approx(want["loss"].tolist(), rel=1e-4)
    path = tmp_path / "run.pt"
    run(Captured, checkpoint=path, on_epoch=stop)
    resumed = run(Captured, checkpoint=path, resume=True).history
    assert resumed["loss"].tolist() == pytest.approx(whole["loss"].tolist(), rel=1e-4)


def test_what_python_makes_is_lent_in_order_and_made_anew_before_each_replay():
    generator, counted = torch.Generator().manual_seed(0), []

    def count():
        counted.append(len(counted))
        return torch.tensor(len(counted))

    def step():
        a = from_host(lambda: torch.rand(2, generator=generator), CPU)
        return a, from_host(count, CPU)

    tape = Tape()
    with tape.noting():
        first = step()
    with tape.lending():
        lent = step()
    assert torch.equal(lent[0], first[0])
    assert counted == [0]
    tape.refill()
    with tape.lending():
        after = step()
    assert not torch.equal(after[0], first[0])
    expected = torch.Generator().manual_seed(0)
    assert torch.equal(first[0], torch.rand(2, generator=expected))
    assert torch.equal(after[0], torch.rand(2, generator=expected))
    assert after[1] == 2
    assert torch.equal(first[1], torch.tensor(1))  # what was lent before has not moved


def test_a_step_that_takes_less_from_python_than_before_is_refused():
    tape = Tape()
    with tape.noting():
        from_host(lambda: torch.zeros(1), CPU)
    with (
        pytest.raises(RuntimeError, match="took 0 tensors from Python, and 1 before"),
        tape.lending(),
    ):
        pass


@pytest.mark.gpu
@lines(RECORDED)
def test_on_a_gpu_ten_steps_are_the_same_with_and_without(line):
    """As above with a real graph. Kernels are the same, but sums may come in another order."""
    both = functools.partial(run, line, torch.device("cuda"))
    counts = {"steps": 10, "recorded_steps": 3 + 1 + 1}
    properties.recorded_equals_plain(both, **counts, rtol=1e-7, atol=1e-10)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")  # advice of the compiler's
@pytest.mark.parametrize(
    "options",
    [{}, {"compile": True}, {"channels_last": True}, {"precision": "bfloat16"}],
    ids=["alone", "compiled", "channels last", "bfloat16"],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda: MLC(10, virtual_lr=0.1, transition_lr=3.0),
        lambda: methods.by_adam(PROBLEM, max_norm=0.01),
    ],
    ids=["mlc", "clid-mu"],
)
def test_on_a_gpu_a_whole_run_is_the_same_with_and_without(make, options):
    split = data.load("digits", rate=0.4, seed=1, meta_size=20, validation_size=0, test_size=1500)
    losses = []
    for wrap in (lambda method: method, Captured):
        model = SmallCNN(1, 10, width=4, hidden=8, seed=1)
        chosen = {"epochs": 6, "warmup_epochs": 1, "seed": 0, "progress": False, "device": "cuda"}
        history = fit(wrap(make()), model, split, **chosen, **options).history
        losses.append(history["loss"].tolist())
    rounding = 0.05 if "precision" in options else 1e-2  # carried on over some thirty steps
    assert losses[1] == pytest.approx(losses[0], rel=rounding)


@pytest.mark.gpu
def test_on_a_gpu_a_network_with_dropout_is_refused():
    model = Dropping().double().cuda()
    with pytest.raises(RuntimeError, match="the network draws random numbers, as dropout does"):
        train(Captured(mlc()).double().cuda(), model, device=torch.device("cuda"))
