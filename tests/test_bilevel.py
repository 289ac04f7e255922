"""The engine: three ways to one hypergradient, against double backward and against closed forms;
and the gradient by the parameters themselves.
"""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from helpers import gap, size
from torch import nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from nlmeta import bilevel
from nlmeta.bilevel import Lookahead
from nlmeta.data import load
from nlmeta.losses import transition_cross_entropy
from nlmeta.models import MLP, SmallCNN

LR = 0.3


class Problem:
    """Seven noisy samples in three unequal classes, four clean ones, in float64."""

    def __init__(self, model: nn.Module, shape: tuple[int, ...] = (1, 8, 8)) -> None:
        g = torch.Generator().manual_seed(3)
        self.model = model.double().train()
        self.x = torch.randn(7, *shape, generator=g, dtype=torch.float64)
        self.y = torch.tensor([0, 0, 0, 2, 1, 0, 2])
        self.meta_x = torch.randn(4, *shape, generator=g, dtype=torch.float64)
        self.meta_y = torch.tensor([0, 1, 2, 2])
        self.weights = torch.linspace(0.2, 1.4, 7, dtype=torch.float64).requires_grad_()
        self.labels = torch.randn(7, 3, generator=g, dtype=torch.float64).requires_grad_()
        self.transition = (
            torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.3, 0.0, 0.7]], dtype=torch.float64)
        ).requires_grad_()

    def outer(self, network):
        return F.cross_entropy(network(self.meta_x), self.meta_y)

    def inner(self, head):
        """A loss and the meta-parameters in it, for one of the heads that the methods use."""
        if head == "weights":
            return (
                lambda z: (self.weights * F.cross_entropy(z, self.y, reduction="none")).mean(),
                [self.weights],
            )
        if head == "soft labels":
            return lambda z: F.cross_entropy(z, self.labels.softmax(1)), [self.labels]
        if head == "multipliers":
            return lambda z: F.cross_entropy(self.labels.sigmoid() * z, self.y), [self.labels]
        if head == "transition":
            return (
                lambda z: F.nll_loss((z.softmax(1) @ self.transition).log(), self.y),
                [self.transition],
            )
        return (  # two at once
            lambda z: (
                self.weights * F.cross_entropy(self.labels * z, self.y, reduction="none")
            ).sum(),
            [self.weights, self.labels],
        )

    def hypergradient(self, head, mode):
        inner, meta_parameters = self.inner(head)
        forward = bilevel.forward_pass(self.model, self.x)
        return bilevel.hypergradient(
            self.model, forward, inner, self.outer, meta_parameters, lr=LR, mode=mode
        )


def network(kind):
    if kind == "BatchNorm":
        return SmallCNN(1, 3, width=4, hidden=8, seed=5)
    if kind == "GroupNorm":
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.GELU(), nn.Flatten(), nn.Linear(144, 3)
        )
    if kind == "dropout":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.5), nn.Tanh(), nn.Linear(32, 3)
        )
    if kind == "shared layer":
        first = nn.Linear(64, 64)
        return nn.Sequential(nn.Flatten(), first, nn.Tanh(), first, nn.Tanh(), nn.Linear(64, 3))
    if kind == "shared tensor":
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)
        )
        net[5].weight = net[3].weight
        return nn.Sequential(net, nn.Tanh(), nn.Linear(8, 3))
    return MLP(64, 3, (8, 6), seed=5)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(11)
        yield


HEADS = ("weights", "soft labels", "multipliers", "transition", "two at once")
NETWORKS = ("MLP", "BatchNorm", "GroupNorm", "shared layer", "shared tensor")


def smooth_network():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 3))


def largest_difference(a, b):
    return max((x - y).abs().max().item() for x, y in zip(a.gradients, b.gradients, strict=True))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_jvp_equals_double_backward(kind, head):
    """(4.4) against autograd through (4.1), BatchNorm in training mode: only round-off differs."""
    problem = Problem(network(kind))
    want = problem.hypergradient(head, "exact")
    got = problem.hypergradient(head, "jvp")
    assert_close(got.outer_loss, want.outer_loss, rtol=1e-14, atol=0)
    for g, w in zip(got.gradients, want.gradients, strict=True):
        assert w.abs().max() > 1e-4  # zeros on both sides cannot pass
        assert_close(g, w, rtol=1e-10, atol=1e-12 * w.abs().max().item())


@pytest.mark.parametrize("head", HEADS)
def test_fd_agrees_with_double_backward_to_second_order(head):
    """Halving the step of a central difference divides its error by four on a smooth network."""
    problem = Problem(smooth_network())
    want = problem.hypergradient(head, "exact")
    errors = [
        largest_difference(problem.hypergradient(head, Lookahead("fd", fd_step=step)), want)
        for step in (4e-2, 2e-2, 1e-2)
    ]
    scale = max(g.abs().max().item() for g in want.gradients)
    assert errors[0] < 1e-3 * scale
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert 3.9 < coarse / fine < 4.1  # 4 but for the fourth-order term


@pytest.mark.parametrize("head", HEADS)
def test_one_sided_difference_agrees_with_double_backward_to_first_order(head):
    """Halving its step halves its error on a smooth network, and a central one is closer."""
    problem = Problem(smooth_network())
    want = problem.hypergradient(head, "exact")

    def error(step, one_sided):
        how = Lookahead("fd", fd_step=step, one_sided=one_sided)
        return largest_difference(problem.hypergradient(head, how), want)

    first, second, third = (error(step, True) for step in (4e-2, 2e-2, 1e-2))
    assert 1.8 < first / second < 2.2
    assert 1.9 < second / third < 2.1
    assert error(1e-2, False) < third / 10


