"""What is asked of methods, by name; the suites say of which methods they ask it.

Each property is a function that fails by an assertion. Methods come from `methods.LINES` or from a
test file that has switches of its own to try.
"""

import copy
import functools

import pytest
import torch
from helpers import assert_same, assert_same_run, same, stop_at, weights
from torch.testing import assert_close


def running_statistics_move_once(method, model, train, meta=None, *, seen=None):
    """As one ordinary forward pass on the training batch, or on the inputs `seen`, moves them."""
    twin = copy.deepcopy(model)
    before = {name: value.clone() for name, value in model.named_buffers()}
    method.step(model, torch.optim.SGD(model.parameters(), lr=0.1), train, meta)
    twin(train.x if seen is None else seen)
    buffers = dict(model.named_buffers())
    assert buffers.keys() == before.keys()
    assert any("running" in name for name in buffers)
    for name, value in twin.named_buffers():
        assert torch.equal(buffers[name], value), name
        assert not torch.equal(value, before[name]), name


def trains_as(build, known, network, batches, *, exact=True):
    """Some steps of one method lead the network where those of another, known one do."""
    ends = []
    for make in (build, known):
        model = network()
        method = make(model).to(next(model.parameters()))
        options = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}
        optimizer = torch.optim.SGD(model.parameters(), **options)
        for train, meta in batches:
            method.step(model, optimizer, train, meta)
        ends.append(weights(model))
    assert not torch.equal(ends[1]["classifier.weight"], network().classifier.weight)
    if exact:
        assert_same(*ends)
    else:
        assert_close(*ends, rtol=1e-10, atol=1e-12)
    return ends


def differs_from(build, known, network, batches):
    """Otherwise, that a limit of a method is a known one would say nothing."""
    ends = [trains_as(make, make, network, batches)[0] for make in (build, known)]
    assert not same(*ends)


def ids_survive_shuffling(build, network, train, meta):
    """The same samples in another order: the same network, and the same rows by sample id.

    What is kept for samples of other batches stays as it was.
    """
    ends = []
    order = torch.randperm(len(train.y), generator=torch.Generator().manual_seed(1))
    for rows in (torch.arange(len(train.y)), order):
        model = network()
        method = build(model).double()
        before = weights(method)
        shuffled = type(train)(train.x[rows], train.y[rows], train.ids[rows])
        method.step(model, torch.optim.SGD(model.parameters(), lr=0.1), shuffled, meta)
        ends.append({**weights(model), **{f"its {k}": v for k, v in weights(method).items()}})
    assert not torch.equal(ends[0]["classifier.weight"], network().classifier.weight)
    for name, value in ends[0].items():
        if torch.is_tensor(value):
            assert_close(ends[1][name], value, rtol=1e-7, atol=1e-11, msg=name)
    rows = [name for name in before if name.endswith("memory.logits")]
    assert len(rows) == (method.num_samples is not None)
    for name in rows:
        moved = (ends[1][f"its {name}"] - before[name]).abs().amax(1)
        assert moved[train.ids].min() > 0
        others = torch.ones(len(moved), dtype=torch.bool)
        others[train.ids] = False
        assert others.any()
        assert (moved[others] == 0).all()


def resumes_bit_for_bit(run, path, *, stop, error=KeyboardInterrupt):
    """A run that stops and is continued, in new objects, ends as one that was never stopped.

    `run(seed, **options)` trains a network with first weights from the seed; those of a resumed
    one are not used.
    """
    whole = run(1)
    cut = {"checkpoint": path, "on_epoch": stop_at(stop, error)}
    if error is KeyboardInterrupt:
        assert not run(1, **cut).finished
    else:
        with pytest.raises(error):
            run(1, **cut)
    resumed = run(2, checkpoint=path, resume=True)
    assert resumed.finished
    assert_same_run(whole, resumed)
    losses = whole.history["loss"]
    assert len(set(losses)) == len(losses)  # it moved in every epoch


def an_average_without_memory_is_the_method_itself(run, averaged):
    """Bit for bit: the same training, and an average that is the last network."""
    plain, average = run(), averaged()
    assert_same(average.model, plain.model)
    assert_same(average.predictor, plain.model)
    assert average.predictor is not average.model
    if plain.predictor is plain.model:  # it keeps no better one
        assert average.accuracy == plain.accuracy


