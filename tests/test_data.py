"""Tests of nlmeta.data: the split, its noise, its digest, and batches taken from it."""

import dataclasses
import math
import random
import re

import numpy as np
import pytest
import torch
from helpers import refused
from sklearn.datasets import load_digits
from torch.testing import assert_close

from nlmeta import data
from nlmeta.data import Batch, Batches, Samples, draw_batch
from nlmeta.seeding import generator

PARTS = ("train", "meta", "validation", "test")


def load(**options):
    return data.load("digits", **{"seed": 3, "rate": 0.4, **options})


def numbered(n):
    """Samples whose input says which row they are."""
    return Samples(torch.arange(n).float().unsqueeze(1) * 10, torch.arange(n) * 7)


def test_the_parts_have_the_documented_sizes():
    split = load()
    sizes = {part: len(getattr(split, part)) for part in PARTS}
    assert sizes == {"train": 1097, "meta": 100, "validation": 150, "test": 450}
    assert split.num_classes == 10
    assert split.class_names == tuple("0123456789")


def test_the_parts_have_the_sizes_asked_for():
    split = load(meta_size=20, validation_size=31, test_size=7)
    sizes = {part: len(getattr(split, part)) for part in PARTS}
    assert sizes == {"train": 1797 - 58, "meta": 20, "validation": 31, "test": 7}


def test_the_parts_are_disjoint_and_cover_all_1797_digits():
    split = load()
    rows = torch.cat([split.indices[part] for part in PARTS])
    assert torch.equal(rows.sort().values, torch.arange(1797))


def test_indices_point_to_the_rows_of_the_original_dataset():
    digits = load_digits()
    split = load()
    for part in ("meta", "validation", "test"):
        rows = split.indices[part].numpy()
        assert getattr(split, part).y.tolist() == digits.target[rows].tolist()
    assert split.true_labels.tolist() == digits.target[split.indices["train"].numpy()].tolist()


def test_inputs_are_standardised_by_the_training_part_alone():
    """The test part is brought to the training part's scale, not to its own."""
    raw = torch.from_numpy(load_digits().images)  # float64
    split = load()
    of_training = raw[split.indices["train"]]
    for part in PARTS:
        want = (raw[split.indices[part]] - of_training.mean()) / of_training.std()
        x = getattr(split, part).x
        assert x.dtype == torch.float32
        assert x.shape[1:] == (1, 8, 8)
        # Values below 4: a float32 mean over 70,000 pixels is good to some 1e-6.
        assert_close(x[:, 0].double(), want, rtol=0, atol=1e-5)
    assert abs(split.train.x.mean()) < 1e-5
    assert abs(split.train.x.std() - 1) < 1e-5
    assert abs(split.meta.x.mean()) > 1e-4  # so the training part's mean was used, not its own