def test_double_backward_equals_a_difference_quotient_of_the_outer_loss():
    """The reference itself, checked by moving one sample's weight and stepping again."""
    problem = Problem(smooth_network())
    gradient = problem.hypergradient("weights", "exact").gradients[0]
    h = 1e-5
    for i in (0, 4):
        values = []
        for sign in (1, -1):
            moved = problem.weights.detach().clone()
            moved[i] += sign * h
            loss = moved * F.cross_entropy(problem.model(problem.x), problem.y, reduction="none")
            theta_hat = bilevel.virtual_step(problem.model, loss.mean(), lr=LR)
            values.append(problem.outer(bilevel.with_parameters(problem.model, theta_hat)).item())
        quotient = (values[0] - values[1]) / (2 * h)
        assert quotient == pytest.approx(gradient[i].item(), rel=1e-6)


def test_linear_softmax_model_has_a_closed_form():
    """z = W x: dM/dw_i = -lr/n <p_i - e_i, G x_i> with G the outer gradient."""
    problem = Problem(nn.Linear(5, 3, bias=False), shape=(5,))
    g = problem.hypergradient("weights", "jvp").gradients[0]
    w = problem.model.weight.detach()
    p = (problem.x @ w.t()).softmax(1)
    residual = p - F.one_hot(problem.y, 3)
    w_hat = w - LR / 7 * (problem.weights.detach()[:, None] * residual).t() @ problem.x
    meta_residual = (problem.meta_x @ w_hat.t()).softmax(1) - F.one_hot(problem.meta_y, 3)
    outer = meta_residual.t() @ problem.meta_x / 4  # (3, 5)
    want = -LR / 7 * (residual * (problem.x @ outer.t())).sum(1)
    assert want.abs().max() > 1e-3
    assert_close(g, want, rtol=1e-12, atol=1e-14)


def test_virtual_step_is_one_plain_gradient_step():
    """(4.1) equals what SGD without momentum does to the parameters."""
    problem = Problem(network("MLP"))
    loss = F.cross_entropy(problem.model(problem.x), problem.y)
    theta_hat = bilevel.virtual_step(problem.model, loss, lr=LR)
    optimizer = torch.optim.SGD(problem.model.parameters(), lr=LR)
    loss.backward()
    optimizer.step()
    for name, p in problem.model.named_parameters():
        assert_close(theta_hat[name], p, rtol=0, atol=1e-15)


def test_zero_virtual_step_gives_zero_hypergradient():
    """With lr = 0 the outer loss does not depend on the meta-parameters."""
    problem = Problem(network("MLP"))
    inner, meta_parameters = problem.inner("weights")
    forward = bilevel.forward_pass(problem.model, problem.x)
    for mode in ("jvp", "fd", "exact"):
        result = bilevel.hypergradient(
            problem.model, forward, inner, problem.outer, meta_parameters, lr=0.0, mode=mode
        )
        assert (result.gradients[0] == 0).all()
        assert result.outer_loss == problem.outer(bilevel.with_parameters(problem.model, {}))


def test_meta_parameter_that_the_loss_ignores_gets_zero():
    problem = Problem(network("MLP"))
    inner, meta_parameters = problem.inner("weights")
    idle = torch.ones(2, dtype=torch.float64, requires_grad=True)
    forward = bilevel.forward_pass(problem.model, problem.x)
    for mode in ("jvp", "fd", "exact"):
        result = bilevel.hypergradient(
            problem.model, forward, inner, problem.outer, [*meta_parameters, idle], lr=LR, mode=mode
        )
        assert result.gradients[0].abs().max() > 1e-4
        assert (result.gradients[1] == 0).all()


@pytest.mark.parametrize("mode", bilevel.MODES)
def test_running_statistics_move_once_and_parameters_not_at_all(mode):
    """Only `forward_pass` moves BatchNorm's statistics, as one ordinary forward pass would."""
    problem, twin = Problem(network("BatchNorm")), Problem(network("BatchNorm"))
    before = {k: v.clone() for k, v in problem.model.state_dict().items()}
    problem.hypergradient("transition", mode)
    twin.model(twin.x)
    after = problem.model.state_dict()
    assert any((before[k] != after[k]).any() for k in after if "running" in k)
    for name, value in twin.model.state_dict().items():
        assert torch.equal(after[name], value)
    assert all(p.grad is None for p in problem.model.parameters())


@pytest.mark.parametrize("mode", ["jvp", "fd"])
def test_dropout_masks_of_the_forward_pass_are_repeated(mode):
    """With other masks the tangent would belong to another network than the virtual step."""
    problem = Problem(network("dropout"))
    inner, meta_parameters = problem.inner("weights")
    forward = bilevel.forward_pass(problem.model, problem.x)
    state = torch.get_rng_state()
    how = Lookahead(mode, fd_step=1e-4)
    got = bilevel.hypergradient(
        problem.model, forward, inner, problem.outer, meta_parameters, lr=LR, mode=how
    )
    stream = torch.get_rng_state()
    torch.set_rng_state(state)  # the outer loss draws masks too; both ways must draw the same
    want = bilevel.hypergradient(
        problem.model, forward, inner, problem.outer, meta_parameters, lr=LR, mode="exact"
    )
    assert want.gradients[0].abs().max() > 1e-4
    tolerance = 1e-12 if mode == "jvp" else 1e-7  # fd: second order in a step of 1e-4
    assert_close(got.gradients[0], want.gradients[0], rtol=0, atol=tolerance)
    assert torch.equal(stream, torch.get_rng_state())  # replaying left the stream where it was


