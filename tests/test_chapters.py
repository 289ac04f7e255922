"""What chapters build from scratch, pulled out of the notebooks and compared with the package."""

import copy
import functools

import nbformat
import pandas as pd
import pytest
import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from scipy import stats
from torch.func import functional_call, grad, jvp
from torch.testing import assert_close

from nlmeta import (
    CLIDMU,
    MLC,
    MLNT,
    MSLG,
    CrossEntropy,
    bilevel,
    data,
    experiments,
    losses,
    models,
    procedures,
    seeding,
)
from nlmeta.methods import ELR, CoTeaching, LearningToReweight, WeightNet


def definition(root, chapter, name):
    """A function as the chapter defines it; the chapter's own imports are given to it."""
    notebook = nbformat.read(root / "book" / f"{chapter}.ipynb", as_version=4)
    cells = [
        c.source for c in notebook.cells if c.cell_type == "code" and f"def {name}(" in c.source
    ]
    assert len(cells) == 1, f"{chapter} defines {name} {len(cells)} times"
    names = {
        "torch": torch,
        "F": F,
        "functional_call": functional_call,
        "grad": grad,
        "jvp": jvp,
        "forward_ad": forward_ad,
        "fwAD": forward_ad,
        "nn": torch.nn,
    }
    exec(compile(cells[0], f"{chapter}.ipynb", "exec"), names)
    return names[name], cells[0]


def lines_of(source, *, comments=True):
    """The lines of a definition that are not empty, with or without those of comments alone."""
    lines = [line.strip() for line in source.splitlines()]
    return [line for line in lines if line and (comments or not line.startswith("#"))]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # PyTorch's own, at the first dual number
