"""Tests of nlmeta.training.measure: known logits, one measurement for `fit` and `compare`."""

import dataclasses
import functools
import math
import re

import pytest
import torch
from torch import nn

from nlmeta import CrossEntropy, data, fit, metrics
from nlmeta.data import Images, Samples, Split
from nlmeta.models import MLP
from nlmeta.procedures import compare
from nlmeta.training import measure

C = 3
GIVEN = torch.tensor([0, 1, 2, 0, 1, 1, 2, 0])
TRUE = torch.tensor([0, 1, 1, 2, 1, 0, 0, 1])
PREDICTED = torch.tensor([0, 2, 2, 2, 1, 2, 2, 2])
# Three given labels are right, of samples 0, 1 and 4, and the prediction loses that of 1. Five are
# wrong: 2 and 6 are predicted all the same, 3 becomes right, 5 and 7 become wrong in another way.
WANTED = {
    "accuracy": 3 / 4,
    "validation": 2 / 3,
    "train_accuracy": 4 / 8,
    "memorised": 2 / 5,
    "recovered": 1 / 5,
    "destroyed": 1 / 3,
}
OF_PART = {
    "test": {"accuracy"},
    "validation": {"validation"},
    "train": {"train_accuracy", "memorised", "recovered", "destroyed"},
}


class Table(nn.Module):
    """A network whose logits are known: its input is the class that it predicts."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.passes = []

    def forward(self, x):
        self.passes.append((len(x), x.dtype, self.training))
        return self.scale * nn.functional.one_hot(x[:, 0].long(), C).to(x)


def samples(predicted, labels):
    return Samples(torch.as_tensor(predicted).float()[:, None], torch.as_tensor(labels))


def known(**changes):
    """A split whose measures can be counted by hand."""
    parts = {
        "train": samples(PREDICTED, GIVEN),
        "meta": samples([0, 1, 2], [0, 1, 2]),
        "validation": samples([0, 1, 1], [0, 1, 2]),
        "test": samples([0, 1, 2, 0], [0, 1, 2, 2]),
    }
    parts |= {name: changes.pop(name) for name in list(changes) if name in parts}
    split = Split(
        "by hand",
        **parts,
        true_labels=TRUE,
        transition=None,
        indices={name: torch.arange(len(part)) for name, part in parts.items()},
        class_names=("a", "b", "c"),
        settings={},
    )
    return dataclasses.replace(split, **changes)


@functools.cache
def digits(seed=3):
    sizes = {"meta_size": 20, "validation_size": 100, "test_size": 1500}
    return data.load("digits", rate=0.5, seed=seed, **sizes)


def mlp(seed=1):
    return MLP(64, 10, (8,), seed=seed)


def refused(text, call, error=ValueError):
    with pytest.raises(error, match=re.escape(text)):
        call()


# numbers


def test_every_number_is_that_counted_by_hand():
    measured = measure(Table(), known(), parts=("train", "validation", "test"))
    assert measured == WANTED
    assert list(measured) == list(WANTED)
    assert len(set(WANTED.values())) == len(WANTED)  # no two could be exchanged unseen


@pytest.mark.parametrize("parts", [("train",), ["test"], {"validation"}, ("test", "train"), ()])
def test_the_parts_that_are_named_are_measured_and_no_other(parts):
    names = {name for part in parts for name in OF_PART[part]}
    model = Table()
    assert measure(model, known(), parts=parts) == {n: WANTED[n] for n in WANTED if n in names}
    sizes = {"train": 8, "validation": 3, "test": 4}
    assert sorted(size for size, _, _ in model.passes) == sorted(sizes[part] for part in parts)


def test_train_and_test_are_measured_by_default():
    assert measure(Table(), known()) == {n: v for n, v in WANTED.items() if n != "validation"}


def test_the_order_of_the_numbers_is_not_that_of_the_parts():
    """A record's columns do not depend on how a set of names is ordered."""
    orders = [("train", "validation", "test"), ("test", "validation", "train")]
    assert len({tuple(measure(Table(), known(), parts=parts)) for parts in orders}) == 1


def test_where_nobody_knows_the_truth_what_needs_it_is_not_a_number():
    measured = measure(Table(), known(true_labels=None), parts=("train",))
    assert measured.pop("train_accuracy") == WANTED["train_accuracy"]
    assert list(measured) == ["memorised", "recovered", "destroyed"]
    assert all(math.isnan(value) for value in measured.values())


