"""Tests of nlmeta._checks: what passes, what is refused, and in which words."""

import math
import re

import numpy as np
import pytest
import torch

from nlmeta import _checks


def refused(text, check, *arguments, error=ValueError, **options):
    with pytest.raises(error, match=re.escape(text)):
        check(*arguments, **options)


@pytest.mark.parametrize("value", [0, 0.0, 0.3, 1, 1.0, np.float32(0.5)])
def test_a_rate_may_be_any_number_from_zero_to_one(value):
    _checks.check_rate("rate", value)


@pytest.mark.parametrize("value", [-1e-9, 1 + 1e-9, math.inf, math.nan])
def test_refuses_a_rate_that_lies_outside(value):
    refused(f"`flips` is {value}; it must lie in [0, 1]", _checks.check_rate, "flips", value)


@pytest.mark.parametrize("value", [1e-300, 3, np.float64(0.1)])
def test_a_positive_number_may_be_small_or_an_integer(value):
    _checks.check_positive("lr", value)


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
def test_refuses_what_is_not_positive_and_finite(value):
    text = f"`lr` is {value}; it must be a finite number above 0"
    refused(text, _checks.check_positive, "lr", value)


def test_zero_is_not_negative():
    _checks.check_not_negative("weight_decay", 0)
    _checks.check_not_negative("weight_decay", 0.0)


@pytest.mark.parametrize("value", [-1e-9, math.inf, math.nan])
def test_refuses_what_is_negative_or_not_finite(value):
    text = f"`weight_decay` is {value}; it must be a finite number, not negative"
    refused(text, _checks.check_not_negative, "weight_decay", value)


@pytest.mark.parametrize(
    "check", [_checks.check_rate, _checks.check_positive, _checks.check_not_negative]
)
@pytest.mark.parametrize("value", ["0.5", None, [0.5], 1j])
def test_refuses_what_is_no_real_number(check, value):
    refused(f"`lr` is {value!r}; it must be a number", check, "lr", value, error=TypeError)


@pytest.mark.parametrize("value", [1, 7, np.int64(7)])
def test_a_count_may_be_an_integer_of_python_or_numpy(value):
    _checks.check_count("epochs", value)


@pytest.mark.parametrize("value", [1.0, "1", None, True])
def test_refuses_a_count_that_is_no_integer(value):
    """A bool is an integer for Python, yet `epochs=True` is a slip."""
    text = f"`epochs` is {value!r}; it must be an integer"
    refused(text, _checks.check_count, "epochs", value, error=TypeError)


def test_the_smallest_count_is_one_unless_said_otherwise():
    refused("`epochs` is 0; it must be at least 1", _checks.check_count, "epochs", 0)
    refused("`k` is 1; it must be at least 2", _checks.check_count, "k", 1, minimum=2)
    _checks.check_count("k", 2, minimum=2)
    _checks.check_count("k", 0, minimum=0)


def test_a_seed_is_an_integer_from_zero_on():
    _checks.check_seed("seed", 0)
    refused("`seed` is -1; it must be at least 0", _checks.check_seed, "seed", -1)
    refused(
        "`seed` is 1.5; it must be an integer", _checks.check_seed, "seed", 1.5, error=TypeError
    )


def test_refuses_an_unknown_choice_and_lists_the_known_ones():
    _checks.check_choice("mode", "fd", ("jvp", "fd"))
    text = "`mode` is 'jpv'; it must be one of 'jvp', 'fd'"
    refused(text, _checks.check_choice, "mode", "jpv", ("jvp", "fd"))
    refused(text, _checks.check_choice, "mode", "jpv", iter(("jvp", "fd")))


def test_labels_may_be_any_classes_or_none_at_all():
    _checks.check_labels("y", torch.tensor([2, 0, 1]), 3)
    _checks.check_labels("y", torch.empty(0, dtype=torch.int64), 3)


def test_refuses_labels_outside_the_classes_and_says_where_the_first_is():
    labels = torch.tensor([0, 2, 3, -1])
    text = "`y` holds 3 at position 2; labels must lie in 0 to 2"
    refused(text, _checks.check_labels, "y", labels, 3)
    _checks.check_labels("y", labels[:2], 3)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (torch.zeros(2), "`y` is torch.float32 of shape (2,); labels must be torch.int64 of shape"),
        (torch.zeros(2, dtype=torch.int32), "`y` is torch.int32 of shape (2,)"),
        (torch.zeros(2, 1, dtype=torch.int64), "`y` is torch.int64 of shape (2, 1)"),
    ],
)
def test_refuses_labels_of_another_type_or_shape(labels, text):
    refused(text, _checks.check_labels, "y", labels, 3)


def test_refuses_labels_that_are_no_tensor():
    text = "`y` is a list; it must be a tensor, int64 class indices of shape (n,)"
    refused(text, _checks.check_labels, "y", [0, 1], 3, error=TypeError)


def test_refuses_two_tensors_of_different_length_and_names_both():
    text = "`x` holds 3 samples and `y` 2; they must be the same ones"
    refused(text, _checks.check_same_length, "x", torch.zeros(3, 1), "y", torch.zeros(2))
    _checks.check_same_length("x", torch.zeros(3, 1), "y", torch.zeros(3))


def test_a_transition_matrix_need_not_be_symmetric():
    _checks.check_transition("T", torch.tensor([[0.9, 0.1], [0.0, 1.0]]))


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([[0.5, 0.5]], "`T` has shape (1, 2); it must be square, (C, C)"),
        ([[0.9, 0.1], [-0.2, 1.2]], "`T` holds -0.2 at row 1, column 0; entries must lie in"),
        ([[0.9, 0.1], [0.2, math.nan]], "`T` holds nan at row 1, column 1; entries must lie in"),
        ([[0.9, 0.1], [0.2, 0.7]], "`T` has row 1 summing to 0.9"),
    ],
)
def test_refuses_what_is_no_transition_matrix(rows, text):
    refused(text, _checks.check_transition, "T", torch.tensor(rows, dtype=torch.float64))


def test_refuses_a_transition_matrix_that_is_no_tensor():
    text = "`T` is a list; it must be a tensor, a transition matrix of shape (C, C)"
    refused(text, _checks.check_transition, "T", [[1.0]], error=TypeError)


def test_row_sums_are_taken_in_float64_and_the_tolerance_reaches_the_check():
    """A thousand float32 numbers of 1/1000 sum to 1 within 1e-6 only if summed in float64."""
    many = torch.full((2, 1000), 1 / 1000, dtype=torch.float32)
    _checks.check_rows_sum_to_one("P", many)
    off = torch.tensor([[0.5, 0.5], [0.5, 0.4995]], dtype=torch.float64)
    text = "`P` has row 1 summing to 0.9995; every row must sum to 1 within 1e-06"
    refused(text, _checks.check_rows_sum_to_one, "P", off)
    _checks.check_rows_sum_to_one("P", off, tolerance=1e-3)
    refused("within 0.0001", _checks.check_rows_sum_to_one, "P", off, tolerance=1e-4)
