"""Tests of nlmeta.losses: both spaces by hand, derivatives in closed form, limits, extremes."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from nlmeta import losses
from nlmeta.losses import transition_cross_entropy

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


def test_refuses_options_by_position():
    with pytest.raises(TypeError, match="positional"):
        transition_cross_entropy(draw_logits(), LABELS, LOPSIDED, "logit")


def test_the_number_that_stands_in_for_zero_is_invisible_in_float32():
    """Beside any entry that float32 tells from zero by 1e-12 or more it is lost in rounding."""
    entry = torch.tensor(1e-12)
    assert entry + losses.TINY == entry
    assert math.isfinite(torch.tensor(1 / losses.TINY).item())
