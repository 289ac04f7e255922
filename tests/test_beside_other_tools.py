"""Our side of each meeting with another library, see the page "What other tools really do".

None of them is needed: the shapes and habits that they have are built by hand.
"""

import random
import re
from collections.abc import Callable
from contextlib import ExitStack, contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from helpers import global_state
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

import nlmeta
from nlmeta import MLC, MSLG, analysis, bilevel, metrics, noise
from nlmeta.bilevel import Lookahead
from nlmeta.data import Batch, from_arrays, from_dataset, load
from nlmeta.methods import ELR
from nlmeta.models import MLP
from nlmeta.seeding import generator

N, C = 60, 3


# Noise


def cut_down_rate(counts, rate):
    """Share of labels that flip if the count of each pair of classes is cut to a whole number."""
    other = len(counts) - 1
    return sum(int(n * rate / other) * other for n in counts) / sum(counts)


@pytest.mark.parametrize(
    ("counts", "rate", "line"),
    [
        ([44] * 10, 0.2, "| 10 classes of 44 samples | 20 % | 0 % |"),
        (None, 0.2, "| the 1,797 digits | 20 % | 18.0 % |"),
        ([5000] * 10, 0.2, "| 10 classes of 5,000 (CIFAR-10) | 20 % | 19.98 % |"),
        ([500] * 100, 0.5, "| 100 classes of 500 (CIFAR-100) | 50 % | 39.6 % |"),
    ],
    ids=["44 samples", "digits", "CIFAR-10", "CIFAR-100"],
)
def test_counts_that_are_cut_down_lose_the_noise_that_the_page_says(counts, rate, line, root):
    """Ours loses none: the realised rate is the nominal one within four standard deviations."""
    if counts is None:
        counts = np.bincount(load_digits().target).tolist()
    share = cut_down_rate(counts, rate)
    page = (root / "book/other_tools.md").read_text()
    assert line in page
    shown = line.split("|")[3].strip().removesuffix(" %")
    decimals = len(shown.partition(".")[2])
    assert f"{100 * share:.{decimals}f}" == shown
    true = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    given = noise.inject("symmetric", true, len(counts), rate, seed=1)
    realised = noise.describe(true, given.labels, len(counts)).manifest["actual_rate"]
    assert abs(realised - rate) < 4 * (rate * (1 - rate) / len(true)) ** 0.5


# Global generators


def reseed():
    """What a library does that seeds all generators of the process."""
    random.seed(7)  # every test starts from another state, see conftest.py
    np.random.seed(7)  # noqa: NPY002  the global generator is the point
    torch.manual_seed(7)


def drawn(between: Callable[[], None]):
    """Whatever we draw at random, with a call of another library before each draw and epoch."""
    between()
    split = load("digits", noise="symmetric", rate=0.4, meta_size=20, seed=3)
    between()
    given = noise.inject("one-target", split.train.y, 10, 0.3, seed=3).labels
    between()
    model = MLP(64, 10, (16,), seed=3)
    method = MLC(10, virtual_lr=0.1, transition_lr=1.0)
    options = {"epochs": 2, "batch_size": 32, "lr": 0.05, "meta_batch_size": 7, "seed": 3}
    run = nlmeta.fit(method, model, split, **options, on_epoch=lambda *_: between())
    return split.digest, given.tolist(), [p.tolist() for p in run.model.parameters()]


def test_a_library_that_seeds_the_global_generators_does_not_move_our_streams():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        quiet = drawn(lambda: None)
        assert drawn(reseed) == quiet


def test_our_streams_do_not_move_those_of_a_library_on_the_global_generators():
    before = global_state()
    drawn(lambda: None)
    assert global_state() == before
    try:
        reseed()
        assert global_state() != before  # the comparison can fail
    finally:
        torch.set_rng_state(torch.tensor(before[0], dtype=torch.uint8))


# Very sure networks


def row(wrong, gap):
    """Logits of a network that is sure of a class by a gap; the given label is class 0."""
    return [0.0, gap, 0.0] if wrong else [gap, 0.0, 0.0]


GAPS = (4.0, 17.0, 18.0, 20.0, 40.0, 120.0)  # at the last one float32 rounds to zero, too


