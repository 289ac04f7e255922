"""Tests of nlmeta.noise: matrices, drawing from them, counting, naming, refusals."""

import json
import math

import pytest
import torch
from helpers import refused, seeded
from torch.testing import assert_close

from nlmeta import _checks, noise, seeding

# Rows are lopsided and T is far from its transpose, so that mixing up rows and columns fails.
LOPSIDED = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.6, 0.4], [0.1, 0.0, 0.9]], dtype=torch.float64)
GROUPS = [7, 2, 7, 2, 7]  # superclasses of unequal size, not in blocks


def follows(true, given, matrix):
    """Whether counts agree with T: each cell within 5 standard deviations, the rate within 4."""
    counts = true.bincount(minlength=len(matrix)).double()
    counted = noise.empirical_transition(true, given, len(matrix))
    error = (matrix * (1 - matrix) / counts[:, None]).sqrt()
    right = matrix.diagonal()
    rate_error = (counts * right * (1 - right)).sum().sqrt() / len(true)
    off = (given != true).double().mean() - (counts * (1 - right)).sum() / len(true)
    # Rounding alone may part the two where a cell is certain.
    cells = ((counted - matrix).abs() <= 5 * error + 1e-12).all()
    return bool(cells and off.abs() <= 4 * rate_error + 1e-12)


def correlation(a, b):
    return torch.corrcoef(torch.stack([a, b]))[0, 1].item()


def all_matrices():
    return {
        "none": noise.make_transition("none", 5),
        "symmetric": noise.symmetric(5, 0.3),
        "symmetric-inclusive": noise.symmetric(5, 0.3, convention="inclusive"),
        "pair": noise.pair(5, 0.3),
        "asymmetric": noise.asymmetric(5, 0.3, {4: 1, 2: 0}),
        "asymmetric-cifar10": noise.asymmetric(10, 0.3, {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}),
        "one-target": noise.one_target(5, 0.3, generator=seeded(3)),
        "superclass": noise.superclass(GROUPS, 0.3),
        "superclass-uniform": noise.superclass(GROUPS, 0.3, target="uniform"),
        "consecutive-blocks": noise.consecutive_blocks(10, 0.3),
    }


# What a kind of noise needs beside the rate.
OPTIONS = {
    "asymmetric": {"class_map": {4: 1, 2: 0}},
    "superclass": {"groups": GROUPS},
    "superclass-uniform": {"groups": GROUPS},
}


@pytest.mark.parametrize("kind", noise.KINDS)
def test_every_matrix_is_a_transition_matrix_in_float64_on_the_cpu(kind):
    with torch.device("meta"):  # a reader's default device must not matter
        matrix = all_matrices()[kind]
    assert matrix.dtype == torch.float64
    assert matrix.device.type == "cpu"
    assert_close(matrix.sum(1), torch.ones(len(matrix), dtype=torch.float64), rtol=0, atol=1e-15)
    assert ((matrix >= 0) & (matrix <= 1)).all()


@pytest.mark.parametrize("kind", noise.KINDS)
def test_make_transition_gives_the_matrix_of_that_name(kind):
    rate, want = 0.0 if kind == "none" else 0.3, all_matrices()[kind]
    options = {**OPTIONS.get(kind, {}), "generator": seeded(3)}
    assert torch.equal(noise.make_transition(kind, len(want), rate, **options), want)


def test_symmetric_noise_has_equal_entries_off_the_diagonal():
    matrix = noise.symmetric(7, 0.4)
    off_diagonal = matrix[~torch.eye(7, dtype=torch.bool)]
    assert_close(off_diagonal, torch.full_like(off_diagonal, 0.4 / 6), rtol=0, atol=1e-12)
    assert_close(matrix.diagonal(), torch.full_like(matrix[0], 0.6), rtol=0, atol=1e-12)


def test_inclusive_noise_is_a_uniform_redraw():
    """By its definition T = (1 - r) I + r / C."""
    matrix = noise.symmetric(5, 0.4, convention="inclusive")
    want = 0.6 * torch.eye(5, dtype=torch.float64) + 0.4 / 5
    assert_close(matrix, want, rtol=0, atol=1e-15)


