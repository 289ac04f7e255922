"""What chapters build from scratch, pulled out of the notebooks and compared with the package."""

import copy

import nbformat
import pytest
import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from torch.func import functional_call
from torch.testing import assert_close

from nlmeta import CLIDMU, MLC, MLNT, MSLG, CrossEntropy, bilevel, data, losses, models, seeding
from nlmeta.methods import WeightNet


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
        "forward_ad": forward_ad,
        "fwAD": forward_ad,
        "nn": torch.nn,
    }
    exec(compile(cells[0], f"{chapter}.ipynb", "exec"), names)
    return names[name], cells[0]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # PyTorch's own, at the first dual number
def test_mlc_from_scratch_equals_the_package(root):
    """Ten steps in float64: T and the weights, to a relative 1e-10."""
    mlc_step, source = definition(root, "mlc", "mlc_step")
    code = [
        line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")
    ]
    assert len(code) <= 40
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
    code = [line for line in source.splitlines() if line.strip()]
    assert len(code) <= 25
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
def test_mslg_from_scratch_equals_the_package(root):
    """Ten steps in float64: the labels and the weights, to a relative 1e-10."""
    mslg_step, source = definition(root, "mslg", "mslg_step")
    code = [
        line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")
    ]
    assert len(code) <= 40
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
    code = [
        line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")
    ]
    assert len(code) <= 40
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
    code = [
        line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")
    ]
    assert len(code) <= 40
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
    code = [line for line in source.splitlines() if line.strip()]
    assert len(code) <= 30
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
