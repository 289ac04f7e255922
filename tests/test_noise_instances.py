"""Tests of noise that depends on the sample: flip rates, directions, predictions, refusals."""

import math
import warnings

import pytest
import torch
from helpers import refused, seeded
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch.testing import assert_close

from nlmeta import noise
from nlmeta.data.sources import read
from nlmeta.seeding import generator

PUBLISHED = read("digits").train
IMAGES, DIGITS = PUBLISHED.x, PUBLISHED.y  # (1797, 1, 8, 8), grey values 0 to 16
NORMALISED = (IMAGES - IMAGES.mean()) / IMAGES.std()
N = len(DIGITS)


def part_dependent(x=NORMALISED, labels=DIGITS, rate=0.4, *, seed=0, **options):
    return noise.instance_dependent(x, labels, 10, rate, generator=seeded(seed), **options)


def flips(probabilities, labels=DIGITS):
    """How likely each sample is to flip."""
    return 1 - probabilities.gather(1, labels[:, None]).squeeze(1)


def directions(probabilities, labels=DIGITS):
    """Where a flip goes, given that there is one."""
    off = probabilities.scatter(1, labels[:, None], 0.0)
    return off / off.sum(1, keepdim=True)


def concentration(probabilities, labels=DIGITS):
    """The share of a class's flips that its most frequent target takes, mean over the classes."""
    goes_to = directions(probabilities, labels)
    return sum(goes_to[labels == c].mean(0).max().item() for c in range(10)) / 10


# The part-dependent generator.


def test_every_sample_has_a_distribution_of_its_own():
    """Rows sum to 1 only if no mass of a flip comes back to the own class."""
    p = part_dependent()
    assert p.shape == (N, 10)
    assert p.dtype == torch.float64
    assert ((p >= 0) & (p <= 1)).all()
    assert_close(p.sum(1), torch.ones(N, dtype=torch.float64), rtol=0, atol=1e-14)
    assert len(p.unique(dim=0)) > 0.99 * N


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.45, 0.8])
def test_flip_rates_are_normal_and_truncated(rate):
    """Against SciPy's distribution. A p below 6e-5 is as rare as 4 standard deviations."""
    p = part_dependent(rate=rate)
    want = stats.truncnorm(-rate / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)
    drawn = flips(p)
    assert abs(drawn.mean().item() - want.mean()) < 4 * want.std() / math.sqrt(N)
    assert stats.kstest(drawn.numpy(), want.cdf).pvalue > 6e-5
    assert stats.kstest(drawn.numpy(), stats.uniform.cdf).pvalue < 6e-5  # it can fail


@pytest.mark.parametrize(("rate", "mean"), [(0.1, 0.1288), (0.2, 0.2055), (0.3, 0.3004)])
def test_truncation_moves_the_mean_as_the_docstring_says(rate, mean):
    x = torch.randn(20_000, 1, generator=seeded(1))
    labels = torch.zeros(20_000, dtype=torch.int64)
    p = noise.instance_dependent(x, labels, 2, rate, generator=seeded(2))
    assert abs(flips(p, labels).mean().item() - mean) < 4 * 0.1 / math.sqrt(20_000) + 5e-5


@pytest.mark.parametrize("u", [0.0, 1 - 2.0**-53])
@pytest.mark.parametrize("rate", [1e-9, 0.1, 0.9, 1 - 1e-9])
def test_flip_rates_stay_in_their_interval_for_the_extreme_numbers(monkeypatch, rate, u):
    """The normal quantile of a number that rounds to 1 is infinite."""
    monkeypatch.setattr(torch, "rand", lambda *size, dtype, **_: torch.full(size, u, dtype=dtype))
    drawn = flips(part_dependent(NORMALISED[:1], DIGITS[:1], rate, raw=True), DIGITS[:1]).item()
    assert 0 <= drawn <= 1
    assert drawn < 1e-6 if u == 0 else drawn > 0.8


