"""Tests of nlmeta.losses: values by hand, derivatives in closed form, limits, extremes."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from nlmeta import losses
from nlmeta.losses import cross_layer_divergence, transition_cross_entropy

SPACES = ("probability", "logit")
both_spaces = pytest.mark.parametrize("space", SPACES)

# Far from its transpose, so that mixing up rows and columns fails. No zeros.
LOPSIDED = torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.55, 0.4], [0.3, 0.1, 0.6]], dtype=torch.float64)
LABELS = torch.tensor([2, 0, 1, 2, 2])  # class 2 thrice, so classes weigh differently


def draw_logits(n=5, num_classes=3, dtype=torch.float64, scale=2.0):
    draw = torch.Generator().manual_seed(7)
    return scale * torch.randn(n, num_classes, generator=draw, dtype=torch.float64).to(dtype)


def gradients(logits, labels, transition, **options):
    """Value of the loss, and its derivatives by the logits and by T."""
    z, t = logits.clone().requires_grad_(), transition.clone().requires_grad_()
    loss = transition_cross_entropy(z, labels, t, **options)
    return loss.detach(), *torch.autograd.grad(loss, (z, t))


def prediction_and_posterior(logits, labels, transition):
    """p, q and r of the chapter, from probabilities (no logarithm)."""
    p = logits.softmax(1)
    joint = p * transition[:, labels].T  # (n, C): P(true i, given y)
    q = joint.sum(1, keepdim=True)
    return p, q, joint / q


def test_probability_space_by_hand_on_two_classes():
    """p = (3/4, 1/4) and T = [[0.9, 0.1], [0.4, 0.6]]: q of label 0 is 3.1/4, of label 1 0.9/4."""
    logits = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]], dtype=torch.float64)
    transition = torch.tensor([[0.9, 0.1], [0.4, 0.6]], dtype=torch.float64)
    loss = transition_cross_entropy(logits, torch.tensor([0, 1]), transition, reduction="sum")
    assert loss.item() == pytest.approx(-math.log(3.1 / 4) - math.log(0.9 / 4), abs=1e-14)


def test_probability_space_by_hand_on_three_classes():
    """p = (1/2, 1/3, 1/6): q of label 2 is 0.1/2 + 0.4/3 + 0.6/6 = 17/60, not a row's 0.39."""
    logits = torch.tensor([[3.0, 2.0, 1.0]], dtype=torch.float64).log()
    loss = transition_cross_entropy(logits, torch.tensor([2]), LOPSIDED)
    assert loss.item() == pytest.approx(-math.log(17 / 60), abs=1e-14)


def test_logit_space_by_hand_on_two_classes():
    """z = (1, -2) times T = [[0.9, 0.1], [0.4, 0.6]] is (0.1, -1.1): log(1 + e^-1.2) for 0."""
    logits = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    transition = torch.tensor([[0.9, 0.1], [0.4, 0.6]], dtype=torch.float64)
    loss = transition_cross_entropy(logits, torch.tensor([0]), transition, space="logit")
    assert loss.item() == pytest.approx(math.log1p(math.exp(-1.2)), abs=1e-14)


def test_the_two_spaces_differ_away_from_the_identity():
    """Trap 1 of the released code: a matrix in front of a softmax is no forward correction."""
    logits = draw_logits()
    one, two = (gradients(logits, LABELS, LOPSIDED, space=space) for space in SPACES)
    assert (one[1] - two[1]).abs().max() > 1e-2
    assert (one[2] - two[2]).abs().max() > 1e-2


@both_spaces
def test_the_mean_is_the_sum_divided_by_the_batch(space):
    logits = draw_logits()
    total = transition_cross_entropy(logits, LABELS, LOPSIDED, space=space, reduction="sum")
    mean = transition_cross_entropy(logits, LABELS, LOPSIDED, space=space)
    assert total.item() == pytest.approx(5 * mean.item(), rel=1e-14)
    one_by_one = [
        transition_cross_entropy(logits[b : b + 1], LABELS[b : b + 1], LOPSIDED, space=space)
        for b in range(5)
    ]
    assert total.item() == pytest.approx(sum(loss.item() for loss in one_by_one), rel=1e-14)


@both_spaces
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_identity_gives_cross_entropy_bit_for_bit(space, reduction):
    """I1, in float32 on ordinary logits: value and gradient; so training is the same too."""
    labels = torch.arange(64) * 7 % 10
    logits = draw_logits(64, 10, torch.float32, scale=3.0)
    got = logits.clone().requires_grad_()
    options = {"space": space, "reduction": reduction}
    loss = transition_cross_entropy(got, labels, torch.eye(10), **options)
    want = logits.clone().requires_grad_()
    reference = F.cross_entropy(want, labels, reduction=reduction)
    assert reference > 1
    assert torch.equal(loss, reference)
    loss.backward()
    reference.backward()
    assert torch.equal(got.grad, want.grad)