def test_mlc_from_scratch_equals_the_package(root):
    """Ten steps in float64: T and the weights, to a relative 1e-10."""
    mlc_step, source = definition(root, "mlc", "mlc_step")
    assert len(lines_of(source, comments=False)) <= 40
    split = data.load("digits", noise="symmetric", rate=0.5, seed=6).to("cpu", torch.float64)
    mine = models.MLP(64, 10, (24,), seed=6).double()
    theirs = copy.deepcopy(mine)
    method = MLC(10, virtual_lr=0.2, transition_lr=2.0, q_floor=0.0).double()
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    transition = torch.eye(10, dtype=torch.float64)
    order = seeding.generator(6, "batches")
    meta = data.draw_batch(split.meta, None, generator=order)
    for _ in range(10):
        train = data.draw_batch(split.train, 48, generator=order)
        transition = mlc_step(
            mine, transition, train.x, train.y, meta.x, meta.y, alpha=0.2, eta=2.0, lr=0.1
        )
        method.step(theirs, optimizer, train, meta)
    moved = (transition - torch.eye(10)).abs().max()
    assert moved > 1e-2
    assert_close(method.transition.detach(), transition, rtol=1e-10, atol=1e-10 * moved.item())
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # PyTorch's own, at the first dual number
def test_lookahead_gradient_from_scratch_equals_the_package(root):
    """Sample weights, BatchNorm in training mode, float64; the network is left as it was."""
    lookahead_gradient, source = definition(root, "bilevel", "lookahead_gradient")
    assert len(lines_of(source)) <= 25
    split = data.load("digits", noise="symmetric", rate=0.5, seed=8).to("cpu", torch.float64)
    model = models.SmallCNN(1, 10, width=4, hidden=12, seed=8).double()
    x, y = split.train.x[:32], split.train.y[:32]
    weights = torch.linspace(0.01, 0.05, 32, dtype=torch.float64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    got = lookahead_gradient(model, x, y, weights, split.meta.x, split.meta.y, 0.4)
    for name, value in model.state_dict().items():
        assert torch.equal(before[name], value), name
    weights.requires_grad_()
    want = bilevel.hypergradient(
        model,
        bilevel.forward_pass(model, x),
        lambda z: (weights * F.cross_entropy(z, y, reduction="none")).sum(),
        lambda network: F.cross_entropy(network(split.meta.x), split.meta.y),
        [weights],
        lr=0.4,
        mode="exact",
    ).gradients[0]
    assert want.abs().max() > 1e-4
    assert_close(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # PyTorch's own, at the first dual number
def test_reweight_from_scratch_equals_the_package(root):
    """Ten steps in float64 on its weights and on the package's; then a batch that nobody helps."""
    reweight, source = definition(root, "reweighting", "reweight")
    assert len(lines_of(source)) <= 12
    split = data.load("digits", noise="one-target", rate=0.4, seed=6).to("cpu", torch.float64)
    mine = models.MLP(64, 10, (24,), seed=6).double()
    theirs = copy.deepcopy(mine)
    optimizers = [torch.optim.SGD(network.parameters(), lr=0.1) for network in (mine, theirs)]
    order = seeding.generator(6, "batches")
    meta = data.draw_batch(split.meta, None, generator=order)
    zeros = 0
    for _ in range(10):
        train = data.draw_batch(split.train, 48, generator=order)
        weights = reweight(mine, train.x, train.y, meta.x, meta.y)
        assert weights.sum().item() == pytest.approx(1, abs=1e-12)
        zeros += int((weights == 0).sum())
        loss = (weights * F.cross_entropy(mine(train.x), train.y, reduction="none")).sum()
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
        LearningToReweight().step(theirs, optimizers[1], train, meta)
    assert 48 < zeros < 432  # some help and some do not
    start = models.MLP(64, 10, (24,), seed=6).double()
    pairs = zip(mine.parameters(), start.parameters(), strict=True)
    assert max((p - s).abs().max().item() for p, s in pairs) > 1e-2
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert_close(a, b, rtol=1e-10, atol=1e-12)
    against = torch.nn.Linear(2, 2).double()
    torch.nn.init.zeros_(against.weight)
    torch.nn.init.zeros_(against.bias)
    x = torch.tensor([[1.0, 0.5], [2.0, 0.1]], dtype=torch.float64)
    nobody = reweight(against, x, torch.tensor([1, 1]), x[:1], torch.tensor([0]))
    assert nobody.tolist() == [0, 0]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # PyTorch's own, at the first dual number
def test_mslg_from_scratch_equals_the_package(root):
    """Ten steps in float64: the labels and the weights, to a relative 1e-10."""
    mslg_step, source = definition(root, "mslg", "mslg_step")
    assert len(lines_of(source, comments=False)) <= 40
    split = data.load("digits", noise="symmetric", rate=0.5, seed=6).to("cpu", torch.float64)
    mine = models.MLP(64, 10, (24,), seed=6).double()
    theirs = copy.deepcopy(mine)
    method = MSLG(split.train.y, 10, virtual_lr=0.3, label_lr=100.0, k=4.0).double()
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    start = method.memory.logits.clone()
    u = start.clone()
    order = seeding.generator(6, "batches")
    meta = data.draw_batch(split.meta, None, generator=order)
    for _ in range(10):
        train = data.draw_batch(split.train, 48, generator=order)
        u = mslg_step(mine, u, train.x, train.ids, meta.x, meta.y, alpha=0.3, beta=100.0, lr=0.1)
        method.step(theirs, optimizer, train, meta)
    moved = (u - start).abs().max()
    assert moved > 1e-2
    assert_close(method.memory.logits, u, rtol=1e-10, atol=1e-10 * moved.item())
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("order", ["first", "second"])
def test_mlnt_from_scratch_equals_the_package(root, order):
    """Ten steps in float64: student and teacher, to a relative 1e-10 of what the method adds."""
    mlnt_step, source = definition(root, "mlnt", "mlnt_step")
    assert len(lines_of(source, comments=False)) <= 40
    split = data.load("digits", noise="symmetric", rate=0.5, seed=6).to("cpu", torch.float64)
    mine = models.MLP(64, 10, (24,), seed=6).double()
    theirs, plain = copy.deepcopy(mine), copy.deepcopy(mine)
    mentor = models.MLP(64, 10, (24,), seed=7).double()
    sizes = {"trials": 2, "replaced": 0.3, "neighbours": 5}
    method = MLNT(
        theirs, mentor, trial_lr=0.7, meta_weight=2.0, order=order, decay=0.8, seed=9, **sizes
    )
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.1) for net in (theirs, plain)]
    teacher = {name: w.detach().clone() for name, w in mine.named_parameters()}
    draw, batches = seeding.generator(9, "synthetic labels"), seeding.generator(6, "batches")
    for _ in range(10):
        train = data.draw_batch(split.train, 48, generator=batches)
        with torch.no_grad():
            _, features = mentor(train.x, return_features=True)
        teacher = mlnt_step(
            mine,
            teacher,
            train.x,
            train.y,
            features,
            draw,
            alpha=0.7,
            weight=2.0,
            lr=0.1,
            decay=0.8,
            sizes=tuple(sizes.values()),
            order=order,
        )
        method.step(theirs, optimizers[0], train)
        CrossEntropy().step(plain, optimizers[1], train)
    mine, theirs, plain = (dict(net.named_parameters()) for net in (mine, theirs, plain))
    average = dict(method.teacher.module.named_parameters())
    moved = max((mine[name] - plain[name]).abs().max().item() for name in mine)
    assert moved > 1e-2
    for name in mine:
        assert_close(theirs[name], mine[name], rtol=0, atol=1e-10 * moved)
        assert_close(average[name], teacher[name], rtol=0, atol=1e-10 * moved)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # PyTorch's own, at the first dual number
