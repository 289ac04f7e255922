"""Rows with named columns, with the classes that Hugging Face's datasets are stood in for here."""

import numpy as np
import pandas as pd
import pytest
import torch

from nlmeta.data import from_arrays, from_rows
from nlmeta.procedures import purified_labels

COLUMNS = ("input_ids", "attention_mask")


def rows(n=12, equal=False, **columns):
    """Rows of one to three tokens with their masks, and two classes in turn."""
    found = []
    for i in range(n):
        length = 3 if equal else 1 + i % 3
        row = {
            "input_ids": [i + 1] * length,
            "attention_mask": [1] * length,
            "label": ("bad", "good")[i % 2],
        }
        found.append(row | {name: values[i] for name, values in columns.items()})
    return found


class ClassLabel:
    names = ("no", "yes")


class Dataset:
    """The part of `datasets.Dataset` that is used: a column by its name, a row by its number."""

    def __init__(self, rows, **features):
        self.rows, self.features = rows, features

    @property
    def column_names(self):
        return list(self.rows[0])

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, key):
        if isinstance(key, str):
            return [row[key] for row in self.rows]
        return self.rows[key]


def split_of(given, **options):
    return from_rows(given, **{"inputs": COLUMNS, "label": "label", "seed": 0, **options})


def test_columns_become_the_keyword_arguments_of_a_network_in_the_order_of_the_split():
    split = split_of(rows(equal=True), true_label="label", meta_size=4, test_size=2)
    for part in ("train", "meta", "test"):
        samples = getattr(split, part)
        assert list(samples.x) == list(COLUMNS)
        numbers = torch.as_tensor(samples.sample_ids)
        assert torch.equal(samples.x["input_ids"], (numbers[:, None] + 1).expand(-1, 3))
        assert torch.equal(samples.y, numbers % 2)
    assert split.class_names == ("bad", "good")
    assert {x.dtype for x in split.train.x.values()} == {torch.int64}


def test_a_dataset_and_its_rows_make_the_same_split():
    given = rows(equal=True)
    one, other = split_of(given), split_of(Dataset(given))
    assert one.digest == other.digest
    assert torch.equal(one.train.x["input_ids"], other.train.x["input_ids"])


def test_shorter_lists_are_filled_at_their_end_also_those_of_the_test_rows():
    longer = [{"input_ids": [7] * 5, "attention_mask": [1] * 5, "label": "good"}]
    padding = {"input_ids": 99, "attention_mask": 0}
    split = split_of(rows(), padding=padding, test=longer)
    first = split.train.sample_ids.index(0)
    assert split.train.x["input_ids"][first].tolist() == [1, 99, 99, 99, 99]
    assert split.train.x["attention_mask"][first].tolist() == [1, 0, 0, 0, 0]
    assert split.test.x["input_ids"].tolist() == [[7] * 5]


def test_arguments_may_have_other_names_than_columns_and_other_types():
    n = 12
    given = rows(
        equal=True,
        mask=[[True, False]] * n,
        pixels=[np.full((2, 2), i, dtype=np.float64) for i in range(n)],
        length=[i / 2 for i in range(n)],
        tensor=[torch.tensor([i], dtype=torch.int32) for i in range(n)],
    )
    names = {"m": "mask", "p": "pixels", "k": "length", "t": "tensor"}
    x = split_of(given, inputs=names).train.x
    kinds = [torch.bool, torch.float32, torch.float32, torch.int64]
    assert [x[name].dtype for name in names] == kinds
    assert [tuple(x[name].shape) for name in names] == [(n, 2), (n, 2, 2), (n,), (n, 1)]


def test_class_numbers_have_the_names_of_the_label_in_the_features():
    numbered = [row | {"label": i % 2} for i, row in enumerate(rows(equal=True))]
    assert split_of(Dataset(numbered, label=ClassLabel())).class_names == ("no", "yes")
    assert split_of(numbered).class_names == ("0", "1")


def test_clean_rows_ids_and_true_labels_are_columns_too():
    n = 12
    given = rows(equal=True, checked=[i < 6 for i in range(n)], key=[f"s{i}" for i in range(n)])
    split = split_of(given, clean="checked", ids="key", meta_size=4)
    assert {int(name[1:]) < 6 for name in split.meta.sample_ids} == {True}


def without(given, name, row):
    return [
        {key: value for key, value in found.items() if (key, i) != (name, row)}
        for i, found in enumerate(given)
    ]


def changed(row, **columns):
    return [found | (columns if i == row else {}) for i, found in enumerate(rows(equal=True))]


