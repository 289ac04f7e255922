"""MLC against its closed forms, its limits, and a literal transcription of its equations.

The names I1 to I5, H1 and H2 are those of chapter 8.
"""

import copy

import properties
import pytest
import torch
import torch.nn.functional as F
from helpers import network
from torch import nn
from torch.testing import assert_close

from nlmeta import bilevel, losses, presets
from nlmeta.data import Batch, load
from nlmeta.methods import EMA, MLC, CrossEntropy
from nlmeta.methods.mlc import normalise_transition
from nlmeta.models import MLP, SmallCNN

LOPSIDED = torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.3, 0.1, 0.6]], dtype=torch.float64)
SWITCHES = [
    {"space": space, "normalise": normalise, "reduction": reduction, "q_floor": q_floor}
    for space in ("probability", "logit")
    for normalise in ("row", "column")
    for reduction in ("mean", "sum")
    for q_floor in (0.0, 0.2)
]


def data(seed=3, n=9, dtype=torch.float64):
    """A noisy batch in three unequal classes and four clean samples."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, 8, 8, generator=g, dtype=torch.float64).to(dtype)
    y = torch.tensor([0, 0, 0, 2, 1, 0, 2, 2, 0])[:n]
    meta_x = torch.randn(4, 1, 8, 8, generator=g, dtype=torch.float64).to(dtype)
    train = Batch(x, y, torch.arange(n))
    return train, Batch(meta_x, torch.tensor([0, 1, 2, 2]), torch.arange(4))


def mlc(initial=LOPSIDED, **options):
    options = {"virtual_lr": 0.5, "transition_lr": 1.0, "q_floor": 0.0, **options}
    return MLC(3, initial=initial, **options).double()


def gradient(method, model, train, meta):
    forward = bilevel.forward_pass(model, train.x)
    return method.transition_gradient(model, forward, train.y, meta).gradients[0]


def tangent(method, model, train, meta):
    """Logits, and their tangent along the outer gradient, with the method's own virtual step."""
    forward = bilevel.forward_pass(model, train.x)
    inner = method.loss(forward.logits, train.y, method.transition.detach())
    theta_hat = bilevel.virtual_step(model, inner, lr=method.virtual_lr)
    v, _ = bilevel.outer_gradient(
        model, theta_hat, lambda network: F.cross_entropy(network(meta.x), meta.y)
    )
    return forward.logits.detach(), bilevel.tangent(model, forward, v)


def h1(z, z_dot, y, transition, *, virtual_lr, q_floor=0.0):
    """The chapter's boxed formula in probability space, written out sample by sample."""
    num_classes = transition.shape[0]
    out = torch.zeros_like(transition)
    for b in range(len(y)):
        p = z[b].softmax(0)
        j = y[b]
        q = p @ transition[:, j]
        r = p * transition[:, j] / q
        for i in range(num_classes):
            pull = p[i] / max(q, q_floor)
            out[i, j] += virtual_lr / len(y) * pull * (z_dot[b, i] - r @ z_dot[b])
    return out


def h2(z, z_dot, y, transition, *, virtual_lr):
    """The same for a matrix that is applied to the logits."""
    s = (z @ transition).softmax(1)
    u = z_dot @ transition
    s_dot = s * (u - (s * u).sum(1, keepdim=True))
    slope = s - F.one_hot(y, transition.shape[0])
    return -virtual_lr / len(y) * (z_dot.t() @ slope + z.t() @ s_dot)


@pytest.mark.parametrize("options", SWITCHES, ids=lambda o: "-".join(map(str, o.values())))
def test_transition_gradient_equals_double_backward_for_every_switch(options):
    """JVP against double backward, BatchNorm in training mode; only round-off differs."""
    train, meta = data()
    model = SmallCNN(1, 3, width=4, hidden=8, seed=5).double()
    want = gradient(mlc(mode="exact", **options), model, train, meta)
    got = gradient(mlc(mode="jvp", **options), model, train, meta)
    assert want.abs().max() > 1e-4
    assert_close(got, want, rtol=1e-10, atol=1e-12 * want.abs().max().item())