def test_clid_mu_from_scratch_equals_the_package(root):
    """Ten steps in float64: the head and the weights, to a relative 1e-10. There double backward,
    here the closed form.
    """
    clid_mu_step, source = definition(root, "clid_mu", "clid_mu_step")
    assert len(lines_of(source, comments=False)) <= 40
    split = data.load("digits", noise="symmetric", rate=0.5, seed=6).with_noisy_meta(200, seed=6)
    split = split.to("cpu", torch.float64)
    mine = models.MLP(64, 10, (24,), seed=6).double()
    theirs = copy.deepcopy(mine)
    head = WeightNet(12, seed=6)
    options = {"virtual_lr": 0.3, "head_weight_decay": 0.0}
    method = CLIDMU(head, head_lr=3.0, **options).double()
    start = [p.detach().clone() for p in head.parameters()]
    phi = [p.clone().requires_grad_() for p in start]
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    order = seeding.generator(6, "batches")
    for _ in range(10):
        train = data.draw_batch(split.train, 48, generator=order)
        meta = data.draw_batch(split.meta, 40, generator=order)
        phi = clid_mu_step(mine, phi, train.x, train.y, meta.x, alpha=0.3, eta=3.0, lr=0.1)
        method.step(theirs, optimizer, train, meta)
    moved = max((p - s).abs().max().item() for p, s in zip(phi, start, strict=True))
    assert moved > 1e-2
    for a, b in zip(phi, head.parameters(), strict=True):
        assert_close(b, a, rtol=1e-10, atol=1e-10 * moved)
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_scores_of_an_epoch_from_scratch_equal_the_package(root):
    """Two batches of random features and logits in float64, and predictions of an epoch before. The
    package adds 1e-7 inside of the logarithm, whose argument is about 1/20.
    """
    scores_by_hand, source = definition(root, "choosing_epoch", "scores_by_hand")
    assert len(lines_of(source)) <= 30
    g = seeding.generator(6, "scores")
    features = torch.randn(40, 8, generator=g, dtype=torch.float64)
    logits = torch.randn(40, 10, generator=g, dtype=torch.float64)
    before = torch.randint(10, (40,), generator=g)
    (changed, entropy, *divergences), predicted = scores_by_hand(features, logits, before, batch=20)
    assert torch.equal(predicted, logits.argmax(1))
    assert changed == pytest.approx((predicted != before).double().mean().item())
    assert entropy == pytest.approx(F.cross_entropy(logits, logits.softmax(1)).item())
    for one_hot, got in zip((False, True), divergences, strict=True):
        parts = zip(features.split(20), logits.split(20), strict=True)
        values = [losses.cross_layer_divergence(h, z, one_hot=one_hot) for h, z in parts]
        assert got == pytest.approx(torch.stack(values).mean().item(), rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_spread_errors_keep_the_count_of_every_pair(root, share):
    """Sixty samples in three classes of unequal size; what is kept is what looks most alike."""
    spread, _ = definition(root, "looks_right", "spread")
    g = seeding.generator(3, "spread")
    true = torch.tensor([0] * 30 + [1] * 20 + [2] * 10)
    looks, likeness = true.clone(), torch.rand(60, 3, generator=g, dtype=torch.float64)
    looks[:10], looks[30:35] = 1, 2
    given = spread(true, looks, likeness, share, seeding.generator(4, "spread"))

    def counts(labels):
        return torch.bincount(10 * true + labels, minlength=30)

    assert torch.equal(counts(given), counts(looks))
    for i, j, n in ((0, 1, 10), (1, 2, 5)):
        rows = ((true == i) & (looks == j)).nonzero().flatten()
        alike = rows[likeness[rows, j].argsort(descending=True)][: round(share * n)]
        assert (given[alike] == j).all()
    assert torch.equal(given, looks) == (share == 1)


@pytest.fixture
def batch_of_logits():
    """Logits of two networks for 40 samples in float64, and labels, in ten classes."""
    g = seeding.generator(6, "rivals")
    first, second = (torch.randn(40, 10, generator=g, dtype=torch.float64) for _ in range(2))
    return first, second, torch.randint(10, (40,), generator=g)


@pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
def test_gce_from_scratch_equals_the_package(q, root, batch_of_logits):
    """Value and gradient, to round-off."""
    gce, source = definition(root, "without_looking_ahead", "gce")
    assert len(lines_of(source)) <= 10
    logits, _, labels = batch_of_logits
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    value, want = gce(ours, labels, q), losses.generalised_cross_entropy(theirs, labels, q=q)
    assert_close(value, want, rtol=1e-12, atol=0)
    (got,), (wanted,) = torch.autograd.grad(value, ours), torch.autograd.grad(want, theirs)
    assert wanted.abs().max() > 1e-4
    assert_close(got, wanted, rtol=1e-10, atol=1e-14)


def test_elr_from_scratch_equals_the_package(root):
    """Ten steps in float64: the targets and the weights."""
    elr, source = definition(root, "without_looking_ahead", "elr")
    assert len(lines_of(source)) <= 10
    split = data.load("digits", noise="symmetric", rate=0.5, seed=6).to("cpu", torch.float64)
    mine = models.MLP(64, 10, (24,), seed=6).double()
    theirs = copy.deepcopy(mine)
    method = ELR(len(split.train), 10, weight=5.0, beta=0.7).double()
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.1) for net in (mine, theirs)]
    targets = torch.zeros(len(split.train), 10, dtype=torch.float64)
    order = seeding.generator(6, "batches")
    for _ in range(10):
        train = data.draw_batch(split.train, 300, generator=order)
        loss, moved = elr(mine(train.x), train.y, targets[train.ids], 5.0, 0.7)
        targets[train.ids] = moved.detach()
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
        method.step(theirs, optimizers[1], train)
    assert method.targets.sum(1).max() > 0.6  # a sample was seen more than three times
    assert_close(method.targets, targets, rtol=1e-10, atol=1e-12)
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_co_teaching_from_scratch_equals_the_package(root):
    """One step of two networks, of which each uses the other one's choice."""
    co_teaching, source = definition(root, "without_looking_ahead", "co_teaching")
    assert len(lines_of(source)) <= 11
    split = data.load("digits", noise="symmetric", rate=0.5, seed=6).to("cpu", torch.float64)
    model, peer = (models.MLP(64, 10, (24,), seed=seed).double() for seed in (6, 7))
    train = data.draw_batch(split.train, 48, generator=seeding.generator(6, "batches"))
    ours = co_teaching(model(train.x), peer(train.x), train.y, used=0.5)
    method = CoTeaching(peer, forget_rate=0.5, ramp_steps=0)
    told = method.step(model, torch.optim.SGD(model.parameters(), lr=0.1), train)
    assert not torch.isclose(ours[0], ours[1])
    assert_close(torch.stack(ours).detach(), torch.stack([told["loss"], told["peer_loss"]]))