def test_inclusive_noise_is_exclusive_noise_of_a_lower_rate():
    inclusive = noise.symmetric(10, 0.5, convention="inclusive")
    assert_close(inclusive, noise.symmetric(10, 0.45), rtol=0, atol=1e-15)


def test_flip_rate_tells_the_two_conventions_apart():
    assert noise.flip_rate(noise.symmetric(10, 0.5)) == pytest.approx(0.5, abs=1e-12)
    inclusive = noise.symmetric(10, 0.5, convention="inclusive")
    assert noise.flip_rate(inclusive) == pytest.approx(0.45, abs=1e-12)


def test_flip_rate_weighs_classes_by_their_frequency():
    assert noise.flip_rate(LOPSIDED) == pytest.approx((0.3 + 0.4 + 0.1) / 3, abs=1e-12)
    assert noise.flip_rate(LOPSIDED, [60, 30, 10]) == pytest.approx(0.31, abs=1e-12)


def test_pair_noise_flips_to_the_next_class_and_the_last_to_the_first():
    want = [[0.75, 0.25, 0], [0, 0.75, 0.25], [0.25, 0, 0.75]]
    assert noise.pair(3, 0.25).tolist() == want


def test_asymmetric_noise_leaves_unmapped_classes_alone():
    """CIFAR-10's map of Patrini et al.: 5 of 10 classes, so 40 % in a class are 20 % of all."""
    matrix = noise.asymmetric(10, 0.4, {9: 1, 2: 0, 4: 7, 3: 5, 5: 3})
    for clean in (0, 1, 6, 7, 8):
        assert matrix[clean].tolist() == torch.eye(10)[clean].tolist()
    assert matrix[3, 5] == matrix[5, 3] == matrix[9, 1] == matrix[2, 0] == matrix[4, 7] == 0.4
    assert noise.flip_rate(matrix) == pytest.approx(0.2, abs=1e-12)
    assert torch.equal(noise.make_transition("asymmetric-cifar10", 10, 0.4), matrix)


def test_one_target_noise_has_two_entries_in_each_row():
    matrix = noise.one_target(10, 0.4, generator=seeded(0))
    assert ((matrix > 0).sum(1) == 2).all()
    assert matrix.diagonal().tolist() == [0.6] * 10


def test_one_target_noise_reaches_every_other_class_and_need_not_be_a_permutation():
    generator = seeded(1)
    drawn = torch.stack([noise.one_target(4, 1.0, generator=generator) for _ in range(200)])
    # A cell is missed 200 times with probability (2/3)^200, about 1e-35.
    assert torch.equal(drawn.sum(0) > 0, ~torch.eye(4, dtype=torch.bool))
    # Of 3^4 maps without fixed points 9 are permutations: (1/9)^200 that all are.
    shared_target = (drawn.sum(1) > 1).any(1)
    assert shared_target.any()
    assert not shared_target.all()


def test_realised_rate_is_the_asked_one_within_sampling_error():
    labels = torch.arange(20_000) % 10
    given = noise.corrupt(labels, noise.symmetric(10, 0.4), generator=seeded(2))
    standard_error = math.sqrt(0.4 * 0.6 / len(labels))
    assert abs((given != labels).double().mean().item() - 0.4) < 5 * standard_error


def test_corrupted_labels_follow_the_rows_of_the_matrix():
    labels = torch.arange(30_000) % 3
    given = noise.corrupt(labels, LOPSIDED, generator=seeded(3))
    counted = noise.empirical_transition(labels, given, 3)
    standard_error = (LOPSIDED * (1 - LOPSIDED) / 10_000).sqrt()
    assert ((counted - LOPSIDED).abs() <= 5 * standard_error).all()  # impossible cells: exactly 0
    assert ((counted - LOPSIDED.T).abs() > 5 * standard_error).any()


@pytest.mark.parametrize("kind", sorted(set(noise.KINDS) - {"none"}))
def test_every_kind_is_drawn_as_its_matrix_says(kind):
    matrix = all_matrices()[kind]
    labels = torch.arange(20_000) % len(matrix)
    given = noise.corrupt(labels, matrix, generator=seeded(21))
    assert follows(labels, given, matrix)