def sure_split():
    """A sample for each gap, given the class that the network is sure of or another one.

    In the order of suspicion: the surest disagreement first, the surest agreement last.
    """
    logits = [row(True, gap) for gap in reversed(GAPS)] + [row(False, gap) for gap in GAPS]
    x = torch.tensor(logits)
    shuffled = torch.randperm(len(x), generator=generator(0, "order"))
    names = [str(name) for name in range(C)]
    split = from_arrays(x[shuffled], [0] * len(x), class_names=names, ids=shuffled.tolist(), seed=0)
    return split, split.train.x


class Same(nn.Module):
    """A network that hands on the logits that it is given."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(C))

    def forward(self, x):
        return x + self.bias


@pytest.mark.parametrize("by", ["self_confidence", "margin", "loss"])
@pytest.mark.parametrize("source", ["float32 probabilities", "a network"])
def test_suspects_stay_in_order_however_sure_the_network_is(by, source):
    """A logit gap of 18 is where float32 rounds to one, and where an entropy turns over."""
    split, logits = sure_split()
    if source == "a network":
        frame = analysis.suspects(Same(), split, by=by)
    else:
        p = logits.softmax(1)
        assert p.dtype == torch.float32
        assert (p == 1).any()
        frame = analysis.suspects(None, split, by=by, probabilities=p)
    assert np.isfinite(frame[["self_confidence", "margin", "loss", "high_loss"]]).all(axis=None)
    ids = frame["id"].tolist()
    score = frame[by].to_numpy() * (1 if by == "loss" else -1)
    # Rounding may make two scores equal; it may not put one on the other's side.
    in_order = pd.Series(score, index=ids).loc[list(range(len(ids)))].to_numpy()
    assert (np.diff(in_order) <= 0).all()
    assert set(ids[: len(GAPS)]) == set(range(len(GAPS)))  # all disagreements come first
    if source == "a network" and by == "loss":
        assert ids == list(range(len(ids)))  # a loss in float64 tells all gaps apart
    issues = analysis.label_issues(frame)
    assert issues["label_quality"].between(0, 1).all()
    assert issues["is_label_issue"].sum() == len(GAPS)


# Labels that come as a column


def grey_images():
    g = generator(0, "images")
    return torch.randint(0, 256, (N, 8, 8), generator=g, dtype=torch.uint8).numpy()


def column():
    """Labels of shape (N, 1) in uint8, as MedMNIST stores them."""
    return (np.arange(N) % C).astype(np.uint8)[:, None]


class MedicalImages:
    """An indexed dataset as MedMNIST has it: a picture, and an array of one class number."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        return Image.fromarray(grey_images()[i]), column()[i].astype(int)


def test_a_dataset_whose_labels_are_arrays_of_one_number_is_taken_as_it_is():
    split = from_dataset(MedicalImages(), seed=0, true_labels=column()[:, 0], meta_size=6)
    for part in ("train", "meta"):
        y = getattr(split, part).y
        assert y.dtype == torch.int64
        assert y.tolist() == (split.indices[part] % C).tolist()


@pytest.mark.parametrize("as_tensor", [False, True], ids=["array", "tensor"])
@pytest.mark.parametrize("argument", ["labels", "true_labels", "test"])
def test_a_column_of_labels_in_an_array_is_refused_by_name(argument, as_tensor):
    """Not repaired: a column may also be the first of several labels."""
    labels = torch.from_numpy(column()) if as_tensor else column()
    given = {
        "labels": column()[:, 0],
        "true_labels": column()[:, 0],
        "test": (grey_images(), column()[:, 0]),
    }
    given[argument] = (grey_images(), labels) if argument == "test" else labels
    with pytest.raises(ValueError, match=re.escape(f"`{argument}` holds [0] at position 0")):
        from_arrays(grey_images(), **given, seed=0)
    given[argument] = (grey_images(), labels[:, 0]) if argument == "test" else labels[:, 0]
    split = from_arrays(grey_images(), **given, seed=0)
    assert split.train.y.tolist() == (split.indices["train"] % C).tolist()


LABELS = torch.arange(8) % C
MEASURES = {
    "accuracy": lambda predictions, labels: metrics.accuracy(predictions, labels),
    "memorised": lambda predictions, labels: metrics.memorised(predictions, labels, 2 - LABELS),
    "label_recovery": lambda predictions, labels: metrics.label_recovery(
        predictions, labels, 2 - LABELS
    ),
}