def test_matrices_and_corrected_loss_from_scratch_equal_the_package(root, batch_of_logits):
    """Forward correction, and T read off clean samples and off anchors."""
    forward, source = definition(root, "without_looking_ahead", "forward_correction")
    from_clean, from_anchors = (
        definition(root, "without_looking_ahead", f"matrix_from_{name}")[0]
        for name in ("clean", "anchors")
    )
    assert len(lines_of(source)) <= 15
    logits, _, labels = batch_of_logits
    transition = torch.rand(10, 10, generator=seeding.generator(6, "T"), dtype=torch.float64)
    transition /= transition.sum(1, keepdim=True)
    assert not torch.allclose(transition, transition.t())
    want = losses.transition_cross_entropy(logits, labels, transition)
    assert_close(forward(logits, labels, transition), want, rtol=1e-12, atol=0)

    network, y = torch.nn.Identity(), torch.arange(40) % 10
    p = logits.softmax(1)
    want = procedures.transition_from_clean(network, data.Samples(logits, y))
    assert_close(from_clean(p, y), want, rtol=1e-12, atol=0)
    for percentile in (100, 97, 50):
        want = procedures.transition_from_anchors(network, logits, percentile=percentile)
        assert_close(from_anchors(p, percentile), want, rtol=1e-12, atol=0)