def test_the_meta_set_is_clean_and_holds_as_many_of_each_class():
    for meta_size in (20, 100):
        split = load(meta_size=meta_size, rate=0.9)
        assert split.meta.y.bincount().tolist() == [meta_size // 10] * 10
        truth = load_digits().target[split.indices["meta"].numpy()]
        assert split.meta.y.tolist() == truth.tolist()


def test_a_smaller_meta_set_is_part_of_a_larger_one():
    small, large = (set(load(meta_size=m).indices["meta"].tolist()) for m in (20, 100))
    assert small < large


def test_a_split_without_meta_set_has_all_that_is_left_for_training():
    split = load(meta_size=0)
    assert len(split.meta) == 0
    assert len(split.train) == 1797 - 600


@pytest.mark.parametrize(
    "other",
    [
        {"meta_size": 20},
        {"rate": 0.0},
        {"rate": 0.7},
        {"noise": "pair"},
        {"noise": "one-target"},
        {"validation_size": 10},
    ],
)
def test_the_test_part_of_a_seed_stays_the_same_whatever_else_changes(other):
    one, two = load(), load(**other)
    assert torch.equal(one.indices["test"], two.indices["test"])
    assert torch.equal(one.test.y, two.test.y)


@pytest.mark.parametrize("other", [{"rate": 0.7}, {"noise": "one-target"}])
def test_another_noise_leaves_all_inputs_and_true_labels_bit_for_bit(other):
    one, two = load(), load(**other)
    for part in PARTS:
        assert torch.equal(getattr(one, part).x, getattr(two, part).x)
    assert torch.equal(one.true_labels, two.true_labels)
    assert not torch.equal(one.train.y, two.train.y)


def test_another_seed_gives_another_split_and_other_noise():
    one, two = load(), load(seed=4)
    assert not torch.equal(one.indices["test"], two.indices["test"])
    assert not torch.equal(one.wrong, two.wrong)


def test_training_labels_are_wrong_at_the_asked_rate():
    split = load(rate=0.4)
    standard_error = math.sqrt(0.4 * 0.6 / len(split.train))
    assert abs(split.wrong.double().mean().item() - 0.4) < 5 * standard_error
    assert torch.equal(split.wrong, split.train.y != split.true_labels)
    assert not load(rate=0.0).wrong.any()


@pytest.mark.parametrize("noise", ["symmetric", "symmetric-inclusive", "pair"])
def test_a_higher_rate_keeps_the_labels_wrong_that_a_lower_rate_made_wrong(noise):
    """The interval of [0, 1) that keeps a label shrinks with the rate; the numbers stay."""
    low, high = load(noise=noise, rate=0.2).wrong, load(noise=noise, rate=0.5).wrong
    assert (low & ~high).sum() == 0
    assert 0 < low.sum() < high.sum()


def test_labels_follow_the_matrix_that_the_split_reports():
    split = load(noise="asymmetric", rate=0.8, class_map={2: 7, 3: 5})
    assert split.transition.dtype == torch.float64
    assert split.transition[2, 7] == split.transition[3, 5] == 0.8
    moved = split.wrong
    assert set(split.true_labels[moved].tolist()) == {2, 3}
    assert (split.train.y[moved & (split.true_labels == 2)] == 7).all()
    assert (split.train.y[moved & (split.true_labels == 3)] == 5).all()


def test_one_target_noise_follows_the_seed():
    one, two, other = (load(noise="one-target", seed=s).transition for s in (3, 3, 4))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_the_arguments_are_kept_with_the_split():
    split = load(meta_size=20, validation_size=31)
    assert split.name == "digits"
    for argument, value in {
        "name": "digits",
        "noise": "symmetric",
        "rate": 0.4,
        "seed": 3,
        "meta_size": 20,
        "validation_size": 31,
        "test_size": 450,
    }.items():
        assert split.settings[argument] == value


def test_the_class_map_is_kept_with_the_split():
    """`settings` is documented as the arguments that made the split."""
    split = load(noise="asymmetric", class_map={2: 7})
    assert split.settings["class_map"] == {2: 7}


def test_the_split_and_the_noise_of_a_seed_are_what_they_were():
    """Records name their split by its digest; rows and labels are the same on every machine."""
    split = data.load("digits", noise="symmetric", rate=0.5, meta_size=100, seed=0)
    assert split.digest == "f01f15ef09c174a785c7e688656ecf5ef31506144e5363919bf4f3eda94f9d4b"
    assert list(split.settings.items()) == [
        ("name", "digits"),
        ("noise", "symmetric"),
        ("rate", 0.5),
        ("labels", None),
        ("seed", 0),
        ("meta_size", 100),
        ("validation_size", 150),
        ("test_size", 450),
        ("balanced_meta", True),
        ("meta_from", "train"),
        ("meta_rate", 0.0),
        ("class_map", None),
        ("scale", None),
    ]


def test_equal_arguments_give_equal_digests():
    one, two = load(), load()
    assert one.digest == two.digest
    assert re.fullmatch("[0-9a-f]{64}", one.digest)
    assert one.to("cpu", torch.float64).digest == one.digest


@pytest.mark.parametrize(
    "other", [{"seed": 4}, {"rate": 0.5}, {"noise": "pair"}, {"meta_size": 20}, {"test_size": 449}]
)
def test_another_split_has_another_digest(other):
    assert load(**other).digest != load().digest


@pytest.mark.parametrize("part", PARTS)
def test_one_changed_label_or_row_of_any_part_changes_the_digest(part):
    split = load()
    samples = getattr(split, part)
    y = samples.y.clone()
    y[5] = (y[5] + 1) % 10
    assert dataclasses.replace(split, **{part: Samples(samples.x, y)}).digest != split.digest
    rows = split.indices[part].clone()
    rows[5] += 1
    moved = dataclasses.replace(split, indices={**split.indices, part: rows})
    assert moved.digest != split.digest


def test_a_changed_truth_does_not_change_the_digest():
    """The truth is for evaluation: a run does not depend on it."""
    split = load()
    other_truth = dataclasses.replace(split, true_labels=split.true_labels.flip(0))
    assert other_truth.digest == split.digest


def test_swapping_two_parts_changes_the_digest():
    split = load(validation_size=100)
    indices = {**split.indices, "meta": split.indices["validation"]}
    indices["validation"] = split.indices["meta"]
    swapped = dataclasses.replace(
        split, meta=split.validation, validation=split.meta, indices=indices
    )
    assert swapped.digest != split.digest


def test_loading_leaves_the_global_random_states_as_they_were():
    def state():
        numpy_state = np.random.get_state()  # noqa: NPY002  the state of others must not move
        return torch.get_rng_state().tolist(), random.getstate(), str(numpy_state)

    before = state()
    load(noise="one-target")
    assert state() == before


def test_loading_does_not_read_the_global_random_state():
    digests = []
    for outside in (1, 2):
        torch.manual_seed(outside)
        digests.append(load(noise="one-target").digest)
    assert digests[0] == digests[1]


def test_a_default_device_changes_no_split_and_no_batch():
    """Readers set one in their notebooks; the draws belong to the CPU, as those of the noise do."""
    want = load()
    with torch.device("meta"):
        got = load()
        batches = list(Batches(want.train, 64, generator=generator(0, "batches")))
        drawn = draw_batch(want.meta, 5, generator=generator(0, "meta"))
    assert got.digest == want.digest
    assert batches[0].y.device.type == drawn.y.device.type == "cpu"


def test_moving_a_split_changes_the_type_of_inputs_only():
    split = load()
    moved = split.to("cpu", torch.float64)
    for part in PARTS:
        assert getattr(moved, part).x.dtype == torch.float64
        assert getattr(moved, part).y.dtype == torch.int64
        assert torch.equal(getattr(moved, part).x.float(), getattr(split, part).x)
        assert torch.equal(getattr(moved, part).y, getattr(split, part).y)
    assert torch.equal(moved.true_labels, split.true_labels)
    assert moved.transition.dtype == torch.float64


def test_the_split_on_the_meta_set_trains_on_it_and_is_tested_as_before():
    split = load()
    alone = split.on_meta_set()
    assert alone.train is split.meta
    assert torch.equal(alone.true_labels, split.meta.y)
    assert torch.equal(alone.indices["train"], split.indices["meta"])
    assert not alone.wrong.any()
    assert alone.test is split.test
    assert alone.digest != split.digest


def test_keeping_some_training_samples_keeps_their_labels_and_rows_together():
    split = load()
    kept = split.wrong
    part = split.keep(kept)
    assert torch.equal(part.train.x, split.train.x[kept])
    assert torch.equal(part.train.y, split.train.y[kept])
    assert torch.equal(part.true_labels, split.true_labels[kept])
    assert torch.equal(part.indices["train"], split.indices["train"][kept])
    assert part.wrong.all()
    assert not split.wrong.all()
    for other in ("meta", "validation", "test"):
        assert getattr(part, other) is getattr(split, other)
    assert part.digest != split.digest


def test_keeping_all_training_samples_keeps_the_split():
    split = load()
    assert split.keep(torch.ones(len(split.train), dtype=torch.bool)).digest == split.digest


def test_refuses_to_keep_rows_by_number_other_lengths_or_nothing():
    split = load()
    n = len(split.train)
    text = "it must be torch.bool of shape (1097,), True for the training samples that stay"
    refused(f"`kept` is torch.int64 of shape ({n},); {text}", lambda: split.keep(torch.arange(n)))
    short = torch.ones(n - 1, dtype=torch.bool)
    refused(f"`kept` is torch.bool of shape ({n - 1},); {text}", lambda: split.keep(short))
    nothing = torch.zeros(n, dtype=torch.bool)
    refused("`kept` keeps no sample", lambda: split.keep(nothing))


def meta_rows(split, noisy):
    """For each meta sample, its row among the training samples of the split it was drawn from."""
    place = {row: i for i, row in enumerate(split.indices["train"].tolist())}
    return torch.tensor([place[row] for row in noisy.indices["meta"].tolist()])


@pytest.mark.parametrize("held_out", [False, True])
def test_a_noisy_meta_set_holds_training_samples_with_their_given_labels(held_out):
    split = load()
    noisy = split.with_noisy_meta(200, seed=1, held_out=held_out)
    rows = meta_rows(split, noisy)
    assert len(set(rows.tolist())) == len(noisy.meta) == 200
    assert torch.equal(noisy.meta.x, split.train.x[rows])
    assert torch.equal(noisy.meta.y, split.train.y[rows])
    # 40 % of 200 labels are wrong: within five standard errors.
    assert abs(split.wrong[rows].double().mean() - 0.4) < 5 * math.sqrt(0.24 / 200)
    assert noisy.test is split.test
    assert noisy.digest != split.digest


def test_a_noisy_meta_set_stays_in_the_training_part():
    split = load()
    noisy = split.with_noisy_meta(200, seed=1)
    assert noisy.train is split.train
    assert torch.equal(noisy.true_labels, split.true_labels)
    assert len(split.with_noisy_meta(len(split.train), seed=1).meta) == len(split.train)


def test_a_noisy_meta_set_that_is_held_out_is_balanced_and_leaves_the_training_part():
    split = load()
    noisy = split.with_noisy_meta(200, seed=1, held_out=True)
    assert noisy.meta.y.bincount().tolist() == [20] * 10
    stays = torch.ones(len(split.train), dtype=torch.bool)
    stays[meta_rows(split, noisy)] = False
    assert noisy.train.x.shape[0] == len(split.train) - 200
    assert torch.equal(noisy.train.x, split.train.x[stays])
    assert torch.equal(noisy.true_labels, split.true_labels[stays])
    assert torch.equal(noisy.indices["train"], split.indices["train"][stays])


@pytest.mark.parametrize("held_out", [False, True])
def test_a_noisy_meta_set_follows_its_seed_and_not_the_true_labels(held_out):
    split = load()
    digests = [split.with_noisy_meta(50, seed=s, held_out=held_out).digest for s in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]
    garbage = dataclasses.replace(split, true_labels=split.true_labels.flip(0))
    assert garbage.with_noisy_meta(50, seed=1, held_out=held_out).digest == digests[0]


def test_refuses_a_noisy_meta_set_that_the_training_part_cannot_give():
    split = load()
    text = "`size` is 1098; the training part of 1097 samples is too small"
    refused(text, lambda: split.with_noisy_meta(1098, seed=1))
    text = "`size` is 55; with the same number of each given label it must be a multiple of 10"
    refused(text, lambda: split.with_noisy_meta(55, seed=1, held_out=True))
    text = "`size` is 1090; the training part of 1097 samples is too small"
    refused(text, lambda: split.with_noisy_meta(1090, seed=1, held_out=True))
    refused("`size` is 0; it must be at least 1", lambda: split.with_noisy_meta(0, seed=1))


def test_splits_and_samples_cannot_be_changed_by_assignment():
    split = load()
    with pytest.raises(dataclasses.FrozenInstanceError):
        split.train = split.meta
    with pytest.raises(dataclasses.FrozenInstanceError):
        split.train.y = split.true_labels


def test_loading_asks_for_a_seed():
    refused("seed", lambda: data.load("digits"), TypeError)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rate": 1.5}, "`rate` is 1.5; it must lie in [0, 1]"),
        ({"rate": -0.1}, "`rate` is -0.1; it must lie in [0, 1]"),
        ({"rate": math.nan}, "`rate` is nan; it must lie in [0, 1]"),
        ({"meta_size": 15}, "`meta_size` is 15; with the same number of each class it must be a"),
        ({"meta_size": -10}, "`meta_size` is -10; it must"),
        ({"validation_size": -1}, "`validation_size` is -1; it must"),
        ({"test_size": -1}, "`test_size` is -1; it must"),
        (
            {"meta_size": 2000},
            "`meta_size` 2000 + `validation_size` 150 + `test_size` 450 is 2600; "
            "it must be below 1797, the number of samples",
        ),
        (
            {"meta_size": 0, "validation_size": 0, "test_size": 1797},
            "`test_size` 1797 is 1797; it must be below 1797, the number of samples",
        ),
        (
            {"test_size": 1500, "validation_size": 0, "meta_size": 290},
            "`meta_size` is 290, that is 29 samples of each class; class",
        ),
        ({"noise": "asymmetric"}, "`class_map` is None; noise 'asymmetric' needs one"),
        ({"class_map": {1: 2}}, "`class_map` is {1: 2}; noise 'asymmetric' needs one and no"),
        ({"noise": "none"}, "`rate` is 0.4; with noise 'none' it must be 0"),
        ({"noise": "uniform"}, "is 'uniform'; it must be one of 'none', 'symmetric', "),
        ({"seed": -1}, "`seed` is -1; it must be at least 0"),
    ],
)
def test_refuses_arguments_outside_their_range(options, text):
    refused(text, lambda: load(**options))