@pytest.mark.parametrize("measure", MEASURES)
def test_measures_refuse_a_column_beside_a_row_of_classes(measure):
    """PyTorch would compare every sample with every other one, or call all of them class 0."""
    call = MEASURES[measure]
    call(LABELS, LABELS)
    with pytest.raises(ValueError, match=r"has shape \(8, 1\); it must be \(N,\)"):
        call(LABELS, LABELS[:, None])
    with pytest.raises(
        ValueError, match=r"`predictions` has shape \(8, 1\); it must be \(N,\) for classes"
    ):
        call(LABELS[:, None], LABELS)


def test_measures_of_a_network_refuse_a_column_too():
    """True labels, labels of `evaluate` and of the calibration; each by its name."""
    row_of_labels, column_of_labels = LABELS, LABELS[:, None]
    message = r"`{}` has shape \(8, 1\); it must be \(N,\)"
    with pytest.raises(ValueError, match=message.format("true")):
        metrics.memorised(row_of_labels, row_of_labels, column_of_labels)
    with pytest.raises(ValueError, match=message.format("labels")):
        metrics.evaluate(Same(), torch.randn(8, C), column_of_labels)
    with pytest.raises(ValueError, match=message.format("labels")):
        metrics.calibration_error(torch.eye(C)[row_of_labels], column_of_labels)


# Index tensors


def memory(method):
    """What a method keeps for each sample, (N, C)."""
    return method.memory.all_rows().clone()


@pytest.mark.parametrize(
    "make",
    [
        lambda y: MSLG(y, C, virtual_lr=0.1, label_lr=10.0),
        lambda y: ELR(len(y), C),
    ],
    ids=["MSLG", "ELR"],
)
def test_an_index_tensor_of_a_loader_is_the_same_sample_in_every_epoch(make):
    """A dictionary would take two equal tensors for two samples; rows of a memory do not."""
    x = torch.randn(N, 6, generator=generator(0, "x"))
    y = torch.arange(N) % C
    rows = torch.arange(N)
    loader = DataLoader(
        TensorDataset(x, y, rows), batch_size=7, shuffle=True, generator=generator(0, "batches")
    )
    method, model = make(y), MLP(6, C, (5,), seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    meta = Batch(x[:9], y[:9])
    start = memory(method)
    for _ in range(3):
        for batch, labels, ids in loader:
            before = memory(method)
            method.step(model, optimizer, Batch(batch, labels, ids), meta)
            moved = (memory(method) != before).any(1)
            assert set(rows[moved].tolist()) == set(ids.tolist())
    assert memory(method).shape == start.shape == (N, C)
    assert (memory(method) != start).any(1).all()


# Frames and ids


def own_table():
    """A reader's table, in an order and with an index that have nothing to do with a split's."""
    order = torch.randperm(N, generator=generator(7, "table")).tolist()
    return pd.DataFrame(
        {
            "file": [f"scan{i:03d}.png" for i in order],
            "species": [("ant", "bee", "cat")[i % C] for i in order],
            "number": order,
        },
        index=order[::-1],
    )


def frame_of(table):
    x = torch.tensor(table["number"].tolist(), dtype=torch.float32)[:, None]
    split = from_arrays(x, table["species"].tolist(), ids=table["file"].tolist(), seed=2)
    logits = torch.randn(N, C, generator=generator(0, "logits"))
    return split, analysis.suspects(None, split, probabilities=logits.softmax(1))


def test_frames_find_their_way_back_by_id_after_any_shuffle():
    table = own_table()
    _, frame = frame_of(table)
    assert frame["id"].tolist() != table["file"].tolist()  # a join by position would be wrong
    for seed in (0, 1):
        shuffled = frame.sample(frac=1, random_state=seed)
        both = table.join(shuffled.set_index("id"), on="file")
        assert both["given_name"].tolist() == table["species"].tolist()
        issues = analysis.label_issues(shuffled)
        both = table.merge(issues, left_on="file", right_on="id", validate="1:1")
        assert both["given_label"].tolist() == [n % C for n in both["number"]]
        pd.testing.assert_frame_equal(issues, analysis.label_issues(frame))


def test_the_index_of_label_issues_is_the_row_of_the_training_part():
    """So that a frame which counts from 0 in that order, as cleanlab's does, may be joined."""
    split, frame = frame_of(own_table())
    issues = analysis.label_issues(frame.sample(frac=1, random_state=3))
    theirs = pd.DataFrame({"theirs": split.train.y.tolist()})
    both = theirs.join(issues)
    assert (both["theirs"] == both["given_label"]).all()
    assert both["id"].tolist() == list(split.train.sample_ids)


@pytest.mark.parametrize(
    "made",
    [torch.tensor, np.array, pd.Index, lambda numbers: [np.int64(i) for i in numbers]],
    ids=["tensor", "NumPy array", "pandas index", "list of NumPy numbers"],
)
def test_ids_of_any_array_are_plain_ids_that_a_dictionary_finds(made):
    """A tensor is another key of a dictionary than the number that it holds."""
    numbers = [1000 + 7 * i for i in range(N)]
    place = {number: i for i, number in enumerate(numbers)}
    x = torch.arange(N, dtype=torch.float32)[:, None]
    split = from_arrays(x, column()[:, 0], ids=made(numbers), seed=4)
    probabilities = torch.randn(N, C, generator=generator(0, "logits")).softmax(1)
    frame = analysis.suspects(None, split, probabilities=probabilities)
    assert [place[i] for i in frame["id"]] == split.train.x[frame["row"].tolist(), 0].tolist()
    assert [place[i] for i in split.train.sample_ids] == split.train.x[:, 0].tolist()
    with pytest.raises(ValueError, match="`ids` has .* twice"):
        from_arrays(x, column()[:, 0], ids=made([5] * N), seed=4)


def test_several_labels_of_a_sample_are_refused_by_name():
    """As in the one dataset of MedMNIST that has fourteen for each."""
    several = TensorDataset(torch.randn(N, 4), torch.from_numpy(column()).long().repeat(1, 14))
    with pytest.raises(ValueError, match=r"`labels` holds .* at position 0"):
        from_dataset(several, seed=0)


# Forward mode: right, or refused with a way out that works


class Attention(nn.Module):
    """Four words of eight numbers each."""

    def __init__(self, dropout):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=dropout, batch_first=True)
        self.last = nn.Linear(8, C)

    def forward(self, x):
        return self.last(self.layer(x.view(len(x), 4, 8)).mean(1))


