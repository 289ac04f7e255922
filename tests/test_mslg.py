"""MSLG against its closed forms, its limits, and double backward.

Equation numbers are those of chapter 9.
"""

import copy
import math

import properties
import pytest
import torch
import torch.nn.functional as F
from methods import ReverseCrossEntropy
from torch import nn
from torch.testing import assert_close

from nlmeta import CrossEntropy, bilevel, data, fit, losses, metrics, presets
from nlmeta.data import Batch
from nlmeta.methods import MSLG
from nlmeta.methods.memory import LabelMemory
from nlmeta.models import MLP, SmallCNN

SWITCHES = [
    {"direction": direction, "scale": scale}
    for direction in ("prediction-first", "label-first")
    for scale in ("samples", "entries")
]
N = 12


def problem(seed=3, n=7):
    """A batch of samples 11, 9, 7, ... out of twelve, in three unequal classes, four clean ones."""
    g = torch.Generator().manual_seed(seed)
    given = torch.tensor([0, 0, 2, 1, 0, 2, 0, 1, 0, 0, 2, 0])
    ids = torch.tensor([11, 9, 7, 4, 2, 1, 0])[:n]
    x = torch.randn(n, 1, 8, 8, generator=g, dtype=torch.float64)
    meta_x = torch.randn(4, 1, 8, 8, generator=g, dtype=torch.float64)
    meta = Batch(meta_x, torch.tensor([0, 1, 2, 2]), torch.arange(4))
    return given, Batch(x, given[ids], ids), meta