def test_directions_are_the_softmax_of_a_projection_of_the_input():
    """The log-ratios of a class's samples lie in the space that their inputs span."""
    x = torch.randn(300, 3, generator=seeded(3), dtype=torch.float64)
    labels = torch.arange(300) % 10
    log_p = directions(part_dependent(x, labels), labels)[labels == 4].log()  # (30, 10)
    others = [j for j in range(10) if j != 4]
    ratios = log_p[:, others[1:]] - log_p[:, others[:1]]  # (30, 8): x (W_j - W_0)
    fitted = torch.linalg.lstsq(x[labels == 4], ratios, driver="gelsd").solution  # (3, 8)
    assert_close(x[labels == 4] @ fitted, ratios, rtol=0, atol=1e-8)
    assert ratios.abs().max() > 1


def test_each_true_class_has_a_projection_of_its_own():
    """Two samples that are equal but for their labels go to different places."""
    x = NORMALISED[:1].expand(10, -1, -1, -1)
    goes_to = directions(part_dependent(x, torch.arange(10), raw=True), torch.arange(10))
    shared = [(i, j) for i in range(10) for j in range(i)]
    ratios = [goes_to[i] / goes_to[j] for i, j in shared]
    for (i, j), ratio in zip(shared, ratios, strict=True):
        rest = [k for k in range(10) if k not in (i, j)]
        # With one projection for all, the ratio would be the same for the eight other classes.
        assert ratio[rest].max() > 2 * ratio[rest].min()


def test_the_realised_rate_and_every_class_as_a_target():
    p = part_dependent()
    told = noise.inject("instance-dependent", DIGITS, 10, 0.4, seed=0, x=NORMALISED)
    given = noise.corrupt_by_probabilities(p, generator=seeded(4))
    q = flips(p)
    error = (q * (1 - q)).sum().sqrt().item() / N
    assert abs((given != DIGITS).double().mean().item() - q.mean().item()) < 4 * error
    assert given[given != DIGITS].unique().tolist() == list(range(10))
    # Of the whole procedure, flip rates included, a label is wrong with the truncated mean 0.4.
    assert abs(told.manifest["actual_rate"] - 0.4) < 4 * math.sqrt(0.24 / N)


def test_how_likely_a_sample_flips_does_not_depend_on_its_input_but_where_to_does():
    """Xia et al. draw q apart from the input. Brightness is a stand-in for an input's looks."""
    brightness = IMAGES.mean((1, 2, 3)).double()
    q = flips(part_dependent())
    assert abs(torch.corrcoef(torch.stack([brightness, q]))[0, 1].item()) < 4 / math.sqrt(N)
    # Two copies of the images get the same directions and other flip rates.
    twice = torch.cat([NORMALISED, NORMALISED])
    both = part_dependent(twice, torch.cat([DIGITS, DIGITS]))
    first, second = directions(both[:N]), directions(both[N:])
    assert_close(first, second, rtol=0, atol=1e-12)
    assert (first - first.roll(1, 0)).abs().max() > 0.5
    assert not torch.isclose(flips(both[:N]), flips(both[N:])).all()


def test_inputs_far_from_zero_make_it_noise_of_the_class():
    """The fault of raw pixels: what all inputs share says where a flip goes, not their own part."""
    x = torch.randn(2000, 64, generator=seeded(5))
    labels = torch.arange(2000) % 10
    assert concentration(part_dependent(x, labels), labels) < 0.4
    shifted = part_dependent(x + 2, labels, raw=True)
    assert concentration(shifted, labels) > 0.4
    refused("have a standard deviation in [0.5, 2] and", lambda: part_dependent(x + 2, labels))