class Recurrent(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.layer = nn.LSTM(8, 6, batch_first=True, **options)
        self.last = nn.Linear(options.get("proj_size", 6), C)

    def forward(self, x):
        return self.last(self.layer(x.view(len(x), 4, 8))[0][:, -1])


class Normalised(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.layer = norm(nn.Linear(32, 8))
        self.last = nn.Linear(8, C)

    def forward(self, x):
        return self.last(torch.tanh(self.layer(x)))


class Prototypes(nn.Module):
    """Logits are distances to a learned point of each class."""

    def __init__(self, written_out=False):
        super().__init__()
        self.layer = nn.Linear(32, 5)
        self.points = nn.Parameter(torch.randn(C, 5))
        self.written_out = written_out

    def forward(self, x):
        h = self.layer(x)
        if self.written_out:
            return -(h[:, None] - self.points).square().sum(2).sqrt()
        return -torch.cdist(h, self.points)


def without_dropout():
    return Attention(0.0).train()


def in_evaluation_mode():
    return Attention(0.1).eval()


def spectral():
    """Its estimate of the norm is settled, so that a pass in training mode does not move it."""
    model = Normalised(nn.utils.parametrizations.spectral_norm).double()
    with torch.no_grad():
        for _ in range(200):
            model(torch.zeros(1, 32, dtype=torch.float64))
    return model


def mathematics():
    return sdpa_kernel(SDPBackend.MATH)


@contextmanager
def no_fast_path():
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def gradient(
    make, mode, *settings, dtype=torch.float64, inner=F.cross_entropy, outer=F.cross_entropy
):
    """The hypergradient of sample weights, all of whose numbers are drawn with one seed."""
    with torch.random.fork_rng(devices=[]), ExitStack() as stack:
        torch.manual_seed(3)
        model = make().to(dtype)
        x, meta_x = torch.randn(12, 32, dtype=dtype), torch.randn(9, 32, dtype=dtype)
        y, meta_y = torch.randint(0, C, (12,)), torch.randint(0, C, (9,))
        weights = torch.linspace(0.1, 2.0, 12, dtype=dtype).requires_grad_()
        for setting in settings:
            stack.enter_context(setting())
        return bilevel.hypergradient(
            model,
            bilevel.forward_pass(model, x),
            lambda z: (weights * inner(z, y, reduction="none")).mean(),
            lambda network: outer(network(meta_x), meta_y),
            [weights],
            lr=0.3,
            mode=mode,
        ).gradients[0]


def forward_mode(make, **options):
    """The gradient by forward mode and None, or None and what its refusal says."""
    try:
        return gradient(make, "jvp", **options), None
    except NotImplementedError as error:
        return None, str(error)


def assert_right(got, want, tolerance):
    """The largest difference, as a share of the largest entry."""
    assert want.abs().max() > 1e-4
    assert_close(got, want, rtol=0, atol=tolerance * want.abs().max().item())


ATTENTION = (mathematics, no_fast_path)  # what double backward needs of attention on a CPU
FORWARD_MODE = {
    "attention with dropout": (lambda: Attention(0.1), ()),
    "attention without dropout": (without_dropout, ATTENTION),
    "attention in evaluation mode": (in_evaluation_mode, ATTENTION),
    "spectral norm": (spectral, ()),
    "weight norm": (lambda: Normalised(nn.utils.parametrizations.weight_norm), ()),
    "cdist": (Prototypes, ()),
    "LSTM": (Recurrent, ()),
    "LSTM with projections": (lambda: Recurrent(proj_size=3), ()),
    "LSTM with dropout": (lambda: Recurrent(num_layers=2, dropout=0.3), ()),
}
BY_OTHER_KERNELS = [kind for kind in FORWARD_MODE if kind.split()[0] in ("attention", "LSTM")]


@pytest.mark.parametrize("kind", FORWARD_MODE)
def test_a_network_is_right_in_forward_mode_or_refused_with_a_difference_as_the_way_out(kind):
    """float64. The difference is second order: a step of a hundredth has an error of 1e-4 of it."""
    make, reference = FORWARD_MODE[kind]
    # `cdist` has a second derivative in newer versions of PyTorch alone.
    plain = (lambda: Prototypes(written_out=True)) if kind == "cdist" else make
    want = gradient(plain, "exact", *reference)
    got, refusal = forward_mode(make)
    if refusal is None:
        assert_right(got, want, 1e-10)
    else:
        assert "use mode='fd'" in refusal
        assert_right(gradient(make, "fd"), want, 1e-2)
        assert_right(gradient(make, Lookahead("fd", fd_step=1e-4)), want, 1e-6)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("kind", BY_OTHER_KERNELS)
def test_attention_and_lstms_are_right_in_forward_mode_by_whatever_kernels(kind, dtype, tolerance):
    """Their usual kernels have no rule in some of these cases; a tangent takes others by itself."""
    make, reference = FORWARD_MODE[kind]
    settings = (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled)
    want = gradient(make, "exact", *reference, dtype=dtype)
    assert_right(gradient(make, "jvp", dtype=dtype), want, tolerance)
    after = (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled)
    assert after == settings


class DroppedAfterwards(Attention):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.1)


def test_on_another_device_other_kernels_are_refused_where_random_numbers_are_drawn(monkeypatch):
    """There a fused kernel may have a dropout of its own. A tangent knows the device alone."""
    for make in (without_dropout, lambda: DroppedAfterwards(0.0)):
        assert forward_mode(make)[1] is None  # on a CPU
    elsewhere = torch.device("meta")
    monkeypatch.setattr("nlmeta.bilevel._tangents.device_of", lambda x: elsewhere)
    assert forward_mode(without_dropout)[1] is None
    text = "other kernels may draw other numbers. Take all passes on those that have one"
    assert text in forward_mode(lambda: DroppedAfterwards(0.0))[1]


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (without_dropout, (mathematics,)),
        (lambda: spectral().eval(), ()),
        (lambda: Prototypes(written_out=True), ()),
    ],
    ids=[
        "attention: the math backend around the step",
        "spectral norm: evaluation mode",
        "cdist: written out",
    ],
)
def test_forward_mode_is_right_on_the_other_ways_out_that_the_page_names(make, settings):
    want = gradient(make, "exact", *settings)
    assert_right(gradient(make, "jvp", *settings), want, 1e-10)


