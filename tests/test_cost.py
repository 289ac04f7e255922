"""Tests of nlmeta.experiments.cost: that what is timed is the same step, and that rows are whole.

Nothing here asserts a time.
"""

import itertools
import json
import math
from dataclasses import replace

import pandas as pd
import pytest
import replay
import torch
from torch.testing import assert_close

from nlmeta.bilevel import Lookahead
from nlmeta.data import Batch
from nlmeta.experiments import RECORDS, Record, cost, read, status
from nlmeta.experiments.cost import batches as making_batches
from nlmeta.experiments.cost import epochs, literal
from nlmeta.experiments.cost.precision import ESTIMATES, TRIALS
from nlmeta.methods import (
    CLIDMU,
    MLC,
    MLNT,
    MSLG,
    CrossEntropy,
    CrossLayerDivergence,
    LabelCrossEntropy,
    LogitMultiplier,
    WeightNet,
    captured,
    recording,
)
from nlmeta.models import MLP, CIFARResNet, SmallCNN
from nlmeta.training import run as running

ACT_FIRST = Lookahead(sequence="act-first")
TRANSITION = torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.3, 0.1, 0.6]])
LABELS = torch.tensor([0, 0, 2, 1, 0, 2, 2, 0, 0, 1, 0, 2])


def network(seed=5):
    """A network with BatchNorm, whose statistics the literal steps treat as released code does."""
    return SmallCNN(1, 3, width=3, hidden=6, seed=seed).double()


def batches():
    """A noisy batch in three unequal classes and five meta samples."""
    g = torch.Generator().manual_seed(3)
    x = torch.randn(12, 1, 8, 8, generator=g, dtype=torch.float64)
    meta_x = torch.randn(5, 1, 8, 8, generator=g, dtype=torch.float64)
    return Batch(x, LABELS, torch.arange(12).flip(0)), Batch(meta_x, torch.tensor([0, 1, 2, 2, 0]))


def mlc(kind, **options):
    return kind(3, virtual_lr=0.5, transition_lr=2.0, initial=TRANSITION, **options)


def mslg(kind, **options):
    chosen = {"virtual_lr": 0.5, "label_lr": 300.0, "k": 3.0, **options}
    return kind(LABELS.flip(0), 3, **chosen)


def weights(kind, objective=None):
    head = WeightNet(8, seed=1)
    return kind(head, head_lr=20.0, max_norm=None if objective else 0.05, objective=objective)


def multipliers(kind):
    head = LogitMultiplier(6, 3, embedding=4, hidden=(8,), seed=1)
    return kind(head, head_lr=0.1, virtual_lr=0.7, head_optimizer="adam")


def mlnt(kind, **options):
    options = {"trial_lr": 0.5, "meta_weight": 2.0, "trials": 3, "neighbours": 4, **options}
    return kind(network(), network(seed=6), seed=2, **options)


CASES = {
    "MLC": (MLC, literal.LiteralMLC, mlc),
    "MLC, released form": (
        MLC,
        literal.LiteralMLC,
        lambda kind: mlc(
            kind, space="logit", keep_transition=False, normalise="column", reduction="sum"
        ),
    ),
    "MSLG": (MSLG, literal.LiteralMSLG, mslg),
    "MSLG, label first": (
        MSLG,
        literal.LiteralMSLG,
        lambda kind: mslg(kind, direction="label-first", scale="entries", entropy_weight=0.5),
    ),
    "MSLG, EMLC's sequence": (
        MSLG,
        literal.LiteralEMLC,
        lambda kind: mslg(kind, virtual_lr=None, mode=ACT_FIRST, direction="label-first"),
    ),
    "MSLG, EMLC's sequence, by entries": (
        MSLG,
        literal.LiteralEMLC,
        lambda kind: mslg(
            kind, virtual_lr=None, mode=ACT_FIRST, direction="label-first", scale="entries"
        ),
    ),
    "CLID-MU, weights": (CLIDMU, literal.LiteralCLIDMU, weights),
    "CLID-MU, weights by labels": (
        CLIDMU,
        literal.LiteralCLIDMU,
        lambda kind: weights(kind, LabelCrossEntropy()),
    ),
    "CLID-MU, full gradient": (
        CLIDMU,
        literal.LiteralCLIDMU,
        lambda kind: weights(kind, CrossLayerDivergence(gradient="full")),
    ),
    "CLID-MU, multipliers": (CLIDMU, literal.LiteralCLIDMU, multipliers),
    "MLNT, first order": (MLNT, literal.LiteralMLNT, mlnt),
    "MLNT, batched": (MLNT, literal.LiteralMLNT, lambda kind: mlnt(kind, trials_at_once=3)),
    "MLNT, second order": (MLNT, literal.LiteralMLNT, lambda kind: mlnt(kind, order="second")),
    "MLNT, mentor and ramp": (
        MLNT,
        literal.LiteralMLNT,
        lambda kind: mlnt(kind, teacher_share=0.4, ramp_steps=3, scale="entries", replaced=0.8),
    ),
}