def test_fd_error_falls_with_the_square_of_the_step_on_a_smooth_network():
    train, meta = data()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    with torch.no_grad():
        for k, p in enumerate(model.parameters()):
            p.copy_(torch.linspace(-0.3, 0.4, p.numel(), dtype=p.dtype).sin().view_as(p) * (k + 1))
    method = mlc(mode="exact")
    want = gradient(method, model, train, meta)
    assert want.abs().max() > 1e-4
    errors = []
    for step in (4e-2, 2e-2, 1e-2):
        forward = bilevel.forward_pass(model, train.x)
        got = bilevel.hypergradient(
            model,
            forward,
            lambda logits: method.loss(logits, train.y, method.transition),
            lambda network: F.cross_entropy(network(meta.x), meta.y),
            [method.transition],
            lr=method.virtual_lr,
            mode=bilevel.Lookahead("fd", fd_step=step),
        ).gradients[0]
        errors.append((got - want).abs().max().item())
    assert 3.8 < errors[0] / errors[1] < 4.2  # 4 but for the fourth-order term
    assert 3.8 < errors[1] / errors[2] < 4.2


@pytest.mark.parametrize("q_floor", [0.0, 0.2])
def test_h1_is_the_gradient_in_probability_space(q_floor):
    train, meta = data()
    model = SmallCNN(1, 3, width=4, hidden=8, seed=5).double()
    method = mlc(q_floor=q_floor)
    z, z_dot = tangent(method, model, train, meta)
    want = h1(z, z_dot, train.y, LOPSIDED, virtual_lr=0.5, q_floor=q_floor)
    assert want.abs().max() > 1e-4
    assert_close(gradient(method, model, train, meta), want, rtol=1e-10, atol=1e-14)


def test_h2_is_the_gradient_in_logit_space():
    train, meta = data()
    model = SmallCNN(1, 3, width=4, hidden=8, seed=5).double()
    method = mlc(space="logit")
    z, z_dot = tangent(method, model, train, meta)
    want = h2(z, z_dot, train.y, LOPSIDED, virtual_lr=0.5)
    assert want.abs().max() > 1e-4
    assert_close(gradient(method, model, train, meta), want, rtol=1e-10, atol=1e-14)