def test_refuses_an_unknown_dataset_and_lists_the_known_ones():
    text = "`name` is 'cifar-10'; it must be one of 'digits'"
    refused(text, lambda: data.load("cifar-10", seed=0))


def test_refuses_an_unknown_noise_by_the_name_of_the_argument():
    refused("`noise` is 'uniform'; it must be one of", lambda: load(noise="uniform"))


@pytest.mark.parametrize("argument", ["meta_size", "validation_size", "test_size"])
def test_refuses_a_size_that_is_no_integer(argument):
    text = f"`{argument}` is 20.0; it must be an integer"
    refused(text, lambda: load(**{argument: 20.0}), TypeError)


def test_refuses_samples_with_another_number_of_labels():
    text = "`y` has 2 labels for 3 inputs; it must have one for each"
    refused(text, lambda: Samples(torch.zeros(3, 1), torch.zeros(2, dtype=torch.int64)))


def test_a_batch_has_no_place_for_true_labels():
    assert Batch._fields == ("x", "y", "ids")


def test_true_labels_never_reach_a_batch():
    """Where the given label is wrong, a batch holds the wrong one."""
    split = load(rate=0.6)
    batches = Batches(split.train, 64, generator=generator(0, "batches"))
    wrong_seen = 0
    for batch in batches:
        assert torch.equal(batch.y, split.train.y[batch.ids])
        wrong = split.wrong[batch.ids]
        assert (batch.y[wrong] != split.true_labels[batch.ids][wrong]).all()
        wrong_seen += int(wrong.sum())
    assert wrong_seen == split.wrong.sum() > 0