def trained(method, steps=2):
    """Network and method after steps with momentum, so that the second sees what the first left."""
    model = network()
    method = method.double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    train, meta = batches()
    for _ in range(steps):
        method.step(model, optimizer, train, meta)
    learned = dict(method.named_parameters()) | dict(method.named_buffers())
    return dict(model.named_parameters()), learned


def without_meta_step(method):
    """The same method, which learns nothing."""
    for name in ("transition_lr", "label_lr", "meta_weight", "head_lr"):
        if hasattr(method, name):
            setattr(method, name, 0.0)
    return method


@pytest.mark.parametrize("case", CASES)
def test_a_literal_step_leads_where_the_packages_step_leads(case):
    """Parameters of the network and what the method learned differ by round-off alone."""
    ours, theirs, make = CASES[case]
    network_by_us, learned_by_us = trained(make(ours))
    network_by_them, learned_by_them = trained(make(theirs))
    for name, p in network_by_us.items():
        assert_close(network_by_them[name], p, rtol=0, atol=1e-9)
    for name, value in learned_by_us.items():
        if "running" not in name and "num_batches" not in name:  # released code moves them oftener
            assert_close(learned_by_them[name], value, rtol=0, atol=1e-9)
    # The two agree on a meta step that is there to be seen.
    plain, _ = trained(without_meta_step(make(ours)))
    assert max((plain[n] - p).abs().max() for n, p in network_by_us.items()) > 1e-5


def test_the_literal_step_of_mlnt_refuses_what_was_never_released():
    method = mlnt(literal.LiteralMLNT, update="two-step").double()
    model = network()
    with pytest.raises(ValueError, match="`update` is 'two-step'; it must be one of 'sum'"):
        method.step(model, torch.optim.SGD(model.parameters(), lr=0.1), *batches())


LOOKAHEADS = ("literal", "exact", "jvp, fast", "jvp, lean", "fd, fast", "fd, lean")
LOOKAHEADS += ("fd one-sided, fast", "fd one-sided, lean")
OPTIONS = ("jvp, last layer", "jvp, every 10th step", "jvp, bfloat16")
OPTIONS += ("act first, jvp", "act first, fd one-sided", "act first, jvp, bfloat16")
OPTIONS += ("act first, fd one-sided, outer gradient in bfloat16",)
HALF_MODES = ("jvp, fast", "act first, jvp")
UNWATCHED = ("jvp, bfloat16", "act first, jvp, bfloat16")
ROWS = {
    ("cross-entropy", "plain"),
    *itertools.product(("MLC", "MSLG", "CLID-MU"), (*LOOKAHEADS, *OPTIONS)),
    ("MLNT", "literal, first order, M=10"),
    ("MLNT", "first order, M=10"),
    ("MLNT", "first order, M=5"),
    ("MLNT", "first order, M=1"),
    ("MLNT", "first order, M=10, batched"),
    ("MLNT", "first order, M=10, trials in bfloat16"),
    ("MSLG", "literal, EMLC's sequence"),
    ("MLNT", "literal, second order, M=10"),
    ("MLNT", "second order, M=10"),
    ("MLNT", "second order, M=1"),
}
TINY = {"network": "tiny", "shape": (1, 4, 4), "batch": 12, "rounds": 1, "seed": 0}


def only(*names):
    """Cross-entropy and some candidates, by method and mode."""
    wanted = {("cross-entropy", "plain"), *names}
    return [c for c in cost.CANDIDATES if (c.method, c.mode) in wanted]