def test_frozen_parameters_take_no_part():
    """A frozen layer stays where it is in the virtual step, in every mode alike."""
    problem = Problem(network("MLP"))
    problem.model.body[1].requires_grad_(False)
    assert set(bilevel.parameters(problem.model)) == {
        "body.3.weight",
        "body.3.bias",
        "classifier.weight",
        "classifier.bias",
    }
    want = problem.hypergradient("transition", "exact")
    assert want.gradients[0].abs().max() > 1e-4
    assert largest_difference(problem.hypergradient("transition", "jvp"), want) < 1e-14


def test_graph_of_the_forward_pass_survives_for_the_ordinary_step():
    """The ordinary step may use the recorded logits after the lookahead, in every mode."""
    for mode in bilevel.MODES:
        problem = Problem(network("MLP"))
        inner, meta_parameters = problem.inner("weights")
        forward = bilevel.forward_pass(problem.model, problem.x)
        bilevel.hypergradient(
            problem.model, forward, inner, problem.outer, meta_parameters, lr=LR, mode=mode
        )
        F.cross_entropy(forward.logits, problem.y).backward()
        fresh = Problem(network("MLP"))
        F.cross_entropy(fresh.model(fresh.x), fresh.y).backward()
        for p, q in zip(problem.model.parameters(), fresh.model.parameters(), strict=True):
            assert torch.equal(p.grad, q.grad)


def test_float32_jvp_is_exact_to_float32():
    """Against the float64 double backward; 1e-4 is some thousand roundings of float32."""
    problem = Problem(network("BatchNorm"))
    want = problem.hypergradient("weights", "exact").gradients[0]
    problem.model.float()
    problem.x, problem.meta_x = problem.x.float(), problem.meta_x.float()
    problem.weights = problem.weights.detach().float().requires_grad_()
    got = problem.hypergradient("weights", "jvp").gradients[0]
    assert got.dtype == torch.float32
    assert_close(got.double(), want, rtol=0, atol=1e-4 * want.abs().max().item())


def digits_gradient(seed, autocast):
    """The hypergradient of sample weights on real digits after 20 steps of plain training."""
    split = load("digits", noise="symmetric", rate=0.4, seed=seed)
    dtype = torch.float32 if autocast else torch.float64
    split = split.to("cpu", dtype)
    model = SmallCNN(1, 10, width=8, hidden=32, seed=seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(20):  # in float32 for both, so that the two look from the same point
        optimizer.zero_grad()
        F.cross_entropy(model(split.train.x[:128].float()), split.train.y[:128]).backward()
        optimizer.step()
    model.to(dtype)
    weights = torch.ones(128, dtype=dtype, requires_grad=True)
    y = split.train.y[:128]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        result = bilevel.hypergradient(
            model,
            bilevel.forward_pass(model, split.train.x[:128]),
            lambda z: (weights * F.cross_entropy(z, y, reduction="none")).mean(),
            lambda network: F.cross_entropy(network(split.meta.x), split.meta.y),
            [weights],
            lr=0.1,
        )
    return result.gradients[0].double()


@pytest.mark.parametrize("seed", [0, 1])
def test_bfloat16_autocast_keeps_the_direction(seed):
    """Forward mode holds under autocast; the docstring promises a cosine of 0.99 to float64."""
    want, got = digits_gradient(seed, False), digits_gradient(seed, True)
    assert want.abs().max() > 1e-6
    assert not torch.equal(got, want)  # autocast was really on
    assert F.cosine_similarity(got, want, dim=0) > 0.99


def test_fd_is_refused_under_autocast():
    problem = Problem(network("MLP"))
    problem.model.float()
    problem.x, problem.meta_x = problem.x.float(), problem.meta_x.float()
    problem.weights = problem.weights.detach().float().requires_grad_()
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.raises(RuntimeError, match="mode='fd' under autocast would return rounding errors"),
    ):
        problem.hypergradient("weights", "fd")


def test_network_without_forward_mode_is_refused_with_a_way_out():
    """The error names the mode that works; that mode then does."""

    class NoForwardMode(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, g):
            return 2 * g

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 3)

        def forward(self, x):
            return NoForwardMode.apply(self.linear(x.flatten(1)))

    problem = Problem(Net())
    with pytest.raises(NotImplementedError, match="use mode='fd'"):
        problem.hypergradient("weights", "jvp")
    want = problem.hypergradient("weights", "exact")
    assert largest_difference(problem.hypergradient("weights", "fd"), want) < 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "magic"}, "`mode` is 'magic'; it must be one of 'jvp', 'fd', 'exact'"),
        ({"mode": "fd", "fd_step": 0.0}, "`fd_step` is 0.0; it must be a finite number above 0"),
        ({"only": "classifier"}, r"`only` is 'classifier'; it must be a tuple, \('classifier',\)"),
        (
            {"only": ("classifier",), "recompute": True},
            "`recompute` is True; the virtual step must be able to",
        ),
        (
            {"mode": "exact", "recompute": True},
            "`recompute` is True; the virtual step must be able to",
        ),
        ({"one_sided": True}, "`one_sided` is True and `mode` is 'jvp'; only mode='fd'"),
    ],
)
def test_wrong_options_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        Lookahead(**options)