def test_raw_pixels_of_digits_concentrate_the_noise_more_than_normalised_ones():
    """By 4 standard errors over twenty draws. The digits of a class share a pattern, so even the
    normalised ones are well above 0.4."""
    normalised = torch.tensor([concentration(part_dependent(seed=s)) for s in range(20)])
    raw = [concentration(part_dependent(IMAGES, seed=s, raw=True)) for s in range(20)]
    more = torch.tensor(raw) - normalised
    assert more.mean() > 4 * more.std() / math.sqrt(20)
    assert normalised.mean() > 0.4


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (IMAGES, "`x` has mean 4.88 and standard deviation 6.02; normalised inputs"),
        (IMAGES / 16, "`x` has mean 0.305 and standard deviation 0.376; normalised inputs"),
        (IMAGES.byte(), "`x` is torch.uint8; it must be normalised floating point"),
        (NORMALISED * math.nan, "`x` has mean nan and standard deviation nan; normalised inputs"),
        (NORMALISED * 0, "`x` has mean 0 and standard deviation 0; normalised inputs"),
    ],
)
def test_refuses_inputs_that_are_not_normalised(x, text):
    refused(text, lambda: part_dependent(x))


def test_raw_inputs_are_taken_as_they_are_where_they_are_asked_for():
    p = part_dependent(IMAGES.byte(), raw=True)
    assert torch.equal(p, part_dependent(IMAGES.double(), raw=True))
    assert directions(p).max(1).values.mean() > 0.95


def test_the_same_seed_gives_the_same_table_and_another_seed_another():
    assert torch.equal(part_dependent(seed=1), part_dependent(seed=1))
    assert not torch.equal(flips(part_dependent(seed=1)), flips(part_dependent(seed=2)))
    assert concentration(part_dependent(seed=1)) != concentration(part_dependent(seed=2))


def test_threads_change_the_table_by_rounding_only_and_no_label():
    threads, tables, labels = torch.get_num_threads(), [], []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            tables.append(part_dependent())
            labels.append(noise.corrupt_by_probabilities(tables[-1], generator=seeded(6)))
    finally:
        torch.set_num_threads(threads)
    assert_close(tables[0], tables[1], rtol=0, atol=1e-12)
    assert torch.equal(*labels)


def test_a_class_without_samples_leaves_the_directions_of_the_others():
    kept = DIGITS != 3
    all_there, some = part_dependent(), part_dependent(NORMALISED[kept], DIGITS[kept])
    assert_close(directions(some, DIGITS[kept]), directions(all_there)[kept], rtol=0, atol=1e-12)


def test_more_samples_leave_the_table_of_the_first_ones():
    few = part_dependent(NORMALISED[:500], DIGITS[:500])
    assert_close(part_dependent()[:500], few, rtol=0, atol=1e-12)


def test_neither_the_default_device_nor_the_global_random_state_matters():
    want, labels, before = part_dependent(), DIGITS.clone(), torch.get_rng_state()
    with torch.device("meta"):
        got = part_dependent()
    torch.manual_seed(77)
    assert torch.equal(got, want)
    assert torch.equal(part_dependent(), want)
    torch.set_rng_state(before)
    part_dependent()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(DIGITS, labels)


def test_no_samples_give_an_empty_table_and_no_labels():
    p = part_dependent(NORMALISED[:0], DIGITS[:0])
    assert p.shape == (0, 10)
    assert noise.corrupt_by_probabilities(p, generator=seeded(0)).shape == (0,)
    assert noise.feature_dependent(p, DIGITS[:0], 0.4).shape == (0,)


@pytest.mark.parametrize("rate", [0, 1])
def test_refuses_a_rate_that_truncation_would_turn_into_another(rate):
    refused(f"`rate` is {rate}; it must lie in (0, 1)", lambda: part_dependent(rate=rate))


def test_refuses_samples_that_do_not_fit_together():
    refused(
        "`x` is a ndarray; it must be a tensor", lambda: part_dependent(IMAGES.numpy()), TypeError
    )
    refused(
        "`x` holds 5 samples and `labels` 4", lambda: part_dependent(NORMALISED[:5], DIGITS[:4])
    )
    refused(
        "`labels` holds 9 at",
        lambda: noise.instance_dependent(NORMALISED, DIGITS, 9, 0.4, generator=seeded(0)),
    )
    refused("generator", lambda: noise.instance_dependent(NORMALISED, DIGITS, 10, 0.4), TypeError)


# Noise from a table of predictions.