def test_the_gradient_by_the_logits_is_prediction_minus_posterior():
    """I4, in closed form: dl/dz = p - r, divided by n."""
    logits = draw_logits()
    p, _, r = prediction_and_posterior(logits, LABELS, LOPSIDED)
    _, by_logits, _ = gradients(logits, LABELS, LOPSIDED)
    want = (p - r) / 5
    assert want.abs().max() > 1e-2
    assert_close(by_logits, want, rtol=0, atol=1e-14)


def test_the_gradient_by_the_matrix_is_minus_prediction_over_likelihood():
    """dl/dT_ij = -p_i / q for the given label j, and 0 in the other columns."""
    logits = draw_logits()
    p, q, _ = prediction_and_posterior(logits, LABELS, LOPSIDED)
    _, _, by_matrix = gradients(logits, LABELS, LOPSIDED, reduction="sum")
    want = -(p / q).T @ F.one_hot(LABELS, 3).double()
    assert want.abs().min() > 1e-2
    assert_close(by_matrix, want, rtol=1e-13, atol=0)


def test_columns_of_labels_that_do_not_occur_have_no_gradient():
    """I5: dead columns."""
    _, _, by_matrix = gradients(draw_logits(), torch.tensor([2, 0, 2, 2, 0]), LOPSIDED)
    assert (by_matrix[:, 1] == 0).all()
    assert (by_matrix[:, [0, 2]] != 0).all()


def test_scaling_a_column_adds_a_constant_to_the_loss():
    """I2: by the logits nothing changes, by T the column is orthogonal to its gradient's scale."""
    scale = torch.tensor([0.5, 3.0, 1.7], dtype=torch.float64)
    value, by_logits, by_matrix = gradients(draw_logits(), LABELS, LOPSIDED)
    scaled, scaled_by_logits, _ = gradients(draw_logits(), LABELS, LOPSIDED * scale)
    assert by_logits.abs().max() > 1e-2
    assert_close(scaled_by_logits, by_logits, rtol=0, atol=1e-14)
    assert (scaled - value).item() == pytest.approx(-scale[LABELS].log().mean().item(), abs=1e-14)
    # Each sample of label j contributes exactly -1/n to the sum over i of T_ij dL/dT_ij.
    shares = LABELS.bincount().double() / 5
    assert_close((LOPSIDED * by_matrix).sum(0), -shares, rtol=0, atol=1e-14)


def test_in_logit_space_scaling_a_column_does_change_the_gradient():
    """So the test above can fail."""
    scale = torch.tensor([0.5, 3.0, 1.7], dtype=torch.float64)
    _, one, _ = gradients(draw_logits(), LABELS, LOPSIDED, space="logit")
    _, two, _ = gradients(draw_logits(), LABELS, LOPSIDED * scale, space="logit")
    assert (one - two).abs().max() > 1e-2


def test_gradients_in_logit_space_in_closed_form():
    """With s = softmax(zT): dL/dz = (s - e) T' / n and dL/dT = z' (s - e) / n."""
    logits = draw_logits()
    slope = ((logits @ LOPSIDED).softmax(1) - F.one_hot(LABELS, 3)) / 5
    _, by_logits, by_matrix = gradients(logits, LABELS, LOPSIDED, space="logit")
    assert slope.abs().max() > 1e-2
    assert_close(by_logits, slope @ LOPSIDED.T, rtol=0, atol=1e-14)
    assert_close(by_matrix, logits.T @ slope, rtol=0, atol=1e-14)


@both_spaces
@pytest.mark.parametrize("transition", [LOPSIDED, torch.eye(3).double()], ids=["full", "identity"])
def test_gradients_equal_finite_differences_and_so_do_second_derivatives(space, transition):
    """Second derivatives are what the hypergradient is made of."""
    logits = draw_logits().requires_grad_()

    def loss(z, t):
        return transition_cross_entropy(z, LABELS, t, space=space)

    if space == "probability":  # a difference to the negative side of 0 would leave the domain
        transition = 0.99 * transition + 0.01 / 3
    t = transition.clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (logits, t))
    assert torch.autograd.gradgradcheck(loss, (logits, t))


def test_a_uniform_matrix_gives_a_constant_loss_and_moves_nothing():
    """Every label is then equally likely whatever the network says: log C, and no gradient."""
    uniform = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    value, by_logits, by_matrix = gradients(draw_logits(), LABELS, uniform)
    assert value.item() == pytest.approx(math.log(3), abs=1e-14)
    assert by_logits.abs().max() < 1e-15
    assert by_matrix.abs().max() > 1e-2  # T itself would move