def float64_reaches_all_that_is_kept(run):
    """And agrees with float32, which has seven digits, in the loss of a few steps."""
    single, double = (run(precision=f"float{bits}") for bits in (32, 64))
    kept = [t for t in double.method.state_dict().values() if torch.is_tensor(t)]
    assert all(t.dtype == torch.float64 for t in kept if t.is_floating_point())
    assert double.model.classifier.weight.dtype == torch.float64
    losses = single.history["loss"][0], double.history["loss"][0]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def diagnostics_are_detached_numbers(seen):
    """Those of a step, the loss among them."""
    assert seen["loss"].isfinite()
    for value in seen.values():
        assert value.shape == ()
        assert not value.requires_grad


def recorded_equals_plain(run, *, steps, recorded_steps, rtol, atol):
    """What a step that is recorded once and replayed does, and what it says, is as without.

    `run(recorded)` gives what each step said, the number of times that Python ran it, and the state
    of network and method in the end.
    """
    want, runs, end = run(recorded=False)
    assert runs == steps
    got, runs, recorded_end = run(recorded=True)
    assert runs == recorded_steps
    for one, other in zip(got, want, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            assert_close(one[key], other[key], check_dtype=False, rtol=rtol, atol=atol)
    assert len({said["loss"].item() for said in got}) == steps  # each its own, not one place
    assert recorded_end.keys() == end.keys()
    for key, value in end.items():
        assert_close(recorded_end[key], value, rtol=rtol, atol=atol, msg=key)


def equal_to_the_largest(ours, theirs, *, rounding=1e-10):
    """States of tensors, equal but for rounding of the largest number in each tensor."""
    assert ours.keys() == theirs.keys()
    for name, reference in theirs.items():
        largest = reference.abs().max().item() if reference.numel() else 0.0
        message = functools.partial("{}: {}".format, name)
        assert_close(ours[name], reference, rtol=rounding, atol=rounding * largest, msg=message)


def two_processes_equal_one(start, one, two, *, learns):
    """Weights, what the method learned, and the history: each process has those of one alone.

    Outcomes are dictionaries of states: `model`, `method`, `history`. They must have left `start`.
    """
    learned = {k: v for k, v in one["method"].items() if v.is_floating_point()}
    apart = max((value - start["model"][k]).abs().max() for k, value in one["model"].items())
    assert apart > 1e-2 * max(value.abs().max() for value in start["model"].values())
    if learns:
        before = {k: v for k, v in start["method"].items() if k in learned}
        assert any(not torch.equal(value, learned[k]) for k, value in before.items())
    for found in two:
        for part, reference in one.items():
            equal_to_the_largest(found[part], reference)


def gpu_equals_cpu(run, start):
    """Network, everything that is learned beside it, and diagnostics; in float64.

    `run(device)` is a result of `fit`, `start` the network before.
    """
    on_cpu, on_gpu = run("cpu"), run("cuda")
    assert next(on_gpu.model.parameters()).device.type == "cuda"
    triples = zip(
        on_cpu.model.parameters(), on_gpu.model.parameters(), start.parameters(), strict=True
    )
    for here, there, before in triples:
        assert (here - before).abs().max() > 1e-3  # it has moved
        assert_close(there.cpu(), here, rtol=1e-8, atol=1e-10)
    there = on_gpu.method.state_dict()
    for key, value in on_cpu.method.state_dict().items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            assert_close(there[key].cpu(), value, rtol=1e-7, atol=1e-9)
    for column in ("loss", *({"meta_loss"} & set(on_cpu.history))):
        wanted = on_cpu.history[column].tolist()
        assert on_gpu.history[column].tolist() == pytest.approx(wanted, rel=1e-8)


def changes_nothing_but_speed(plain, fast, *, rtol=1e-9, atol=1e-12):
    """Two results of `fit` in float64 are equal but for rounding, beside the network too."""
    for a, b in ((plain.model, fast.model), (plain.method, fast.method)):
        ours, theirs = a.state_dict(), b.state_dict()
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            if torch.is_tensor(value) and value.is_floating_point():
                assert_close(value, theirs[key], rtol=rtol, atol=atol, msg=key)
