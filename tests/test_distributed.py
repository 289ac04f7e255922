"""Two processes, each with half of every batch, against one process with all of it.

This file is also the script of those processes. One pair of them does everything that the tests
look at, since it takes PyTorch seconds to start, and leaves what it found in a file for each.
"""

import dataclasses
import os
import socket
import subprocess
import sys
import time
import warnings
from functools import cache, partial
from importlib import import_module
from pathlib import Path

import methods
import properties
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from helpers import leaves
from methods import LINES, Problem
from properties import equal_to_the_largest
from torch import nn

from nlmeta import bilevel, distributed, fit
from nlmeta.data import Batch, Batches, Samples, Split, draw_batch
from nlmeta.methods import EMA, CrossEntropy, base
from nlmeta.methods.memory import LabelMemory
from nlmeta.seeding import generator, seeded

N, C, WIDTH = 40, 3, 8
TRANSITION = torch.tensor([[0.6, 0.3, 0.1], [0.0, 0.9, 0.1], [0.3, 0.0, 0.7]])
TYPES = (torch.float32, torch.float64)
BATCH = 16  # a pass is 16, 16 and 8 samples: three steps, and halves of all of them
PATIENCE = 3.0  # seconds that a process waits for another that does not come


class Network(nn.Module):
    """With a norm layer that looks at one sample at a time, so halves are as good as a whole."""

    def __init__(self, *, seed, norm=None, dropout=0.0):
        super().__init__()
        with seeded(seed, "weights"):
            norm = nn.GroupNorm(2, WIDTH) if norm is None else norm
            layers = [nn.Linear(5, WIDTH), norm, nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.ReLU()]
            self.body = nn.Sequential(*layers, nn.Dropout(dropout))
            self.classifier = nn.Linear(WIDTH, C)

    def forward(self, x, return_features=False):
        features = self.body(x)
        logits = self.classifier(features)
        return (logits, features) if return_features else logits


class InTwoParts(Network):
    """With two inputs, and an output that holds the logits."""

    def forward(self, left, right, return_features=False):
        logits, features = super().forward(torch.cat([left, right], 1), return_features=True)
        output = {"logits": logits, "loss": None}
        return (output, features) if return_features else output


@cache
def split():
    """Unequal classes, and labels that are wrong more often in one class than in another."""
    g = torch.Generator().manual_seed(5)
    shares = torch.tensor([0.5, 0.3, 0.2])
    centres = torch.randn(C, 5, generator=g, dtype=torch.float64)

    def samples(y):
        return Samples(centres[y] + torch.randn(len(y), 5, generator=g, dtype=torch.float64), y)

    true, test = shares.repeat(N + 30, 1).multinomial(1, generator=g)[:, 0].split([N, 30])
    transition = torch.tensor([[0.6, 0.3, 0.1], [0.0, 0.9, 0.1], [0.3, 0.0, 0.7]]).double()
    given = transition[true].multinomial(1, generator=g)[:, 0]
    parts = {
        "train": Samples(samples(true).x, given),
        "meta": samples(torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1, 0])),
        "validation": samples(test[:0]),
        "test": samples(test),
    }
    return Split(
        name="made",
        **parts,
        true_labels=true,
        transition=transition,
        indices={part: torch.arange(len(held)) for part, held in parts.items()},
        class_names=("a", "b", "c"),
        settings={},
    )


def in_two_parts():
    """The same samples as a dict of two inputs."""

    def parts(samples):
        x = {"left": samples.x[:, :2], "right": samples.x[:, 2:]}
        return dataclasses.replace(samples, x=x)

    names = ("train", "meta", "validation", "test")
    return dataclasses.replace(split(), **{name: parts(getattr(split(), name)) for name in names})


PROBLEM = Problem(split().train.y, TRANSITION, split().test.x, lambda seed: Network(seed=seed))
JOINT = [line for line in LINES if line.joint]
ALONE = [line for line in LINES if not line.joint]
mlc = partial(methods.mlc, PROBLEM)
mslg = partial(methods.mslg, PROBLEM)