@pytest.mark.parametrize("mode", ["jvp", "fd"])
def test_virtual_parameters_that_are_known_need_no_virtual_step(mode):
    """Those of `virtual_step` itself give the same numbers; others give others."""
    problem = Problem(network("BatchNorm"))
    inner, meta_parameters = problem.inner("weights")
    want = problem.hypergradient("weights", mode)
    found = []
    for lr in (LR, 0.0):
        forward = bilevel.forward_pass(problem.model, problem.x)
        theta_hat = bilevel.virtual_step(problem.model, inner(forward.logits), lr=lr)
        options = {"lr": LR, "mode": mode, "theta_hat": theta_hat}
        found.append(
            bilevel.hypergradient(
                problem.model, forward, inner, problem.outer, meta_parameters, **options
            )
        )
    assert torch.equal(found[0].gradients[0], want.gradients[0])
    assert largest_difference(found[1], want) > 1e-4
    with pytest.raises(ValueError, match="`theta_hat` is given; mode='exact' differentiates"):
        bilevel.hypergradient(
            problem.model,
            forward,
            inner,
            problem.outer,
            meta_parameters,
            lr=LR,
            mode="exact",
            theta_hat=theta_hat,
        )


def test_wrong_mode_and_unknown_layer_are_refused_by_name():
    problem = Problem(network("MLP"))
    with pytest.raises(ValueError, match="`mode` is 'magic'; it must be one of 'jvp', 'fd'"):
        problem.hypergradient("weights", "magic")
    with pytest.raises(ValueError, match=r"`only` is \('head',\); no parameter's name begins so"):
        problem.hypergradient("weights", Lookahead(only=("head",)))


@pytest.mark.parametrize("kind", ["BatchNorm", "dropout"])
@pytest.mark.parametrize("mode", ["jvp", "fd"])
def test_lean_lookahead_changes_no_number(mode, kind):
    """Hypergradient, the ordinary step's gradient, statistics and random stream: all the same."""
    outcomes = []
    for lean in (False, True):
        torch.default_generator.manual_seed(12)  # inside the fixture's fork
        problem = Problem(network(kind))
        inner, meta_parameters = problem.inner("weights")
        forward = bilevel.forward_pass(problem.model, problem.x)
        how = Lookahead(mode, recompute=lean)
        hyper = bilevel.hypergradient(
            problem.model, forward, inner, problem.outer, meta_parameters, lr=LR, mode=how
        )
        again = bilevel.recomputed(problem.model, forward, how)
        assert (again is forward) != lean
        F.cross_entropy(again.logits, problem.y).backward()
        gradients = [p.grad for p in problem.model.parameters()]
        buffers = list(problem.model.buffers())
        outcomes.append([*hyper.gradients, *gradients, *buffers, torch.get_rng_state()])
    assert outcomes[0][0].abs().max() > 1e-4
    for kept, freed in zip(*outcomes, strict=True):
        assert torch.equal(kept, freed)


@pytest.mark.parametrize("mode", ["jvp", "fd"])
def test_lean_lookahead_frees_the_recorded_graph(mode):
    problem = Problem(network("BatchNorm"))
    inner, meta_parameters = problem.inner("weights")
    forward = bilevel.forward_pass(problem.model, problem.x)
    bilevel.hypergradient(
        problem.model,
        forward,
        inner,
        problem.outer,
        meta_parameters,
        lr=LR,
        mode=Lookahead(mode, recompute=True),
    )
    with pytest.raises(RuntimeError, match="second time"):
        F.cross_entropy(forward.logits, problem.y).backward()


@pytest.mark.parametrize("mode", ["jvp", "fd"])
@pytest.mark.parametrize("head", HEADS)
def test_lookahead_of_the_last_layer_equals_double_backward_with_the_others_fixed(head, mode):
    """`only` is the bilevel problem in which the other layers are frozen during the lookahead."""
    how = {"only": ("classifier",)}
    problem = Problem(network("BatchNorm"))
    everything = problem.hypergradient(head, "exact")
    got = problem.hypergradient(head, Lookahead(mode, **how, fd_step=1e-4))
    exact = problem.hypergradient(head, Lookahead("exact", **how))
    frozen = Problem(network("BatchNorm"))
    frozen.model.body.requires_grad_(False)
    want = frozen.hypergradient(head, "exact")
    assert largest_difference(exact, want) < 1e-14
    # The logits are linear in the last layer, so that even the difference has rounding alone.
    assert largest_difference(got, want) < (1e-13 if mode == "jvp" else 1e-10)
    assert largest_difference(everything, want) > 1e-4
    assert all(p.requires_grad for p in problem.model.parameters())


def test_negative_virtual_step_is_refused():
    problem = Problem(network("MLP"))
    inner, meta_parameters = problem.inner("weights")
    forward = bilevel.forward_pass(problem.model, problem.x)
    with pytest.raises(ValueError, match="`lr` is -1.0; it must be a finite number, not negative"):
        bilevel.hypergradient(
            problem.model, forward, inner, problem.outer, meta_parameters, lr=-1.0
        )


def test_batch_on_another_device_than_the_network_is_refused():
    model = network("MLP").to("meta")
    with pytest.raises(ValueError, match="`x` lies on cpu and `model` on meta; move one of them"):
        bilevel.forward_pass(model, torch.zeros(2, 1, 8, 8))


def test_model_without_trainable_parameters_is_refused():
    model = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ValueError, match="`model` has no trainable parameter"):
        bilevel.parameters(model)


