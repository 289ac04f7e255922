"""Options of `fit` that shall change nothing but speed."""

import functools

import properties
import pytest
import torch
from helpers import cnn, digits
from methods import BY_NAME, EACH, problem_of
from torch.testing import assert_close

from nlmeta import MLC, MLNT, bilevel, fit, training
from nlmeta.data import Batch


@pytest.fixture(autouse=True)
def _compiled_anew():
    """PyTorch compiles one function for eight backends and no more."""
    torch.compiler.reset()


split = functools.partial(digits, test_size=1460)  # 317 training samples
SOME = ("MLC, lean", "MLC, lean differences", "MLC, act first", "CLID-MU, weights, act first")
LINES = (*EACH, *(BY_NAME[name] for name in SOME))
each_line = pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
TEN_STEPS = {"epochs": 2, "batch_size": 64}


def run(line, **options):
    given = {"seed": 0, "progress": False, "device": "cpu", "precision": "float64", **TEN_STEPS}
    model = cnn()
    method = line.build(problem_of(split(), cnn), model)
    return fit(method, model, split(), **{**given, **options})


def test_the_runs_below_take_ten_steps():
    assert TEN_STEPS["epochs"] * len(split().train.y.split(TEN_STEPS["batch_size"])) == 10


@each_line
def test_channels_last_changes_nothing_but_the_layout(line):
    plain, laid_out = run(line), run(line, channels_last=True)
    properties.changes_nothing_but_speed(plain, laid_out)
    convolution = next(m for m in laid_out.model.modules() if isinstance(m, torch.nn.Conv2d))
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    assert laid_out.model.body[3](convolution(x).expand(-1, 2, -1, -1)).is_contiguous(
        memory_format=torch.channels_last
    )


@each_line
def test_ten_compiled_steps_equal_ten_plain_ones(line):
    """With a warm-up first, whose graphs go backward once and not twice."""
    options = {"warmup_epochs": 1}
    plain, compiled = run(line, **options), run(line, **options, compile="aot_eager")
    properties.changes_nothing_but_speed(plain, compiled)
    assert compiled.model._compiled_call_impl is None  # the network is as it was


def test_the_network_is_compiled_in_training_and_not_afterwards():
    passes = []

    def backend(graph, inputs):
        passes.append(len(inputs))
        return graph

    name = "counting"
    torch._dynamo.register_backend(backend, name=name)
    run(BY_NAME["cross-entropy"], compile=name)
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
    history = run(BY_NAME["MLC"], precision="auto").history
    same = run(BY_NAME["MLC"], precision="float32").history
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
    assert training.resolve_precision("auto", card) == wanted
    assert training.resolve_precision("auto", "cuda:1") == wanted
    assert asked == [card, card]
    for named in ("float32", "float64", "bfloat16"):
        assert training.resolve_precision(named, card) == named
    assert asked == [card, card]  # a precision that is named needs no look at the card


@pytest.mark.parametrize("device", ["cpu", "mps", torch.device("cpu")])
def test_automatic_precision_is_float32_where_there_is_no_such_card(device):
    assert training.resolve_precision("auto", device) == "float32"


def test_an_unknown_precision_is_refused_by_name():
    text = "`precision` is 'half'; it must be one of 'float32', 'float64', 'bfloat16', 'float16'"
    with pytest.raises(ValueError, match=text):
        training.resolve_precision("half", "cpu")


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
        run(BY_NAME["cross-entropy"], compile=3)
