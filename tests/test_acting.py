"""Act first: the hypergradient of the ordinary step itself, against double backward through SGD.

And the options of half precision, which both sequences have.
"""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from helpers import assert_same, network, problem, refused, weights
from torch import nn
from torch.func import functional_call
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.testing import assert_close

from nlmeta import bilevel, losses
from nlmeta.bilevel import Lookahead
from nlmeta.data import Batch
from nlmeta.experiments.cost import peak_bytes
from nlmeta.methods import (
    CLIDMU,
    MLC,
    MSLG,
    Captured,
    CrossEntropy,
    EveryKth,
    FixMatch,
    LearningToReweight,
    LogitMultiplier,
    MetaWeightNet,
    WeightNet,
)
from nlmeta.methods.base import backward
from nlmeta.methods.mlc import normalise_transition
from nlmeta.models import MLP, SmallCNN

ACT = Lookahead(sequence="act-first")
TRANSITION = torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.3, 0.1, 0.6]])
OPTIONS = {
    "plain": {"lr": 0.3},
    "weight decay": {"lr": 0.3, "weight_decay": 0.05},
    "momentum": {"lr": 0.3, "momentum": 0.9, "weight_decay": 0.05},
    "dampening": {"lr": 0.3, "momentum": 0.9, "dampening": 0.4},
    "dampening without momentum": {"lr": 0.3, "dampening": 0.4},
    "Nesterov": {"lr": 0.3, "momentum": 0.8, "nesterov": True, "weight_decay": 0.05},
    "maximise": {"lr": 0.3, "momentum": 0.9, "dampening": 0.4, "maximize": True},
    "one by one": {"lr": 0.3, "momentum": 0.9, "dampening": 0.4, "foreach": False},
    "fused": {"lr": 0.3, "momentum": 0.9, "dampening": 0.4, "fused": True},
    "a tensor": {"lr": torch.tensor(0.3, dtype=torch.float64), "momentum": 0.9},
}


def sgd(model, options):
    return torch.optim.SGD(model.parameters(), **options)


def groups(model):
    """An optimiser whose groups differ in everything, and that leaves one parameter out."""
    named = dict(model.named_parameters())
    last = [p for name, p in named.items() if name.startswith("classifier")]
    first = [p for name, p in named.items() if not name.startswith("classifier")]
    return torch.optim.SGD(
        [
            {"params": first[1:], "lr": 0.1, "momentum": 0.9, "dampening": 0.3},
            {"params": last[:1], "lr": 0.4, "momentum": 0.5, "nesterov": True},
            {"params": last[1:], "lr": 0.2, "weight_decay": 0.1, "maximize": True},
        ],
        lr=1.0,
    )


def update_by_hand(p, g, group, buffer):
    """A step of SGD, written from PyTorch's documentation, differentiable in g."""
    g = -g if group["maximize"] else g
    g = g + group["weight_decay"] * p
    if group["momentum"]:
        moving = g if buffer is None else group["momentum"] * buffer + (1 - group["dampening"]) * g
        g = g + group["momentum"] * moving if group["nesterov"] else moving
    return p - group["lr"] * g


def by_hand(model, optimizer, loss, outer, meta_parameters):
    """Double backward through the optimiser's update: new parameters, and the hypergradient.

    It is called before the step. `loss` and `outer` are functions of the network as a function.
    """
    theta = {name: p.detach().requires_grad_() for name, p in bilevel.parameters(model).items()}
    names = {id(p): name for name, p in model.named_parameters()}

    def at(parameters):
        def network(x, **options):  # a copy's buffers, so that running statistics stay
            state = {**dict(copy.deepcopy(model).named_buffers()), **parameters}
            return functional_call(model, state, (x,), options)

        return network

    gradients = torch.autograd.grad(loss(at(theta)), list(theta.values()), create_graph=True)
    gradients = dict(zip(theta, gradients, strict=True))
    moved = dict(theta)
    for group in optimizer.param_groups:
        for p in group["params"]:
            name = names[id(p)]
            if name not in theta:
                continue
            buffer = optimizer.state.get(p, {}).get("momentum_buffer")
            moved[name] = update_by_hand(theta[name], gradients[name], group, buffer)
    return moved, torch.autograd.grad(outer(at(moved)), meta_parameters)