def test_every_method_and_mode_gets_a_whole_row_that_json_can_keep():
    """On a tiny network; ratios belong to the seconds and bytes beside them."""
    model = MLP(16, 3, (8,), seed=0)
    before = torch.get_rng_state()
    weights_before = model.classifier.weight.clone()
    rows = cost.measure(model, **TINY)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(model.classifier.weight, weights_before)
    assert {(row["method"], row["mode"]) for row in rows} == ROWS
    assert len(rows) == len(ROWS)
    plain = rows[0]
    assert (plain["method"], plain["time_ratio"], plain["memory_ratio"]) == ("cross-entropy", 1, 1)
    for row in rows:
        assert row["network"] == "tiny"
        assert row["dtype"] == "float32"
        assert 0 < row["seconds"] == row["seconds_median"] < math.inf  # one round
        assert row["time_ratio"] == pytest.approx(row["seconds"] / plain["seconds"])
        if row["mode"] in UNWATCHED:
            assert row["memory_bytes"] is row["memory_ratio"] is row["operations"] is None
            continue
        assert row["memory_ratio"] == pytest.approx(row["memory_bytes"] / plain["memory_bytes"])
        assert row["operations"] >= plain["operations"] > 0
    assert json.loads(json.dumps(rows)) == rows  # what a record can keep
    frame = cost.table(pd.DataFrame(rows))
    assert frame.loc[("cross-entropy", "plain"), ["time", "memory"]].tolist() == [1, 1]
    assert frame["ms"].tolist() == pytest.approx([1000 * row["seconds"] for row in rows])


def test_seconds_are_the_best_round_of_a_single_step(monkeypatch):
    """A clock that says how long: rounds take 5, 2 and 4, and ten steps are timed as one."""
    took = [5, 20, 2, 30, 4, 70]
    clock = itertools.chain.from_iterable((0, seconds) for seconds in took)
    monkeypatch.setattr("time.process_time", lambda: next(clock))
    chosen = only(("MLC", "jvp, every 10th step"))
    plain, tenth = cost.measure(
        MLP(16, 3, (8,), seed=0), candidates=chosen, **{**TINY, "rounds": 3}
    )
    assert (plain["seconds"], plain["seconds_median"], plain["time_ratio"]) == (2, 4, 1)
    assert (tenth["seconds"], tenth["seconds_median"], tenth["time_ratio"]) == (2, 3, 1)


