"""Tests of a reader's labels: several arguments that speak of the same classes, however written."""

import unicodedata

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import refused

from nlmeta.data import from_arrays, from_dataset

N = 24
CAFE = unicodedata.normalize("NFD", "Café")  # as macOS writes it: the accent is a sign of its own


def table(n=N):
    """Numbers whose first column says which row they are."""
    return torch.arange(4.0 * n).view(n, 4) / 4


def own(labels, **options):
    return from_arrays(table(len(labels)), labels, seed=0, **options)


def labels_by_row(split):
    """The given labels in the order in which they were handed in."""
    return split.train.y[split.indices["train"].argsort()].tolist()


TWELVE = [i % 12 for i in range(N)]


@pytest.mark.parametrize(
    ("labels", "truth"),
    [(list(map(str, TWELVE)), TWELVE), (TWELVE, list(map(str, TWELVE)))],
    ids=["words first", "numbers first"],
)
def test_whole_numbers_in_writing_are_the_classes_of_these_numbers(labels, truth):
    """ "10" sorts before "2" as text: the labels of twelve classes would be others."""
    split = own(labels, true_labels=truth)
    assert split.class_names == tuple(map(str, range(12)))
    assert labels_by_row(split) == TWELVE
    assert not split.wrong.any()
    tested = own(labels, test=(table(12), truth[:12]))
    assert tested.test.y.tolist() == list(range(12))


def test_whole_numbers_in_writing_are_sorted_by_value():
    assert own(["10", "9", "2", "10"] * 6).class_names == ("2", "9", "10")
    assert own(["10", "9", "b", "10"] * 6).class_names == ("10", "9", "b")  # one is a word


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"labels": ["cat", "dog"] * 12, "true_labels": [0, 1] * 12}, ("labels", "true_labels")),
        ({"labels": [0, 1] * 12, "true_labels": ["cat", "dog"] * 12}, ("true_labels", "labels")),
        ({"labels": ["cat", "dog"] * 12, "test": (table(2), [0, 1])}, ("labels", "test")),
        ({"labels": np.array([False, True] * 12), "true_labels": [0, 1] * 12}, ("labels", "true")),
        (
            {"labels": ["1", "2"] * 12, "true_labels": [0, 1] * 12, "class_names": ["1", "2"]},
            ("labels", "true_labels"),
        ),
        ({"labels": ["07", "08"] * 12, "true_labels": [7, 8] * 12}, ("labels", "true_labels")),
    ],
)
def test_names_beside_numbers_are_refused_where_nothing_says_which_is_which(options, names):
    words, numbers = names
    with pytest.raises(ValueError, match=f"`{words}.* holds names of .* and `{numbers}") as caught:
        own(options.pop("labels"), **options)
    assert "which name belongs to which number is unknown" in str(caught.value)


def test_class_names_say_which_name_belongs_to_which_number():
    split = own(["cat", "dog"] * 12, true_labels=[1, 0] * 12, class_names=("dog", "cat"))
    assert labels_by_row(split) == [1, 0] * 12
    assert not split.wrong.any()
    other = own(["cat", "dog"] * 12, true_labels=[1, 0] * 12, class_names=("cat", "dog"))
    assert other.wrong.all()


def test_one_argument_holds_names_or_numbers_and_not_both():
    refused(
        "`labels` holds '10' at position 1 and 10 at position 0; labels must be either all",
        lambda: own([10, "10", 3, 3]),
    )


def test_an_argument_without_labels_is_of_no_kind():
    assert len(own(["a", "b"] * 2, test=(table(1)[:0], [])).test) == 0


def test_spaces_and_unicode_forms_make_no_class_and_are_noted():
    split = own(["Café", CAFE, " Tee", "Tee"] * 6)
    assert split.class_names == ("Café", "Tee")
    assert labels_by_row(split) == [0, 0, 1, 1] * 6
    (note,) = split.notes
    assert note.startswith("the same class in several writings: ' Tee' and 'Tee', 'Cafe\\u0301' ")
    named = own([CAFE, "Tee "] * 12, class_names=("Tee", "Café"))
    assert labels_by_row(named) == [1, 0] * 12
    assert named.notes == ()