@pytest.mark.parametrize("batch_size", [1, 3, 5, 14, 100])
def test_every_sample_comes_once_a_pass(batch_size):
    batches = Batches(numbered(14), batch_size, generator=generator(0, "batches"))
    passed = list(batches)
    assert sorted(torch.cat([b.ids for b in passed]).tolist()) == list(range(14))
    assert len(passed) == len(batches) == math.ceil(14 / batch_size)
    assert {len(b.y) for b in passed[:-1]} <= {batch_size}


def test_a_last_batch_of_one_sample_is_left_out_and_not_always_the_same():
    """BatchNorm has no variance there; the sample comes in other passes."""
    batches = Batches(numbered(13), 4, generator=generator(0, "batches"))
    left_out = set()
    for _ in range(20):
        passed = list(batches)
        assert [len(b.y) for b in passed] == [4, 4, 4]
        left_out |= set(range(13)) - set(torch.cat([b.ids for b in passed]).tolist())
    assert len(batches) == 3
    assert len(left_out) > 1  # all 20 the same: 13^-19


def test_a_last_batch_of_two_samples_is_kept():
    batches = Batches(numbered(14), 4, generator=generator(0, "batches"))
    assert [len(b.y) for b in batches] == [4, 4, 4, 2]


def test_a_single_sample_is_a_batch():
    batches = Batches(numbered(1), 4, generator=generator(0, "batches"))
    assert [b.ids.tolist() for b in batches] == [[0]]
    assert len(batches) == 1