def floored_case():
    """Samples on both sides of the floor, and one whose label is nearly impossible."""
    logits = torch.tensor([[0.0, 9.0, 1.0], [0.0, 1.0, 3.0], [6.0, 0.0, 0.5]], dtype=torch.float64)
    transition = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.8, 0.2], [0.0, 0.3, 0.7]]).double()
    labels = torch.tensor([0, 2, 2])
    _, q, _ = prediction_and_posterior(logits, labels, transition)
    assert q[0] < 1e-3 < q[2] < 0.01 < q[1]  # what the floors below are to separate
    return logits, labels, transition


@pytest.mark.parametrize("floor", [1e-3, 1e-2, 0.9])
def test_a_floor_leaves_the_value_and_the_gradient_by_the_logits_bit_for_bit(floor):
    logits, labels, transition = floored_case()
    value, by_logits, by_matrix = gradients(logits, labels, transition)
    floored = gradients(logits, labels, transition, q_floor=floor)
    assert torch.equal(floored[0], value)
    assert torch.equal(floored[1], by_logits)
    assert not torch.equal(floored[2], by_matrix)


@pytest.mark.parametrize("floor", [1e-3, 1e-2, 0.9])
def test_a_floor_bounds_the_pull_of_a_sample_on_the_matrix(floor):
    """The derivative by T becomes -p / max(q, floor), sample by sample."""
    logits, labels, transition = floored_case()
    p, q, _ = prediction_and_posterior(logits, labels, transition)
    _, _, by_matrix = gradients(logits, labels, transition, q_floor=floor, reduction="sum")
    want = -(p / q.clamp(min=floor)).T @ F.one_hot(labels, 3).double()
    assert want.abs().max() > 0.1
    # The number that stands in for log 0 shifts q = 1e-4 by 1e-20: far below round-off.
    assert_close(by_matrix, want, rtol=1e-12, atol=1e-15)


def test_a_floor_below_every_likelihood_changes_nothing():
    logits, labels, transition = floored_case()
    without = gradients(logits, labels, transition)
    assert_close(gradients(logits, labels, transition, q_floor=1e-9), without, rtol=0, atol=0)


def test_a_floor_lets_a_dead_column_be_pulled_back():
    """A label that T calls impossible has q = 0, so its derivative is -p / q_floor."""
    transition = torch.tensor([[0.0, 0.6, 0.4], [0, 1, 0], [0, 0.3, 0.7]], dtype=torch.float64)
    logits = draw_logits(1)
    _, _, by_matrix = gradients(logits, torch.tensor([0]), transition, q_floor=1e-4)
    want = torch.zeros(3, 3, dtype=torch.float64)
    want[:, 0] = -logits.softmax(1)[0] / 1e-4
    assert_close(by_matrix, want, rtol=1e-12, atol=0)


@both_spaces
@pytest.mark.parametrize("floor", [0.0, 1e-4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_entries_and_a_dead_column_give_finite_values_and_gradients(space, floor, dtype):
    """After clipping at zero both occur; trap 8."""
    transition = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]], dtype=dtype)
    logits = draw_logits(dtype=dtype)
    for tensor in gradients(logits, LABELS, transition, space=space, q_floor=floor):
        assert tensor.isfinite().all()


def test_a_zero_entry_has_the_gradient_that_its_neighbours_have():
    """T starts as the identity, so off-diagonal entries must be able to leave zero: -p / q."""
    logits, identity = draw_logits(), torch.eye(3, dtype=torch.float64)
    p, q, _ = prediction_and_posterior(logits, LABELS, identity)
    _, _, by_matrix = gradients(logits, LABELS, identity, reduction="sum")
    want = -(p / q).T @ F.one_hot(LABELS, 3).double()
    assert want.abs().min() > 1e-2
    assert_close(by_matrix, want, rtol=1e-12, atol=0)


@both_spaces
@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
@pytest.mark.parametrize("floor", [0.0, 1e-4])
def test_extreme_logits_give_finite_values_and_gradients_in_float32(space, size, floor):
    logits = torch.tensor([[-size, 0.0, size], [size, size, -size], [0.0, 0.0, size]])
    labels = torch.tensor([0, 2, 0])
    for transition in (torch.eye(3), LOPSIDED.float()):
        for tensor in gradients(logits, labels, transition, space=space, q_floor=floor):
            assert tensor.isfinite().all()