def test_classes_that_differ_in_case_or_inner_spaces_stay_and_are_noted():
    split = own(["Polar bear", "polar  bear", "seal"] * 8)
    assert split.num_classes == 3
    assert split.notes == (
        "classes that differ in case or spaces alone: 'Polar bear' and 'polar  bear'; is each a "
        "class?",
    )


@pytest.mark.parametrize("n", [3_000_009, 100_000_009])
def test_class_numbers_that_hardly_occur_are_refused_with_how_many_do(n):
    """A name for each number up to 1e8 took minutes and all memory."""
    text = f"`labels` holds {n}, which makes {n + 1} classes, and only 2 of them occur; pass"
    refused(text, lambda: own([n - 2, n] * 2))
    assert own([str(n - 2), str(n)] * 2).class_names == (str(n - 2), str(n))


def test_class_numbers_may_leave_out_most_classes_of_a_common_dataset():
    assert own([0, 999] * 2).num_classes == 1000
    assert own([7, 20_000] * 2, class_names=range(21_841)).num_classes == 21_841


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        (pd.array(["a", None], dtype="string"), "<NA>"),
        (pd.array([1, None], dtype="Int64"), "<NA>"),
        (pd.Series(["a", pd.NaT]), "NaT"),
        (["a", " "], "' '"),
        ([torch.tensor(0), torch.eye(2)[1]], "tensor([0., 1.])"),
        (torch.tensor([0.0, 1.0]), "0.0"),
    ],
)
def test_labels_that_are_missing_or_none_are_named_with_their_position(labels, shown):
    refused(f"`labels` holds {shown} at position ", lambda: own(labels))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.uint8])
def test_class_numbers_of_every_width_become_int64(dtype):
    split = own(torch.tensor(TWELVE, dtype=dtype))
    assert split.train.y.dtype == torch.int64
    assert labels_by_row(split) == TWELVE


def test_labels_that_are_arrays_of_one_entry_are_that_entry():
    dataset = [(row, np.array([i % 2])) for i, row in enumerate(table(6))]
    assert labels_by_row(from_dataset(dataset, seed=0)) == [0, 1] * 3


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        (torch.zeros(N), "`ids` holds 0.0 at position 0; the id of a sample must be a str"),
        (torch.zeros(N, dtype=torch.int64), "`ids` has 0 twice"),
        (pd.array([None] * N, dtype="string"), "`ids` holds <NA> at position 0"),
        ([True, *range(1, N)], "`ids` holds True at position 0"),
    ],
)
def test_ids_are_words_or_whole_numbers_that_differ(ids, text):
    refused(text, lambda: own(TWELVE, ids=ids))


def test_ids_of_an_array_come_out_as_plain_numbers():
    for ids in (torch.arange(N), np.arange(N), pd.Series(range(N))):
        assert {type(i) for i in own(TWELVE, ids=ids).train.sample_ids} == {int}


def test_what_is_no_yes_or_no_is_named_with_its_position():
    clean = pd.array([True, None] * 12, dtype="boolean")
    refused("`clean` holds <NA> at position 1; it must hold", lambda: own(TWELVE, clean=clean))
    refused("`clean` has shape (24, 1)", lambda: own(TWELVE, clean=torch.ones(N, 1)))


def test_class_names_that_are_other_numbers_than_their_classes_are_noted():
    split = from_arrays(torch.zeros(8, 2), [1, 2] * 4, class_names=[1, 2, 3], seed=0)
    assert split.train.y.unique().tolist() == [1, 2]  # a number is one, and never a name
    text = "`labels` holds class numbers, which count from 0, and `class_names` calls class 0 '1'"
    assert any(note.startswith(text) for note in split.notes)
    for labels, names in (([1, 2] * 4, [0, 1, 2]), (["1", "2"] * 4, [1, 2])):
        split = from_arrays(torch.zeros(8, 2), labels, class_names=names, seed=0)
        assert not any("which count from 0" in note for note in split.notes)