def test_no_samples_give_no_batches():
    assert list(Batches(numbered(0), 4, generator=generator(0, "batches"))) == []


def test_ids_address_the_rows_that_a_batch_was_taken_from():
    samples = numbered(14)
    batches = list(Batches(samples, 4, generator=generator(0, "batches")))
    assert torch.cat([b.ids for b in batches]).tolist() != list(range(14))  # it was shuffled
    for batch in [*batches, draw_batch(samples, 5, generator=generator(1, "meta"))]:
        assert torch.equal(batch.x, samples.x[batch.ids])
        assert torch.equal(batch.y, samples.y[batch.ids])
        assert batch.ids.dtype == torch.int64


def test_the_order_comes_from_the_generator_and_is_new_in_each_pass():
    def orders(seed):
        batches = Batches(numbered(14), 4, generator=generator(seed, "batches"))
        return [torch.cat([b.ids for b in batches]).tolist() for _ in range(2)]

    first, second = orders(0)
    assert first != second
    assert orders(0) == [first, second]
    assert orders(1)[0] != first


def test_taking_batches_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    list(Batches(numbered(14), 4, generator=generator(0, "batches")))
    draw_batch(numbered(14), 4, generator=generator(0, "meta"))
    assert torch.equal(torch.get_rng_state(), before)