REFUSALS = {
    "unequal": (rows(), {}, r"column 'input_ids' holds arrays of shapes \(1,\) and \(2,\).*pad"),
    "other shape": (changed(3, input_ids=[[1]]), {"padding": 0}, "all rows must have one shape"),
    "text": (
        rows(),
        {"inputs": ("label",)},
        "'bad' in column 'label' of row 0; inputs .* tokenizer",
    ),
    "ragged": (changed(2, input_ids=[[1], [1, 2]]), {}, r"holds \[\[1\], \[1, 2\]\] in column"),
    "missing": (
        without(rows(), "attention_mask", 4),
        {"padding": 0},
        "`rows` has no column 'attention_mask' in row 4; there its columns are",
    ),
    "missing in all": (
        Dataset(rows()),
        {"inputs": ("tokens",)},
        r"`rows` has no column 'tokens'; its columns are \['input_ids'",
    ),
    "None as input": (changed(5, input_ids=None), {}, "holds None in column 'input_ids' of row 5"),
    "None as label": (changed(5, label=None), {}, "None in column 'label' of row 5; every sample"),
    "float label": (
        changed(0, label=1.0),
        {},
        "holds 1.0 in column 'label' of row 0; a label must",
    ),
    "mixed labels": (changed(5, label=1), {}, "`labels` holds 'bad' at position 0 and 1 at"),
    "pairs": ([([1], 0)], {}, "`rows` holds a tuple as row 0; a row must be a dict"),
    "one name": (rows(), {"inputs": "input_ids"}, r"a tuple of names, \('input_ids',\)"),
    "padding": (rows(), {"padding": {"ids": 0}}, "`padding` is 'ids'; it must be one of"),
    "filling": (
        rows(),
        {"padding": 0.5},
        "`padding` is 0.5 for column 'input_ids', which holds int64; it must be such a number",
    ),
    "filling with a word": (rows(), {"padding": "0"}, "`padding` is '0' for column 'input_ids'"),
    "filling with a list": (rows(), {"padding": [0]}, r"`padding` is \[0\] for column"),
    "filling with NaN": (rows(), {"padding": np.nan}, "`padding` is nan for column"),
    "filling too large": (rows(), {"padding": 2**70}, "`padding` is 1180591620717411303424 for"),
    "empty": ([], {}, "`rows` is empty; it must hold at least one sample"),
    "negative": (changed(1, input_ids=[-1] * 3), {}, r"`x\['input_ids'\]` holds -1; indices"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_rows_that_make_no_split_are_refused_by_column_and_row(what):
    given, options, text = REFUSALS[what]
    with pytest.raises(ValueError, match=text):
        split_of(given, **options)


def test_splits_of_rows_and_unknown_options_are_refused():
    with pytest.raises(TypeError, match="`rows` is a dict of train, test; pass one of them"):
        split_of({"train": rows(), "test": rows()})
    with pytest.raises(TypeError, match="`standardize` is not an option of `from_rows`"):
        split_of(rows(), standardize=True)


def test_tables_of_columns_are_refused_with_the_way_to_their_rows():
    table = {name: [row[name] for row in rows(equal=True)] for name in (*COLUMNS, "label")}
    with pytest.raises(TypeError, match="`rows` is a dict of columns; .* to `from_arrays`"):
        split_of(table)
    frame = pd.DataFrame(table)
    with pytest.raises(TypeError, match="`rows` is a DataFrame; .*to_dict"):
        split_of(frame)
    with pytest.raises(TypeError, match="`test` is a DataFrame"):
        split_of(rows(equal=True), test=frame)
    assert len(split_of(frame.to_dict("records")).train) == 12


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_columns_may_hold_tensors_of_any_float_that_require_a_gradient(kind):
    column = [torch.tensor([i, 0.5], dtype=kind, requires_grad=True) for i in range(12)]
    x = split_of(rows(equal=True, measured=column), inputs=("measured",)).train.x["measured"]
    assert sorted(x.tolist()) == [[i, 0.5] for i in range(12)]
    assert not x.requires_grad


def test_arrays_may_be_several_as_well():
    x = {"ids": np.arange(24, dtype=np.int32).reshape(12, 2), "mask": np.ones((12, 2), dtype=bool)}
    y = [i % 2 for i in range(12)]
    split = from_arrays(x, y, true_labels=y, seed=0, test_size=3)
    assert (split.test.x["ids"][:, 0] // 2).tolist() == list(split.test.sample_ids)
    pair = from_arrays(tuple(x.values()), y, true_labels=y, seed=0, test_size=3)
    assert torch.equal(pair.test.x[0], split.test.x["ids"])
    test = {"mask": x["mask"], "ids": x["ids"]}
    with pytest.raises(
        ValueError, match=r"`test` holds the inputs \['mask', 'ids'\]; they must be"
    ):
        from_arrays(x, y, seed=0, test=(test, y))
    with pytest.raises(ValueError, match="numbers of rows {'ids': 12, 'mask': 11}"):
        from_arrays({**x, "mask": x["mask"][1:]}, y, seed=0)
    with pytest.raises(ValueError, match=r"`x\['ids'\]` is torch.complex64; it must hold floats"):
        from_arrays({**x, "ids": torch.ones(12, dtype=torch.complex64)}, y, seed=0)
    with pytest.raises(ValueError, match="it is computed from one tensor of inputs"):
        from_arrays(x, y, true_labels=y, seed=0, noise="instance-dependent", rate=0.2)
    with pytest.raises(ValueError, match="`scale` is .*; it is for images of 8 bits only"):
        from_arrays(x, y, seed=0, scale=((0.5,), (0.5,)))


@pytest.mark.parametrize("kind", ["picture", "text", "measurement"])
def test_copies_are_samples_whose_inputs_are_all_equal_with_a_picture_or_a_text_among_them(kind):
    first = {"picture": np.zeros((4, 2, 2)), "text": np.zeros((4, 2), dtype=np.int64)}
    x = first.get(kind, np.zeros((4, 2)))
    x[3] = 1
    split = from_arrays({kind: x, "kind": np.array([0, 0, 1, 1])}, [0, 1, 0, 1], seed=0)
    assert any("holds 1 copy" in note for note in split.notes) == (kind != "measurement")


def test_equal_texts_are_never_trained_and_tested_on():
    given = rows(40, equal=True)
    for i in range(20):  # each text twice, under one label
        given[i + 20] = dict(given[i])
    split = split_of(given, true_label="label", test_size=10)
    trained, tested = (getattr(split, p).x["input_ids"][:, 0].tolist() for p in ("train", "test"))
    assert not set(trained) & set(tested)
    assert len(set(tested)) == 5


def test_labels_are_not_learned_by_a_ridge_regression_on_several_inputs():
    split = split_of(rows(24, equal=True), true_label="label", meta_size=8)
    with pytest.raises(ValueError, match="`split` has several inputs for each sample, and a ridge"):
        purified_labels(split)