def outcome_of(line):
    """Of a run with the method of a line."""
    model = Network(seed=1)
    return outcome(run(line.build(PROBLEM, model), model))


def run(method, model=None, **options):
    """Three steps, in float64."""
    given = {"epochs": 1, "seed": 3, "batch_size": BATCH, "meta_batch_size": 6, "lr": 0.1}
    given |= {"precision": "float64", "device": "cpu", "progress": False, "schedule": "constant"}
    model = Network(seed=1) if model is None else model
    return fit(method, model, options.pop("split", split()), **{**given, **options})


def outcome(result):
    """All that a run left behind: weights, what the method holds, and the history."""
    history = {k: v for k, v in result.history.to_dict("list").items() if k != "seconds"}
    return {
        "model": dict(result.model.state_dict()),
        "method": tensors(result.method),
        "history": {name: torch.tensor(values).double() for name, values in history.items()},
    }


def tensors(method):
    """Those of its state, by name."""
    return {k: v for k, v in leaves(method.state_dict()) if isinstance(v, torch.Tensor)}


def identical(ours, theirs):
    return ours.keys() == theirs.keys() and all(
        torch.equal(value.nan_to_num(), theirs[name].nan_to_num()) for name, value in ours.items()
    )


def difference(ours, theirs):
    """Largest difference of two states, relative to the largest number."""
    apart = [(value - theirs[name]).abs().max() for name, value in ours.items()]
    return (max(apart) / max(value.abs().max() for value in theirs.values())).item()


def coupled_trial_gradient():
    """Second order where the trial loss is no sum over rows: each row's slope depends on others."""
    model = Network(seed=1).double()
    x, y = split().train.x[:10], split().train.y[:10]
    with distributed.joint(model):
        forward = bilevel.forward_pass(model, x[distributed.share(10)])
        gradient, _ = bilevel.trial_gradient(
            model,
            forward,
            lambda logits: logits.softmax(1).mean(0)[0].log() * logits.square().mean(),
            lambda network: F.cross_entropy(network(forward.x), y),
            lr=2.0,
            order="second",
        )
    return gradient


def own_loop():
    """Ten lines of somebody else, with rows of two kinds in one pass."""
    method, model = mslg().double(), Network(seed=1).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train, meta = split().train, split().meta
    own, own_meta = distributed.share(12), distributed.share(10)
    with distributed.joint(model, *method.networks):
        for ids in torch.arange(36).split(12):
            batch = Batch(train.x[ids[own]], train.y[ids], ids)
            method.step(model, optimizer, batch, Batch(meta.x[own_meta], meta.y))
        logits = model(torch.cat([train.x[:12][own], meta.x[own_meta]]))
    parts = distributed.split(logits, [12, 10])
    return {"noisy": parts[0].detach(), "meta": parts[1].detach(), **model.state_dict()}


def batch_norm():
    model, shape = (Network(seed=1, norm=nn.BatchNorm1d(WIDTH)) for _ in range(2))
    return run(EMA(mlc(), shape, decay=0.5), model)


def interrupted(folder, *, stop):
    """Three epochs of MSLG on a network with dropout; if asked, stopped in the second one."""
    file = folder / "run.pt"

    def on_epoch(epoch, model, method):
        if stop and epoch == 2:
            raise KeyboardInterrupt
        return {"draw": torch.rand(())}  # from the stream that dropout draws from

    options = {"epochs": 3, "checkpoint": file if stop else None}
    result = run(mslg(), Network(seed=1, dropout=0.4), on_epoch=on_epoch, **options)
    if not stop:
        return outcome(result)
    assert not result.finished
    stop = False
    options["resume"] = True
    result = run(mslg(), Network(seed=1, dropout=0.4), on_epoch=on_epoch, **options)
    assert result.finished
    return outcome(result)


def message(kind, call):
    """The text of the error that a call raises."""
    try:
        call()
    except kind as error:
        return str(error)
    return "nothing was raised"