def test_worked_case_of_two_classes():
    """Two samples labelled 1, one clean sample of class 0 like the first of them: T_01 grows."""
    model = nn.Linear(2, 2, bias=False).double()
    nn.init.zeros_(model.weight)
    eye = torch.eye(2, dtype=torch.float64)
    train = Batch(eye, torch.tensor([1, 1]), torch.arange(2))
    meta = Batch(eye[:1], torch.tensor([0]), torch.arange(1))
    method = MLC(2, virtual_lr=1.0, transition_lr=0.5, q_floor=0.0).double()

    forward = bilevel.forward_pass(model, train.x)
    theta_hat = bilevel.virtual_step(model, F.cross_entropy(forward.logits, train.y), lr=1.0)
    want = torch.tensor([[-0.25, -0.25], [0.25, 0.25]], dtype=torch.float64)
    assert_close(theta_hat["weight"].detach(), want, rtol=0, atol=1e-12)

    result = method.transition_gradient(model, forward, train.y, meta)
    assert result.outer_loss.item() == pytest.approx(0.974077, abs=1e-6)
    assert_close(
        result.gradients[0],
        torch.tensor([[0.0, -0.622459], [0.0, 0.0]], dtype=torch.float64),
        rtol=0,
        atol=1e-6,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    method.step(model, optimizer, train, meta)
    learned = torch.tensor([[0.7626, 0.2374], [0.0, 1.0]], dtype=torch.float64)
    assert_close(method.transition.detach(), learned, rtol=0, atol=5e-5)  # four printed digits


def test_linear_softmax_model_has_a_closed_form_without_automatic_differentiation():
    """z = W x: the tangent is a kernel vote of the clean residuals; put into H1."""
    g = torch.Generator().manual_seed(8)
    x = torch.randn(6, 4, generator=g, dtype=torch.float64)
    meta_x = torch.randn(3, 4, generator=g, dtype=torch.float64)
    w = torch.randn(3, 4, generator=g, dtype=torch.float64)
    y, meta_y = torch.tensor([0, 0, 2, 1, 0, 2]), torch.tensor([1, 0, 2])
    model = nn.Linear(4, 3, bias=False).double()
    model.weight.data = w
    method = mlc()
    got = gradient(
        method, model, Batch(x, y, torch.arange(6)), Batch(meta_x, meta_y, torch.arange(3))
    )

    z = x @ w.t()
    p = z.softmax(1)
    posterior = p * LOPSIDED.t()[y]
    r = posterior / posterior.sum(1, keepdim=True)
    w_hat = w - 0.5 / 6 * (p - r).t() @ x
    residual = (meta_x @ w_hat.t()).softmax(1) - F.one_hot(meta_y, 3)  # (3, 3)
    z_dot = (x @ meta_x.t()) @ residual / 3
    want = h1(z, z_dot, y, LOPSIDED, virtual_lr=0.5)
    assert want.abs().max() > 1e-3
    assert_close(got, want, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("space", ["probability", "logit"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_i1_identity_transition_has_the_gradient_of_cross_entropy_bit_for_bit(space, reduction):
    """I1 in float32, for both spaces and both reductions."""
    train, _ = data(dtype=torch.float32)
    model = MLP(64, 3, (16,), seed=5)
    z = model(train.x).detach().requires_grad_()
    want = F.cross_entropy(z, train.y, reduction=reduction)
    (want_gradient,) = torch.autograd.grad(want, z)
    got = losses.transition_cross_entropy(
        z, train.y, torch.eye(3), space=space, reduction=reduction, q_floor=1e-4
    )
    (got_gradient,) = torch.autograd.grad(got, z)
    assert torch.equal(got_gradient, want_gradient)
    assert_close(got, want, rtol=3e-7, atol=0)  # the value may be summed in another order


@pytest.mark.parametrize("mode", bilevel.MODES)
@pytest.mark.parametrize("space", ["probability", "logit"])
def test_with_identity_and_zero_step_of_t_training_is_cross_entropy_bit_for_bit(space, mode):
    """The control `transition_lr=0`: five steps on digits with momentum and weight decay."""
    split = load("digits", noise="symmetric", rate=0.5, seed=2)
    train = Batch(split.train.x[:64], split.train.y[:64], torch.arange(64))
    meta = Batch(split.meta.x, split.meta.y, torch.arange(100))
    properties.trains_as(
        lambda model: MLC(10, virtual_lr=0.1, transition_lr=0.0, space=space, mode=mode),
        lambda model: CrossEntropy(),
        lambda: SmallCNN(1, 10, width=4, hidden=16, seed=7),
        [(train, meta)] * 5,
    )


def test_i2_columns_of_the_gradient_are_orthogonal_to_columns_of_t():
    """Scaling a column of T adds a constant to the loss, so the gradient has no such component."""
    train, meta = data()
    model = MLP(64, 3, (16,), seed=5).double()
    g = gradient(mlc(), model, train, meta)
    assert (LOPSIDED * g).abs().max() > 1e-4
    assert_close((LOPSIDED * g).sum(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-15)


def test_i2_scaling_columns_leaves_the_step_of_the_network_alone():
    train, _ = data()
    z = MLP(64, 3, (16,), seed=5).double()(train.x).detach().requires_grad_()
    scale = torch.tensor([0.5, 2.0, 7.0], dtype=torch.float64)
    plain, scaled = (
        torch.autograd.grad(losses.transition_cross_entropy(z, train.y, t), z)[0]
        for t in (LOPSIDED, LOPSIDED * scale)
    )
    assert plain.abs().max() > 1e-3
    assert_close(plain, scaled, rtol=0, atol=1e-15)


def test_i3_diagonal_of_the_gradient_is_zero_at_the_identity():
    """Exactly zero, so one step from the identity only grows entries beside the diagonal."""
    train, meta = data()
    model = MLP(64, 3, (16,), seed=5).double()
    eye = torch.eye(3, dtype=torch.float64)
    method = mlc(initial=eye)
    g = gradient(method, model, train, meta)
    assert g.abs().max() > 1e-4
    assert g.diagonal().abs().max() < 1e-17
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    method.step(model, optimizer, train, meta)
    grown = eye + (-g).clamp_min(0) * (1 - eye)
    want = grown / grown.sum(1, keepdim=True)
    assert_close(method.transition.detach(), want, rtol=0, atol=1e-15)


def test_i4_derivative_by_the_logits_is_prediction_minus_posterior():
    """Forward correction is cross-entropy against the posterior of the clean class."""
    train, _ = data()
    z = MLP(64, 3, (16,), seed=5).double()(train.x).detach().requires_grad_()
    loss = losses.transition_cross_entropy(z, train.y, LOPSIDED, reduction="sum")
    (got,) = torch.autograd.grad(loss, z)
    p = z.detach().softmax(1)
    joint = p * LOPSIDED.t()[train.y]
    want = p - joint / joint.sum(1, keepdim=True)
    assert want.abs().max() > 1e-3
    assert_close(got, want, rtol=0, atol=1e-15)


@pytest.mark.parametrize("mode", bilevel.MODES)
def test_i5_a_class_that_is_not_in_the_batch_leaves_its_column_alone(mode):
    train, meta = data()
    only = train.y != 1
    train = Batch(train.x[only], train.y[only], train.ids[only])
    g = gradient(mlc(mode=mode), MLP(64, 3, (16,), seed=5).double(), train, meta)
    assert (g[:, 1] == 0).all()
    assert g[:, [0, 2]].abs().min() > 0


@pytest.mark.parametrize("mode", bilevel.MODES)
def test_zero_virtual_step_gives_zero_gradient_of_t(mode):
    train, meta = data()
    model = MLP(64, 3, (16,), seed=5).double()
    assert (gradient(mlc(virtual_lr=0.0, mode=mode), model, train, meta) == 0).all()


def test_uniform_transition_teaches_the_network_nothing():
    """The loss is log C whatever the prediction, and the network does not move."""
    train, _ = data()
    z = MLP(64, 3, (16,), seed=5).double()(train.x).detach().requires_grad_()
    uniform = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    loss = losses.transition_cross_entropy(z, train.y, uniform)
    assert loss.item() == pytest.approx(torch.tensor(3.0).log().item(), abs=1e-6)
    assert torch.autograd.grad(loss, z)[0].abs().max() < 1e-15


def test_minimiser_of_the_population_loss_is_the_clean_posterior():
    """Consistency of forward correction: one free logit vector, the true T, endless data."""
    clean = torch.tensor([0.6, 0.1, 0.3], dtype=torch.float64)
    noisy = clean @ LOPSIDED
    found = {}
    for name, transition in (("true T", LOPSIDED), ("identity", torch.eye(3).double())):
        z = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([z], max_iter=200, tolerance_grad=1e-12, tolerance_change=0)

        def closure(z=z, transition=transition, optimizer=optimizer):
            optimizer.zero_grad()
            loss = sum(
                noisy[j] * losses.transition_cross_entropy(z, torch.tensor([j]), transition)
                for j in range(3)
            )
            loss.backward()
            return loss

        optimizer.step(closure)
        found[name] = z.detach().softmax(1)[0]
    assert_close(found["true T"], clean, rtol=0, atol=1e-6)
    assert_close(found["identity"], noisy, rtol=0, atol=1e-6)
    assert (clean - noisy).abs().max() > 0.05  # so that the two lines above say different things


def test_frozen_trusted_averages_give_the_loss_of_gold_loss_correction():
    """T from mean predictions on trusted samples (Hendrycks et al. 2018), then never moved."""
    train, meta = data()
    model = MLP(64, 3, (16,), seed=5).double()
    p = model(meta.x).detach().softmax(1)
    averages = torch.stack([p[meta.y == c].mean(0) for c in range(3)])
    method = mlc(initial=averages, transition_lr=0.0)
    got = method.loss(model(train.x), train.y, method.transition)
    q = torch.stack(
        [row.softmax(0) @ averages[:, j] for row, j in zip(model(train.x), train.y, strict=True)]
    )
    assert_close(got, -q.log().mean(), rtol=1e-12, atol=0)


def literal_official_step(model, train, meta, *, alpha, eta):
    """The released code's step, written from its description with double backward."""
    theta = dict(model.named_parameters())
    transition = torch.eye(3, dtype=torch.float64, requires_grad=True)
    virtual_loss = F.cross_entropy(model(train.x) @ transition, train.y, reduction="sum")
    slopes = torch.autograd.grad(virtual_loss, list(theta.values()), create_graph=True)
    theta_hat = {name: p - alpha * g for (name, p), g in zip(theta.items(), slopes, strict=True)}
    meta_loss = F.cross_entropy(torch.func.functional_call(model, theta_hat, (meta.x,)), meta.y)
    (g,) = torch.autograd.grad(meta_loss, transition)
    moved = (transition.detach() - eta * g).clamp_min(0)
    sums = moved.sum(0)
    moved[:, sums > 0] /= sums[sums > 0]
    loss = F.cross_entropy(model(train.x) @ moved, train.y, reduction="sum")
    return moved, torch.autograd.grad(loss, list(theta.values()))


def test_official_preset_is_the_released_codes_step():
    """All four switches at once: logits, reset, columns, sums; T and the network's step."""
    train, meta = data()
    model = MLP(64, 3, (16,), seed=5).double()
    preset = dict(presets.MLC_CIFAR10.method)
    want, slopes = literal_official_step(
        model, train, meta, alpha=preset["virtual_lr"], eta=preset["transition_lr"]
    )
    method = MLC(3, initial=LOPSIDED, **preset).double()
    before = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    method.step(model, optimizer, train, meta)
    assert (want - torch.eye(3)).abs().max() > 1e-5
    assert_close(method.transition.detach(), want, rtol=0, atol=1e-13)
    for p, old, slope in zip(model.parameters(), before.parameters(), slopes, strict=True):
        assert_close(p.detach(), old - 1e-2 * slope, rtol=0, atol=1e-13)


def test_without_keeping_t_two_steps_forget_the_first():
    """`keep_transition=False` starts from the identity each time; True goes on."""
    train, meta = data()
    for keep in (False, True):
        model = MLP(64, 3, (16,), seed=5).double()
        method = mlc(keep_transition=keep, transition_lr=5.0, initial=None)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        matrices = []
        for _ in range(2):
            method.step(model, optimizer, train, meta)
            matrices.append(method.transition.detach().clone())
        assert torch.equal(*matrices) is not keep


def test_sum_of_losses_is_the_mean_with_steps_times_n():
    """A virtual step on a sum over n samples is n times as long as on their mean."""
    train, meta = data()
    model = MLP(64, 3, (16,), seed=5).double()
    mean = gradient(mlc(virtual_lr=0.9), model, train, meta)
    total = gradient(mlc(virtual_lr=0.1, reduction="sum"), model, train, meta)
    assert mean.abs().max() > 1e-4
    assert_close(total, mean, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("by", ["row", "column"])
def test_normalisation_clips_at_zero_and_keeps_empty_lines(by):
    matrix = torch.tensor([[2.0, -1.0, 2.0], [-3.0, -1.0, -0.5], [1.0, -2.0, 3.0]])
    want = {
        "row": [[0.5, 0.0, 0.5], [0.0, 0.0, 0.0], [0.25, 0.0, 0.75]],
        "column": [[2 / 3, 0.0, 0.4], [0.0, 0.0, 0.0], [1 / 3, 0.0, 0.6]],
    }
    assert_close(normalise_transition(matrix, by=by), torch.tensor(want[by]))


@pytest.mark.parametrize("mode", bilevel.MODES)
@pytest.mark.parametrize("kind", ["MLC", "EMA of MLC"])
def test_running_statistics_move_once_per_step(mode, kind):
    """As one ordinary forward pass on the training batch would move them."""
    model, method = network(), mlc(mode=mode)
    if kind != "MLC":
        method = EMA(method, model, decay=0.9)
    properties.running_statistics_move_once(method, model, *data())
    assert len(list(model.buffers())) == 9  # three layers with mean, variance and count


def test_step_leaves_no_gradient_on_t_and_reports_both_losses():
    train, meta = data()
    model = MLP(64, 3, (16,), seed=5).double()
    method = mlc()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    diagnostics = method.step(model, optimizer, train, meta)
    assert method.transition.grad is None
    assert set(diagnostics) == {"loss", "meta_loss", "hypergradient"}
    assert all(d.shape == () and not d.requires_grad for d in diagnostics.values())
    assert dict(method.named_parameters()).keys() == {"transition"}


@pytest.mark.parametrize("meta", [None, Batch(torch.zeros(0, 64), torch.zeros(0).long(), None)])
def test_missing_meta_batch_is_refused(meta):
    train, _ = data()
    model = MLP(64, 3, (16,), seed=5).double()
    with pytest.raises(ValueError, match="MLC needs at least one meta sample"):
        mlc().step(model, torch.optim.SGD(model.parameters(), lr=0.1), train, meta)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "log"}, "`space` is 'log'; it must be one of 'probability', 'logit'"),
        ({"normalise": "both"}, "`normalise` is 'both'; it must be one of 'row', 'column'"),
        ({"reduction": "none"}, "`reduction` is 'none'; it must be one of 'mean', 'sum'"),
        ({"mode": "hvp"}, "`mode` is 'hvp'; it must be one of 'jvp', 'fd', 'exact'"),
        ({"virtual_lr": -1.0}, "`virtual_lr` is -1.0"),
        ({"transition_lr": float("nan")}, "`transition_lr` is nan"),
        ({"q_floor": -0.1}, "`q_floor` is -0.1"),
        (
            {"initial": torch.eye(4)},
            r"`initial` has shape \(4, 4\); for 3 classes it must have shape \(3, 3\)",
        ),
        ({"initial": 0.5 * torch.eye(3)}, "`initial` has row 0 summing to 0.5"),
    ],
)
def test_wrong_options_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        MLC(3, **{"virtual_lr": 0.1, "transition_lr": 1.0, **options})


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="`num_classes` is 1; it must be at least 2"):
        MLC(1, virtual_lr=0.1, transition_lr=1.0)


def test_an_initial_matrix_that_is_no_tensor_is_refused():
    with pytest.raises(TypeError, match="`initial` is a list; it must be a tensor of shape"):
        MLC(2, virtual_lr=0.1, transition_lr=1.0, initial=[[1.0, 0.0], [0.0, 1.0]])