def weighted(logits, labels, weights):
    return (weights * F.cross_entropy(logits, labels, reduction="none")).sum()


def sample_weights(n):
    return torch.linspace(0.2, 1.4, n, dtype=torch.float64).div(n).requires_grad_()


def taken_gradient(model, optimizer, mode=ACT):
    """By the weights of `problem`, and the step that was taken."""
    train, meta = problem()
    w = sample_weights(len(train.y))
    forward = bilevel.forward_pass(model, train.x)
    backward(optimizer, weighted(forward.logits, train.y, w.detach()))
    taken = bilevel.act(model, optimizer)
    hyper = bilevel.hypergradient(
        model,
        forward,
        lambda z: weighted(z, train.y, w),
        lambda net: F.cross_entropy(net(meta.x), meta.y),
        [w],
        mode=mode,
        taken=taken,
    )
    return hyper, taken


def expected_gradient(model, optimizer):
    train, meta = problem()
    w = sample_weights(len(train.y))
    return by_hand(
        model,
        optimizer,
        lambda net: weighted(net(train.x), train.y, w),
        lambda net: F.cross_entropy(net(meta.x), meta.y),
        [w],
    )


OPTIMISERS = {
    **{name: functools.partial(sgd, options=options) for name, options in OPTIONS.items()},
    "groups": groups,
}
each_optimiser = pytest.mark.parametrize("make", OPTIMISERS.values(), ids=OPTIMISERS)


@each_optimiser
def test_the_gradient_of_the_taken_step_equals_double_backward_through_it(make):
    """In the first step, which has no momentum yet, and in two later ones. BatchNorm trains."""
    model = network()
    optimizer = make(model)
    for _ in range(3):
        moved, (want,) = expected_gradient(model, optimizer)
        hyper, _ = taken_gradient(model, optimizer)
        for name, p in bilevel.parameters(model).items():
            assert_close(p.detach(), moved[name].detach(), rtol=0, atol=1e-12, msg=name)
        assert want.abs().max() > 1e-4
        assert_close(hyper.gradients[0], want, rtol=1e-10, atol=1e-10 * want.abs().max().item())


@each_optimiser
def test_rates_say_how_the_step_depends_on_the_gradient(make):
    """A gradient that is changed by d leads c d elsewhere; a parameter left out has no c."""
    model = network()
    optimizer = make(model)
    for _ in range(2):
        _, taken = taken_gradient(model, optimizer)
    twin = copy.deepcopy(model)
    other = make(twin)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    g = torch.Generator().manual_seed(4)
    changes = {}
    for (name, p), q in zip(model.named_parameters(), twin.parameters(), strict=True):
        changes[name] = torch.randn(p.shape, generator=g, dtype=p.dtype)
        q.grad = p.grad + changes[name]
    rates = bilevel.act(model, optimizer).rates
    bilevel.act(twin, other)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert rates.keys() == {name for name, p in model.named_parameters() if id(p) in held}
    for name, c in rates.items():
        apart = twin.get_parameter(name) - model.get_parameter(name)
        assert_close(apart.detach(), -c * changes[name], rtol=0, atol=1e-12)
    assert taken.rates == rates  # from the second step on they stay


def test_a_frozen_parameter_takes_no_part():
    model = network()
    model.classifier.weight.requires_grad_(False)
    optimizer = sgd(model, OPTIONS["momentum"])
    for _ in range(2):
        _, (want,) = expected_gradient(model, optimizer)
        hyper, taken = taken_gradient(model, optimizer)
        assert "classifier.weight" not in taken.rates
        assert_close(hyper.gradients[0], want, rtol=1e-10, atol=1e-14)