def mslg(given, *, moved=True, **options):
    """The method in float64; with `moved`, labels that are no longer where they started."""
    options = {"virtual_lr": 0.7, "label_lr": 5.0, "k": 3.0, **options}
    method = MSLG(given, 3, **options).double()
    if moved:
        shift = torch.randn(N, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        method.memory.logits += shift
    return method


def network(kind="MLP"):
    if kind == "BatchNorm":
        return SmallCNN(1, 3, width=4, hidden=8, seed=5).double()
    return MLP(64, 3, (16,), seed=5).double()


def gradient(method, model, train, meta):
    forward = bilevel.forward_pass(model, train.x)
    u = method.memory.read(train.ids, like=forward.logits)
    return method.label_gradient(model, forward, u, meta).gradients[0]


def outer_direction(method, model, train, meta):
    """The forward pass, and the outer gradient after the method's own virtual step."""
    forward = bilevel.forward_pass(model, train.x)
    inner = method.divergence(forward.logits, method.memory.logits[train.ids])
    theta_hat = bilevel.virtual_step(model, inner, lr=method.virtual_lr)
    v, _ = bilevel.outer_gradient(
        model, theta_hat, lambda network: F.cross_entropy(network(meta.x), meta.y)
    )
    return forward, v


@pytest.mark.parametrize("kind", ["MLP", "BatchNorm"])
@pytest.mark.parametrize("options", SWITCHES, ids=lambda o: "-".join(o.values()))
def test_label_gradient_equals_double_backward_for_every_switch(options, kind):
    """Forward mode against the gradient of a gradient, BatchNorm in training mode."""
    given, train, meta = problem()
    model = network(kind)
    want = gradient(mslg(given, mode="exact", **options), model, train, meta)
    got = gradient(mslg(given, mode="jvp", **options), model, train, meta)
    assert want.abs().max() > 1e-4
    assert_close(got, want, rtol=1e-10, atol=1e-12 * want.abs().max().item())


@pytest.mark.parametrize("kind", ["MLP", "BatchNorm"])
@pytest.mark.parametrize(("scale", "c"), [("samples", 1 / 7), ("entries", 1 / 21)])
def test_label_gradient_is_the_tangent_of_the_probabilities(scale, c, kind):
    """(9.4): alpha c J v with J the Jacobian of the softmax; by a difference quotient of p."""
    given, train, meta = problem()
    model = network(kind)
    method = mslg(given, scale=scale)
    forward, v = outer_direction(method, model, train, meta)
    theta = {name: p.detach() for name, p in bilevel.parameters(model).items()}
    h = 1e-6
    ahead, behind = (
        bilevel.with_parameters(model, {k: p + s * h * v[k] for k, p in theta.items()})(
            train.x
        ).softmax(1)
        for s in (1, -1)
    )
    want = 0.7 * c * (ahead - behind) / (2 * h)
    assert want.abs().max() > 1e-4
    got = gradient(method, model, train, meta)
    # The quotient is good to about 1e-9 of its size, and a ReLU may switch in between.
    assert_close(got, want, rtol=0, atol=1e-6 * want.abs().max().item())
    z_dot = bilevel.tangent(model, forward, v)
    p = forward.logits.detach().softmax(1)
    closed = 0.7 * c * p * (z_dot - (p * z_dot).sum(1, keepdim=True))
    assert_close(got, closed, rtol=1e-11, atol=1e-16)


def test_label_first_gradient_keeps_the_softmax_of_the_label():
    """-c s log p gives alpha c S(s) J_log v, with S(s) = diag(s) - s s'."""
    given, train, meta = problem()
    model = network()
    method = mslg(given, direction="label-first")
    forward, v = outer_direction(method, model, train, meta)
    z_dot = bilevel.tangent(model, forward, v)
    p = forward.logits.detach().softmax(1)
    log_dot = z_dot - (p * z_dot).sum(1, keepdim=True)
    s = method.memory.logits[train.ids].softmax(1)
    want = 0.7 / 7 * s * (log_dot - (s * log_dot).sum(1, keepdim=True))
    assert want.abs().max() > 1e-5
    assert_close(gradient(method, model, train, meta), want, rtol=1e-10, atol=1e-16)


def test_linear_softmax_model_has_a_closed_form():
    """A kernel vote of the clean residuals, pushed through the softmax of the prediction."""
    g = torch.Generator().manual_seed(8)
    x = torch.randn(5, 4, generator=g, dtype=torch.float64)
    meta_x = torch.randn(3, 4, generator=g, dtype=torch.float64)
    given, meta_y = torch.tensor([0, 0, 2, 1, 0]), torch.tensor([1, 0, 2])
    model = nn.Linear(4, 3, bias=False).double()
    model.weight.data = torch.randn(3, 4, generator=g, dtype=torch.float64)
    method = MSLG(given, 3, virtual_lr=0.4, label_lr=1.0, k=2.0).double()
    ids = torch.arange(5)
    got = gradient(method, model, Batch(x, given, ids), Batch(meta_x, meta_y, torch.arange(3)))

    w, u = model.weight.detach(), method.memory.logits
    p = (x @ w.t()).softmax(1)
    ratio = p.log() - u.log_softmax(1)
    slope = p * (ratio - (p * ratio).sum(1, keepdim=True)) / 5  # dL/dz of KL(p || s)
    w_hat = w - 0.4 * slope.t() @ x
    residual = (meta_x @ w_hat.t()).softmax(1) - F.one_hot(meta_y, 3)
    z_dot = (x @ meta_x.t()) @ residual / 3
    want = 0.4 / 5 * p * (z_dot - (p * z_dot).sum(1, keepdim=True))
    assert want.abs().max() > 1e-3
    assert_close(got, want, rtol=1e-10, atol=1e-15)


def test_rows_of_label_logits_keep_their_sum():
    """Probabilities sum to one, so their tangent sums to zero: a row's sum is K for ever."""
    given, train, meta = problem()
    model = network()
    method = mslg(given, moved=False)
    before = method.memory.logits.clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        method.step(model, optimizer, train, meta)
    assert (method.memory.logits - before).abs().max() > 1e-2
    assert_close(method.memory.logits.sum(1), torch.full((N,), 3.0).double(), rtol=0, atol=1e-12)


def test_label_gradient_does_not_depend_on_the_label_at_a_given_direction():
    """The label enters only through the virtual step: with v held fixed it drops out of (9.4)."""
    given, train, meta = problem()
    model = network()
    one, two = mslg(given), mslg(given, moved=False)
    forward, v = outer_direction(one, model, train, meta)
    z_dot = bilevel.tangent(model, forward, v)
    found = []
    for method in (one, two):
        u = method.memory.logits[train.ids].clone().requires_grad_()
        found += bilevel.hypergradient_from_tangent(
            lambda z, method=method, u=u: method.divergence(z, u), forward.logits, z_dot, [u], lr=1
        )
    assert (one.memory.logits - two.memory.logits).abs().max() > 0.1
    assert found[0].abs().max() > 1e-4
    assert_close(*found, rtol=1e-11, atol=1e-16)


@pytest.mark.parametrize("scale", ["samples", "entries"])
def test_divergence_plus_entropy_is_reverse_cross_entropy(scale):
    """With gamma = 1 the entropy cancels p log p in KL(p || s)."""
    given, train, _ = problem()
    z = network()(train.x).detach()
    u = mslg(given).memory.logits[train.ids]
    whole = losses.soft_label_divergence(z, u, scale=scale) + losses.entropy(z, scale=scale)
    want = losses.reverse_cross_entropy(z, u, scale=scale)
    assert want > 0.1
    assert_close(whole, want, rtol=1e-13, atol=0)
    p = z.softmax(1)
    by_hand = (u.logsumexp(1) - (p * u).sum(1)).sum() / (7 if scale == "samples" else 21)
    assert_close(want, by_hand, rtol=1e-13, atol=0)


def test_derivative_of_reverse_cross_entropy_by_the_logits():
    """-c p (u - <p, u>), whatever constant is added to a row of u."""
    given, train, _ = problem()
    z = network()(train.x).detach().requires_grad_()
    u = mslg(given).memory.logits[train.ids]
    (got,) = torch.autograd.grad(losses.reverse_cross_entropy(z, u), z)
    p = z.detach().softmax(1)
    want = -p * (u - (p * u).sum(1, keepdim=True)) / 7
    assert want.abs().max() > 1e-3
    assert_close(got, want, rtol=0, atol=1e-15)
    shifted = u + torch.linspace(-3, 5, 7, dtype=torch.float64)[:, None]
    (again,) = torch.autograd.grad(losses.reverse_cross_entropy(z, shifted), z)
    assert_close(again, want, rtol=0, atol=1e-14)


def test_both_directions_by_hand():
    """One sample, two classes: KL(p || s) and KL(s || p) differ."""
    p = torch.tensor([[0.8, 0.2]], dtype=torch.float64)
    s = torch.tensor([[0.4, 0.6]], dtype=torch.float64)
    first = torch.tensor(0.8 * math.log(2) - 0.2 * math.log(3), dtype=torch.float64)
    second = torch.tensor(0.6 * math.log(3) - 0.4 * math.log(2), dtype=torch.float64)
    got = losses.soft_label_divergence(p.log(), s.log())
    assert_close(got, first, rtol=1e-14, atol=0)
    got = losses.soft_label_divergence(p.log(), s.log(), direction="label-first")
    assert_close(got, second, rtol=1e-14, atol=0)
    assert abs(first - second) > 0.01


@pytest.mark.parametrize("mode", bilevel.MODES)
def test_zero_label_step_is_training_with_reverse_cross_entropy_bit_for_bit(mode):
    """The control beta = 0, on digits in float32, through the whole loop."""
    split = data.load("digits", noise="symmetric", rate=0.5, seed=2)
    runs = []
    for method in (
        MSLG(split.train.y, 10, virtual_lr=0.5, label_lr=0.0, k=5.0, mode=mode),
        ReverseCrossEntropy(split.train.y, 10, 5.0),
    ):
        model = SmallCNN(1, 10, width=4, hidden=16, seed=7)
        runs.append(fit(method, model, split, epochs=2, warmup_epochs=1, seed=2, progress=False))
    start = SmallCNN(1, 10, width=4, hidden=16, seed=7)
    assert not torch.equal(runs[0].model.classifier.weight, start.classifier.weight)
    for name, value in runs[1].model.state_dict().items():
        assert torch.equal(runs[0].model.state_dict()[name], value), name


def test_reverse_cross_entropy_at_the_start_is_scaled_mean_absolute_error():
    """K times a one-hot: gradient K/2 times that of |p - e|, which is K times 1 - p."""
    given, train, _ = problem()
    z = network()(train.x).detach().requires_grad_()
    u = mslg(given, moved=False).memory.logits[train.ids]
    (got,) = torch.autograd.grad(losses.reverse_cross_entropy(z, u), z)
    absolute = (z.softmax(1) - F.one_hot(train.y, 3)).abs().sum(1).mean()
    (want,) = torch.autograd.grad(3.0 / 2 * absolute, z)
    assert want.abs().max() > 1e-3
    assert_close(got, want, rtol=0, atol=1e-15)


def test_zero_trial_step_leaves_labels_unchanged():
    given, train, meta = problem()
    model = network()
    method = mslg(given, virtual_lr=0.0)
    before = method.memory.logits.clone()
    method.step(model, torch.optim.SGD(model.parameters(), lr=0.1), train, meta)
    assert torch.equal(method.memory.logits, before)


def test_labels_stay_where_the_meta_loss_is_flat():
    """A meta loss with zero gradient: one input twice, once for each of two classes."""
    model = nn.Linear(2, 2, bias=False).double()
    nn.init.zeros_(model.weight)
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    given = torch.tensor([0, 1])
    clean = torch.tensor([[0.3, -2.0]] * 2, dtype=torch.float64)
    method = MSLG(given, 2, virtual_lr=0.0, label_lr=100.0).double()
    method.virtual_lr = 1e-300  # so that the virtual step stays at the stationary point
    batch = Batch(x, given, torch.arange(2))
    g = gradient(method, model, batch, Batch(clean, torch.tensor([0, 1]), torch.arange(2)))
    assert (g == 0).all()


def test_small_trial_steps_move_labels_along_the_tangent_at_theta():
    """alpha to 0 with alpha beta fixed: u - alpha beta c J(theta) grad M(theta), whatever u is."""
    given, train, meta = problem()
    model = network()
    forward = bilevel.forward_pass(model, train.x)
    theta = {name: p.detach().requires_grad_() for name, p in bilevel.parameters(model).items()}
    v, _ = bilevel.outer_gradient(model, theta, lambda f: F.cross_entropy(f(meta.x), meta.y))
    z_dot = bilevel.tangent(model, forward, v)
    p = forward.logits.detach().softmax(1)
    want = -2.0 / 7 * p * (z_dot - (p * z_dot).sum(1, keepdim=True))
    gaps = []
    for alpha in (1e-3, 1e-4):
        method = mslg(given, virtual_lr=alpha, label_lr=2.0 / alpha)
        before = method.memory.logits[train.ids].clone()
        method.step(copy.deepcopy(model), torch.optim.SGD([nn.Parameter(p)], lr=0.1), train, meta)
        moved = method.memory.logits[train.ids] - before
        gaps.append((moved - want).abs().max().item())
    assert want.abs().max() > 1e-2
    assert gaps[1] < 1e-3 * want.abs().max()
    assert 8 < gaps[0] / gaps[1] < 12  # first order in alpha


def test_a_clean_twin_raises_the_label_logit_of_its_class():
    """One training image that is the only meta image, and a linear model."""
    model = nn.Linear(3, 3, bias=False).double()
    nn.init.zeros_(model.weight)
    x = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    given, clean = torch.tensor([2]), torch.tensor([0])
    method = MSLG(given, 3, virtual_lr=1e-6, label_lr=1e6).double()
    g = gradient(method, model, Batch(x, given, torch.arange(1)), Batch(x, clean, torch.arange(1)))
    p = torch.full((3,), 1 / 3, dtype=torch.float64)
    step = 5.25 * p[0] * ((1 - p[0]) - (p[0] - p @ p))  # alpha beta c |x|^2 = 1 * 5.25
    assert_close(-1e6 * g[0, 0], step, rtol=1e-4, atol=0)
    assert -g[0, 0] > 0 > -g[0, 2]


def test_labels_of_other_samples_are_untouched_and_ids_survive_shuffling():
    """The same samples in another order: the same rows move, by the same amounts."""
    given, train, meta = problem()
    results = []
    for order in (torch.arange(7), torch.tensor([3, 6, 0, 5, 1, 4, 2])):
        model = network()
        method = mslg(given)
        before = method.memory.logits.clone()
        batch = Batch(train.x[order], train.y[order], train.ids[order])
        method.step(model, torch.optim.SGD(model.parameters(), lr=0.1), batch, meta)
        results.append(method.memory.logits - before)
    others = torch.tensor([i for i in range(N) if i not in train.ids.tolist()])
    assert (results[0][others] == 0).all()
    assert results[0][train.ids].abs().min() > 0
    assert_close(*results, rtol=1e-10, atol=1e-14)


def test_warm_up_leaves_labels_untouched():
    split = data.load("digits", noise="symmetric", rate=0.5, seed=2)
    method = MSLG(split.train.y, 10, virtual_lr=0.5, label_lr=100.0)
    before = method.memory.logits.clone()
    model = MLP(64, 10, (16,), seed=1)
    fit(method, model, split, epochs=1, warmup_epochs=1, seed=1, progress=False)
    assert torch.equal(method.memory.logits, before)


def test_labels_of_digits_return_to_the_truth():
    """Half of the labels wrong: most come right, few right ones are lost (measured .80 and .05)."""
    split = data.load("digits", noise="symmetric", rate=0.5, seed=11)
    model = MLP(64, 10, seed=11)
    fit(CrossEntropy(), model, split, epochs=8, seed=11, schedule="constant", progress=False)
    method = MSLG(split.train.y, 10, **presets.MSLG_DIGITS.method)
    fit(method, model, split, epochs=42, seed=11, progress=False, **presets.MSLG_DIGITS.training)
    recovery = metrics.label_recovery(method.soft_labels(), split.train.y, split.true_labels)
    assert recovery["recovered"] > 0.6
    assert recovery["destroyed"] < 0.15


@pytest.mark.parametrize("mode", bilevel.MODES)
def test_running_statistics_move_once_per_step(mode):
    """As one ordinary forward pass on the training batch would move them."""
    given, train, meta = problem()
    method = mslg(given, mode=mode)
    properties.running_statistics_move_once(method, network("BatchNorm"), train, meta)


def test_memory_may_stay_in_its_place_and_type():
    """A memory too large for a GPU: `.to` moves the method and not the labels."""
    given, train, meta = problem()
    method = MSLG(given, 3, virtual_lr=0.7, label_lr=5.0, memory_device="cpu")
    method.to("meta").double()
    assert method.memory.logits.device.type == "cpu"
    assert method.memory.logits.dtype == torch.float32
    model = network()
    before = method.memory.logits.clone()
    method.step(model, torch.optim.SGD(model.parameters(), lr=0.1), train, meta)
    assert not torch.equal(before, method.memory.logits)
    assert "memory.logits" in method.state_dict()


def test_memory_in_a_file_takes_the_steps_of_one_in_ram(tmp_path):
    """The numbers live in the file, which is made anew, and a state dict holds them."""
    file = tmp_path / "labels"
    file.write_bytes(b"\xff" * 1000)  # what an earlier run left behind
    given, train, meta = problem()
    found = []
    for options in ({}, {"memory_file": file}):
        method = mslg(given, **options)
        net = network()
        method.step(net, torch.optim.SGD(net.parameters(), lr=0.1), train, meta)
        found.append(method)
    in_ram, on_disk = (method.memory.logits for method in found)
    assert on_disk.dtype == torch.float32
    assert_close(on_disk, in_ram.float(), rtol=1e-6, atol=1e-6)
    stored = torch.from_file(str(file), size=on_disk.numel(), dtype=torch.float32)
    assert torch.equal(stored.view_as(on_disk), on_disk)
    assert (on_disk != mslg(given).memory.logits).any()
    assert torch.equal(found[1].state_dict()["memory.logits"], on_disk)


def test_a_second_method_on_the_same_file_leaves_the_first_with_its_labels(tmp_path):
    given, _, _ = problem()
    first = mslg(given, memory_file=tmp_path / "labels")
    before = first.memory.logits.clone()
    second = mslg(given, memory_file=tmp_path / "labels", k=9.0)
    second.memory.logits += 1
    assert torch.equal(first.memory.logits, before)
    assert not torch.equal(second.memory.logits, before)


def test_memory_files_that_cannot_be_are_refused_by_name(tmp_path):
    given, _, _ = problem()
    with pytest.raises(ValueError, match="`memory_file` is .*; there is no folder"):
        mslg(given, memory_file=tmp_path / "nowhere" / "labels")
    with pytest.raises(
        ValueError, match="`memory_device` is 'cuda'; with `memory_file` it must be 'cpu'"
    ):
        mslg(given, memory_file=tmp_path / "labels", memory_device="cuda")


def test_official_preset_has_the_released_step():
    """alpha beta / (n C) of CIFAR-10: 1.5625 for batches of 128 in ten classes."""
    preset = presets.MSLG_CIFAR10.method
    assert preset["virtual_lr"] * preset["label_lr"] / (128 * 10) == 1.5625
    assert MSLG(torch.tensor([0, 3]), 10, **preset).soft_labels()[0, 0] == pytest.approx(
        0.99959, abs=1e-5
    )


def step_with(method, train, meta):
    model = network()
    method.step(model, torch.optim.SGD(model.parameters(), lr=0.1), train, meta)


def test_wrong_batches_are_refused():
    given, train, meta = problem()
    with pytest.raises(ValueError, match="MSLG needs at least one meta sample"):
        step_with(mslg(given), train, None)
    with pytest.raises(ValueError, match="`train.ids` is missing"):
        step_with(mslg(given), Batch(train.x, train.y), meta)
    twice = train.ids.clone()
    twice[0] = twice[1]
    with pytest.raises(ValueError, match="`train.ids` repeats a sample"):
        step_with(mslg(given), Batch(train.x, train.y, twice), meta)
    with pytest.raises(ValueError, match="`train.ids` holds 12; ids must lie in 0 to 11"):
        step_with(mslg(given), Batch(train.x, train.y, train.ids + 1), meta)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"virtual_lr": -1.0}, "`virtual_lr` is -1.0"),
        ({"label_lr": float("inf")}, "`label_lr` is inf"),
        ({"k": -2.0}, "`k` is -2.0"),
        ({"entropy_weight": -1.0}, "`entropy_weight` is -1.0"),
        ({"direction": "both"}, "`direction` is 'both'; it must be one of 'prediction-first', "),
        ({"scale": "mean"}, "`scale` is 'mean'; it must be one of 'samples', 'entries'"),
        ({"mode": "hvp"}, "`mode` is 'hvp'"),
    ],
)
def test_wrong_options_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        MSLG(torch.tensor([0, 1, 2]), 3, **{"virtual_lr": 0.5, "label_lr": 1.0, **options})


def test_a_label_outside_the_classes_is_refused():
    with pytest.raises(ValueError, match="`given_labels` holds 7 at position 2; labels must lie"):
        MSLG(torch.tensor([0, 1, 7]), 3, virtual_lr=0.5, label_lr=1.0)


def test_rows_that_several_processes_shared_are_not_read_by_one():
    memory = LabelMemory(torch.zeros(4, 3))
    memory.sharded, memory.processes = True, 2
    with pytest.raises(RuntimeError, match="shared by 2 processes, and there are 1 now; read it"):
        memory.all_rows()


def test_soft_labels_of_another_shape_are_refused():
    with pytest.raises(
        ValueError, match=r"`label_logits` has shape \(2, 4\); it must have the shape of"
    ):
        losses.soft_label_divergence(torch.zeros(2, 3), torch.zeros(2, 4))