def multi_margin(z, y, reduction="mean"):
    """As `F.multi_margin_loss`, of operations that can be differentiated twice."""
    gap = 1 - z.gather(1, y[:, None]) + z  # (n, C)
    losses = gap.clamp_min(0).scatter(1, y[:, None], 0).sum(1) / z.shape[1]
    return losses if reduction == "none" else losses.mean()


def test_a_loss_without_a_second_derivative_is_refused_inside_and_right_outside():
    """Every mode differentiates the inner loss twice; PyTorch has no rule for this one."""

    def network():
        return Normalised(lambda layer: layer)

    for mode in bilevel.MODES:
        with pytest.raises(RuntimeError, match="multi_margin_loss"):
            gradient(network, mode, inner=F.multi_margin_loss)
    want = gradient(network, "exact", inner=multi_margin, outer=multi_margin)
    assert_right(gradient(network, "jvp", inner=multi_margin, outer=multi_margin), want, 1e-10)
    outer = gradient(network, "jvp", inner=multi_margin, outer=F.multi_margin_loss)
    assert_right(outer, want, 1e-10)
    z = torch.randn(7, C, generator=generator(0, "logits"), dtype=torch.float64)
    y = torch.arange(7) % C
    assert_close(
        multi_margin(z, y, "none"), F.multi_margin_loss(z, y, reduction="none"), rtol=0, atol=1e-15
    )