def test_dropout_leaves_out_the_same_units_in_step_and_tangent():
    """By hand: the pass of the step and that of the outer loss draw in this order."""
    train, meta = problem()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.5), nn.Linear(16, 3))
    with torch.no_grad():
        for k, p in enumerate(model.parameters()):
            p.copy_(torch.linspace(-0.3, 0.4, p.numel()).sin().view_as(p) * (k + 1))
    model = model.double().train()
    optimizer = sgd(model, OPTIONS["momentum"])
    ways = (ACT, Lookahead("fd", fd_step=1e-4, one_sided=True, sequence="act-first"))
    for mode in ways:
        with torch.random.fork_rng(devices=[]):
            state = torch.get_rng_state()
            _, (want,) = expected_gradient(model, optimizer)
            torch.set_rng_state(state)
            hyper, _ = taken_gradient(model, optimizer, mode)
        # The network is linear in each layer: a difference has an error of the order of its step.
        bound = 1e-10 if mode.mode == "jvp" else 1e-3
        assert_close(hyper.gradients[0], want, rtol=0, atol=bound * want.abs().max().item())


@pytest.mark.parametrize("one_sided", [False, True])
def test_the_error_of_a_difference_falls_with_its_order(one_sided):
    """Halving the step halves the error, or quarters it."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    with torch.no_grad():
        for k, p in enumerate(model.parameters()):
            p.copy_(torch.linspace(-0.3, 0.4, p.numel(), dtype=p.dtype).sin().view_as(p) * (k + 1))
    errors = []
    for step in (4e-2, 2e-2):
        twin = copy.deepcopy(model)
        optimizer = sgd(twin, OPTIONS["Nesterov"])
        _, (want,) = expected_gradient(twin, optimizer)
        mode = Lookahead("fd", fd_step=step, one_sided=one_sided, sequence="act-first")
        hyper, _ = taken_gradient(twin, optimizer, mode)
        errors.append((hyper.gradients[0] - want).abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(2 if one_sided else 4, rel=0.05)


def test_a_plain_step_has_the_gradient_of_a_virtual_step_of_its_size():
    """Without momentum, looking first from the same parameters is the same thing."""
    train, meta = problem()
    model = network()
    w = sample_weights(len(train.y))
    want = bilevel.hypergradient(
        model,
        bilevel.forward_pass(model, train.x),
        lambda z: weighted(z, train.y, w),
        lambda net: F.cross_entropy(net(meta.x), meta.y),
        [w],
        lr=0.3,
    )
    hyper, _ = taken_gradient(model, sgd(model, {"lr": 0.3, "dampening": 0.5}))
    assert want.norm > 1e-4
    assert_close(hyper.gradients, want.gradients, rtol=1e-11, atol=1e-15)
    assert_close(hyper.outer_loss, want.outer_loss, rtol=1e-12, atol=0)


# The methods: where the second step leads what they learn.


def mlc(**options):
    return MLC(3, virtual_lr=None, transition_lr=1.0, initial=TRANSITION, mode=ACT, **options)


def mslg(**options):
    labels = torch.tensor([0, 0, 2, 1, 0, 2, 0, 0])
    return MSLG(labels, 3, virtual_lr=None, label_lr=50.0, k=3.0, mode=ACT, **options)


def clid_mu(head, **options):
    chosen = {"head_lr": 0.5, "head_weight_decay": 0.0, "mode": ACT, **options}
    return CLIDMU(head, **chosen)


def multiplier():
    return LogitMultiplier(8, 3, embedding=3, hidden=(6,), seed=2)


class ByT:
    """MLC: T, in the place of its own."""

    def __init__(self, method):
        self.method, self.phi = method, [method.transition.detach().clone().requires_grad_()]

    def loss(self, net, train):
        return self.method.loss(net(train.x), train.y, self.phi[0])

    def moved(self, gradients):
        moved = self.phi[0] - self.method.transition_lr * gradients[0]
        return [normalise_transition(moved.detach(), by=self.method.normalise)]

    def now(self):
        return [self.method.transition.detach()]


class ByLabels:
    """MSLG: the rows of the batch."""

    def __init__(self, method):
        self.method = method
        self.phi = [method.memory.logits.detach().clone().requires_grad_()]

    def loss(self, net, train):
        return self.method.ordinary_loss(net(train.x), self.phi[0][train.ids])

    def moved(self, gradients):
        return [(self.phi[0] - self.method.label_lr * gradients[0]).detach()]

    def now(self):
        return [self.method.memory.logits]


class ByHead:
    """CLID-MU: the head, by plain gradient descent; a copy of it draws the same noise."""

    def __init__(self, method):
        self.method, self.head = method, copy.deepcopy(method.head)
        self.phi = list(self.head.parameters())

    def loss(self, net, train):
        seen = []
        classifier = net if not self.head.needs_features else None
        if classifier is None:
            handle = self.model.classifier.register_forward_hook(
                lambda module, inputs, output: seen.append(inputs[0].detach())
            )
            with handle:
                logits = net(train.x)
        else:
            logits = net(train.x)
        forward = bilevel.ForwardPass(train.x, logits, (), *seen)
        return self.head.loss(logits, train.y, self.head(forward, train.y))

    def moved(self, gradients):
        pairs = zip(self.phi, gradients, strict=True)
        return [(p - self.method.head_lr * g).detach() for p, g in pairs]

    def now(self):
        return [p.detach() for p in self.method.head.parameters()]


CASES = {
    "MLC": (mlc, ByT),
    "MLC by logits, columns, sum": (
        functools.partial(mlc, space="logit", normalise="column", reduction="sum"),
        ByT,
    ),
    "MSLG": (mslg, ByLabels),
    "MSLG, label first": (
        functools.partial(mslg, direction="label-first", scale="entries", entropy_weight=0.5),
        ByLabels,
    ),
    "CLID-MU, weights": (lambda: clid_mu(WeightNet(8, seed=1), head_lr=20.0), ByHead),
    "CLID-MU, weights by n": (
        lambda: clid_mu(WeightNet(8, normalise=False, seed=1), head_lr=20.0),
        ByHead,
    ),
    "CLID-MU, multipliers": (lambda: clid_mu(multiplier()), ByHead),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_method_learns_follows_double_backward_through_the_step_it_took(case):
    """With momentum and weight decay, in two steps: in the first no momentum has begun."""
    make, kind = CASES[case]
    train, meta = problem()
    model = network()
    method = make().double()
    optimizer = sgd(model, {"lr": 0.2, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.01})
    for _ in range(2):
        by = kind(method)
        by.model = model
        before = [value.clone() for value in by.now()]
        moved, gradients = by_hand(
            model,
            optimizer,
            lambda net, by=by: by.loss(net, train),
            lambda net: method.objective(net, meta),
            by.phi,
        )
        method.step(model, optimizer, train, meta)
        assert max((a - b).abs().max() for a, b in zip(before, by.now(), strict=True)) > 1e-5
        assert_close(by.now(), by.moved(gradients), rtol=0, atol=1e-10)
        for name, p in bilevel.parameters(model).items():
            assert_close(p.detach(), moved[name].detach(), rtol=0, atol=1e-12, msg=name)


def test_the_network_sees_a_moved_transition_one_step_later():
    """In the first step it moves as with T at its start; in the second as with the moved T."""
    train, meta = problem()
    model, twin = network(), network()
    method = mlc().double()
    optimizer, other = (sgd(m, OPTIONS["momentum"]) for m in (model, twin))
    starts = []
    for _ in range(2):
        starts.append(method.transition.detach().clone())
        method.step(model, optimizer, train, meta)
        backward(other, method.loss(twin(train.x), train.y, starts[-1]))
        other.step()
        assert_same(model, twin)
    assert not torch.equal(*starts)


# Passes and memory.


def test_acting_first_runs_the_network_three_times():
    """Step, outer loss and tangent; looking first has no other passes, but one backward more."""
    train, meta = problem()
    model = network()
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    method = mlc().double()
    method.step(model, sgd(model, OPTIONS["momentum"]), train, meta)
    assert len(passes) == 3


def test_no_graph_is_kept_beside_that_of_one_pass():
    """Bytes of a step, in units of cross-entropy: less than a quarter more, and it was twice."""
    g = torch.Generator().manual_seed(3)
    x = torch.randn(2, 32, 1, 16, 16, generator=g)
    y = torch.randint(3, (2, 32), generator=g)
    train, meta = (Batch(x[i], y[i], torch.arange(32)) for i in (0, 1))
    needed = []
    looks = MLC(3, virtual_lr=0.1, transition_lr=1.0)
    for method in (CrossEntropy(), mlc(), looks):
        model = SmallCNN(1, 3, width=8, hidden=16, seed=0)
        optimizer = sgd(model, OPTIONS["momentum"])
        step = functools.partial(method.step, model, optimizer, train, meta)
        step()
        optimizer.zero_grad()
        needed.append(peak_bytes(step, torch.device("cpu")))
    assert needed[1] < 1.25 * needed[0]
    assert needed[2] > 1.7 * needed[0]


# Half precision.


@pytest.mark.parametrize("sequence", bilevel.SEQUENCES)
@pytest.mark.parametrize("mode", ["jvp", "fd"])
def test_half_precision_reaches_the_outer_gradient_and_nothing_else(mode, sequence):
    """Its pass is the second of a step. Until T moves, the network steps bit for bit as without."""
    train, meta = problem(dtype=torch.float32)
    virtual_lr = None if sequence == "act-first" else 0.3
    kinds, networks, learned = [], [], []
    for dtype in (None, "bfloat16"):
        how = Lookahead(mode, sequence=sequence, dtype=dtype)
        method = MLC(3, virtual_lr=virtual_lr, transition_lr=0.0, mode=how)
        model = MLP(64, 3, (16,), seed=5)
        optimizer = sgd(model, OPTIONS["momentum"])
        method.step(model, optimizer, train, meta)
        networks.append(weights(model))
        seen = []
        model.register_forward_hook(lambda m, x, logits, seen=seen: seen.append(logits.dtype))
        method.transition_lr = 1.0
        method.step(model, optimizer, train, meta)
        kinds.append(seen)
        learned.append(method.transition.detach().clone())
    single, half = torch.float32, torch.bfloat16
    others = [single] * {"jvp": 1, "fd": 2}[mode]
    assert kinds == [[single, single, *others], [single, half, *others]]
    assert_same(*networks)
    assert not torch.equal(*learned)
    assert_close(*learned, rtol=0, atol=2e-2)  # eight bits of a gradient, in steps of about 1


def gradient_in(dtype, tangent_dtype, model, sequence="look-first"):
    train, meta = problem(dtype=next(model.parameters()).dtype)
    w = torch.full((8,), 1 / 8).to(train.x).requires_grad_()
    optimizer = sgd(model, {"lr": 0.3})
    how = Lookahead(dtype=dtype, tangent_dtype=tangent_dtype, sequence=sequence)
    forward = bilevel.forward_pass(model, train.x)
    taken = None
    if how.acts_first:
        backward(optimizer, weighted(forward.logits, train.y, w.detach()))
        taken = bilevel.act(model, optimizer)
    return bilevel.hypergradient(
        model,
        forward,
        lambda z: weighted(z, train.y, w),
        lambda net: F.cross_entropy(net(meta.x), meta.y),
        [w],
        lr=0.3,
        mode=how,
        taken=taken,
    ).gradients[0]


@pytest.mark.parametrize("sequence", bilevel.SEQUENCES)
@pytest.mark.parametrize("tangent_dtype", [None, "bfloat16"])
def test_a_hypergradient_in_half_precision_points_the_same_way(tangent_dtype, sequence):
    """A small network with BatchNorm: eight bits, and the angle to float64 has a cosine of 0.99."""
    want = gradient_in(None, None, network(), sequence)
    got = gradient_in("bfloat16", tangent_dtype, network().float(), sequence)
    assert got.dtype == torch.float32
    assert F.cosine_similarity(got.double(), want, dim=0) > 0.99
    exact = gradient_in(None, None, network().float(), sequence)
    assert (got - exact).norm() > 1e-4 * exact.norm()  # it was not float32


def test_a_network_in_double_precision_is_not_cast():
    plain, cast = gradient_in(None, None, network()), gradient_in("bfloat16", "bfloat16", network())
    assert torch.equal(plain, cast)


def test_half_precision_is_in_exact_mode_too():
    model = network().float()
    train, meta = problem(dtype=torch.float32)
    method = MLC(3, virtual_lr=0.3, transition_lr=1.0, mode=Lookahead("exact", dtype="bfloat16"))
    forward = bilevel.forward_pass(model, train.x)
    got = method.transition_gradient(model, forward, train.y, meta).gradients[0]
    method.mode = Lookahead("exact")
    want = method.transition_gradient(model, forward, train.y, meta).gradients[0]
    assert not torch.equal(got, want)
    assert F.cosine_similarity(got.flatten(), want.flatten(), dim=0) > 0.99


# Refusals.


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sequence": "act"}, "`sequence` is 'act'; it must be one of 'look-first', 'act-first'"),
        ({"sequence": "act-first", "mode": "exact"}, "`sequence` is 'act-first'; the ordinary"),
        ({"sequence": "act-first", "recompute": True}, "nor `recompute`"),
        ({"sequence": "act-first", "only": ("classifier",)}, "nor `only`"),
        ({"dtype": "float16"}, "`dtype` is 'float16'; it must be one of 'bfloat16', None"),
        ({"tangent_dtype": "half"}, "`tangent_dtype` is 'half'; it must be one of"),
        ({"tangent_dtype": "bfloat16", "mode": "fd"}, "`mode` is 'fd'; only the tangent of"),
        ({"tangent_dtype": "bfloat16", "mode": "exact"}, "`mode` is 'exact'; only the tangent"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(options, text):
    refused(text, lambda: Lookahead(**options))


def test_a_difference_under_autocast_stays_refused():
    train, meta = problem(dtype=torch.float32)
    model = network().float()
    how = Lookahead("fd", one_sided=True, sequence="act-first", dtype="bfloat16")
    method = MLC(3, virtual_lr=None, transition_lr=1.0, mode=how)
    optimizer = sgd(model, OPTIONS["plain"])
    method.step(model, optimizer, train, meta)
    with torch.autocast("cpu", torch.bfloat16):
        call = functools.partial(method.step, model, optimizer, train, meta)
        refused("mode='fd' under autocast", call, RuntimeError)


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.RMSprop])
def test_other_optimisers_are_refused_by_name_and_nothing_moves(make):
    train, meta = problem()
    model = network()
    before = weights(model)
    method = mlc().double()
    optimizer = make(model.parameters(), lr=0.1)
    text = f"`optimizer` is {make.__name__}; sequence='act-first'"
    said = refused(text, lambda: method.step(model, optimizer, train, meta), TypeError)
    assert "torch.optim.SGD" in said
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name])


def test_an_heir_of_sgd_may_have_another_rule():
    class Own(torch.optim.SGD):
        pass

    model = network()
    method = mlc().double()
    optimizer = Own(model.parameters(), lr=0.1)
    refused("`optimizer` is Own", lambda: method.step(model, optimizer, *problem()), TypeError)


def test_a_hook_before_the_step_is_refused_and_one_after_it_is_not():
    """The step would be another one than that whose derivative is taken."""
    train, meta = problem()
    model = network()
    method = mlc().double()
    optimizer = sgd(model, OPTIONS["plain"])
    called = []
    optimizer.register_step_post_hook(lambda *_: called.append(1))
    step = functools.partial(method.step, model, optimizer, train, meta)
    step()
    assert called
    clip = lambda *_: nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # noqa: E731
    with optimizer.register_step_pre_hook(clip):
        refused("`optimizer` has a hook before its step", step)
    with register_optimizer_step_pre_hook(clip):
        refused("`optimizer` has a hook before its step", step)
    step()


def test_a_schedule_around_the_optimiser_is_followed():
    """It replaces the optimiser's `step` by one that counts, and the rate is the current one."""
    model = network()
    optimizer = sgd(model, OPTIONS["momentum"])
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    rates = []
    for _ in range(2):
        _, (want,) = expected_gradient(model, optimizer)
        hyper, taken = taken_gradient(model, optimizer)
        assert_close(hyper.gradients[0], want, rtol=1e-10, atol=1e-14)
        rates.append(taken.rates["classifier.bias"])
        schedule.step()
    assert rates == [0.3, 0.15]