@pytest.fixture(scope="module")
def leaves(root):
    """The cell of chapter 17 with the tree's leaves and their evidence."""
    notebook = nbformat.read(root / "book" / "which_method.ipynb", as_version=4)
    (cell,) = (c.source for c in notebook.cells if "\ndef evidence(" in c.source)
    names = {"experiments": experiments, "functools": functools, "pd": pd}
    exec(compile(cell, "which_method.ipynb", "exec"), names)
    return names


def test_the_evidence_of_a_leaf_is_what_the_record_says(leaves):
    """One leaf by hand: differences seed by seed, and Student's interval of their mean."""
    rows = leaves["evidence"](("many", "one name", True)).set_index(["problem", "reference"])
    runs = experiments.read("digits")
    problem = "one-target 40 %, 100 clean"
    accuracy = runs[runs["problem"] == problem].pivot(
        index="seed", columns="method", values="accuracy"
    )
    for rival in ("GLC", "ELR", "MSLG"):
        apart = 100 * (accuracy["MLC"] - accuracy[rival])
        low, high = stats.t.interval(0.95, 4, apart.mean(), stats.sem(apart))
        row = rows.loc[(problem, rival)]
        assert row[["mean", "low", "high"]].tolist() == pytest.approx([apart.mean(), low, high])
        assert row["verdict"] == ("ahead" if low > 0 else "behind" if high < 0 else "not decided")


def test_a_leaf_has_no_rival_that_costs_more_or_sees_more_than_its_reader_has(leaves):
    """And none is left out: each row of the record with the same means is compared."""
    for (checked, errors, dear), (take, where) in leaves["LEAVES"].items():
        rows = leaves["evidence"]((checked, errors, dear))
        compared = {(row.problem, row.reference) for row in rows.itertuples()}
        may = set(leaves["NOTHING"])
        may |= set(leaves["CHECKED"]) if checked != "none" else set()
        may |= set(leaves["NOTHING_DEAR"]) if dear else set()
        may |= set(leaves["CHECKED_DEAR"]) if dear and checked != "none" else set()
        wanted = set()
        for record, problem in where:
            runs = experiments.read(record)
            there = runs[runs["problem"] == problem]["method"].str.removesuffix(", auto")
            assert take in set(there)
            wanted |= {(problem, name) for name in (may & set(there)) - {take}}
        assert compared == wanted


def test_a_recommendation_is_behind_no_rival_but_where_the_chapter_says_so(leaves):
    """Two leaves of readers who do not know their errors, each behind ELR on one problem."""
    behind = {}
    for leaf in leaves["LEAVES"]:
        rows = leaves["evidence"](leaf)
        lost = rows[rows["high"] < 0]
        behind |= {leaf: lost["reference"].tolist()} if len(lost) else {}
    assert behind == {("few", "unknown", False): ["ELR"], ("many", "unknown", False): ["ELR"]}