def table(seed=0, n=400, num_classes=5, sharpness=2.0):
    """Predictions without ties that are right for more than half of the samples, and not all."""
    labels = torch.arange(n) % num_classes
    logits = sharpness * torch.randn(n, num_classes, generator=seeded(seed), dtype=torch.float64)
    logits[torch.arange(n), labels] += sharpness * 1.5
    p = logits.softmax(1)
    wrong = int((p.argmax(1) != labels).sum())
    assert 0.2 * n < wrong < 0.5 * n
    return p, labels, wrong


def by_the_rule(p, labels, rate):
    """Algan and Ulusoy's rule, sample by sample."""
    p, given, budget = p.tolist(), labels.tolist(), int(len(labels) * rate)
    ranked = [sorted(range(len(row)), key=row.__getitem__, reverse=True) for row in p]
    wrong = [k for k in range(len(p)) if ranked[k][0] != given[k]]
    right = [k for k in range(len(p)) if ranked[k][0] == given[k]]
    wrong.sort(key=lambda k: p[k][ranked[k][0]], reverse=True)
    right.sort(key=lambda k: p[k][ranked[k][1]], reverse=True)
    changes = [(k, ranked[k][0]) for k in wrong] + [(k, ranked[k][1]) for k in right]
    for k, target in changes[:budget]:
        given[k] = target
    return torch.tensor(given)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.29, 0.5, 0.85, 1.0])
@pytest.mark.parametrize("seed", [None, 7])
def test_labels_are_those_of_the_rule(rate, seed):
    """With and without a generator, as nothing is tied. 0.1 has fewer changes than mistakes."""
    p, labels, wrong = table()
    assert 0.1 * 400 < wrong < 0.5 * 400
    drawn = None if seed is None else seeded(seed)
    given = noise.feature_dependent(p, labels, rate, generator=drawn)
    assert torch.equal(given, by_the_rule(p, labels, rate))


@pytest.mark.parametrize("n", [7, 100, 333])
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.29, 0.4, 0.99, 1.0])
def test_exactly_the_rounded_down_number_of_labels_changes(n, rate):
    p = torch.rand(n, 5, generator=seeded(1), dtype=torch.float64).softmax(1)
    labels = torch.arange(n) % 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nearly flat predictions look like a second softmax
        given = noise.feature_dependent(p, labels, rate)
    assert int((given != labels).sum()) == int(n * rate)


def test_rate_zero_changes_no_label_though_the_network_is_wrong():
    """``queue[-0:]`` is the whole queue; so the released code relabels every mistaken sample."""
    p, labels, wrong = table()
    order = torch.arange(len(labels))
    faulty = labels.clone()
    faulty[order[-0:]] = p.argmax(1)[order[-0:]]
    assert int((faulty != labels).sum()) == wrong > 0
    assert torch.equal(noise.feature_dependent(p, labels, 0.0), labels)


@pytest.mark.parametrize("seed", [None, 3])
def test_a_higher_rate_keeps_the_changes_of_a_lower_one(seed):
    p, labels, _ = table(n=500)
    p = p.mul(4).round().clamp(min=1).div(p.mul(4).round().clamp(min=1).sum(1, keepdim=True))
    assert len(p.unique()) < 20  # most are tied
    last = labels
    for rate in (0.1, 0.3, 0.5, 0.9, 1.0):
        drawn = None if seed is None else seeded(seed)
        given = noise.feature_dependent(p, labels, rate, generator=drawn)
        changed = last != labels
        assert torch.equal(given[changed], last[changed])
        assert int((given != labels).sum()) == int(500 * rate)
        last = given


def test_a_given_label_is_the_first_or_second_class_of_the_prediction():
    p, labels, _ = table()
    given = noise.feature_dependent(p, labels, 0.8)
    changed = given != labels
    assert (p.topk(2).indices[changed] == given[changed, None]).any(1).all()
    assert given[changed].unique().tolist() == list(range(5))