def test_a_size_of_the_virtual_step_is_refused_where_none_is_taken():
    text = "`virtual_lr` is 0.1; with sequence='act-first' no virtual step is taken"
    labels = torch.tensor([0, 1])
    refused(text, lambda: MLC(3, virtual_lr=0.1, transition_lr=1.0, mode=ACT))
    refused(text, lambda: MSLG(labels, 3, virtual_lr=0.1, label_lr=1.0, mode=ACT))
    refused(text, lambda: clid_mu(WeightNet(8, seed=1), virtual_lr=0.1))
    refused("`virtual_lr` is None", lambda: MLC(3, virtual_lr=None, transition_lr=1.0), TypeError)


def test_what_is_forgotten_after_a_step_cannot_be_learned_after_it():
    refused("forgotten before the next step", lambda: mlc(keep_transition=False))
    said = refused("`mode` has sequence='act-first'", lambda: LearningToReweight(mode=ACT))
    assert "MetaWeightNet" in said
    MetaWeightNet(seed=0, mode=ACT)


def test_fixmatch_refuses_a_correction_that_acts_first():
    views = {"weak": lambda x, g: x, "strong": lambda x, g: x, "batch_size": 2, "seed": 0}
    text = "`correction` has sequence='act-first'"
    correction = clid_mu(WeightNet(8, seed=1))
    refused(text, lambda: FixMatch(torch.zeros(4, 4), correction=correction, **views))