@pytest.fixture(scope="module")
def logistic():
    """A ridge-penalised logistic regression in float64 with weights of samples; its optimum."""
    g = torch.Generator().manual_seed(3)
    x = torch.randn(30, 4, generator=g, dtype=torch.float64) * torch.tensor([2.0, 1.0, 0.6, 0.3])
    y = (torch.rand(30, generator=g) < 0.5).double()
    clean_x = torch.randn(9, 4, generator=g, dtype=torch.float64)
    weights = torch.linspace(0.2, 1.4, 30, dtype=torch.float64)

    def inner(theta, w):
        each = F.binary_cross_entropy_with_logits(x @ theta, y, reduction="none")
        return (w * each).mean() + 0.05 * theta.square().sum()

    def outer(theta):
        return F.softplus(-clean_x @ theta).mean()

    hessian = torch.func.jacrev(torch.func.grad(inner))

    def train(w):
        theta = torch.zeros(4, dtype=torch.float64)
        for _ in range(30):  # Newton's method
            slope = torch.func.grad(inner)(theta, w)
            theta = theta - torch.linalg.solve(hessian(theta, w), slope)
        return theta

    units = torch.eye(30, dtype=torch.float64)
    ends = [[outer(train(weights + s * 1e-5 * e)).item() for s in (1, -1)] for e in units]
    exact = torch.tensor([(up - down) / 2e-5 for up, down in ends], dtype=torch.float64)
    assert exact.abs().max() > 1e-3
    return inner, outer, train(weights), weights, exact


def test_implicit_derivatives_from_scratch_are_those_of_training_again(root, logistic):
    """A loss that is no quadratic, against differences of whole trainings."""
    inner, outer, theta, weights, exact = logistic
    implicit, _ = definition(root, "optimum", "implicit")
    solvers = {
        name: definition(root, "optimum", name)[0]
        for name in ("written_out", "conjugate_gradients", "neumann")
    }
    ways = {
        "written out": solvers["written_out"],
        "CG": lambda product, v: solvers["conjugate_gradients"](product, v, 4),
        "Neumann": lambda product, v: solvers["neumann"](product, v, 400, 1.0),
    }
    for name, solve in ways.items():
        got = implicit(inner, outer, theta, weights, solve)
        assert_close(got, exact, rtol=0, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")
    early = implicit(inner, outer, theta, weights, lambda product, v: ways["CG"](product, v) * 0.9)
    assert (early - exact).abs().max() > 1e-5


def test_unrolled_from_scratch_ends_at_the_implicit_derivative(root, logistic):
    """From zero, many steps; truncated; and from the optimum, K steps are K terms of Neumann."""
    inner, outer, theta, weights, exact = logistic
    unrolled, _ = definition(root, "optimum", "unrolled")
    implicit, _ = definition(root, "optimum", "implicit")
    neumann, _ = definition(root, "optimum", "neumann")
    zero = torch.zeros_like(theta)
    assert_close(unrolled(inner, outer, zero, weights, 1.0, 400), exact, rtol=0, atol=1e-9)
    assert_close(unrolled(inner, outer, zero, weights, 1.0, 600, 300), exact, rtol=0, atol=1e-9)
    for steps in (1, 2, 7):
        by_steps = unrolled(inner, outer, theta, weights, 1.0, steps)
        by_terms = implicit(
            inner, outer, theta, weights, lambda h, v, n=steps: neumann(h, v, n, 1.0)
        )
        assert_close(by_steps, by_terms, rtol=0, atol=1e-13)
        assert (by_steps - exact).abs().max() > 1e-5


def test_one_unrolled_step_is_the_hypergradient_of_the_package(root):
    """A linear layer with two logits, weights of samples, from weights that are not zero."""
    unrolled, _ = definition(root, "optimum", "unrolled")
    split = data.load("digits", noise="symmetric", rate=0.5, seed=2).to("cpu", torch.float64)
    x, y = split.train.x[:40].flatten(1), split.train.y[:40]
    clean_x, clean_y = split.meta.x.flatten(1), split.meta.y
    layer = torch.nn.Linear(64, 10, bias=False).double()
    weights = torch.linspace(0.01, 0.05, 40, dtype=torch.float64)
    got = unrolled(
        lambda theta, w: w @ F.cross_entropy(x @ theta.T, y, reduction="none"),
        lambda theta: F.cross_entropy(clean_x @ theta.T, clean_y),
        layer.weight,
        weights,
        0.4,
        1,
    )
    weights.requires_grad_()
    want = bilevel.hypergradient(
        layer,
        bilevel.forward_pass(layer, x),
        lambda z: weights @ F.cross_entropy(z, y, reduction="none"),
        lambda network: F.cross_entropy(network(clean_x), clean_y),
        [weights],
        lr=0.4,
        mode="exact",
    ).gradients[0]
    assert want.abs().max() > 1e-3
    assert_close(got, want, rtol=1e-10, atol=1e-13)
