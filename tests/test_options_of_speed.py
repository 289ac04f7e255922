"""Options of `fit` that shall change nothing but speed."""

import functools

import pytest
import torch
from torch.testing import assert_close

from nlmeta import CLIDMU, MLC, MLNT, MSLG, CrossEntropy, bilevel, data, fit, training
from nlmeta.data import Batch
from nlmeta.methods import WeightNet
from nlmeta.models import SmallCNN


@pytest.fixture(autouse=True)
def _compiled_anew():
    """PyTorch compiles one function for eight backends and no more."""
    torch.compiler.reset()


@functools.cache
def split():
    sizes = {"meta_size": 20, "validation_size": 0, "test_size": 1460}
    return data.load("digits", rate=0.5, seed=3, **sizes)


def cnn(seed=1):
    return SmallCNN(1, 10, width=2, hidden=8, seed=seed)


METHODS = {
    "cross-entropy": CrossEntropy,
    "MLC": lambda: MLC(10, virtual_lr=0.1, transition_lr=3.0),
    "MLC, lean": lambda: MLC(
        10, virtual_lr=0.1, transition_lr=3.0, mode=bilevel.Lookahead("fd", recompute=True)
    ),
    "MSLG": lambda: MSLG(split().train.y, 10, virtual_lr=0.5, label_lr=400.0),
    "CLID-MU": lambda: CLIDMU(WeightNet(seed=2), head_lr=0.1),
    "MLNT": lambda: MLNT(cnn(), cnn(5), trial_lr=0.1, meta_weight=1.0, trials=2, seed=3),
}
TEN_STEPS = {"epochs": 2, "batch_size": 64}


def run(name, **options):
    given = {"seed": 0, "progress": False, "device": "cpu", "precision": "float64", **TEN_STEPS}
    return fit(METHODS[name](), cnn(), split(), **{**given, **options})


def assert_equal_to_rounding(one, two):
    for a, b in ((one.model, two.model), (one.method, two.method)):
        ours, theirs = a.state_dict(), b.state_dict()
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            if torch.is_tensor(value) and value.is_floating_point():
                assert_close(value, theirs[key], rtol=1e-9, atol=1e-12, msg=key)


def test_the_runs_below_take_ten_steps():
    assert TEN_STEPS["epochs"] * len(split().train.y.split(TEN_STEPS["batch_size"])) == 10


@pytest.mark.parametrize("name", METHODS)
def test_channels_last_changes_nothing_but_the_layout(name):
    plain, laid_out = run(name), run(name, channels_last=True)
    assert_equal_to_rounding(plain, laid_out)
    convolution = next(m for m in laid_out.model.modules() if isinstance(m, torch.nn.Conv2d))
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    assert laid_out.model.body[3](convolution(x).expand(-1, 2, -1, -1)).is_contiguous(
        memory_format=torch.channels_last
    )


@pytest.mark.parametrize("name", METHODS)
def test_ten_compiled_steps_equal_ten_plain_ones(name):
    """With a warm-up first, whose graphs go backward once and not twice."""
    options = {"warmup_epochs": 1}
    plain, compiled = run(name, **options), run(name, **options, compile="aot_eager")
    assert_equal_to_rounding(plain, compiled)
    assert compiled.model._compiled_call_impl is None  # the network is as it was


def test_the_network_is_compiled_in_training_and_not_afterwards():
    passes = []

    def backend(graph, inputs):
        passes.append(len(inputs))
        return graph

    name = "counting"
    torch._dynamo.register_backend(backend, name=name)
    run("cross-entropy", compile=name)
    assert passes


@pytest.mark.parametrize("wrapped", [False, True], ids=["model.compile", "torch.compile"])
@pytest.mark.parametrize("mode", ["jvp", "fd"])
def test_tangents_of_a_compiled_network_are_taken_without_its_compiler(mode, wrapped):
    """A compiler that loses the tangent would return zeros, and no error."""
    passes = []

    def backend(graph, inputs):
        def run(*given):
            passes.append(len(given))
            return graph(*given)

        return run

    x = split().train.x[:8].double()
    plain, compiled = cnn().double(), cnn().double()
    if wrapped:
        compiled = torch.compile(compiled, backend=backend)
    else:
        compiled.compile(backend=backend)
    found = []
    for model in (plain, compiled):
        v = {name: torch.ones_like(p) for name, p in bilevel.parameters(model).items()}
        forward = bilevel.forward_pass(model, x)
        before = len(passes)
        found.append(bilevel.tangent(model, forward, v, mode=mode))
        assert len(passes) == before
    assert passes  # the forward pass was compiled
    assert found[0].abs().max() > 1e-2
    assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)


def test_automatic_precision_on_a_cpu_is_float32():
    history = run("MLC", precision="auto").history
    same = run("MLC", precision="float32").history
    assert (history["loss"] == same["loss"]).all()


@pytest.mark.parametrize(
    ("capability", "wanted"), [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float32")]
)
def test_automatic_precision_asks_the_card_in_use(monkeypatch, capability, wanted):
    """A T4, which is a 7.5, emulates bfloat16, slowly."""
    asked = []

    def told(device):
        asked.append(device)
        return capability

    monkeypatch.setattr(torch.cuda, "get_device_capability", told)
    card = torch.device("cuda", 1)
    assert training._native_precision(card) == wanted
    assert asked == [card]


TWICE = {
    "exact": lambda: MLC(10, virtual_lr=0.1, transition_lr=3.0, mode="exact"),
    "second order": lambda: MLNT(
        cnn(), cnn(5), trial_lr=0.1, meta_weight=1.0, order="second", seed=3
    ),
}


@pytest.mark.parametrize("name", TWICE)
def test_a_compiled_network_is_refused_where_it_would_be_differentiated_twice(name):
    given = {"epochs": 1, "seed": 0, "device": "cpu", "progress": False, "compile": "aot_eager"}
    with pytest.raises(RuntimeError, match="a compiled network cannot be differentiated twice"):
        fit(TWICE[name](), cnn(), split(), **given)


@pytest.mark.parametrize("place", ["the network", "a part of it"])
def test_a_network_that_came_compiled_is_refused_there_too(place):
    model = cnn()
    if place == "the network":
        model = torch.compile(model, backend="aot_eager")
    else:
        model.body = torch.compile(model.body, backend="aot_eager")
    batch = Batch(split().train.x[:8], split().train.y[:8])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match="a compiled network cannot be differentiated twice"):
        TWICE["exact"]().step(model, optimizer, batch, batch)


def test_wrong_values_of_compile_are_refused_by_name():
    with pytest.raises(ValueError, match="`compile` is 3; it must be True, False or a backend"):
        run("cross-entropy", compile=3)