def test_refuses_a_batch_of_no_samples():
    make = generator(0, "batches")
    text = "`batch_size` is 0; it must be at least 1"
    refused(text, lambda: Batches(numbered(4), 0, generator=make))
    refused(
        "`size` is 0; it must be at least 1", lambda: draw_batch(numbered(4), 0, generator=make)
    )


@pytest.mark.parametrize("size", [None, 14, 99])
def test_a_whole_set_comes_in_its_order_and_draws_nothing(size):
    samples, make = numbered(14), generator(0, "meta")
    before = make.get_state()
    batch = draw_batch(samples, size, generator=make)
    assert torch.equal(batch.x, samples.x)
    assert torch.equal(batch.y, samples.y)
    assert batch.ids.tolist() == list(range(14))
    assert torch.equal(make.get_state(), before)


def test_a_drawn_batch_holds_no_sample_twice_and_reaches_all():
    make = generator(0, "meta")
    drawn = [draw_batch(numbered(14), 13, generator=make).ids.tolist() for _ in range(100)]
    assert all(len(set(ids)) == 13 for ids in drawn)
    missing = {(set(range(14)) - set(ids)).pop() for ids in drawn}
    assert len(missing) > 7  # each pass leaves one out, any of 14
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool, torch.float32])
def test_samples_have_labels_of_int64(dtype):
    """PyTorch stops at some of the others inside a step, and takes uint8 here and not there."""
    y = torch.tensor([0, 1])
    assert torch.equal(Samples(torch.zeros(2, 3), y).y, y)
    text = f"`y` is {dtype} of shape (2,); labels must be torch.int64 of shape (n,)"
    refused(text, lambda: Samples(torch.zeros(2, 3), y.to(dtype)))
    text = "`y` is torch.int64 of shape (2, 1); labels must be torch.int64 of shape (n,)"
    refused(text, lambda: Samples(torch.zeros(2, 3), y[:, None]))


def test_a_class_of_which_no_sample_is_kept_is_noted_once():
    split = load(rate=0.0)
    had = int((split.train.y == 3).sum())
    kept = split.keep(split.train.y != 3)
    assert kept.notes == (f"no training sample is left of 1 class ('3' had {had})",)
    assert kept.keep(kept.train.y != 4).notes[0] == kept.notes[0]
    assert len(kept.keep(kept.train.y < 9).notes) == 2
    assert split.keep(split.train.x[:, 0, 0, 0] < 9).notes == ()


def test_a_class_that_a_noisy_meta_set_takes_whole_is_noted():
    split = load(rate=0.0)
    few = split.keep((split.train.y != 3) | (torch.arange(len(split.train)) < 100))
    had = int((few.train.y == 3).sum())
    assert 0 < had < 100
    assert few.notes == ()
    noisy = few.with_noisy_meta(10 * had, seed=0, held_out=True)
    assert noisy.notes == (f"no training sample is left of 1 class ('3' had {had})",)
    assert few.with_noisy_meta(10 * had, seed=0).notes == ()


def test_the_line_of_a_split_counts_its_notes():
    split = load(rate=0.0)
    assert repr(split).endswith(f"digest {split.digest[:12]}")
    assert repr(split.keep(split.train.y != 3)).endswith("; notes: 1")


def test_groups_go_along_with_their_samples():
    groups = torch.tensor([0, 1, 0, 1])
    samples = Samples(torch.zeros(4, 1), torch.arange(4), groups=groups)
    some = samples.subset(torch.tensor([True, False, True, True])).to("cpu", torch.float64)
    assert some.groups.tolist() == [0, 0, 1]
    text = "`groups` has 4 entries for 2 samples; it must have one for each"
    refused(text, lambda: Samples(torch.zeros(2, 1), torch.arange(2), groups=groups))
