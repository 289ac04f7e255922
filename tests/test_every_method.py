"""What every method does, whatever it learns: each line of `methods.py`, or the first of a class.

Suites that ask the same lines for more: `test_captured.py` (a recorded step equals a plain one),
`test_distributed.py` (two processes equal one), `test_options_of_speed.py` (compiled, other layout)
and `test_gpu.py` (a GPU equals the CPU).
"""

import copy
import dataclasses
import functools
import importlib
import inspect
import pkgutil

import properties
import pytest
import torch
from helpers import assert_same, cnn, digits
from methods import EACH, LINES, problem_of

import nlmeta
from nlmeta import EMA, CrossEntropy, data, fit, metrics
from nlmeta.data import Batch
from nlmeta.methods import Method

each_line = pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
each_method = pytest.mark.parametrize("line", EACH, ids=lambda line: line.name)


@functools.cache
def split():
    """Of the test images a few, since each epoch looks at all of them."""
    few = data.Samples(digits().test.x[:200], digits().test.y[:200])
    return dataclasses.replace(digits(), test=few)


PROBLEM = problem_of(split(), cnn)


def lines_with(condition):
    chosen = [line for line in LINES if condition(line)]
    return pytest.mark.parametrize("line", chosen, ids=lambda line: line.name)


def batch(first, size=32, dtype=torch.float32):
    ids = torch.arange(first, first + size)
    return Batch(split().train.x[ids].to(dtype), split().train.y[ids], ids)


def clean(dtype=torch.float32):
    return Batch(split().meta.x.to(dtype), split().meta.y)


def problem_in(dtype):
    return dataclasses.replace(PROBLEM, unlabelled=PROBLEM.unlabelled.to(dtype))


def run(line, seed=1, *, wrap=None, **options):
    """A few epochs on digits, with a method that is built for its network."""
    model = cnn(seed)
    method = line.build(PROBLEM, model)
    if wrap is not None:
        method = wrap(method, model)
    defaults = {"epochs": 2, "seed": 0, "meta_batch_size": 7, "progress": False, "device": "cpu"}
    return fit(method, model, options.pop("split", split()), **{**defaults, **options})


def methods_in(module):
    """The classes of methods among a module's public names, but for the shapes they build on."""
    things = [getattr(module, name) for name in module.__all__]
    classes = [thing for thing in things if isinstance(thing, type) and issubclass(thing, Method)]
    return {kind for kind in classes if not inspect.isabstract(kind)}


def test_every_method_is_handed_out_and_has_a_line():
    """Without a line it is in none of the suites."""
    names = [module.name for module in pkgutil.iter_modules(nlmeta.methods.__path__)]
    modules = [importlib.import_module(f"nlmeta.methods.{name}") for name in names]
    public = methods_in(nlmeta.methods)
    assert len(public) > 10
    lost = set().union(*map(methods_in, modules)) - public
    lost = ", ".join(sorted(kind.__name__ for kind in lost))
    assert not lost, f"{lost}: not in `__all__` of nlmeta/methods/__init__.py"
    lost = ", ".join(sorted(kind.__name__ for kind in public - {line.kind for line in EACH}))
    assert not lost, (
        f"{lost}: no line in LINES of tests/methods.py. Add one there, "
        'Line("name", lambda p, m: Class(...)), and say what is known of the method'
    )


def test_lines_have_names_of_their_own():
    assert len({line.name for line in LINES}) == len(LINES)


@each_line
def test_running_statistics_move_once_a_step(line):
    """Virtual steps, trial steps and pseudo-labels leave them alone."""
    model = cnn().double()
    method = line.build(problem_in(torch.float64), model).double()
    train, meta = batch(0, dtype=torch.float64), clean(torch.float64)
    seen = line.seen(copy.deepcopy(method), train, meta)
    properties.running_statistics_move_once(method, model, train, meta, seen=seen)


@lines_with(lambda line: line.known)
def test_a_zero_meta_step_is_the_known_method(line):
    """Bit for bit in float32; in float64 where sums are taken in another order."""
    dtype = torch.float32 if line.exact else torch.float64
    problem = problem_in(dtype)
    batches = [(batch(first, dtype=dtype), clean(dtype)) for first in (0, 32, 64, 96, 128)]

    def network():
        return cnn().to(dtype)

    def built(build):
        return lambda model: build(problem, model)

    zero, known = built(line.zero), built(line.known)
    properties.trains_as(zero, known, network, batches, exact=line.exact)


@lines_with(lambda line: line.known and not issubclass(line.kind, EMA | nlmeta.methods.Captured))
def test_a_method_is_another_than_its_limit(line):
    """So the test above compares with something that the method is not anyway.

    The second batch has samples of the first: labels that move after the step are seen then.
    """
    batches = [(batch(first), clean()) for first in (0, 16)]
    built = [lambda model, make=make: make(PROBLEM, model) for make in (line.build, line.known)]
    properties.differs_from(*built, cnn, batches)


@lines_with(lambda line: not line.by_place)
def test_ids_survive_shuffling(line):
    problem = problem_in(torch.float64)
    train, meta = batch(20, dtype=torch.float64), clean(torch.float64)
    properties.ids_survive_shuffling(
        lambda model: line.build(problem, model), lambda: cnn().double(), train, meta
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@each_line
def test_a_resumed_run_ends_at_the_numbers_of_an_uninterrupted_one(line, error, tmp_path):
    """With part of the meta set, after a warm-up, on a network with BatchNorm."""

    def train(seed, **options):
        return run(line, seed, epochs=5, warmup_epochs=1, **options)

    properties.resumes_bit_for_bit(train, tmp_path / "run.pt", stop=4, error=error)


@each_method
def test_an_average_without_memory_is_the_method_itself_bit_for_bit(line):
    def averaged():
        return run(line, wrap=lambda method, model: EMA(method, model, decay=0.0))

    properties.an_average_without_memory_is_the_method_itself(lambda: run(line), averaged)


@each_method
def test_an_average_of_a_method_can_be_resumed(line, tmp_path):
    def train(seed, **options):
        wrap = lambda method, model: EMA(method, model, decay=0.8)  # noqa: E731
        return run(line, seed, wrap=wrap, epochs=4, evaluate_every=4, **options)

    path = tmp_path / "run.pt"
    properties.resumes_bit_for_bit(train, path, stop=3, error=ZeroDivisionError)


@each_method
def test_double_precision_reaches_all_that_a_method_keeps_and_agrees_with_single(line):
    properties.float64_reaches_all_that_is_kept(lambda **options: run(line, epochs=1, **options))


@each_method
def test_warm_up_is_cross_entropy_bit_for_bit(line):
    warm = run(line, warmup_epochs=2)
    plain = fit(CrossEntropy(), cnn(), split(), epochs=2, seed=0, progress=False, device="cpu")
    assert_same(warm.model, plain.model)


@each_method
def test_a_method_sees_neither_the_true_labels_nor_the_split(line):
    """`fit` hands out given labels; a split with other true labels gives the same training."""
    lied = dataclasses.replace(split(), true_labels=(split().true_labels + 1) % 10)
    assert metrics.memorised(split().train.y, split().train.y, lied.true_labels) == 1
    assert_same(run(line, epochs=1).model, run(line, epochs=1, split=lied).model)


@each_line
def test_diagnostics_are_detached_numbers_and_hold_the_loss(line):
    model = cnn()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = line.build(PROBLEM, model)
    properties.diagnostics_are_detached_numbers(method.step(model, optimizer, batch(0), clean()))