def test_a_very_unlikely_label_still_has_the_right_posterior_in_float32():
    """All but e^-30 of p says class 2, of which label 0 is impossible: r knows classes 0 and 1."""
    transition = torch.tensor([[0.8, 0.2, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    _, by_logits, _ = gradients(torch.tensor([[0.0, 1.0, 30.0]]), torch.tensor([0]), transition)
    joint = torch.tensor([0.8, 0.5 * math.e, 0.0])
    want = torch.tensor([0.0, 0.0, 1.0]) - joint / joint.sum()
    # e^30 times the stand-in 1e-20 is 1e-7 of the joint; logsumexp of numbers near 30 adds 1e-6.
    assert_close(by_logits[0], want, rtol=0, atol=5e-6)


def test_an_impossible_label_costs_what_the_stand_in_for_zero_says():
    """-log 1e-20, and then nothing is left to learn from it by the logits."""
    value, by_logits, _ = gradients(torch.tensor([[0.0, 90.0]]), torch.tensor([0]), torch.eye(2))
    assert value.item() == pytest.approx(-math.log(losses.TINY), rel=1e-6)
    assert by_logits.abs().max() < 1e-6


@both_spaces
def test_the_finer_type_of_logits_and_matrix_is_used(space):
    logits = draw_logits(dtype=torch.float32)
    got = transition_cross_entropy(logits, LABELS, LOPSIDED, space=space)
    assert got.dtype == torch.float64
    want = transition_cross_entropy(logits.double(), LABELS, LOPSIDED, space=space)
    assert torch.equal(got, want)
    half = transition_cross_entropy(logits.bfloat16(), LABELS, LOPSIDED.float(), space=space)
    assert half.dtype == torch.float32


@both_spaces
def test_the_order_of_the_samples_does_not_matter(space):
    order = torch.tensor([3, 0, 4, 2, 1])
    logits = draw_logits()
    one = gradients(logits, LABELS, LOPSIDED, space=space)
    two = gradients(logits[order], LABELS[order], LOPSIDED, space=space)
    assert_close(two[0], one[0], rtol=0, atol=1e-14)
    assert_close(two[1], one[1][order], rtol=0, atol=1e-14)
    assert_close(two[2], one[2], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"space": "prob"}, "`space` is 'prob'; it must be one of 'probability', 'logit'"),
        ({"reduction": "none"}, "`reduction` is 'none'; it must be one of 'mean', 'sum'"),
    ],
)
def test_refuses_an_unknown_space_or_reduction(options, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        transition_cross_entropy(draw_logits(), LABELS, LOPSIDED, **options)


def test_refuses_a_negative_floor():
    with pytest.raises(ValueError, match="`q_floor` is -1; it must be a finite number, not neg"):
        transition_cross_entropy(draw_logits(), LABELS, LOPSIDED, q_floor=-1)


def test_refuses_a_matrix_of_another_number_of_classes():
    with pytest.raises(ValueError, match=re.escape("`transition` has shape (1, 1)")):
        transition_cross_entropy(draw_logits(), torch.zeros_like(LABELS), torch.ones(1, 1))


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (LABELS.clone().index_fill_(0, torch.tensor([1]), -1), "`labels` holds -1 at position 1;"),
        (LABELS.clone().index_fill_(0, torch.tensor([1]), 9), "`labels` holds 9 at position 1;"),
        (LABELS[:, None], f"`labels` is torch.int64 of shape ({len(LABELS)}, 1); labels must be"),
        (LABELS.to(torch.uint8), "`labels` is torch.uint8 of shape"),
        (LABELS[:1], f"`logits` holds {len(LABELS)} samples and `labels` 1; they must be the"),
    ],
    ids=["negative", "too large", "a column", "bytes", "one for all"],
)
@pytest.mark.parametrize("space", ["probability", "logit"])
def test_refuses_labels_that_indexing_would_take(space, labels, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        transition_cross_entropy(draw_logits(), labels, LOPSIDED, space=space)


def test_refuses_options_by_position():
    with pytest.raises(TypeError, match="positional"):
        transition_cross_entropy(draw_logits(), LABELS, LOPSIDED, "logit")


def test_the_number_that_stands_in_for_zero_is_invisible_in_float32():
    """Beside any entry that float32 tells from zero by 1e-12 or more it is lost in rounding."""
    entry = torch.tensor(1e-12)
    assert entry + losses.TINY == entry
    assert math.isfinite(torch.tensor(1 / losses.TINY).item())


# generalised cross-entropy and mean absolute error


def by_logits(loss, logits):
    """Value, and derivative by the logits."""
    z = logits.clone().requires_grad_()
    value = loss(z)
    return value.detach(), torch.autograd.grad(value, z)[0]


def test_generalised_cross_entropy_by_hand():
    """p = 1/4 and 4/9 at the labels: (1 - 1/2) / 0.5 and (1 - 2/3) / 0.5."""
    p = torch.tensor([[0.25, 0.75], [4 / 9, 5 / 9]], dtype=torch.float64)
    loss = losses.generalised_cross_entropy(p.log(), torch.tensor([0, 0]), q=0.5)
    assert loss.item() == pytest.approx((1 + 2 / 3) / 2, abs=1e-14)


@pytest.mark.parametrize("q", [0.0, 1e-9])
def test_generalised_cross_entropy_ends_at_cross_entropy(q):
    """(1 - p^q) / q is -log p but for q (log p)^2 / 2, here below 1e-7."""
    logits = draw_logits()
    want = by_logits(lambda z: F.cross_entropy(z, LABELS), logits)
    got = by_logits(lambda z: losses.generalised_cross_entropy(z, LABELS, q=q), logits)
    assert_close(got, want, rtol=0, atol=1e-7 if q else 1e-15)


def test_generalised_cross_entropy_ends_at_half_the_absolute_error():
    logits = draw_logits()
    got = by_logits(lambda z: losses.generalised_cross_entropy(z, LABELS, q=1.0), logits)
    want = by_logits(lambda z: losses.mean_absolute_error(z, LABELS) / 2, logits)
    assert want[1].abs().max() > 1e-2
    assert_close(got, want, rtol=0, atol=1e-14)


def test_generalised_cross_entropy_weighs_a_sample_by_a_power_of_its_prediction():
    """Its derivative is p^q times that of cross-entropy: what is unlikely pulls little."""
    logits = draw_logits()
    p = logits.softmax(1)
    weight = p[torch.arange(5), LABELS, None] ** 0.7
    _, got = by_logits(lambda z: losses.generalised_cross_entropy(z, LABELS), logits)
    assert weight.max() / weight.min() > 2
    assert_close(got, weight * (p - F.one_hot(LABELS, 3)) / 5, rtol=0, atol=1e-15)


def test_mean_absolute_error_is_the_distance_from_the_one_hot_label():
    logits = draw_logits()
    want = (logits.softmax(1) - F.one_hot(LABELS, 3)).abs().sum(1).mean()
    assert_close(losses.mean_absolute_error(logits, LABELS), want, rtol=1e-14, atol=0)


@pytest.mark.parametrize("q", [0.0, 0.7, 1.0])
def test_generalised_cross_entropy_is_finite_for_extreme_logits(q):
    logits = torch.tensor([[-1e4, 0.0, 1e4], [1e30, 0.0, -1e30]])
    for labels in (torch.tensor([0, 2]), torch.tensor([2, 0])):
        for tensor in by_logits(
            lambda z, y=labels: losses.generalised_cross_entropy(z, y, q=q), logits
        ):
            assert tensor.isfinite().all()


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_refuses_an_exponent_outside_zero_to_one(q):
    with pytest.raises(ValueError, match=rf"`q` is {q}; it must lie in \[0, 1\]"):
        losses.generalised_cross_entropy(draw_logits(), LABELS, q=q)


# cross-layer divergence


def one_hot_logits(classes, num_classes):
    """Logits whose softmax is one-hot to the last bit."""
    return 1e4 * F.one_hot(classes, num_classes).double()


def clusters(num_clusters, size):
    """The cluster of each sample, and orthogonal features of different lengths."""
    cluster = torch.arange(num_clusters).repeat_interleave(size)
    lengths = torch.linspace(0.3, 4, len(cluster), dtype=torch.float64)
    return cluster, F.one_hot(cluster, num_clusters) * lengths[:, None]


def draw_features(n=5, width=4):
    """Some cosines are negative, so that the bound at zero is at work."""
    draw = torch.Generator().manual_seed(11)
    return torch.randn(n, width, generator=draw, dtype=torch.float64)


def graphs(features, logits, temperature=0.5):
    """A, Q and R written out pair by pair."""
    p, n = logits.softmax(1), len(logits)
    cosine = [
        [[u[a] @ u[b] / (u[a].norm() * u[b].norm()) for b in range(n)] for a in range(n)]
        for u in (features, p)
    ]
    s, q = (torch.stack([torch.stack(row) for row in rows]) for rows in cosine)
    weight = torch.exp(torch.relu(s) / temperature)
    return weight / weight.sum(1, keepdim=True), q, q.sum(1, keepdim=True)


def written_out(features, logits, temperature=0.5):
    a, q, r = graphs(features, logits, temperature)
    return -(q / r * torch.log(a + losses.GRAPH_FLOOR)).sum() / len(logits)


def floor_error(smallest_entry):
    """How far the number inside the logarithm can move a value: log(A + e) - log A < e / A."""
    return 1.01 * losses.GRAPH_FLOOR / smallest_entry


def test_divergence_is_the_formula_pair_by_pair():
    features, logits = draw_features(), draw_logits()
    assert (features @ features.t()).min() < -0.1
    for temperature in (0.1, 0.5, 2.0):
        got = cross_layer_divergence(features, logits, temperature=temperature)
        assert_close(got, written_out(features, logits, temperature), rtol=1e-13, atol=0)


def test_divergence_at_infinite_temperature_is_log_b():
    """A uniform features' graph has nothing to compare with, whatever the predictions."""
    for scale in (0.1, 10.0):
        logits = draw_logits(7, scale=scale)
        got = cross_layer_divergence(draw_features(7), logits, temperature=math.inf)
        assert got.item() == pytest.approx(math.log(7), abs=floor_error(1 / 7))
    near = cross_layer_divergence(draw_features(7), logits, temperature=1e9).item()
    assert near == pytest.approx(got.item(), abs=1e-9)


def test_divergence_of_equal_features_is_log_b():
    features = draw_features()[:1].expand(6, -1)
    got = cross_layer_divergence(features, draw_logits(6)).item()
    assert got == pytest.approx(math.log(6), abs=floor_error(1 / 6))


@pytest.mark.parametrize(("classes", "printed"), [([0, 1], 0.1269), ([1, 1], 1.1269)])
def test_divergence_of_two_samples_by_hand(classes, printed):
    """Orthogonal features: log(1 + e^-2) if the predictions differ, 1 more if they are equal."""
    logits = one_hot_logits(torch.tensor(classes), 2)
    got = cross_layer_divergence(torch.eye(2, dtype=torch.float64), logits).item()
    want = math.log1p(math.exp(-2)) + (classes[0] == classes[1])
    assert got == pytest.approx(want, abs=floor_error(0.119))
    assert round(got, 4) == printed


@pytest.mark.parametrize("temperature", [0.2, 0.5, 3.0])
@pytest.mark.parametrize(("k", "m"), [(3, 4), (5, 2), (2, 9)])
def test_divergence_of_clusters_that_are_predicted(k, m, temperature):
    """K clusters of m samples, each of its own class: log(m + (B - m) e^(-1/tau))."""
    cluster, features = clusters(k, m)
    got = cross_layer_divergence(features, one_hot_logits(cluster, k), temperature=temperature)
    want = math.log(m + (k * m - m) * math.exp(-1 / temperature))
    # Only entries inside a cluster count, and those are above 1/B.
    assert got.item() == pytest.approx(want, abs=floor_error(1 / (k * m)))


@pytest.mark.parametrize("constant", [False, True], ids=["spread", "constant"])
@pytest.mark.parametrize("temperature", [0.2, 0.5, 3.0])
@pytest.mark.parametrize(("k", "m"), [(3, 6), (2, 8)])
def test_divergence_of_predictions_that_do_not_know_the_clusters(k, m, temperature, constant):
    """log(m e^(1/tau) + B - m) - 1 / (K tau), which is (1 - 1/K) / tau above agreement."""
    cluster, features = clusters(k, m)
    classes = torch.zeros(k * m, dtype=torch.int64) if constant else torch.arange(k * m) % k
    got = cross_layer_divergence(features, one_hot_logits(classes, k), temperature=temperature)
    want = math.log(m * math.exp(1 / temperature) + k * m - m) - 1 / (k * temperature)
    # The smallest entry, of two clusters, is e^(-1/tau) / (m + ...) > e^(-1/tau) / B.
    bound = floor_error(math.exp(-1 / temperature) / (k * m))
    assert got.item() == pytest.approx(want, abs=bound)
    agreeing = cross_layer_divergence(features, one_hot_logits(cluster, k), temperature=temperature)
    gap = (1 - 1 / k) / temperature
    assert (got - agreeing).item() == pytest.approx(gap, abs=bound)
    assert gap > 1000 * bound


def test_the_floor_of_the_graph_shows_at_a_low_temperature():
    """tau = 0.1, B = 50, K = 5: 10.303 by the formula, 10.285 with 1e-7 inside the logarithm."""
    _, features = clusters(5, 10)
    logits = one_hot_logits(torch.arange(50) % 5, 5)
    got = cross_layer_divergence(features, logits, temperature=0.1).item()
    assert round(got, 3) == 10.285
    assert round(math.log(10 * math.exp(10) + 40) - 1 / 0.5, 3) == 10.303


def test_divergence_is_entropy_plus_relative_entropy():
    """So it is never below the entropy of the predictions' graph, and there is no zero."""
    features, logits = draw_features(), draw_logits()
    a, q, r = graphs(features, logits)
    relative = F.kl_div(a.log(), q / r, reduction="batchmean").item()
    entropy = torch.distributions.Categorical(probs=q / r).entropy().mean().item()
    got = cross_layer_divergence(features, logits).item()
    assert relative > 0.1
    assert got == pytest.approx(entropy + relative, abs=floor_error(a.min().item()))


def test_divergence_of_equal_graphs_is_the_entropy_and_not_zero():
    """Features and predictions all alike: both graphs are uniform."""
    features, logits = torch.ones(6, 4).double(), torch.ones(6, 3).double()
    a, q, r = graphs(features, logits)
    assert_close(a, q / r, rtol=1e-13, atol=0)
    got = cross_layer_divergence(features, logits).item()
    assert got == pytest.approx(math.log(6), abs=floor_error(1 / 6))


def test_divergence_does_not_see_lengths_orders_names_or_rotations():
    features, logits = draw_features(), draw_logits()
    want = cross_layer_divergence(features, logits)
    order = torch.tensor([3, 0, 4, 2, 1])
    rotation = torch.linalg.qr(draw_features(4)).Q
    for same in (
        cross_layer_divergence(features * torch.tensor([[0.1], [3], [1], [20], [7]]), logits),
        cross_layer_divergence(features[order], logits[order]),
        cross_layer_divergence(features, logits[:, [2, 0, 1]]),
        cross_layer_divergence(features @ rotation, logits),
        cross_layer_divergence(features, logits + torch.linspace(-9, 9, 5)[:, None]),
    ):
        assert_close(same, want, rtol=1e-13, atol=0)
    assert abs(cross_layer_divergence(features[order], logits) - want) > 1e-2


def test_negative_similarities_count_as_none_and_not_as_minus_infinity():
    logits = one_hot_logits(torch.tensor([0, 1]), 2)
    opposite = torch.tensor([[1.0, 0.0], [-2.0, 0.0]]).double()
    want = cross_layer_divergence(torch.eye(2).double(), logits)
    assert torch.equal(cross_layer_divergence(opposite, logits), want)


def test_no_gradient_reaches_the_features_with_the_released_gradient():
    """They are held fixed; what goes back to them goes by way of the logits."""
    features, logits = draw_features().requires_grad_(), draw_logits().requires_grad_()
    value = cross_layer_divergence(features, logits)
    by_features, directly = torch.autograd.grad(value, (features, logits), allow_unused=True)
    assert by_features is None
    assert directly.abs().max() > 1e-3
    (by_features,) = torch.autograd.grad(
        cross_layer_divergence(features, logits, gradient="full"), features
    )
    assert by_features.abs().max() > 1e-3


@pytest.mark.parametrize("temperature", [0.5, math.inf])
def test_released_gradient_is_that_of_a_positive_sum_of_similarities(temperature):
    """c_ab = -log A_ab / (B R_a) > 0, held fixed: every pair of predictions is pushed apart."""
    features, logits = draw_features(), draw_logits()
    a, _, r = graphs(features, logits, temperature)
    coefficients = -torch.log(a + losses.GRAPH_FLOOR) / (5 * r)
    assert (coefficients > 0).all()
    _, want = by_logits(lambda z: (coefficients * graphs(features, z)[1]).sum(), logits)
    _, got = by_logits(
        lambda z: cross_layer_divergence(features, z, temperature=temperature), logits
    )
    assert want.abs().max() > 1e-3
    assert_close(got, want, rtol=1e-11, atol=1e-15)


def test_full_gradient_is_that_of_the_value():
    """By features and logits, against autograd through the sum pair by pair."""
    found = []
    for value in (
        lambda h, z: cross_layer_divergence(h, z, gradient="full"),
        written_out,
    ):
        h, z = draw_features().requires_grad_(), draw_logits().requires_grad_()
        found.append(torch.autograd.grad(value(h, z), (h, z)))
    assert min(g.abs().max() for g in found[1]) > 1e-3
    assert_close(found[0], found[1], rtol=1e-11, atol=1e-15)


def test_full_gradient_attracts_near_pairs_and_repels_far_ones():
    """With features held fixed the coefficient of Q_ab is (-log A_ab - CE_a) / (B R_a)."""
    features, logits = draw_features(), draw_logits()
    a, q, r = graphs(features, logits)
    cost = -torch.log(a + losses.GRAPH_FLOOR)
    coefficients = (cost - (q / r * cost).sum(1, keepdim=True)) / (5 * r)
    assert coefficients.min() < -1e-2 < 1e-2 < coefficients.max()
    _, want = by_logits(lambda z: (coefficients * graphs(features, z)[1]).sum(), logits)
    _, got = by_logits(lambda z: cross_layer_divergence(features, z, gradient="full"), logits)
    _, released = by_logits(lambda z: cross_layer_divergence(features, z), logits)
    assert_close(got, want, rtol=1e-11, atol=1e-15)
    assert (got - released).abs().max() > 1e-3


def test_both_gradients_belong_to_one_value():
    features, logits = draw_features(), draw_logits()
    full = cross_layer_divergence(features, logits, gradient="full")
    assert torch.equal(cross_layer_divergence(features, logits), full)


def test_one_hot_divergence_does_not_see_confidence():
    features, logits = draw_features(), draw_logits()
    hard = cross_layer_divergence(features, logits, one_hot=True)
    assert torch.equal(cross_layer_divergence(features, 9 * logits, one_hot=True), hard)
    want = cross_layer_divergence(features, one_hot_logits(logits.argmax(1), 3))
    assert_close(hard, want, rtol=1e-14, atol=0)
    soft, sure = (cross_layer_divergence(features, k * logits) for k in (1, 9))
    assert (sure - soft).abs() > 1e-2
    z = logits.clone().requires_grad_()
    assert not cross_layer_divergence(features, z, one_hot=True).requires_grad


@pytest.mark.parametrize("gradient", ["released", "full"])
def test_divergence_is_finite_where_features_are_zero_and_predictions_certain(gradient):
    """A dead last layer has no direction: every sample is as far from it as it is itself."""
    h, z = torch.zeros(4, 3, requires_grad=True), (1e4 * torch.eye(4, 3)).requires_grad_()
    value = cross_layer_divergence(h, z, gradient=gradient)
    assert value.item() == pytest.approx(math.log(4), abs=1e-5)
    for g in torch.autograd.grad(value, (h, z), materialize_grads=True):
        assert g.isfinite().all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_refuses_a_temperature_that_is_not_above_zero(temperature):
    with pytest.raises(ValueError, match=f"`temperature` is {temperature}; it must be above 0"):
        cross_layer_divergence(draw_features(), draw_logits(), temperature=temperature)


def test_refuses_an_unknown_gradient_and_features_of_other_samples():
    with pytest.raises(ValueError, match="`gradient` is 'half'; it must be one of 'released', 'fu"):
        cross_layer_divergence(draw_features(), draw_logits(), gradient="half")
    with pytest.raises(ValueError, match="`features` holds 4 samples and `logits` 5; they must"):
        cross_layer_divergence(draw_features(4), draw_logits())


# early-learning regularisation


def draw_targets():
    """Rows that sum to less than one, each otherwise; no target is the prediction itself."""
    draw = torch.Generator().manual_seed(11)
    rows = torch.randn(5, 3, generator=draw, dtype=torch.float64).softmax(1)
    return rows * torch.tensor([0.3, 0.9, 1.0, 0.7, 0.5], dtype=torch.float64)[:, None]


def test_early_learning_regulariser_has_the_gradient_of_the_paper():
    """Liu et al., lemma on the gradient: p_c / (1 - <p, t>) times sum_k (t_k - t_c) p_k."""
    logits, targets = draw_logits(scale=1.0), draw_targets()
    value, got = by_logits(lambda z: losses.early_learning_regulariser(z, targets), logits)
    p = logits.softmax(1)
    assert 1e-4 < p.min() < p.max() < 1 - 1e-4  # so that nothing is clamped
    want = torch.zeros_like(p)
    for i in range(5):
        inside = 1 - sum(p[i, k] * targets[i, k] for k in range(3))
        for c in range(3):
            pull = sum((targets[i, k] - targets[i, c]) * p[i, k] for k in range(3))
            want[i, c] = p[i, c] / inside * pull / 5
    assert want.abs().max() > 1e-2
    assert_close(got, want, rtol=0, atol=1e-15)
    by_hand = (1 - (p * targets).sum(1)).log().mean()
    assert value.item() == pytest.approx(by_hand.item(), abs=1e-15)


def test_early_learning_regulariser_is_zero_without_targets_and_falls_with_agreement():
    logits = draw_logits(scale=1.0)
    value, slope = by_logits(
        lambda z: losses.early_learning_regulariser(z, torch.zeros(5, 3).double()), logits
    )
    assert value == 0
    assert (slope == 0).all()
    near, far = F.one_hot(logits.argmax(1), 3), F.one_hot(logits.argmin(1), 3)
    values = [losses.early_learning_regulariser(logits, t.double()) for t in (near, far)]
    assert values[0] < values[1] - 0.1 < 0


def test_early_learning_regulariser_is_finite_for_certain_predictions():
    """Its value is bounded by log 1e-4, and what is clamped has no gradient."""
    logits = 1e4 * torch.eye(3, dtype=torch.float64)
    value, slope = by_logits(
        lambda z: losses.early_learning_regulariser(z, torch.eye(3).double()), logits
    )
    assert value.item() == pytest.approx(math.log(1e-4), abs=1e-9)
    assert (slope == 0).all()


def test_targets_of_the_regulariser_are_held_fixed():
    targets = draw_targets().requires_grad_()
    logits = draw_logits().requires_grad_()
    losses.early_learning_regulariser(logits, targets).backward()
    assert targets.grad is None
    assert logits.grad.abs().max() > 0


def test_clamped_probabilities_are_those_of_softmax_between_the_bounds():
    logits = torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 30.0]], dtype=torch.float64)
    got = losses.clamped_probabilities(logits)
    assert torch.equal(got[0], logits[0].softmax(0))
    assert_close(got[1], torch.tensor([1e-4, 1e-4, 1 - 1e-4], dtype=torch.float64))


def test_refuses_targets_of_another_shape():
    with pytest.raises(
        ValueError, match=re.escape("`targets` has shape (5, 2); it must have the shape")
    ):
        losses.early_learning_regulariser(draw_logits(), torch.zeros(5, 2))