def test_the_loss_of_the_page_is_the_one_that_is_tested_here(root):
    """Its function, taken from the page, gives the numbers of PyTorch's."""
    page = (root / "book/other_tools.md").read_text()
    source = re.search(r"```python\n(def multi_margin.*?)```", page, re.DOTALL)
    names = {}
    exec(compile(source.group(1), "other_tools.md", "exec"), names)
    z = torch.randn(7, C, generator=generator(0, "logits"), dtype=torch.float64)
    y = torch.arange(7) % C
    want = F.multi_margin_loss(z, y, reduction="none")
    assert_close(names["multi_margin"](z, y), want, rtol=0, atol=1e-15)


@pytest.mark.parametrize("wrapped", [False, True], ids=["model.compile", "torch.compile"])
def test_a_compiled_network_is_right_in_forward_mode_and_refused_where_it_is_not(wrapped):
    def plain():
        return Normalised(lambda layer: layer)

    def compiled():
        model = plain()
        if wrapped:
            return torch.compile(model, backend="eager")
        model.compile(backend="eager")
        return model

    torch.compiler.reset()  # PyTorch compiles one function for eight backends and no more
    want = gradient(plain, "exact")
    assert_right(gradient(compiled, "jvp"), want, 1e-10)
    assert_right(gradient(compiled, Lookahead("fd", fd_step=1e-4)), want, 1e-6)
    with pytest.raises(RuntimeError, match="leave `compile` out, or use mode='jvp'"):
        gradient(compiled, "exact")


def closed_form(curvature, step, phi=0.2):
    """Of the page: inner loss a t^2 / 2 + phi t, outer loss (t - 3)^2 / 2, one step from t = 1."""
    return -step * (1 - step * (curvature + phi) - 3)


class OneNumber(nn.Module):
    def __init__(self):
        super().__init__()
        self.number = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x):
        return self.number * x


@pytest.mark.parametrize("mode", bilevel.MODES)
@pytest.mark.parametrize(("curvature", "shown"), [(1.0, 0.212), (-1.0, 0.192)])
def test_the_example_by_hand_of_the_page_holds_in_every_mode(curvature, shown, mode):
    """A library that differentiates an optimum has the wrong sign where the curvature has."""
    model, phi = OneNumber(), torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    result = bilevel.hypergradient(
        model,
        bilevel.forward_pass(model, torch.ones(1, 1, dtype=torch.float64)),
        lambda z: (curvature * z.square() / 2 + phi * z).sum(),
        lambda network: (network(torch.ones(1, 1, dtype=torch.float64)) - 3).square().sum() / 2,
        [phi],
        lr=0.1,
        mode=mode,
    )
    assert closed_form(curvature, 0.1) == pytest.approx(shown, abs=1e-12)
    assert result.gradients[0].item() == pytest.approx(shown, abs=1e-12)