@pytest.mark.parametrize("kind", ["shared layer", "shared tensor"])
def test_network_with_shared_parameters_is_put_back(kind):
    """`torch.func.functional_call` leaves a layer used twice changed (pytorch issue 164759)."""
    problem = Problem(network(kind))
    before = {name: p.detach().clone() for name, p in problem.model.named_parameters()}
    theta = {name: torch.zeros_like(p) for name, p in before.items()}
    assert (bilevel.with_parameters(problem.model, theta)(problem.x) == 0).all()
    for name, p in problem.model.named_parameters():
        assert isinstance(p, nn.Parameter)
        assert torch.equal(p, before[name])


def test_at_leaves_the_model_untouched_and_uses_the_given_parameters():
    model = nn.Linear(2, 3).double()
    x = torch.randn(4, 2, dtype=torch.float64)
    weight = torch.arange(6, dtype=torch.float64).reshape(3, 2)
    before = model.weight.detach().clone()
    out = bilevel.with_parameters(model, {"weight": weight})(x)
    assert_close(out, x @ weight.t() + model.bias, rtol=0, atol=1e-14)
    assert torch.equal(model.weight, before)


# trial_gradient: the gradient by the parameters themselves


def trial(problem, order, lr=LR, forward=None):
    """Cross-entropy of the given labels as trial loss; the outer loss of the problem."""
    forward = bilevel.forward_pass(problem.model, problem.x) if forward is None else forward
    return bilevel.trial_gradient(
        problem.model,
        forward,
        lambda z: F.cross_entropy(z, problem.y),
        problem.outer,
        lr=lr,
        order=order,
    )


def literal_trial_gradient(problem, *, detached, lr=LR):
    """The same by one backward pass through a step that is, or is not, cut off from theta."""
    theta = bilevel.parameters(problem.model)
    loss = F.cross_entropy(problem.model(problem.x), problem.y)
    gradients = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
    moved = {
        name: p - lr * (g.detach() if detached else g)
        for (name, p), g in zip(theta.items(), gradients, strict=True)
    }
    value = problem.outer(bilevel.with_parameters(problem.model, moved))
    return dict(zip(theta, torch.autograd.grad(value, list(theta.values())), strict=True))


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("order", bilevel.ORDERS)
def test_trial_gradient_equals_backward_through_the_step(order, kind):
    """Also with BatchNorm in training mode and with shared parameters: only round-off differs."""
    problem = Problem(network(kind))
    got, value = trial(problem, order)
    want = literal_trial_gradient(problem, detached=order == "first")
    other = literal_trial_gradient(problem, detached=order == "second")
    assert gap(got, want) < 1e-13 * size(want)
    assert gap(other, want) > 1e-3 * size(want)  # the orders do differ here
    loss = F.cross_entropy(problem.model(problem.x), problem.y)
    theta_hat = bilevel.virtual_step(problem.model, loss, lr=LR)
    outer = problem.outer(bilevel.with_parameters(problem.model, theta_hat)).detach()
    assert_close(value, outer, rtol=1e-14, atol=0)


def test_second_order_is_the_slope_of_the_outer_loss_after_the_step():
    """Along three random directions of parameter space, by central differences."""
    problem = Problem(smooth_network())
    second, first = trial(problem, "second")[0], trial(problem, "first")[0]
    theta = bilevel.parameters(problem.model)
    start = {name: p.detach().clone() for name, p in theta.items()}
    g, h = torch.Generator().manual_seed(4), 1e-5

    def value():
        loss = F.cross_entropy(problem.model(problem.x), problem.y)
        theta_hat = bilevel.virtual_step(problem.model, loss, lr=LR)
        return problem.outer(bilevel.with_parameters(problem.model, theta_hat)).item()

    for _ in range(3):
        direction = {n: torch.randn(p.shape, generator=g).double() for n, p in start.items()}
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                for name, p in theta.items():
                    p.copy_(start[name] + sign * h * direction[name])
            values.append(value())
        slope = (values[0] - values[1]) / (2 * h)
        along = {
            name: sum((gradient[n] * direction[n]).sum().item() for n in start)
            for name, gradient in (("first", first), ("second", second))
        }
        assert slope == pytest.approx(along["second"], rel=1e-6)  # error of order h^2
        assert abs(slope - along["first"]) > 1e-3 * abs(slope)


def test_difference_between_the_orders_falls_with_the_trial_step():
    """It is lr H v, so a tenth of the step leaves about a tenth of it."""
    problem = Problem(smooth_network())
    gaps = [
        gap(trial(problem, "first", lr)[0], trial(problem, "second", lr)[0])
        for lr in (1e-2, 1e-3, 1e-4)
    ]
    assert gaps[0] > 1e-5
    for coarse, fine in zip(gaps, gaps[1:], strict=False):
        assert coarse / fine == pytest.approx(10, rel=0.05)  # v and H v move by O(lr) as well


@pytest.mark.parametrize("kind", NETWORKS)
def test_zero_trial_step_leaves_the_outer_gradient_in_both_orders(kind):
    problem = Problem(network(kind))
    theta = bilevel.parameters(problem.model)
    value = problem.outer(bilevel.with_parameters(problem.model, theta))
    want = dict(zip(theta, torch.autograd.grad(value, list(theta.values())), strict=True))
    assert size(want) > 1e-4
    for order in bilevel.ORDERS:
        got, outer = trial(problem, order, lr=0.0)
        assert all(torch.equal(got[name], want[name]) for name in want)
        assert outer == value.detach()