def test_a_step_that_moves_the_network_before_its_end_is_not_recorded():
    for method in (mlc(), mslg(), clid_mu(WeightNet(8, seed=1)), EveryKth(mlc(), 2)):
        assert not method.capturable
        refused("before its end", lambda method=method: Captured(method))


def test_a_taken_step_and_its_sequence_belong_together():
    train, meta = problem()
    model = network()
    _, taken = taken_gradient(model, sgd(model, OPTIONS["plain"]))
    forward = bilevel.forward_pass(model, train.x)
    method = mlc().double()
    gradient = functools.partial(method.transition_gradient, model, forward, train.y, meta)
    refused("`taken` is missing and `sequence` is 'act-first'", gradient)
    method.mode = Lookahead()
    refused("`taken` is given and `sequence` is 'look-first'", lambda: gradient(taken=taken))
    refused("`lr` is missing", gradient)


def test_a_missing_meta_batch_is_refused_before_the_network_moves():
    train, _ = problem()
    for make, _ in CASES.values():
        model = network()
        before = weights(model)
        step = functools.partial(make().double().step, model, sgd(model, OPTIONS["plain"]), train)
        refused("`meta` is empty", step)
        assert_same(model, before)


def test_losses_of_the_hypergradient_may_lack_terms_without_meta_parameters():
    """MSLG's ordinary step has an entropy that its inner loss lacks; both have one derivative."""
    train, meta = problem()
    u = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    u.requires_grad_()
    model = network()
    optimizer = sgd(model, OPTIONS["plain"])

    def whole(z):
        return losses.soft_label_divergence(z, u) + losses.entropy(z)

    _, (want,) = by_hand(
        model,
        optimizer,
        lambda net: whole(net(train.x)),
        lambda net: F.cross_entropy(net(meta.x), meta.y),
        [u],
    )
    forward = bilevel.forward_pass(model, train.x)
    backward(optimizer, whole(forward.logits))
    got = bilevel.hypergradient(
        model,
        forward,
        lambda z: losses.soft_label_divergence(z, u),
        lambda net: F.cross_entropy(net(meta.x), meta.y),
        [u],
        mode=ACT,
        taken=bilevel.act(model, optimizer),
    ).gradients[0]
    assert want.abs().max() > 1e-5
    assert_close(got, want, rtol=1e-10, atol=1e-14)