def test_a_share_of_no_samples_is_not_a_number():
    few = known(test=samples([], torch.tensor([], dtype=torch.int64)))
    measured = measure(Table(), few)
    assert math.isnan(measured.pop("accuracy"))
    assert measured == {n: WANTED[n] for n in OF_PART["train"]}


def test_the_size_of_a_pass_changes_no_number():
    model = Table()
    assert measure(model, known(), parts=("train",), batch_size=3).items() <= WANTED.items()
    assert [size for size, _, _ in model.passes] == [3, 3, 2]
    refused("`batch_size` is 0", lambda: measure(Table(), known(), batch_size=0))


def test_large_inputs_go_through_in_small_passes_by_default():
    """As in `metrics.predict`: a pass of 1,024 photographs would not fit into the memory."""
    x = known().train.x.expand(-1, 2**17 * 3 // 2)  # a view, which takes no memory
    model = Table()
    measure(model, known(train=Samples(x, GIVEN)), parts=("train",))
    assert [size for size, _, _ in model.passes] == [2, 2, 2, 2]


# one measurement for all


def test_the_last_row_of_a_history_and_a_row_of_a_comparison_are_the_same_measurement():
    result = fit(CrossEntropy(), mlp(), digits(), epochs=6, seed=0, device="cpu", progress=False)
    measured = measure(result.predictor, digits())
    last = result.history.iloc[-1]
    assert last["test_accuracy"] == measured["accuracy"] > 0.2
    assert last["train_accuracy"] == measured["train_accuracy"]
    assert last["memorised"] == measured["memorised"] > 0
    assert {"recovered", "destroyed"}.isdisjoint(result.history)
    row = compare([lambda *_: {"a": result.predictor}], digits, [3], jobs=1).iloc[0]
    assert row["accuracy"] == measured["accuracy"]
    assert row["memorised"] == measured["memorised"]


# device, type and modes


def test_a_split_comes_in_the_floating_point_type_of_the_predictor():
    model = Table().double()
    assert measure(model, known())["accuracy"] == WANTED["accuracy"]
    assert {dtype for _, dtype, _ in model.passes} == {torch.float64}
    assert known().train.x.dtype == torch.float32  # that of the caller


@pytest.fixture
def taken(monkeypatch):
    """The inputs that are predicted."""
    inputs, predict = [], metrics.predict

    def watched(model, x, **options):
        inputs.append(x)
        return predict(model, x, **options)

    monkeypatch.setattr(metrics, "predict", watched)
    return inputs


def test_what_is_in_place_already_is_not_copied(taken):
    split = known()
    measure(Table(), split)
    assert taken[0] is split.test.x
    assert taken[1] is split.train.x


def test_images_are_standardised_in_the_type_of_the_predictor(taken):
    """As in `fit`; numbers of float32, brought to float64 afterwards, are others."""
    stored = torch.zeros(4, 3, 2, 2, dtype=torch.uint8)
    x = Images(stored, mean=torch.ones(3), deviation=torch.full((3,), 3.0))

    class Flat(Table):
        def forward(self, x):
            return super().forward(x.flatten(1).abs())

    measure(Flat().double(), known(test=Samples(x, known().test.y)), parts=("test",))
    assert taken[0][:1].flatten()[0] == torch.tensor(-1, dtype=torch.float64) / 3


def test_words_stay_words():
    """Inputs of int64 are places in a vocabulary."""
    words = {
        name: dataclasses.replace(part, x=part.x.long())
        for name, part in (("train", known().train), ("test", known().test))
    }
    model = Table()
    assert measure(model, known(**words))["memorised"] == WANTED["memorised"]
    assert {dtype for _, dtype, _ in model.passes} == {torch.int64}


def test_a_predictor_without_parameters_is_measured_where_the_split_is():
    class Bare(nn.Module):
        def forward(self, x):
            return nn.functional.one_hot(x[:, 0].long(), C).float()

    assert measure(Bare(), known())["accuracy"] == WANTED["accuracy"]


def test_it_predicts_in_evaluation_mode_and_gives_the_modes_back():
    model = Table().train()
    measure(model, known())
    assert [training for _, _, training in model.passes] == [False, False]
    assert model.training


# images on disk


def on_disk(tmp_path, n):
    files = data.ImageFiles(tmp_path, [f"{i}.png" for i in range(n)], size=4)
    return Images(files, mean=torch.zeros(3), deviation=torch.ones(3))


def test_training_images_on_disk_are_not_decoded(tmp_path):
    """The files are not even there."""
    train = Samples(on_disk(tmp_path, 8), GIVEN)
    assert measure(Table(), known(train=train)) == {"accuracy": WANTED["accuracy"]}
    assert measure(Table(), known(train=train), parts=("train",)) == {}
    table = compare([lambda *_: {"a": Table()}], lambda _: known(train=train), [3], jobs=1)
    assert list(table) == ["method", "seed", "accuracy", "memorised"]
    assert table["accuracy"].tolist() == [WANTED["accuracy"]]
    assert table["memorised"].isna().all()


def test_other_images_on_disk_are(tmp_path):
    test = Samples(on_disk(tmp_path, 4), known().test.y)
    refused("does not decode as an image", lambda: measure(Table(), known(test=test)))


# refusals


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_logits_that_are_not_finite_are_no_measurement(part):
    model = Table()
    with torch.no_grad():
        model.scale.fill_(math.inf)
    text = "the network's logits are not finite; a smaller learning rate often helps"
    refused(text, lambda: measure(model, known(), parts=(part,)), FloatingPointError)


def test_nor_are_they_a_row_of_a_comparison():
    model = Table()
    with torch.no_grad():
        model.scale.fill_(math.nan)
    text = "the network's logits are not finite"
    recipes = [lambda *_: {"a": model}]
    refused(text, lambda: compare(recipes, lambda _: known(), [3], jobs=1), FloatingPointError)


def test_an_unknown_part_is_refused_by_name_before_anything_is_measured():
    model = Table()
    text = "`parts` holds 'meta'; the parts to measure are 'train', 'validation', 'test'"
    refused(text, lambda: measure(model, known(), parts=("test", "meta")))
    assert model.passes == []
    text = "`parts` is 'train'; it must be a collection of names: ('train',)"
    refused(text, lambda: measure(model, known(), parts="train"), TypeError)


def test_a_share_of_the_training_samples_is_taken_at_even_distances():
    """Half of eight samples: 0, 2, 4 and 6, counted by hand."""
    network = Table()
    got = measure(network, known(), parts=("train",), train_share=0.5)
    rows = [0, 2, 4, 6]
    right = sum(bool(PREDICTED[row] == GIVEN[row]) for row in rows)
    assert got["train_accuracy"] == right / 4
    wrong = [row for row in rows if GIVEN[row] != TRUE[row]]
    assert got["memorised"] == sum(bool(PREDICTED[r] == GIVEN[r]) for r in wrong) / len(wrong)
    assert [n for n, *_ in network.passes] == [4]


def test_of_no_share_there_are_no_numbers():
    got = measure(Table(), known(), parts=("train",), train_share=0.0)
    assert math.isnan(got["train_accuracy"])
    assert math.isnan(got["memorised"])


class Typed(Table):
    """Notes in which type a linear layer computes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, C)
        self.types = []

    def forward(self, x):
        self.types.append(self.layer(x).dtype)
        return super().forward(x)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_a_network_is_measured_in_the_precision_that_is_asked_for(precision, dtype):
    network = Typed()
    assert measure(network, known(), precision=precision) == pytest.approx(
        measure(Table(), known()), nan_ok=True
    )
    assert set(network.types) == {dtype}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"train_share": 1.5}, "`train_share` is 1.5"),
        ({"precision": "half"}, "`precision` is 'half'"),
    ],
)
def test_a_share_or_precision_that_is_none_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        measure(Table(), known(), **options)


def test_fit_measures_a_share_until_the_last_epoch_which_measures_all():
    split = digits()
    common = {"epochs": 3, "seed": 0, "device": "cpu", "progress": False}
    whole = fit(CrossEntropy(), MLP(64, 10, (16,), seed=0), split, **common)
    share = fit(CrossEntropy(), MLP(64, 10, (16,), seed=0), split, evaluate_train=0.25, **common)
    assert whole.history["test_accuracy"].equals(share.history["test_accuracy"])
    last = ["train_accuracy", "memorised"]
    assert whole.history[last].iloc[-1].equals(share.history[last].iloc[-1])
    assert not whole.history["memorised"].iloc[:2].equals(share.history["memorised"].iloc[:2])


def test_fit_evaluates_in_the_precision_of_the_run(monkeypatch):
    from nlmeta.training import run

    asked = []

    def noted(*arguments, precision, **options):
        asked.append(precision)
        return measure(*arguments, precision=precision, **options)

    monkeypatch.setattr(run, "measure", noted)
    options = {"epochs": 1, "seed": 0, "device": "cpu", "progress": False}
    fit(CrossEntropy(), MLP(64, 10, (16,), seed=0), digits(), precision="bfloat16", **options)
    assert asked == ["bfloat16"]