@pytest.mark.parametrize("kind", sorted(set(noise.KINDS) - {"none"}))
def test_flips_of_neighbouring_samples_are_independent(kind):
    """Correlation of two independent flips: 0, with standard deviation 1 / sqrt(n)."""
    matrix = all_matrices()[kind]
    labels = torch.full((10_000,), 2)
    flipped = (noise.corrupt(labels, matrix, generator=seeded(22)) != labels).double()
    assert abs(correlation(flipped[1:], flipped[:-1])) < 4 / 100
    # Fixed counts along a row of samples, for contrast: every other flip is due.
    alternating = (torch.arange(10_000) % 2).double()
    assert abs(correlation(alternating[1:], alternating[:-1])) > 4 / 100


def faulty_last_class_never(labels, num_classes, rate, g):
    """As L2RW's released code: a bound that is one too low, so the last class is never drawn."""
    drawn = torch.randint(0, num_classes - 1, labels.shape, generator=g)
    return torch.where(torch.rand(len(labels), generator=g) < rate, drawn, labels)


def faulty_reads_changed_labels(labels, class_map, rate, g):
    """As ELR's released code: a class that comes later takes up labels that came to it before."""
    given = labels.clone()
    for source, target in class_map.items():
        pool = (given == source).nonzero().flatten()
        pool = pool[torch.randperm(len(pool), generator=g)]
        given[pool[: int(rate * len(pool))]] = target
    return given


def test_the_audit_finds_a_last_class_that_is_never_given():
    labels = torch.arange(20_000) % 10
    matrix = noise.symmetric(10, 0.4, convention="inclusive")
    assert follows(labels, noise.corrupt(labels, matrix, generator=seeded(23)), matrix)
    faulty = faulty_last_class_never(labels, 10, 0.4, seeded(23))
    assert not follows(labels, faulty, matrix)
    assert 9 not in faulty[labels != 9]


def test_the_audit_finds_labels_that_were_changed_twice():
    """Cat goes to dog before dogs are picked: 24 % of cats end as dogs instead of 40 %."""
    labels, matrix = torch.arange(20_000) % 10, noise.asymmetric(10, 0.4, noise.CIFAR10_MAP)
    assert follows(labels, noise.corrupt(labels, matrix, generator=seeded(24)), matrix)
    faulty = faulty_reads_changed_labels(labels, noise.CIFAR10_MAP, 0.4, seeded(24))
    assert not follows(labels, faulty, matrix)
    counted = noise.empirical_transition(labels, faulty, 10)
    assert counted[3, 5].item() == pytest.approx(0.24, abs=4 * math.sqrt(0.24 * 0.76 / 2000))


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [("symmetric", "symmetric-inclusive"), ("symmetric-inclusive", "symmetric")],
)
def test_the_audit_tells_the_two_conventions_apart(asked, drawn):
    labels = torch.arange(20_000) % 5
    given = noise.corrupt(labels, all_matrices()[drawn], generator=seeded(25))
    assert follows(labels, given, all_matrices()[drawn])
    assert not follows(labels, given, all_matrices()[asked])


def test_the_audit_finds_a_matrix_that_was_read_the_wrong_way_round():
    labels = torch.arange(30_000) % 3
    doubly = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.7, 0.3], [0.3, 0.0, 0.7]], dtype=torch.float64)
    given = noise.corrupt(labels, doubly, generator=seeded(26))
    assert follows(labels, given, doubly)
    assert not follows(labels, given, doubly.T)


def test_a_label_beyond_the_last_class_is_refused_by_whoever_counts():
    """Drawing from 0 to C, both included, gives one: a fault of a fallback in CLID-MU's code."""
    labels = torch.arange(2000) % 10
    faulty = torch.randint(0, 10 + 1, labels.shape, generator=seeded(27))
    assert faulty.max() == 10
    refused("labels must lie in 0 to 9", lambda: noise.describe(labels, faulty, 10))