def test_steps_in_half_precision_are_all_taken_under_autocast(monkeypatch):
    """That of cross-entropy too, so that ratios are between equals; a difference refuses it."""
    seen, plain = [], CrossEntropy.step

    def step(*given, **options):
        seen.append(torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"))
        return plain(*given, **options)

    monkeypatch.setattr(CrossEntropy, "step", step)
    model = SmallCNN(1, 3, width=3, hidden=6, seed=0)
    sizes = {**TINY, "shape": (1, 8, 8)}
    rows = cost.measure(model, **sizes, candidates=only(("MLC", "act first, jvp")), half=True)
    assert [row["dtype"] for row in rows] == ["bfloat16", "bfloat16"]
    assert set(seen) == {torch.bfloat16}
    assert rows[1]["operations"] > rows[0]["operations"]
    assert not torch.is_autocast_enabled("cpu")
    with pytest.raises(RuntimeError, match="mode='fd' under autocast"):
        cost.measure(model, **sizes, candidates=only(("MLC", "fd, fast")), half=True)


def test_a_table_without_cross_entropy_is_refused():
    with pytest.raises(ValueError, match="`candidates` holds MLC: literal; it must hold cross-ent"):
        cost.measure(MLP(16, 3, (8,), seed=0), candidates=cost.CANDIDATES[1:2], **TINY)


def test_peak_counts_new_storages_once_and_forgets_them_when_they_end():
    old = torch.zeros(1000)

    def work():
        a = old.view(10, 100) + 1  # 4000 bytes
        b = a.t()  # a view: nothing
        old.add_(1)  # in place: nothing
        del a, b
        c = torch.cat([old, old])  # 8000
        d = c * 2  # 8000
        del c
        return d.sum() + old[0]

    assert cost.peak_bytes(work, torch.device("cpu")) == 16000


def test_peak_sees_what_autograd_keeps():
    """Ten squares in a chain keep their inputs for the backward pass; without a graph two live."""
    x = torch.ones(1000, requires_grad=True)

    def chain():
        y = x
        for _ in range(10):
            y = y.square()
        return y

    def without_graph():
        with torch.no_grad():
            chain()

    assert cost.peak_bytes(chain, torch.device("cpu")) >= 40_000
    assert cost.peak_bytes(without_graph, torch.device("cpu")) == 8_000


def test_lean_lookahead_needs_less_memory_and_mlnt_the_same_for_any_number_of_trials():
    """What the modes promise, in bytes; these do not depend on the machine."""
    rows = cost.measure(
        SmallCNN(1, 3, width=8, hidden=16, seed=0), **{**TINY, "shape": (1, 16, 16), "batch": 16}
    )
    memory = {(row["method"], row["mode"]): row["memory_ratio"] for row in rows}
    for method in ("MLC", "MSLG", "CLID-MU"):
        for mode in ("jvp", "fd"):
            assert memory[method, f"{mode}, lean"] < memory[method, f"{mode}, fast"] - 0.5
        assert memory[method, "jvp, fast"] < memory[method, "literal"]
        for mode in ("jvp", "fd one-sided"):  # no graph beside that of one pass
            assert memory[method, f"act first, {mode}"] < memory[method, f"{mode}, fast"] - 0.5
    for order in ("first", "second"):
        one, ten = (memory["MLNT", f"{order} order, M={trials}"] for trials in (1, 10))
        assert one > 1
        assert ten < 1.1 * one
    assert memory["MLNT", "first order, M=10, batched"] > 3 * ten  # ten networks side by side
    literal_second = memory["MLNT", "literal, second order, M=10"]
    assert memory["MLNT", "second order, M=10"] < 0.5 * literal_second


@pytest.mark.parametrize("place", ["in RAM", "on disk"])
def test_label_memory_row_says_what_it_holds_and_what_it_is_a_share_of(place, tmp_path):
    sizes = {"num_samples": 500, "num_classes": 7, "batch": 8, "rounds": 3}
    file = None if place == "in RAM" else tmp_path / "labels"
    row = cost.measure_label_memory(0.5, **sizes, file=file, seed=0)
    assert place in row["mode"]
    assert file is None or file.stat().st_size == 500 * 7 * 4
    assert row["memory_bytes"] == 500 * 7 * 4
    assert row["memory_ratio"] is None
    assert row["time_ratio"] == pytest.approx(row["seconds"] / 0.5)
    assert row["seconds"] > 0


def test_cosines_tell_exact_estimates_from_those_of_the_last_layer():
    """Forward mode in float32 is the float64 direction to rounding; the last layer's is another."""
    rows = cost.measure_precision(
        MLP(64, 10, (32, 32), seed=0), network="tiny", shape=(1, 8, 8), trained=(0, 30), seed=1
    )
    found = pd.DataFrame(rows).set_index(["trained", "mode", "dtype"])["cosine"]
    assert len(found) == 2 * (len(ESTIMATES) + len(TRIALS))
    for steps in (0, 30):
        acts = found[steps, "act first, jvp", "float32"]
        assert acts == pytest.approx(found[steps, "jvp, fast", "float32"], abs=1e-6)
        assert found[steps, "act first, fd one-sided", "float32"] > 0.99
        for mode in ("jvp, bfloat16", "fd one-sided, outer gradient in bfloat16"):
            assert 0.9 < found[steps, f"act first, {mode}", "float32"] < 0.999999
        assert found[steps, "MLNT, trials in float32", "float32"] > 0.9999
        assert 0.9 < found[steps, "MLNT, trials in bfloat16", "float32"] < 0.9999
        for mode in ("exact", "jvp, fast"):
            assert found[steps, mode, "float32"] > 0.9999
        assert found[steps, "fd, fast", "float32"] > 0.99
        assert 0.9 < found[steps, "jvp, fast", "bfloat16"] < found[steps, "jvp, fast", "float32"]
        assert 0.1 < found[steps, "jvp, last layer", "float32"] < 0.99


def test_batches_from_memory_and_from_disk_get_whole_rows(tmp_path):
    model = CIFARResNet(18, 3, width=2, seed=0)
    rows = cost.measure_batches(model, 0.5, num_images=40, side=8, batch=8, rounds=3, seed=0)
    rows.append(
        cost.measure_decoding(
            model, num_images=6, side=16, crop=12, batch=3, folder=tmp_path, seed=0
        )
    )
    assert [row["mode"] for row in rows] == [
        *making_batches.AUGMENTATIONS,
        "files of 16x16, decoded ahead",
    ]
    assert all(row["seconds"] > 0 for row in rows)
    assert all(row["time_ratio"] == row["seconds"] / 0.5 for row in rows[:-1])
    assert rows[0]["memory_bytes"] == 40 * 3 * 8 * 8
    assert rows[-1]["rounds"] == 2
    assert list(tmp_path.iterdir()) == []
    assert cost.table(pd.DataFrame(rows)).shape[0] == 4


def test_operations_are_those_that_move_numbers():
    x = torch.ones(4, requires_grad=True)

    def work():
        y = (x.view(2, 2) * 3).t()  # one, and two views
        y.sum().backward()  # the sum; its gradient is ones, expanded (a view), and times three

    assert cost.count_operations(work) == 4
    assert cost.count_operations(lambda: x.view(2, 2)) == 0


def test_a_replayed_step_is_asked_for_once_and_its_places_are_memory(monkeypatch):
    """With the stand-in for CUDA's graphs; on the CPU those rows are otherwise left out."""
    names = [("MLC", "jvp, fast"), ("MLC", "jvp, fast, captured")]
    chosen = [replace(c, device=None) for c in only(*names)]
    assert [c.mode for c in only(*names) if c.device == "cuda"] == ["jvp, fast, captured"]
    monkeypatch.setattr(recording, "CUDAGraph", replay.Graph)
    monkeypatch.setattr(captured, "_can_record", lambda device: True)
    noted = []
    monkeypatch.setattr(replay.Graph, "replay", lambda self: noted.append(len(self.notes)))
    rows = cost.measure(MLP(16, 3, (8,), seed=0), candidates=chosen, **TINY)
    plain, recorded = (r for r in rows if r["method"] == "MLC")
    assert recorded["operations"] < 0.3 * plain["operations"]  # copies, and the optimiser's
    assert recorded["operations"] + min(noted) > 0.9 * plain["operations"]  # the rest was noted
    assert recorded["memory_bytes"] > plain["memory_bytes"]


def test_an_epoch_is_timed_alone_and_with_its_evaluation(monkeypatch):
    """On a clock that ticks once for a training batch, ten times for an evaluation."""
    ticks = [0.0]
    plain, measured = CrossEntropy.step, running.measure

    def step(*given, **options):
        ticks[0] += 1
        return plain(*given, **options)

    def measure(*given, **options):
        ticks[0] += 10
        return measured(*given, **options)

    monkeypatch.setattr(CrossEntropy, "step", step)
    monkeypatch.setattr(running, "measure", measure)
    monkeypatch.setattr(epochs, "now", lambda device: ticks[0])
    training = {"batch_size": 8, "lr": 0.01}
    asked = {"network": {"name": "cnn8"}, "train": 24, "test": 8, "training": training}
    alone, both = cost.measure_epochs({"CNN8": asked}, rounds=2, seed=0)
    assert (alone["mode"], both["mode"]) == ("training", "training and evaluation")
    assert (alone["seconds"], both["seconds"]) == (3, 13)
    assert (alone["time_ratio"], both["time_ratio"]) == (1, pytest.approx(13 / 3))
    assert (alone["images_a_second"], both["images_a_second"]) == (8, pytest.approx(24 / 13))
    assert (alone["rounds"], alone["batch"], alone["network"]) == (2, 8, "CNN8")


def test_the_record_is_whole_and_has_every_kind_of_step():
    record = Record(RECORDS / "cost.jsonl")
    assert str(status(cost.COST, record)) == "5 done, 0 to do"
    steps = read("cost", stage="steps")
    timed = steps[steps["network"] != "none"]
    assert set(zip(timed["method"], timed["mode"], strict=True)) == ROWS
    assert steps["machine"].nunique() == steps["threads"].nunique() == 1  # one run
    for stage, times in (("precision", 3), ("precision in bfloat16", 2)):
        precision = read("cost", stage=stage)
        assert len(precision) == times * (len(ESTIMATES) + len(TRIALS))
        assert precision["cosine"].between(-1, 1 + 1e-9).all()
    half = read("cost", stage="steps in bfloat16")
    modes = itertools.product(("MLC", "MSLG", "CLID-MU"), HALF_MODES)
    assert set(zip(half["method"], half["mode"], strict=True)) == {
        ("cross-entropy", "plain"),
        *modes,
    }
    assert set(half["dtype"]) == {"bfloat16"}