def without(module, name):
    """The outcome of MLC where nothing is summed in one of the modules."""
    summed = getattr(module, name)
    setattr(module, name, tuple)
    try:
        return outcome(run(mlc(transition_lr=5.0)))
    finally:
        setattr(module, name, summed)


def refusals(rank):
    """What goes wrong in all processes, and is told in all of them."""
    uneven = torch.zeros(2 + rank, C)

    class Unusual(nn.Linear):
        def forward(self, x):
            return {"hidden": super().forward(x)}

    def unusual():
        with seeded(0, "weights"):
            model = Unusual(5, C).double()
        with distributed.joint(model):
            model(split().train.x[:2])

    def alone():
        model = Network(seed=1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        given = split().train
        CrossEntropy().step(model.double(), optimizer, Batch(given.x[:2], given.y[:2]))

    few = Samples(split().train.x[:1], split().train.y[:1])
    few = dataclasses.replace(
        split(), train=few, true_labels=few.y, indices={**split().indices, "train": few.y}
    )
    return {
        "rows": message(ValueError, lambda: distributed.gather(uneven)),
        "types": message(ValueError, lambda: distributed.gather(uneven[:2].to(TYPES[rank]))),
        "batch": message(ValueError, lambda: run(CrossEntropy(), batch_size=15)),
        "meta batch": message(ValueError, lambda: run(mlc(), meta_batch_size=5)),
        "few": message(ValueError, lambda: run(CrossEntropy(), split=few)),
        "drawn": message(
            ValueError, lambda: draw_batch(split().meta, 3, generator=generator(0, "meta"))
        ),
        "share": message(ValueError, lambda: distributed.share(3)),
        "seeds": message(ValueError, lambda: run(CrossEntropy(), seed=rank)),
        **{line.name: message(RuntimeError, partial(outcome_of, line)) for line in ALONE},
        "output": message(TypeError, unusual),
        "not joint": message(RuntimeError, alone),
    }


def batches_of_an_odd_split():
    """27 samples in batches of 8 leave 3, which two processes can neither share nor normalise."""
    given = Samples(split().train.x[:27], split().train.y[:27])
    taken = list(Batches(given, 8, generator=generator(0, "batches")))
    whole = draw_batch(given, None, generator=generator(0, "meta"))
    few = list(Batches(Samples(given.x[:7], given.y[:7]), 8, generator=generator(0, "batches")))
    return [(b.x, b.y, b.ids) for b in (*taken, whole, *few)]


def memory():
    """What a sharded memory holds, writes, saves and loads."""
    start = torch.arange(15.0).reshape(5, 3)
    kept = LabelMemory(start)
    ids = torch.tensor([4, 1, 2])
    before = kept.read(ids, like=start.double())
    kept.write(ids, -before)
    saved = kept.state_dict()
    other = LabelMemory(torch.zeros(5, 3))
    other.load_state_dict(saved)
    return {
        "own": kept.logits,
        "read": before,
        "all": kept.all_rows(),
        "saved": saved["logits"],
        "loaded": other.logits,
        "refusal": message(RuntimeError, lambda: other.load_state_dict({"logits": start[:4]})),
    }


def started_again(port, timeout_s):
    """A new group: one that lost a process is of no use any more."""
    if dist.is_initialized():
        dist.destroy_process_group()
    os.environ["MASTER_PORT"] = port
    distributed.start(timeout_s=timeout_s)


def wait_for(file):
    while not file.exists():
        time.sleep(0.05)


def alone(rank, leave):
    """How long process 0 waits for process 1, which stays away from the third batch.

    `leave` is what process 1 does instead.
    """

    class Leaving(CrossEntropy):
        steps = 0

        def step(self, *args, **options):
            self.steps += 1
            if self.steps == 3 and rank == 1:
                leave()
            self.since = time.monotonic()
            return super().step(*args, **options)

    method = Leaving()
    text = message(RuntimeError, lambda: run(method))
    return {"error": text, "seconds": time.monotonic() - method.since, "steps": method.steps}


def all_that_two_processes_do(folder, rank, ports):
    torch.manual_seed(rank)
    before = torch.get_rng_state()
    started_again(ports[0], 60)
    found = {"rank": (distributed.rank(), distributed.world_size())}
    found["runs"] = {line.name: outcome_of(line) for line in JOINT}
    found["several inputs"] = outcome(run(mlc(), InTwoParts(seed=1), split=in_two_parts()))
    found["whole meta set"] = outcome(run(mlc(), meta_batch_size=None))
    found["own weights"] = outcome(run(CrossEntropy(), Network(seed=1 + rank)))
    found["without in steps"] = without(base, "sum_over_processes")
    found["without in lookahead"] = without(
        import_module("nlmeta.bilevel.hypergradient"), "sum_over_processes"
    )
    found["coupled"] = coupled_trial_gradient()
    found["own loop"] = own_loop()
    found["uninterrupted"] = interrupted(folder, stop=False)
    found["resumed"] = interrupted(folder, stop=True)
    found["checkpoint"] = torch.load(folder / "run.pt", weights_only=True)
    found["batch norm"] = outcome(batch_norm())
    found["refusals"] = refusals(rank)
    found["batches"] = batches_of_an_odd_split()
    found["memory"] = memory()
    found["random state moved"] = not torch.equal(torch.get_rng_state(), before)
    started_again(ports[1], PATIENCE)
    given_up = folder / "given up"
    found["late"] = alone(rank, lambda: wait_for(given_up))
    given_up.touch()
    torch.save(found, folder / f"{rank}.pt")
    started_again(ports[2], 60)
    found["dead"] = alone(rank, lambda: os._exit(3))
    torch.save(found, folder / f"{rank}.pt")


# What the tests make of it.


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start_pair(folder):
    ports = free_ports(3)
    processes = []
    for rank in range(2):
        environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": ports[0], "OMP_NUM_THREADS": "1"}
        environment["CUDA_VISIBLE_DEVICES"] = ""  # gloo, whatever the machine has
        with open(folder / f"{rank}.txt", "w") as output:
            processes.append(
                subprocess.Popen(
                    [sys.executable, __file__, str(folder), *ports],
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )
    return processes


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What process 0 and process 1 found, and what one process finds in the meantime."""
    folder = tmp_path_factory.mktemp("processes")
    processes = start_pair(folder)
    try:
        one = {
            "runs": {line.name: outcome_of(line) for line in JOINT},
            "whole meta set": outcome(run(mlc(), meta_batch_size=None)),
            "nothing left out": outcome(run(mlc(transition_lr=5.0))),
            "coupled": coupled_trial_gradient(),
            "own loop": own_loop(),
        }
        codes = [process.wait(timeout=150) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    said = "\n".join((folder / f"{rank}.txt").read_text() for rank in range(2))
    assert codes == [0, 3], said  # 3: the one that leaves in the end
    zero, other = (torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2))
    return one, zero, other


@pytest.mark.parametrize("line", JOINT, ids=lambda line: line.name)
def test_two_processes_equal_one_with_the_joint_batch(both, line):
    """Weights, what the method learned, and the history, after three steps."""
    one, *two = (found["runs"][line.name] for found in both)
    model = Network(seed=1)
    method = line.build(PROBLEM, model).double()
    start = {"model": dict(model.double().state_dict()), "method": tensors(method)}
    properties.two_processes_equal_one(start, one, two, learns=line.learns)


def test_several_inputs_and_logits_in_a_dict_equal_one_tensor_bit_for_bit(both):
    _, *two = both
    for found in two:
        for part in ("model", "method", "history"):
            assert identical(found["several inputs"][part], found["runs"]["MLC"][part]), part


def test_both_processes_end_with_the_same_bits(both):
    _, zero, other = both
    for name in zero["runs"]:
        for part in ("model", "method", "history"):
            assert identical(zero["runs"][name][part], other["runs"][name][part]), (name, part)


@pytest.mark.parametrize("left_out", ["without in steps", "without in lookahead"])
def test_without_the_sums_the_result_is_another(both, left_out):
    """So the tests above would tell: a half of the gradients leads elsewhere."""
    one, zero, _ = both
    assert difference(zero[left_out]["model"], one["nothing left out"]["model"]) > 1e-4


def test_a_whole_meta_set_is_shared_as_well(both):
    one, zero, _ = both
    equal_to_the_largest(zero["whole meta set"]["model"], one["whole meta set"]["model"])
    assert difference(one["whole meta set"]["model"], one["runs"]["MLC"]["model"]) > 1e-6


def test_second_order_holds_where_the_trial_loss_couples_the_rows(both):
    """H v then needs the tangents of the other processes' rows: a gather in the pass backward."""
    one, *two = both
    for found in two:
        equal_to_the_largest(found["coupled"], one["coupled"])


def test_a_loop_of_ones_own_and_rows_of_two_kinds(both):
    one, *two = both
    for found in two:
        equal_to_the_largest(found["own loop"], one["own loop"])


def test_all_start_from_the_weights_of_process_0(both):
    one, *two = both
    for found in two:
        equal_to_the_largest(found["own weights"]["model"], one["runs"]["cross-entropy"]["model"])


def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(both):
    """With dropout, whose stream each process has for itself, and sharded labels."""
    _, *two = both
    draws = [found["uninterrupted"]["history"]["draw"] for found in two]
    assert not torch.equal(*draws)
    for found in two:
        for part in ("model", "method"):
            assert identical(found["resumed"][part], found["uninterrupted"][part])
        again = found["resumed"]["history"]["draw"]
        assert torch.equal(again[1:], found["uninterrupted"]["history"]["draw"][1:])
    # The history is in the checkpoint, so its first row is that of process 0.
    assert identical(two[0]["resumed"]["history"], two[0]["uninterrupted"]["history"])
    assert identical(two[0]["resumed"]["model"], two[1]["resumed"]["model"])


def test_the_checkpoint_holds_all_labels_and_every_random_stream(both):
    state = both[1]["checkpoint"]
    assert state["method"]["memory.logits"].shape == (N, C)
    streams = state["random_state"]["cpu"]
    assert len(streams) == state["settings"]["processes"] == 2
    assert not torch.equal(*streams)


def test_processes_agree_on_running_statistics_after_an_epoch(both):
    """They are those of process 0; the batches are normalised by halves, so it is another run."""
    _, zero, other = both
    for part in ("model", "method", "history"):
        assert identical(zero["batch norm"][part], other["batch norm"][part])
    one = outcome(batch_norm())["model"]
    statistics = zero["batch norm"]["model"]["body.1.running_mean"]
    assert not torch.equal(statistics, torch.zeros(WIDTH).double())
    assert zero["batch norm"]["model"]["body.1.num_batches_tracked"] == 3
    assert difference(zero["batch norm"]["model"], one) > 1e-3


def test_a_joint_batch_is_divided_and_what_cannot_be_is_left_out(both):
    _, zero, other = both
    given = Samples(split().train.x[:27], split().train.y[:27])
    sizes = [len(y) for _, y, _ in zero["batches"]]
    assert sizes == [8, 8, 8, 26, 6]  # of 27 samples, of all 27 at once, and of 7
    for (x, y, ids), (other_x, other_y, other_ids) in zip(
        zero["batches"], other["batches"], strict=True
    ):
        assert torch.equal(ids, other_ids)
        assert torch.equal(y, other_y)
        assert len(x) == len(other_x) == len(y) / 2
        assert torch.equal(torch.cat([x, other_x]), given.x[ids])
        assert torch.equal(y, given.y[ids])


def test_labels_are_sharded_by_id(both):
    _, zero, other = both
    whole = torch.arange(15.0).reshape(5, 3)
    read = whole[[4, 1, 2]].double()
    whole[[4, 1, 2]] *= -1
    for rank, found in enumerate((zero["memory"], other["memory"])):
        assert torch.equal(found["own"], whole[rank::2])
        assert torch.equal(found["read"], read)
        assert torch.equal(found["all"], whole)
        assert torch.equal(found["saved"], whole)
        assert torch.equal(found["loaded"], whole[rank::2])
        assert "size mismatch" in found["refusal"]


REFUSALS = {
    "rows": "`rows` must have the same shape and type in every process; in the order of the "
    "ranks they are (2, 3) of torch.float32, (3, 3) of torch.float32",
    "types": "ranks they are (2, 3) of torch.float32, (2, 3) of torch.float64",
    "batch": "`batch_size` is 15; 2 processes need a multiple of 2",
    "meta batch": "`meta_batch_size` is 5; 2 processes need a multiple of 2",
    "few": "`split` has a part of 1 samples; each of 2 processes needs at least one",
    "drawn": "`size` is 3; 2 processes need a multiple of 2",
    "share": "`n` is 3; 2 processes need a multiple of 2",
    "seeds": "all processes must call `fit` with the same arguments: `seed` is ",
    **{line.name: f"{line.kind.__name__} runs in one process, not in 2" for line in ALONE},
    "not joint": "there are 2 processes, and the networks' outputs are not gathered; take steps "
    "inside `with nlmeta.distributed.joint(model, *method.networks):`",
    "output": "Unusual returned a dict; with several processes a network must return a tensor",
}


@pytest.mark.parametrize("what", REFUSALS)
def test_every_process_is_told_what_is_wrong(both, what):
    _, *two = both
    for found in two:
        assert REFUSALS[what] in found["refusals"][what]


@pytest.mark.parametrize(("what", "seconds"), [("late", PATIENCE), ("dead", 0)])
def test_a_process_that_stays_away_ends_the_other_with_an_error(both, what, seconds):
    """One that is late, after the stated time; one that has ended, at once. Not 60 seconds."""
    found = both[1][what]
    assert found["steps"] == 3
    assert "another process has ended, or did not arrive within `timeout_s`" in found["error"]
    assert seconds - 1 < found["seconds"] < seconds + 20  # on a machine that is busy


def test_the_global_random_state_is_left_alone(both):
    _, *two = both
    assert [found["random state moved"] for found in two] == [False, False]
    assert [found["rank"] for found in two] == [(0, 2), (1, 2)]


def test_one_process_has_everything():
    x = torch.arange(6.0).reshape(3, 2).requires_grad_()
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.gather(x) is x
    assert distributed.gather_objects("x") == ["x"]
    assert distributed.sum_over_processes([x])[0] is x
    assert x[distributed.share(3)].shape == x.shape
    assert [part.tolist() for part in distributed.split(x, [1, 2])] == [
        [[0.0, 1.0]],
        [[2.0, 3.0], [4.0, 5.0]],
    ]
    model = nn.Linear(2, 2)
    with distributed.joint(model):
        assert model(x).shape == (3, 2)


def test_without_torchrun_nothing_is_started(monkeypatch):
    for name in distributed.FROM_TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    distributed.start()
    assert not dist.is_initialized()


def test_half_of_an_environment_is_refused_by_name(monkeypatch):
    for name in distributed.FROM_TORCHRUN:
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv("MASTER_PORT")
    with pytest.raises(RuntimeError, match="variable MASTER_PORT is not set"):
        distributed.start()
    with pytest.raises(ValueError, match="`timeout_s` is 0"):
        distributed.start(timeout_s=0)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    for name in distributed.FROM_TORCHRUN:
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(RuntimeError, match="process 1 of this machine has no GPU .* are 1; start"):
        distributed.start()


def main():
    folder, *ports = sys.argv[1:]
    warnings.simplefilter("error")
    all_that_two_processes_do(Path(folder), int(os.environ["RANK"]), ports)


if __name__ == "__main__":
    main()