def test_which_labels_change_shows_in_the_predictions_unlike_noise_of_its_matrix():
    p, labels, _ = table(n=2000)
    given = noise.feature_dependent(p, labels, 0.3)
    own = p.gather(1, labels[:, None]).squeeze(1)
    assert roc_auc_score(given != labels, -own) > 0.9
    matrix = noise.empirical_transition(labels, given, 5)
    drawn = noise.corrupt(labels, matrix, generator=seeded(2))
    # 4 standard errors, and 0.02 because the classes differ a little in rate and in p.
    wrong = int((drawn != labels).sum())
    error = math.sqrt(2001 / (12 * wrong * (2000 - wrong)))
    assert abs(roc_auc_score(drawn != labels, -own) - 0.5) < 4 * error + 0.02


def test_ties_go_to_the_highest_class_and_the_last_sample_without_a_generator():
    p = torch.tensor([[0.6, 0.2, 0.2], [0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]])
    labels = torch.tensor([0, 0, 1, 2])
    for count, want in enumerate(
        [[0, 0, 1, 2], [0, 0, 1, 1], [0, 0, 2, 1], [0, 2, 2, 1], [2, 2, 2, 1]]
    ):
        assert noise.feature_dependent(p, labels, count / 4).tolist() == want


def test_a_generator_breaks_ties_evenly():
    n = 3000
    labels = torch.arange(n) % 3
    p = torch.full((n, 3), 0.2, dtype=torch.float64).scatter(1, labels[:, None], 0.6)
    given = noise.feature_dependent(p, labels, 0.5, generator=seeded(4))
    steps = (given - labels)[given != labels] % 3  # 1 or 2, each with probability 1/2
    assert len(steps) == n // 2
    assert abs((steps == 1).double().mean().item() - 0.5) < 4 * 0.5 / math.sqrt(n // 2)
    half = (given != labels)[: n // 2].double().mean().item()  # and no end of the list is favoured
    assert abs(half - 0.5) < 4 * 0.5 / math.sqrt(n)


def test_a_certain_prediction_flips_to_any_other_class_with_a_generator():
    """Where the second probability is 0; the released code means to draw a class there."""
    labels = torch.arange(1000) % 5
    certain = torch.eye(5, dtype=torch.float64)[labels]
    given = noise.feature_dependent(certain, labels, 1.0, generator=seeded(5))
    counted = noise.empirical_transition(labels, given, 5)
    assert ((counted > 0) == ~torch.eye(5, dtype=torch.bool)).all()


def test_a_second_softmax_sends_the_flips_to_the_last_class_and_is_warned_of():
    """The fault of the table that comes with MSLG's code."""
    once, labels, _ = table(n=2000, num_classes=10, sharpness=40.0)
    twice = once.float().softmax(1)
    # float32 cannot tell apart the small probabilities that a second softmax pushes together.
    tied = (twice.sort(1).values[:, -2] == twice.sort(1).values[:, -3]).double().mean()
    assert tied > 0.3
    good = noise.feature_dependent(once, labels, 0.9)
    text = "softmax was probably applied twice"
    with pytest.warns(UserWarning, match=text):
        biased = noise.feature_dependent(twice, labels, 0.9)
    with pytest.warns(UserWarning, match=text):
        drawn = noise.feature_dependent(twice, labels, 0.9, generator=seeded(6))

    def share(given):
        return (given[given != labels] == 9).double().mean().item()

    assert share(good) < 0.2
    assert share(biased) > 0.3
    assert share(drawn) < 0.2


def test_threads_and_the_default_device_change_no_label():
    p, labels, _ = table()
    want = noise.feature_dependent(p, labels, 0.6, generator=seeded(7))
    threads, before = torch.get_num_threads(), torch.get_rng_state()
    try:
        torch.set_num_threads(2)
        with torch.device("meta"):
            got = noise.feature_dependent(p, labels, 0.6, generator=seeded(7))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(got, want)
    assert torch.equal(noise.feature_dependent(p.float(), labels, 0.6, generator=seeded(7)), want)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(labels, torch.arange(400) % 5)


def test_refuses_predictions_that_do_not_fit():
    def relabel(p, labels=(0, 1), rate=0.5):
        return lambda: noise.feature_dependent(p, torch.tensor(labels), rate)

    half = torch.full((2, 2), 0.5)
    text = "`predictions` has row 0 summing to 3"
    refused("`predictions` holds 3 at row 0, column 1", relabel(torch.tensor([[0.0, 3], [1, 0]])))
    refused(text, relabel(torch.ones(2, 3)))
    refused("`predictions` has shape (2,); it must be (n, C)", relabel(torch.ones(2)))
    refused("`predictions` is a list; it must be a tensor", relabel([[0.5, 0.5]]), TypeError)
    refused("`predictions` holds 2 samples and `labels` 1", relabel(half, [0]))
    refused("`labels` holds 2 at position 0", relabel(half, [2, 1]))
    refused("`rate` is 1.5; it must lie in [0, 1]", relabel(half, rate=1.5))


# Both, by their names.


def test_seed_zero_gives_these_labels_on_every_machine():
    told = noise.inject("instance-dependent", DIGITS, 10, 0.4, seed=0, x=NORMALISED)
    assert DIGITS[:20].tolist() == [*range(10), *range(10)]
    first = [0, 5, 2, 9, 4, 5, 6, 6, 4, 3, 0, 2, 9, 3, 2, 5, 9, 6, 8, 9]
    assert told.labels[:20].tolist() == first
    tied, labels = torch.full((20, 5), 0.125), torch.arange(20) % 5
    tied = tied.scatter(1, labels[:, None], 0.5)
    told = noise.inject("feature-dependent", labels, 5, 0.8, seed=0, predictions=tied)
    assert told.labels.tolist() == [1, 1, 2, 0, 0, 1, 1, 1, 0, 0, 3, 0, 0, 2, 1, 0, 2, 4, 0, 2]


def test_injecting_by_name_draws_from_the_streams_of_its_seed():
    told = noise.inject("instance-dependent", DIGITS, 10, 0.4, seed=8, x=NORMALISED)
    p = noise.instance_dependent(NORMALISED, DIGITS, 10, 0.4, generator=generator(8, "noise map"))
    given = noise.corrupt_by_probabilities(p, generator=generator(8, "noise"))
    assert torch.equal(told.labels, given)
    assert told.transition is None
    p, labels, _ = table()
    told = noise.inject("feature-dependent", labels, 5, 0.4, seed=8, predictions=p)
    assert torch.equal(told.labels, by_the_rule(p, labels, 0.4))
    assert told.manifest["actual_rate"] == 0.4
    assert told.manifest["convention"] == noise.CONVENTIONS["feature-dependent"]


def test_refuses_to_inject_without_what_the_kind_needs_or_with_more():
    p, labels, _ = table()

    def inject(kind, **options):
        return lambda: noise.inject(kind, labels, 5, 0.4, seed=0, **options)

    refused("`x` is None; noise 'instance-dependent' needs one", inject("instance-dependent"))
    refused("`predictions` is None; noise 'feature-dep", inject("feature-dependent"))
    refused("`x` is of shape (400, 5); noise 'instance-dependent'", inject("pair", x=p))
    refused("`predictions` is of shape (400, 5);", inject("symmetric", predictions=p))
    refused(
        "`predictions` has 4 columns; it must have one for each of the 5 classes",
        inject("feature-dependent", predictions=p[:, :4]),
    )


@pytest.mark.gpu
def test_noise_of_inputs_and_predictions_on_a_gpu_is_that_on_the_cpu():
    want = part_dependent()
    got = part_dependent(NORMALISED.cuda(), DIGITS.cuda())
    assert torch.equal(got, want)
    told = noise.inject("instance-dependent", DIGITS.cuda(), 10, 0.4, seed=0, x=NORMALISED.cuda())
    assert told.labels.is_cuda
    p, labels, _ = table()
    got = noise.feature_dependent(p.cuda(), labels.cuda(), 0.4)
    assert got.is_cuda
    assert torch.equal(got.cpu(), noise.feature_dependent(p, labels, 0.4))