@pytest.mark.parametrize("order", bilevel.ORDERS)
def test_trial_steps_move_running_statistics_once_and_parameters_not_at_all(order):
    problem, twin = Problem(network("BatchNorm")), Problem(network("BatchNorm"))
    forward = bilevel.forward_pass(problem.model, problem.x)
    for _ in range(3):
        trial(problem, order, forward=forward)
    twin.model(twin.x)
    for name, value in twin.model.state_dict().items():
        assert torch.equal(problem.model.state_dict()[name], value), name
    assert problem.model.body[1].running_mean.abs().max() > 0
    assert all(p.grad is None for p in problem.model.parameters())


@pytest.mark.parametrize("order", bilevel.ORDERS)
def test_graph_survives_many_trial_steps_and_the_ordinary_one_is_unchanged(order):
    problem, fresh = Problem(network("BatchNorm")), Problem(network("BatchNorm"))
    forward = bilevel.forward_pass(problem.model, problem.x)
    one, again = (trial(problem, order, forward=forward)[0] for _ in range(2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    F.cross_entropy(forward.logits, problem.y).backward()
    F.cross_entropy(fresh.model(fresh.x), fresh.y).backward()
    for p, q in zip(problem.model.parameters(), fresh.model.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)


@pytest.mark.parametrize("order", bilevel.ORDERS)
def test_trial_steps_leave_nothing_in_memory(order):
    """What the forward pass keeps for its backward pass is all that is there afterwards."""
    alive = weakref.WeakSet()

    class Saved:
        def __init__(self, tensor):
            self.tensor = tensor.detach()  # an output that held its graph would hold itself
            alive.add(self)

    problem = Problem(network("MLP"))
    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        forward = bilevel.forward_pass(problem.model, problem.x)
        gc.collect()
        before = len(alive)
        for _ in range(3):
            trial(problem, order, forward=forward)
        gc.collect()
        assert len(alive) == before > 0


@pytest.mark.parametrize("order", bilevel.ORDERS)
def test_trial_network_drops_the_units_that_the_recorded_pass_dropped(order):
    """At lr = 0 the network after the step gives the recorded logits; the stream does not move."""
    problem = Problem(network("dropout"))
    forward = bilevel.forward_pass(problem.model, problem.x)
    now = torch.get_rng_state()
    seen = []

    def outer(net):
        seen.append(net(problem.x).detach())
        return F.cross_entropy(net(problem.x), problem.y)  # a second pass draws other masks

    bilevel.trial_gradient(
        problem.model, forward, lambda z: F.cross_entropy(z, problem.y), outer, lr=0.0, order=order
    )
    assert torch.equal(seen[0], forward.logits.detach())
    assert torch.equal(torch.get_rng_state(), now)
    assert not torch.equal(problem.model(problem.x), forward.logits)  # there is dropout


@pytest.mark.parametrize("order", bilevel.ORDERS)
def test_frozen_parameters_take_no_part_in_a_trial_step(order):
    problem = Problem(network("MLP"))
    problem.model.body[1].requires_grad_(False)
    got = trial(problem, order)[0]
    want = literal_trial_gradient(problem, detached=order == "first")
    assert "body.1.weight" not in got
    assert gap(got, want) < 1e-13 * size(want)


def test_wrong_options_of_a_trial_step_are_refused_by_name():
    problem = Problem(network("MLP"))
    with pytest.raises(ValueError, match="`order` is 'third'; it must be one of 'first', 'second'"):
        trial(problem, "third")
    with pytest.raises(ValueError, match="`lr` is -1.0; it must be a finite number, not negative"):
        trial(problem, "first", lr=-1.0)


# trial_gradients: several sets of labels at once

SETS = torch.tensor(
    [[0, 0, 0, 2, 1, 0, 2], [1, 0, 2, 2, 1, 0, 0], [0, 2, 0, 1, 1, 1, 2], [2, 2, 0, 2, 0, 0, 1]]
)


def trials_at_once(problem, sets=SETS, forward=None, lr=LR):
    forward = bilevel.forward_pass(problem.model, problem.x) if forward is None else forward
    return bilevel.trial_gradients(
        problem.model, forward, F.cross_entropy, sets, problem.outer, lr=lr
    )


def trials_in_turn(problem, sets=SETS):
    """The sum over the sets of what `trial_gradient` gives, and the single gradients."""
    forward = bilevel.forward_pass(problem.model, problem.x)
    single, values = [], []
    for y in sets:
        gradient, value = bilevel.trial_gradient(
            problem.model, forward, lambda z, y=y: F.cross_entropy(z, y), problem.outer, lr=LR
        )
        single.append(gradient)
        values.append(value)
    total = {name: sum(gradient[name] for gradient in single) for name in single[0]}
    return total, sum(values), single


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", NETWORKS)
def test_trials_at_once_are_the_sum_of_trials_in_turn(kind, layout):
    """Also with BatchNorm in training mode and with shared parameters: only round-off differs."""
    problem = Problem(network(kind).to(memory_format=layout))
    problem.x = problem.x.to(memory_format=layout)
    want, value, single = trials_in_turn(problem)
    got, total = trials_at_once(problem)
    assert gap(got, want) < 1e-13 * size(want)
    assert_close(total, value, rtol=1e-13, atol=0)
    assert gap(single[0], single[1]) > 1e-3 * size(want)  # the sets do differ
    assert not any(g.requires_grad for g in got.values())


@pytest.mark.parametrize("at_once", [1, 3, len(SETS)])
def test_the_mean_over_sets_of_labels_is_that_of_trials_in_turn(at_once):
    """However many are tried at once: 4 sets are 1 + 1 + 1 + 1, 3 + 1 or 4."""
    problem = Problem(network("BatchNorm"))
    total, value, _ = trials_in_turn(problem)
    got, mean = bilevel.mean_trial_gradient(
        problem.model,
        bilevel.forward_pass(problem.model, problem.x),
        F.cross_entropy,
        SETS,
        problem.outer,
        lr=LR,
        at_once=at_once,
    )
    want = {name: g / 4 for name, g in total.items()}
    assert gap(got, want) < 1e-13 * size(want)
    assert_close(mean, value / 4, rtol=1e-13, atol=0)


def test_the_mean_in_second_order_is_taken_one_set_after_another():
    problem = Problem(network("BatchNorm"))
    forward = bilevel.forward_pass(problem.model, problem.x)
    arguments = problem.model, forward, F.cross_entropy, SETS[:2], problem.outer
    got, _ = bilevel.mean_trial_gradient(*arguments, lr=LR, order="second")
    one, two = (
        bilevel.trial_gradient(
            problem.model,
            forward,
            lambda z, y=y: F.cross_entropy(z, y),
            problem.outer,
            lr=LR,
            order="second",
        )[0]
        for y in SETS[:2]
    )
    assert gap(got, {name: (one[name] + two[name]) / 2 for name in one}) < 1e-14 * size(got)
    with pytest.raises(ValueError, match="`at_once` is 2; it must be 1 for order='second'"):
        bilevel.mean_trial_gradient(*arguments, lr=LR, order="second", at_once=2)


@pytest.mark.parametrize("at_once", [1, 2])
def test_trials_in_half_precision_point_the_same_way_and_leave_the_pass_alone(at_once):
    """Eight bits: the angle to float64 has a cosine of 0.99. Running statistics do not move."""

    def mean(problem, dtype):
        forward = bilevel.forward_pass(problem.model, problem.x.to(problem.meta_x.dtype))
        before = {name: b.clone() for name, b in problem.model.named_buffers()}
        found, value = bilevel.mean_trial_gradient(
            problem.model,
            forward,
            F.cross_entropy,
            SETS,
            problem.outer,
            lr=LR,
            at_once=at_once,
            dtype=dtype,
        )
        assert all(torch.equal(b, before[name]) for name, b in problem.model.named_buffers())
        assert forward.logits.dtype == problem.meta_x.dtype
        forward.logits.sum().backward()  # its graph is kept for the ordinary step
        return torch.cat([g.flatten() for g in found.values()]), value

    double, single = Problem(network("BatchNorm")), Problem(network("BatchNorm"))
    single.model.float()
    single.meta_x = single.meta_x.float()
    want, value = mean(double, None)
    got, half = mean(single, "bfloat16")
    exact, _ = mean(single, None)
    assert got.dtype == torch.float32
    assert F.cosine_similarity(got.double(), want, dim=0) > 0.99
    assert (got - exact).norm() > 1e-4 * exact.norm()  # it was not float32
    assert half.item() == pytest.approx(value.item(), rel=1e-2)
    cast, _ = mean(double, "bfloat16")  # float64 is not, but gradients are taken in turn
    assert_close(cast, want, rtol=1e-10, atol=1e-13)


def test_trials_in_other_types_are_refused():
    problem = Problem(network("MLP"))
    forward = bilevel.forward_pass(problem.model, problem.x)
    arguments = problem.model, forward, F.cross_entropy, SETS, problem.outer
    with pytest.raises(ValueError, match="`dtype` is 'float16'; it must be one of 'bfloat16'"):
        bilevel.mean_trial_gradient(*arguments, lr=LR, dtype="float16")


class Casts(TorchDispatchMode):
    """Keeps an eye on the bfloat16 copies that autocast makes of matrices of this shape."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.made = shape, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._to_copy.default and made.shape == self.shape:
            self.made.append(weakref.ref(made))
        return made

    def alive(self):
        return sum(copy() is not None for copy in self.made)


def test_casts_of_trial_networks_do_not_outlive_their_pass():
    """So the memory of many trials is that of one, under autocast too."""
    problem = Problem(network("MLP"))
    problem.model.float()
    problem.x, problem.meta_x = problem.x.float(), problem.meta_x.float()
    matrix = problem.model.body[1].weight
    with torch.autocast("cpu", dtype=torch.bfloat16), Casts(matrix.shape) as casts:
        forward = bilevel.forward_pass(problem.model, problem.x)
        recorded = casts.alive()
        for _ in range(5):
            trial(problem, "first", forward=forward)
            assert casts.alive() == recorded
    assert recorded == 1
    assert len(casts.made) >= 6


class AsksForTheLayout(nn.Module):
    """Its way back asks how a gradient lies in memory, which `vmap` cannot answer."""

    def forward(self, x):
        def look(gradient):
            if gradient.ndim == 4:
                gradient.clone(memory_format=torch.channels_last)

        if x.requires_grad:
            x.register_hook(look)
        return x


def test_a_layer_that_asks_for_the_layout_goes_backward_once_for_each_set():
    """As GroupNorm does in PyTorch 2.11 with channels last."""
    problem = Problem(network("GroupNorm").insert(1, AsksForTheLayout()))
    theta, slopes = list(problem.model.parameters()), torch.ones(4, 7, 3)
    logits = problem.model(problem.x)
    with pytest.raises(RuntimeError, match="memory_format"):
        torch.func.vmap(lambda slope: torch.autograd.grad(logits, theta, slope))(slopes)
    want, _, _ = trials_in_turn(problem)
    got, _ = trials_at_once(problem)
    assert gap(got, want) < 1e-13 * size(want)


@pytest.mark.parametrize("space", ["probability", "logit"])
def test_trials_at_once_take_a_loss_with_a_transition_matrix(space):
    """Its check of the labels cannot look at them under `vmap`."""
    problem = Problem(network("MLP"))
    forward = bilevel.forward_pass(problem.model, problem.x)
    matrix = problem.transition.detach()

    def loss(logits, labels):
        return transition_cross_entropy(logits, labels, matrix, space=space)

    got, _ = bilevel.trial_gradients(problem.model, forward, loss, SETS, problem.outer, lr=LR)
    in_turn = [
        bilevel.trial_gradient(
            problem.model, forward, lambda z, y=y: loss(z, y), problem.outer, lr=LR
        )[0]
        for y in SETS
    ]
    want = {name: sum(gradient[name] for gradient in in_turn) for name in got}
    assert gap(got, want) < 1e-13 * size(want)


def test_one_trial_at_once_is_a_trial():
    problem = Problem(network("BatchNorm"))
    want, value, _ = trials_in_turn(problem, SETS[2:3])
    got, total = trials_at_once(problem, SETS[2:3])
    assert gap(got, want) < 1e-13 * size(want)
    assert_close(total, value, rtol=1e-13, atol=0)


@pytest.mark.parametrize("kind", ["BatchNorm", "shared tensor"])
def test_trials_at_once_leave_network_graph_and_random_numbers_as_they_were(kind):
    problem, fresh = Problem(network(kind)), Problem(network(kind))
    fresh.model.load_state_dict(problem.model.state_dict())
    forward = bilevel.forward_pass(problem.model, problem.x)
    logits = fresh.model(fresh.x)
    own, now = dict(problem.model.named_parameters()), torch.get_rng_state()
    one, again = (trials_at_once(problem, forward=forward)[0] for _ in range(2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), now)
    for name, value in fresh.model.state_dict().items():
        assert torch.equal(problem.model.state_dict()[name], value), name
    assert all(p is own[name] and p.grad is None for name, p in problem.model.named_parameters())
    F.cross_entropy(forward.logits, problem.y).backward()
    F.cross_entropy(logits, fresh.y).backward()
    for p, q in zip(problem.model.parameters(), fresh.model.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)


class PartlyUsed(nn.Module):
    """With a frozen layer, and with a parameter that nothing depends on."""

    def __init__(self):
        super().__init__()
        self.body = network("MLP")
        self.body.body[1].requires_grad_(False)
        self.idle = nn.Parameter(torch.ones(2))

    def forward(self, x):
        return self.body(x)


def test_trials_at_once_pass_over_frozen_and_idle_parameters():
    problem = Problem(PartlyUsed())
    want, _, _ = trials_in_turn(problem)
    got, _ = trials_at_once(problem)
    assert "body.body.1.weight" not in got
    assert torch.equal(got["idle"], torch.zeros(2, dtype=torch.float64))
    assert gap(got, want) < 1e-13 * size(want)


@pytest.mark.parametrize("kind", ["BatchNorm", "GroupNorm"])
def test_trials_at_once_keep_the_direction_under_bfloat16_autocast(kind):
    """Against trials in turn in float64; the bound is that of the hypergradient above."""
    problem = Problem(network(kind))
    want, _, _ = trials_in_turn(problem)
    problem.model.float()
    problem.x, problem.meta_x = problem.x.float(), problem.meta_x.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, _ = trials_at_once(problem)
    a, b = (torch.cat([g.double().flatten() for g in found.values()]) for found in (want, got))
    assert all(g.dtype == torch.float32 for g in got.values())
    assert not torch.allclose(a, b, rtol=1e-5, atol=0)  # autocast was really on
    assert F.cosine_similarity(a, b, dim=0) > 0.99


def test_trials_at_once_refuse_dropout_in_training_with_a_way_out():
    """In evaluation mode nothing is drawn."""
    problem = Problem(network("dropout"))
    now = torch.get_rng_state()
    with torch.random.fork_rng(devices=[]):
        forward = bilevel.forward_pass(problem.model, problem.x)
    with pytest.raises(RuntimeError, match="`model` draws random numbers, .* trials_at_once=1"):
        trials_at_once(problem, forward=forward)
    assert torch.equal(torch.get_rng_state(), now)
    problem.model.eval()
    want, _, _ = trials_in_turn(problem)
    assert gap(trials_at_once(problem)[0], want) < 1e-13 * size(want)


def test_trials_at_once_refuse_a_compiled_network_with_a_way_out():
    problem = Problem(network("MLP"))
    problem.model.compile(backend="eager")
    with pytest.raises(RuntimeError, match="compiled network cannot take several .*_at_once=1"):
        trials_at_once(problem)


@pytest.mark.parametrize("sets", [SETS[0], SETS[:, :6], SETS[:0]], ids=["one", "short", "none"])
def test_sets_of_another_shape_are_refused(sets):
    problem = Problem(network("MLP"))
    shape = str(tuple(sets.shape)).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(
        ValueError, match=f"`labels` has shape {shape}; it must be .M, 7.: at least one row"
    ):
        trials_at_once(problem, sets)
    with pytest.raises(ValueError, match="`lr` is -1.0; it must be a finite number, not negative"):
        trials_at_once(problem, lr=-1.0)
