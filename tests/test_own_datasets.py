"""Tests of from_dataset and of inputs that a network could not take: dicts, rows, whole numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import refused
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

import nlmeta
from nlmeta.data import from_arrays, from_dataset
from nlmeta.models import TextMLP

N = 12


def table(n=N):
    return torch.arange(4.0 * n).view(n, 4)


class Rows:
    """An indexed dataset, as Hugging Face has them: each sample is a dict."""

    def __init__(self, form, names=("ant", "bee", "cat")):
        self.form = form
        self.features = {"image": object(), "label": SimpleNamespace(names=list(names))}

    def __len__(self):
        return N

    def __getitem__(self, i):
        pixels = np.full((4, 5, 3), 20 * i, dtype=np.uint8)
        image = {
            "PIL": lambda: Image.fromarray(pixels),
            "numpy": lambda: pixels,
            "torch": lambda: torch.from_numpy(pixels).permute(2, 0, 1),
            "list": lambda: pixels.astype(float).transpose(2, 0, 1).tolist(),
        }[self.form]()
        label = torch.tensor(i % 3) if self.form == "torch" else i % 3
        return {"key": f"no {i}", "image": image, "label": label}


@pytest.mark.parametrize("form", ["PIL", "numpy", "torch", "list"])
def test_rows_that_are_dicts_are_read_by_the_names_of_their_columns(form):
    split = from_dataset(Rows(form), columns=("image", "label"), seed=0)
    assert split.class_names == ("ant", "bee", "cat")
    x = split.train.x if form == "list" else split.train.x.stored
    assert x.shape == (N, 3, 4, 5)
    assert torch.equal(x[:, 0, 0, 0].long() // 20 % 3, split.train.y)
    named = from_dataset(Rows(form), columns=("image", "label"), class_names="xyz", seed=0)
    assert named.class_names == ("x", "y", "z")


def test_columns_are_places_in_a_tuple_too():
    dataset = [(f"no {i}", row, i, i % 2) for i, row in enumerate(table())]
    split = from_dataset(dataset, columns=(1, -1), seed=0)
    assert torch.equal(split.train.x, table()[split.indices["train"]])
    assert torch.equal(split.train.y, split.indices["train"] % 2)


@pytest.mark.parametrize(
    ("dataset", "columns", "text"),
    [
        (Rows("PIL"), (0, 1), "a dict of 'key', 'image', 'label' at index 0"),
        (
            Rows("PIL"),
            ("img", "label"),
            "`columns` is ('img', 'label'), and `dataset` returns a dict",
        ),
        (Rows("PIL"), ("image",), "`columns` is ('image',), and `dataset` returns a dict"),
        (
            TensorDataset(table()),
            (0, 1),
            "`columns` is (0, 1), and `dataset` returns a tuple of 1 at",
        ),
        (table().view(N, 2, 2), (0, 1), "`columns` is (0, 1), and `dataset` returns a Tensor at"),
        ([(table()[0], 0), {"x": 0}], (0, 1), "`dataset` returns a dict of 'x' at index 1"),
    ],
)
def test_a_sample_without_such_columns_is_refused_with_what_it_has(dataset, columns, text):
    refused(text, lambda: from_dataset(dataset, columns=columns, seed=0))


def test_what_has_no_samples_by_number_is_refused():
    text = "`dataset` is a generator without a length; it must have a length, and"
    refused(text, lambda: from_dataset((i for i in range(3)), seed=0), TypeError)
    text = "`dataset` is a dict of train, test; pass one of them"
    parts = {"train": Rows("PIL"), "test": Rows("PIL")}
    refused(text, lambda: from_dataset(parts, columns=("image", "label"), seed=0), TypeError)


@pytest.mark.parametrize(
    ("x", "kind"),
    [("a text", "str"), (None, "NoneType"), ({"a": 1}, "dict"), ([[1], [2, 3]], "list")],
)
def test_an_input_that_is_no_array_is_named_with_its_index(x, kind):
    text = f"returns a {kind} as input at index 1; it must be an image, a tensor or an array of"
    refused(text, lambda: from_dataset([([[1], [2]], 0), (x, 1)], seed=0))


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.uint16, bool])
def test_whole_numbers_that_nobody_calls_words_are_refused(dtype):
    """A linear layer takes floats, and would stop in the first step."""
    x = table().numpy().astype(dtype)
    text = f"`x` is torch.{np.dtype(dtype).name}; images must be torch.uint8, counts and"
    refused(text, lambda: from_arrays(x, [0, 1] * 6, seed=0))
    split = from_arrays(x.astype(np.float32), [0, 1] * 6, seed=0)
    options = {"epochs": 1, "seed": 0, "device": "cpu", "progress": False}
    assert nlmeta.fit(nlmeta.CrossEntropy(), nn.Linear(4, 2), split, **options).history is not None


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.uint8])
def test_whole_numbers_that_are_words_become_int64(dtype):
    x = table().to(dtype)
    split = from_arrays(x, [0, 1] * 6, words=True, test=(x, [0, 1] * 6), seed=0)
    assert split.train.x.dtype == split.test.x.dtype == torch.int64
    assert torch.equal(split.test.x, x.long())
    network = TextMLP(50, 2, window=4, seed=0)
    options = {"epochs": 1, "seed": 0, "device": "cpu", "progress": False}
    assert 0 <= nlmeta.fit(nlmeta.CrossEntropy(), network, split, **options).accuracy <= 1


def test_refuses_words_that_have_no_place_in_a_vocabulary():
    refused(
        "`words` is True and `x` is torch.float32; indices",
        lambda: from_arrays(table(), [0, 1] * 6, words=True, seed=0),
    )
    refused(
        "`x` holds -3; indices of a vocabulary must be at least 0",
        lambda: from_arrays(table().long() - 3, [0, 1] * 6, words=True, seed=0),
    )


def test_test_inputs_are_of_the_type_of_the_others():
    x = torch.zeros(N, 1, 4, 4, dtype=torch.uint8)
    text = "`test` holds inputs of shape (1, 4, 4), torch.float32; they must be like those of `x`, "
    text += "of shape (1, 4, 4)"
    refused(text, lambda: from_arrays(x, [0, 1] * 6, test=(x.float(), [0, 1] * 6), seed=0))
    refused(
        "`test` is a Tensor; it must be a pair, (x, labels)",
        lambda: from_arrays(x, [0, 1] * 6, test=x, seed=0),
    )
    refused(
        "`test[0]` holds 12 samples and `test[1]` 2",
        lambda: from_arrays(x, [0, 1] * 6, test=(x, [0, 1]), seed=0),
    )


def test_classes_that_are_names_with_numbers_come_in_the_order_of_the_numbers():
    class Known(list):
        classes = {"dog": 1, "cat": 0}

    dataset = Known([(torch.zeros(2), k % 2) for k in range(6)])
    assert from_dataset(dataset, seed=0).class_names == ("cat", "dog")
