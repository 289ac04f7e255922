"""Tests of nlmeta.seeding: streams by name, and a global generator left as it was."""

import math

import numpy as np
import pytest
import torch
from helpers import global_state

from nlmeta.seeding import generator, seeded


def test_one_seed_and_purpose_give_the_same_numbers():
    assert torch.equal(
        torch.rand(5, generator=generator(3, "noise")),
        torch.rand(5, generator=generator(3, "noise")),
    )


def test_another_seed_or_purpose_gives_other_numbers():
    drawn = {
        (seed, purpose): torch.rand(5, generator=generator(seed, purpose)).tolist()
        for seed in (3, 4)
        for purpose in ("noise", "split")
    }
    assert len({tuple(numbers) for numbers in drawn.values()}) == 4


def test_seed_zero_gives_these_streams_on_every_machine():
    """A change of these numbers would change every result that a record holds."""
    assert generator(0, "split").initial_seed() == 2515624203271457519
    assert generator(0, "noise").initial_seed() == 8372154264372198063
    numbers = torch.randint(1000, (4,), generator=generator(0, "split")).tolist()
    assert numbers == [772, 331, 534, 563]


def test_streams_of_neighbouring_seeds_and_names_do_not_correlate():
    n = 20_000
    streams = [(0, "noise"), (1, "noise"), (0, "split"), (0, "weights")]
    drawn = torch.stack([torch.randn(n, generator=generator(*stream)) for stream in streams])
    correlation = torch.corrcoef(drawn) - torch.eye(len(streams))
    assert correlation.abs().max() < 5 / math.sqrt(n)  # five standard errors


def test_a_generator_lives_on_the_cpu_whatever_the_default_device_is():
    with torch.device("meta"):
        assert generator(0, "noise").device.type == "cpu"


def test_making_and_using_a_generator_leaves_all_global_states_alone():
    before = global_state()
    torch.rand(5, generator=generator(0, "noise"))
    assert global_state() == before


def test_a_seeded_block_draws_the_same_whatever_came_before():
    drawn = []
    for outside in (1, 2):
        torch.manual_seed(outside)
        with seeded(5, "weights"):
            drawn.append(torch.rand(4))
    assert torch.equal(*drawn)


def test_a_seeded_block_draws_the_stream_of_its_seed_and_purpose():
    with seeded(5, "weights"):
        drawn = torch.rand(4)
    assert torch.equal(drawn, torch.rand(4, generator=generator(5, "weights")))
    with seeded(5, "training"):
        assert not torch.equal(torch.rand(4), drawn)
    with seeded(6, "weights"):
        assert not torch.equal(torch.rand(4), drawn)


def test_a_seeded_block_puts_the_old_state_back():
    before = global_state()
    with seeded(5, "weights"):
        torch.rand(4)
        assert global_state() != before
    assert global_state() == before


def test_the_old_state_comes_back_after_an_error_too():
    before = global_state()
    with pytest.raises(ZeroDivisionError), seeded(5, "weights"):
        1 / 0  # noqa: B018  any error will do
    assert global_state() == before


def test_a_block_inside_another_does_not_disturb_the_outer_one():
    with seeded(5, "weights"):
        want = torch.rand(4), torch.rand(4)
    with seeded(5, "weights"):
        first = torch.rand(4)
        with seeded(6, "weights"):
            torch.rand(9)
        second = torch.rand(4)
    assert torch.equal(first, want[0])
    assert torch.equal(second, want[1])


def test_seeding_the_cpu_does_not_wake_a_gpu():
    if torch.cuda.is_initialized():
        pytest.skip("another test of this process has used the GPU")
    with seeded(5, "weights", torch.device("cpu")):
        torch.rand(1)
    assert not torch.cuda.is_initialized()


@pytest.mark.parametrize(
    ("seed", "error", "text"),
    [
        (-1, ValueError, "`seed` is -1; it must be at least 0"),
        (1.0, TypeError, "`seed` is 1.0; it must be an integer"),
        (None, TypeError, "`seed` is None; it must be an integer"),
    ],
)
def test_refuses_a_seed_that_is_no_natural_number_and_moves_nothing(seed, error, text):
    before = global_state()
    with pytest.raises(error, match=text):
        generator(seed, "noise")
    with pytest.raises(error, match=text), seeded(seed, "noise"):
        pass
    assert global_state() == before


def test_a_numpy_integer_is_the_same_seed():
    assert generator(np.int64(7), "noise").initial_seed() == generator(7, "noise").initial_seed()