def test_one_target_noise_has_other_targets_for_another_seed():
    """Targets drawn with one fixed seed hide from every spread over seeds."""
    labels = torch.arange(500) % 10
    one, other = (noise.inject("one-target", labels, 10, 0.4, seed=s) for s in (0, 1))
    assert not torch.equal(one.transition, other.transition)


@pytest.mark.parametrize("convention", ["exclusive", "inclusive"])
def test_every_class_appears_as_a_wrong_label_and_none_beyond(convention):
    """A generator that rounds down a number in [0, C - 1) never reaches the last class."""
    labels = torch.zeros(5000, dtype=torch.int64)
    matrix = noise.symmetric(10, 0.9, convention=convention)
    given = noise.corrupt(labels, matrix, generator=seeded(4))
    assert given.unique().tolist() == list(range(10))  # missed: 10 (1 - 0.08)^5000


def test_no_label_falls_beyond_the_last_class_when_a_row_sums_to_less_than_one(monkeypatch):
    """Within the 1e-6 that is allowed, and for the largest number that can be drawn."""
    largest = 1 - 2.0**-53
    monkeypatch.setattr(
        torch, "rand", lambda *size, dtype, **_: torch.full(size, largest, dtype=dtype)
    )
    short = torch.tensor([[0.5, 0.5 - 5e-7, 0.0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    tenths = torch.full((10, 10), 0.1, dtype=torch.float64)
    assert tenths.cumsum(1)[0, -1] < 1  # so the guard is needed
    given = noise.corrupt(torch.arange(10), tenths, generator=seeded(0))
    assert given.tolist() == [9] * 10
    given = noise.corrupt(torch.tensor([0]), short, generator=seeded(0))
    assert given.tolist() == [1]  # and the missing mass goes to no impossible class


def test_the_smallest_number_picks_no_impossible_label(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *size, dtype, **_: torch.zeros(size, dtype=dtype))
    given = noise.corrupt(torch.tensor([0, 1, 2]), LOPSIDED, generator=seeded(0))
    assert given.tolist() == [0, 1, 0]  # T[1, 0] is 0


def test_same_seed_gives_the_same_labels_and_another_seed_others():
    labels = torch.arange(200) % 3
    first = noise.corrupt(labels, LOPSIDED, generator=seeded(5))
    assert torch.equal(first, noise.corrupt(labels, LOPSIDED, generator=seeded(5)))
    assert not torch.equal(first, noise.corrupt(labels, LOPSIDED, generator=seeded(6)))


def test_seed_zero_gives_these_labels_on_every_machine():
    given = noise.corrupt(torch.arange(12) % 3, LOPSIDED, generator=seeded(0))
    assert given.tolist() == [1, 2, 2, 1, 2, 2, 0, 1, 2, 0, 1, 2]


def test_a_matrix_in_float32_and_a_default_device_change_no_label():
    labels = torch.arange(60) % 3
    want = noise.corrupt(labels, LOPSIDED, generator=seeded(7))
    with torch.device("meta"):
        got = noise.corrupt(labels, LOPSIDED, generator=seeded(7))
    assert torch.equal(got, want)
    assert torch.equal(noise.corrupt(labels, LOPSIDED.float(), generator=seeded(7)), want)


def test_drawing_neither_reads_nor_changes_the_global_random_state():
    labels = torch.arange(100) % 3
    drawn = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        matrix = noise.one_target(3, 0.4, generator=seeded(8))
        drawn.append(noise.corrupt(labels, matrix, generator=seeded(8)))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*drawn)


def test_the_true_labels_are_left_as_they_are():
    labels = torch.arange(100) % 3
    given = noise.corrupt(labels, LOPSIDED, generator=seeded(9))
    assert torch.equal(labels, torch.arange(100) % 3)
    assert given.dtype == torch.int64
    assert given.data_ptr() != labels.data_ptr()


def test_rate_zero_changes_no_label():
    labels = torch.arange(1000) % 7
    for matrix in (noise.make_transition("none", 7), noise.pair(7, 0.0), noise.symmetric(7, 0.0)):
        assert torch.equal(noise.corrupt(labels, matrix, generator=seeded(10)), labels)


def test_rate_one_keeps_no_label_in_the_exclusive_convention():
    labels = torch.arange(1000) % 7
    given = noise.corrupt(labels, noise.symmetric(7, 1.0), generator=seeded(11))
    assert not (given == labels).any()


def test_changing_the_row_of_one_class_leaves_the_labels_of_others():
    """The k-th label depends on the k-th number alone."""
    labels = torch.arange(300) % 3
    changed = LOPSIDED.clone()
    changed[1] = torch.tensor([0.5, 0.0, 0.5])
    before = noise.corrupt(labels, LOPSIDED, generator=seeded(12))
    after = noise.corrupt(labels, changed, generator=seeded(12))
    assert torch.equal(before[labels != 1], after[labels != 1])
    assert not torch.equal(before[labels == 1], after[labels == 1])


def test_more_samples_leave_the_labels_of_the_first_ones():
    labels = torch.arange(300) % 3
    few = noise.corrupt(labels[:100], LOPSIDED, generator=seeded(13))
    many = noise.corrupt(labels, LOPSIDED, generator=seeded(13))
    assert torch.equal(many[:100], few)


@pytest.mark.gpu
def test_labels_on_a_gpu_are_corrupted_as_on_the_cpu():
    labels = torch.arange(300) % 3
    want = noise.corrupt(labels, LOPSIDED, generator=seeded(14))
    got = noise.corrupt(labels.cuda(), LOPSIDED.cuda(), generator=seeded(14))
    assert got.is_cuda
    assert torch.equal(got.cpu(), want)
    rows = LOPSIDED[labels].cuda()
    got = noise.corrupt_by_probabilities(rows, generator=seeded(14))
    assert got.is_cuda
    assert torch.equal(got.cpu(), want)
    told = noise.inject("pair", labels.cuda(), 3, 0.4, seed=1)
    assert told.labels.is_cuda
    assert told.changed.is_cuda
    assert told.manifest == noise.inject("pair", labels, 3, 0.4, seed=1).manifest


def test_no_samples_give_no_labels():
    empty = torch.empty(0, dtype=torch.int64)
    assert noise.corrupt(empty, LOPSIDED, generator=seeded(0)).shape == (0,)


def test_counting_puts_true_classes_in_rows():
    true = torch.tensor([0, 0, 0, 0, 1, 2])
    given = torch.tensor([0, 1, 1, 1, 2, 2])
    want = [[0.25, 0.75, 0], [0, 0, 1], [0, 0, 1]]
    assert noise.empirical_transition(true, given, 3).tolist() == want


def test_counting_gives_nan_for_a_class_without_samples_and_nowhere_else():
    counted = noise.empirical_transition(torch.tensor([0, 2]), torch.tensor([1, 2]), 3)
    assert counted[1].isnan().all()
    assert not counted[[0, 2]].isnan().any()


def test_a_description_counts_changes_and_names_the_convention():
    true, given = torch.tensor([0, 0, 0, 0, 1, 2]), torch.tensor([0, 1, 1, 1, 2, 2])
    told = noise.describe(true, given, 3, kind="human")
    assert told.labels is given
    assert told.changed.tolist() == [False, True, True, True, True, False]
    assert told.empirical.tolist() == [[0.25, 0.75, 0], [0, 0, 1], [0, 0, 1]]
    assert told.transition is None
    # SHA-256 of struct.pack("<6q", 0, 1, 1, 1, 2, 2).
    digest = "182f6bdedba62b674f287d60d73a8b913b67aaf3734d8dd2a2e79173aef11b1b"
    assert told.manifest == {
        "kind": "human",
        "convention": noise.CONVENTIONS["human"],
        "nominal_rate": None,
        "actual_rate": 4 / 6,
        "seed": None,
        "num_classes": 3,
        "num_samples": 6,
        "digest": digest,
    }


def test_a_manifest_survives_json():
    told = noise.inject("pair", torch.arange(50) % 5, 5, 0.4, seed=3)
    assert json.loads(json.dumps(told.manifest)) == told.manifest


def test_equal_labels_have_equal_digests_and_others_do_not():
    true = torch.arange(50) % 5
    one, again, other = (noise.inject("pair", true, 5, 0.4, seed=s) for s in (3, 3, 4))
    assert one.manifest["digest"] == again.manifest["digest"] != other.manifest["digest"]


@pytest.mark.parametrize("kind", noise.KINDS)
def test_injected_noise_is_that_of_the_matrix_with_streams_of_its_own(kind):
    """The streams "noise map" and "noise", so that one can be kept while the other changes."""
    matrix = all_matrices()[kind]
    num_classes, rate = len(matrix), 0.0 if kind == "none" else 0.3
    labels, options = torch.arange(300) % num_classes, OPTIONS.get(kind, {})
    told = noise.inject(kind, labels, num_classes, rate, seed=5, **options)
    want = noise.make_transition(
        kind, num_classes, rate, generator=seeding.generator(5, "noise map"), **options
    )
    assert torch.equal(told.transition, want)
    given = noise.corrupt(labels, want, generator=seeding.generator(5, "noise"))
    assert torch.equal(told.labels, given)
    assert torch.equal(told.changed, given != labels)
    assert told.manifest["kind"] == kind
    assert told.manifest["nominal_rate"] == rate
    assert told.manifest["actual_rate"] == (given != labels).double().mean().item()
    assert told.manifest["seed"] == 5


def test_every_kind_that_can_be_injected_has_a_convention():
    kinds = {*noise.KINDS, "instance-dependent", "feature-dependent", "human", "given"}
    assert set(noise.CONVENTIONS) == kinds


def test_injecting_leaves_the_global_random_state_and_the_labels_alone():
    labels = torch.arange(100) % 5
    before = torch.get_rng_state()
    for kind in noise.KINDS:
        num_classes = len(all_matrices()[kind])
        rate = 0.0 if kind == "none" else 0.3
        noise.inject(kind, labels, num_classes, rate, seed=0, **OPTIONS.get(kind, {}))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(labels, torch.arange(100) % 5)


def test_probabilities_of_a_matrix_give_the_labels_of_that_matrix():
    labels = torch.arange(300) % 3
    want = noise.corrupt(labels, LOPSIDED, generator=seeded(15))
    got = noise.corrupt_by_probabilities(LOPSIDED[labels], generator=seeded(15))
    assert torch.equal(got, want)
    assert not torch.equal(got, labels)


def test_changing_the_probabilities_of_a_sample_leaves_the_labels_of_others():
    rows = LOPSIDED[torch.arange(300) % 3]
    changed = rows.clone()
    changed[7:20] = torch.tensor([0.0, 0.0, 1.0])
    before = noise.corrupt_by_probabilities(rows, generator=seeded(16))
    after = noise.corrupt_by_probabilities(changed, generator=seeded(16))
    assert (after[7:20] == 2).all()
    assert not (before[7:20] == 2).all()
    assert torch.equal(before[:7], after[:7])
    assert torch.equal(before[20:], after[20:])


class ElsewhereGenerator(torch.Generator):
    """Claims to live on a GPU, so that the refusal is tested without one."""

    device = torch.device("cuda", 0)


@pytest.mark.parametrize("rate", [1.2, -0.1, math.nan])
def test_refuses_a_rate_outside_zero_to_one(rate):
    refused(f"`rate` is {rate}; it must lie in [0, 1]", lambda: noise.symmetric(3, rate))
    refused(f"`rate` is {rate}; it must lie in [0, 1]", lambda: noise.pair(3, rate))
    refused(
        f"`rate` is {rate}; it must lie in [0, 1]",
        lambda: noise.make_transition("symmetric", 3, rate),
    )


def test_refuses_arguments_of_the_wrong_kind():
    refused("`rate` is '0.5'; it must be a number", lambda: noise.pair(3, "0.5"), TypeError)
    refused("`num_classes` is 3.0; it must be an", lambda: noise.pair(3.0, 0.5), TypeError)
    refused(
        "`transition` is a list; it must be a tensor, a NumPy array or a pandas frame of numbers",
        lambda: noise.corrupt(torch.tensor([0]), [[1.0]], generator=seeded(0)),
        TypeError,
    )
    refused(
        "`generator` is 7; it must be a torch.Generator on the CPU",
        lambda: noise.corrupt(torch.tensor([0]), LOPSIDED, generator=7),
        TypeError,
    )


def test_refuses_to_draw_without_a_generator():
    refused("generator", lambda: noise.corrupt(torch.tensor([0]), LOPSIDED), TypeError)
    refused("generator", lambda: noise.one_target(3, 0.4), TypeError)


def test_refuses_a_generator_on_another_device():
    text = "`generator` is on cuda:0; it must be a CPU generator"
    elsewhere = ElsewhereGenerator()
    refused(text, lambda: noise.corrupt(torch.tensor([0]), LOPSIDED, generator=elsewhere))
    refused(text, lambda: noise.one_target(3, 0.4, generator=elsewhere))


def test_refuses_fewer_than_two_classes():
    for make in (noise.symmetric, noise.pair):
        refused("`num_classes` is 1; it must be at least 2", lambda m=make: m(1, 0.5))


def test_refuses_an_unknown_convention_and_an_unknown_kind():
    refused(
        "`convention` is 'both'; it must be one of 'exclusive', 'inclusive'",
        lambda: noise.symmetric(3, 0.5, convention="both"),
    )
    refused(
        "`kind` is 'uniform'; it must be one of 'none', 'symmetric', 'symmetric-inclusive', "
        "'pair', 'asymmetric', 'asymmetric-cifar10', 'one-target', 'superclass', "
        "'superclass-uniform', 'consecutive-blocks'",
        lambda: noise.make_transition("uniform", 3, 0.5),
    )


def test_refuses_what_a_kind_of_noise_would_ignore_or_lacks():
    make = noise.make_transition
    refused("`rate` is 0.4; with noise 'none' it must be 0", lambda: make("none", 3, 0.4))
    refused("`class_map` is None; noise 'asymmetric' needs", lambda: make("asymmetric", 3, 0.4))
    refused("`class_map` is {0: 1}; noise", lambda: make("pair", 3, 0.4, class_map={0: 1}))
    refused("`generator` is None; noise 'one-target'", lambda: make("one-target", 3, 0.4))
    refused(
        "`groups` is None; noise 'superclass' and 'superclass-uniform' need one and no other",
        lambda: make("superclass-uniform", 3, 0.4),
    )
    refused(
        "`groups` is [0, 0, 1]; noise 'superclass' and",
        lambda: make("pair", 3, 0.4, groups=[0, 0, 1]),
    )
    refused(
        "`groups` is of shape (3,); noise 'superclass' and",
        lambda: make("pair", 3, 0.4, groups=torch.tensor([0, 0, 1])),
    )
    refused(
        "`groups` holds 3 superclasses; it must hold one for each of the 4 classes",
        lambda: make("superclass", 4, 0.4, groups=[0, 0, 1]),
    )
    refused(
        "`num_classes` is 3; with CIFAR-10's map it must be 10",
        lambda: make("asymmetric-cifar10", 3, 0.4),
    )


@pytest.mark.parametrize("class_map", [{0: 3}, {-1: 0}, {1: 1}])
def test_refuses_a_class_map_that_leaves_the_classes_or_maps_one_to_itself(class_map):
    ((true, given),) = class_map.items()
    refused(
        f"`class_map` maps {true} to {given}; it must map a class in 0 to 2 to another one",
        lambda: noise.asymmetric(3, 0.5, class_map),
    )


def test_refuses_labels_outside_the_classes():
    refused(
        "`labels` holds 7 at position 2; labels must lie in 0 to 2",
        lambda: noise.corrupt(torch.tensor([0, 1, 7]), LOPSIDED, generator=seeded(0)),
    )
    refused(
        "`given_labels` holds -1 at position 1; labels must lie in 0 to 2",
        lambda: noise.empirical_transition(torch.tensor([0, 1]), torch.tensor([0, -1]), 3),
    )
    refused(
        "`labels` is torch.float32 of shape (2,); labels must be torch.int64 of shape (n,)",
        lambda: noise.corrupt(torch.zeros(2), LOPSIDED, generator=seeded(0)),
    )


def test_refuses_two_label_tensors_of_different_length():
    refused(
        "`true_labels` holds 2 samples and `given_labels` 1; they must be the same ones",
        lambda: noise.empirical_transition(torch.tensor([0, 1]), torch.tensor([0]), 3),
    )


@pytest.mark.parametrize(
    ("matrix", "text"),
    [
        ([[0.5, 0.5]], "`transition` has shape (1, 2); it must be square, (C, C)"),
        ([[0.9, 0.1], [0.3, 0.6]], "`transition` has row 1 summing to 0.9; every row must sum"),
        ([[1.1, -0.1], [0, 1]], "`transition` holds 1.1 at row 0, column 0; entries must lie in"),
        ([[1, 0], [0, math.nan]], "`transition` holds nan at row 1, column 1; entries must lie"),
    ],
)
def test_refuses_what_is_no_transition_matrix(matrix, text):
    matrix = torch.tensor(matrix, dtype=torch.float64)
    refused(text, lambda: noise.flip_rate(matrix))
    refused(text, lambda: noise.corrupt(torch.tensor([0]), matrix, generator=seeded(0)))


def test_refuses_the_transpose_of_a_transition_matrix():
    refused("`transition` has row 0 summing to 0.8", lambda: noise.flip_rate(LOPSIDED.T))


@pytest.mark.parametrize("frequencies", [[1, 2], [1, -1, 1], [0, 0, 0]])
def test_refuses_frequencies_that_do_not_fit(frequencies):
    refused("`class_frequencies` is", lambda: noise.flip_rate(LOPSIDED, frequencies))


def test_a_row_may_miss_one_by_rounding_in_float32_but_not_by_more():
    _checks.check_transition("transition", torch.full((3, 3), 1 / 3, dtype=torch.float32))
    off = torch.eye(3, dtype=torch.float64)
    off[1, 1] = 1 - 2e-6
    refused("`matrix` has row 1 summing to", lambda: _checks.check_transition("matrix", off))


@pytest.mark.parametrize("value", [0, -1.5, math.inf, math.nan])
def test_refuses_a_number_that_is_not_positive_and_finite(value):
    refused(
        f"`lr` is {value}; it must be a finite number above 0",
        lambda: _checks.check_positive("lr", value),
    )


def test_refuses_probabilities_that_are_none():
    def draw(table):
        return lambda: noise.corrupt_by_probabilities(table, generator=seeded(0))

    refused("`probabilities` is a list; it must be a tensor", draw([[1.0, 0.0]]), TypeError)
    refused("`probabilities` has shape (2,); it must be (n, C)", draw(torch.rand(2)))
    text = "`probabilities` holds 1.5 at row 0, column 0; entries must lie in [0, 1]"
    refused(text, draw(torch.tensor([[1.5, -0.5]])))
    text = "`probabilities` holds nan at row 1, column 0; entries must lie in [0, 1]"
    refused(text, draw(torch.tensor([[1.0, 0.0], [math.nan, 1.0]])))
    text = "`probabilities` has row 1 summing to 0.9; every row must sum to 1"
    refused(text, draw(torch.tensor([[1.0, 0.0], [0.5, 0.4]], dtype=torch.float64)))
    refused(
        "`generator` is on cuda:0; it must be a CPU generator",
        lambda: noise.corrupt_by_probabilities(LOPSIDED, generator=ElsewhereGenerator()),
    )


def test_refuses_to_describe_noise_without_a_name_or_a_sample():
    labels = torch.tensor([0, 1])
    refused(
        "`kind` is 'uniform'; it must be", lambda: noise.describe(labels, labels, 2, kind="uniform")
    )
    empty = torch.empty(0, dtype=torch.int64)
    refused("`given_labels` is empty; a rate needs", lambda: noise.describe(empty, empty, 2))


def test_refuses_to_inject_what_only_people_give():
    labels = torch.tensor([0, 1])
    refused(
        "`kind` is 'human'; it must be one of", lambda: noise.inject("human", labels, 2, seed=0)
    )
