"""Whether errors follow the class: the test's null, its power, and the warning of MLC."""

import warnings

import pytest
import torch
from helpers import refused

from nlmeta import MLC, data, fit, noise
from nlmeta.experiments.loading import load_named
from nlmeta.methods.transition_steps import warn_of_errors_by_input
from nlmeta.models import MLP
from nlmeta.noise import Alikeness, neighbours_alike


def two_classes(seed, n=400, m=40):
    """Points on a line in two classes, noisy ones and checked ones, and a stream to go on with."""
    draw = torch.Generator().manual_seed(seed)
    x, clean = (torch.rand(size, 1, generator=draw) for size in (n, m))
    return x, (x[:, 0] > 0.5).long(), clean, (clean[:, 0] > 0.5).long(), draw


def by_class(seed):
    x, true, clean, y, draw = two_classes(seed)
    transition = torch.tensor([[0.6, 0.4], [0.3, 0.7]], dtype=torch.float64)
    return neighbours_alike(x, noise.corrupt(true, transition, generator=draw), clean, y)


def by_place(seed):
    """Three in ten of each class, all of them in one place."""
    x, true, clean, y, _ = two_classes(seed)
    given = torch.where((x[:, 0] % 0.5) > 0.35, 1 - true, true)
    return neighbours_alike(x, given, clean, y)


def test_where_errors_follow_the_class_p_is_as_it_should_be():
    """About uniform: the mean of 60 is within four standard errors of 1/2, and few are small."""
    found = [by_class(seed) for seed in range(60)]
    ps = torch.tensor([each.p for each in found])
    assert ps.mean().item() == pytest.approx(0.5, abs=4 * 0.29 / 60**0.5)
    assert (ps <= 0.05).sum() <= 9  # 3 are to be expected; more than 9 once in a thousand times
    assert abs(sum(each.excess for each in found)) / 60 < 0.01
    assert sum(each.clear for each in found) <= 4  # at most one in a hundred is to be expected


def test_errors_of_one_place_are_found():
    assert all(by_place(seed).clear for seed in range(10))


def test_the_excess_of_unanimous_neighbours_is_what_chance_leaves():
    """All labels in half of the class are wrong: neighbours always agree, others in half."""
    x = torch.cat([torch.linspace(0, 1, 100), torch.linspace(9, 10, 100)])[:, None]
    given = (torch.arange(200) % 100 >= 50).long()
    clean = torch.cat([torch.linspace(0, 1, 10), torch.linspace(9, 10, 10)])[:, None]
    found = neighbours_alike(x, given, clean, (torch.arange(20) >= 10).long())
    assert found.excess == pytest.approx(0.5, abs=0.02)
    assert found.p == 1 / 200
    assert found.pairs == 20 * 10  # five around each of 20


def test_scale_and_shape_of_the_inputs_do_not_matter():
    x, true, clean, y, draw = two_classes(1)
    given = noise.corrupt(true, noise.symmetric(2, 0.3), generator=draw)
    want = neighbours_alike(x, given, clean, y)
    assert neighbours_alike(100 * x[:, None], given, 100 * clean[:, None], y) == want


def test_nothing_is_said_where_each_checked_sample_is_alone():
    x = torch.tensor([[0.0], [1.0]])
    found = neighbours_alike(x, torch.tensor([0, 1]), x, torch.tensor([0, 1]))
    assert found == Alikeness(0.0, 1.0, 0)
    assert not found.clear


def test_labels_for_other_samples_are_refused():
    x, y = torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64)
    refused("`x` holds 4 samples and `given` 3", lambda: neighbours_alike(x, y[:3], x, y))
    refused("`clean_y` is torch.float32", lambda: neighbours_alike(x, y, x, y.float()))


KINDS = ("symmetric", "pair", "one-target")


def digits(kind, seed=0, **options):
    return load_named("digits", noise=kind, rate=0.4, meta_size=100, seed=seed, **options)


def by_looks(seed=0):
    return digits("feature-dependent", seed, predictions="class means")


def train(split, **options):
    method = MLC(10, virtual_lr=0.1, **{"transition_lr": "auto", **options})
    training = {"epochs": 1, "seed": 0, "progress": False, "device": "cpu"}
    return fit(method, MLP(64, 10, (16,), seed=0), split, **training)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_mlc_says_nothing_where_errors_follow_the_class(kind, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split = digits(kind, seed)
        warn_of_errors_by_input(split.train, split.meta)
        if seed == 0:
            train(split)


def test_mlc_warns_where_errors_go_by_looks():
    with pytest.warns(UserWarning, match="The checked samples say otherwise: .* same given label"):
        train(by_looks())
    for seed in (1, 2):
        split = by_looks(seed)
        with pytest.warns(UserWarning, match="one transition matrix"):
            warn_of_errors_by_input(split.train, split.meta)


def test_without_auto_or_without_clean_labels_nothing_is_asked():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(by_looks(), transition_lr=30.0)
        noisy = by_looks().with_noisy_meta(100, seed=0, held_out=True)
        assert not noisy.meta_is_clean
        train(noisy)


def test_words_are_not_compared():
    split = data.from_arrays(
        torch.randint(9, (40, 3), generator=torch.Generator().manual_seed(0)),
        torch.arange(40) % 2,
        clean=torch.arange(40) < 20,
        words=True,
        meta_size=10,
        seed=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_errors_by_input(split.train, split.meta)
