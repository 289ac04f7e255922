"""The readers on the real files: counts, balance, and the noise rates that were published.

Needs a folder with the datasets, which the environment variable ``NLMETA_DATA`` names. Nothing is
downloaded. A dataset that has to be asked for is skipped where it is not there.
"""

import os

import pytest
import torch
from torchvision import datasets

from nlmeta.data import ImageFiles, at_hand, load
from nlmeta.data.sources import data_folder, read, read_prediction_table, read_shipped_labels

pytestmark = pytest.mark.skipif(
    not os.environ.get("NLMETA_DATA"),
    reason="NLMETA_DATA names no folder with the real datasets",
)


def shares(labels, true):
    """Per cent of labels that differ, with the two digits in which they were published."""
    return round(100 * float((labels != true).double().mean()), 2)


@pytest.mark.parametrize(
    ("name", "shape", "per_class", "test_per_class"),
    [
        ("fashion_mnist", (1, 28, 28), [6000] * 10, [1000] * 10),
        ("cifar10", (3, 32, 32), [5000] * 10, [1000] * 10),
        ("cifar100", (3, 32, 32), [500] * 100, [100] * 100),
        (
            "mnist",
            (1, 28, 28),
            [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
            [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
        ),
    ],
)
def test_images_have_the_published_shape_and_numbers_per_class(
    name, shape, per_class, test_per_class
):
    assert at_hand(name) is None
    source = read(name)
    for part, expected in ((source.train, per_class), (source.test, test_per_class)):
        assert part.x.shape == (sum(expected), *shape)
        assert part.x.dtype == torch.uint8
        assert part.y.bincount(minlength=source.num_classes).tolist() == expected
        assert part.x.float().std() > 50  # pictures, not a grey page
    source.check()


@pytest.mark.parametrize(
    ("name", "kind"), [("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)]
)
def test_cifar_is_what_torchvision_reads(name, kind):
    source = read(name)
    for train, part in ((True, source.train), (False, source.test)):
        expected = kind(data_folder(), train=train)
        assert part.y.tolist() == expected.targets
        assert torch.equal(part.x, torch.from_numpy(expected.data).permute(0, 3, 1, 2))
    assert source.class_names == tuple(expected.classes)


def test_cifar100_has_twenty_superclasses_of_five():
    source = read("cifar100")
    assert source.superclasses.bincount().tolist() == [5] * 20
    apple = source.superclasses[source.class_names.index("apple")]
    assert source.superclass_names[apple] == "fruit_and_vegetables"
    for part in (source.train, source.test):
        assert torch.equal(part.annotations["coarse"], source.superclasses[part.y])


def test_cifar10n_has_the_published_noise_rates():
    train = read("cifar10n").train
    given = train.annotations
    assert {name: shares(labels, train.y) for name, labels in given.items()} == {
        "aggregate": 9.01,
        "random1": 17.23,
        "random2": 18.12,
        "random3": 17.64,
        "worst": 40.21,
    }
    each = torch.stack([given[f"random{person}"] for person in (1, 2, 3)])
    assert torch.equal(given["worst"] != train.y, (each != train.y).any(0))
    assert (given["worst"] == each).any(0).all()


def test_cifar100n_has_the_published_noise_rates():
    source = read("cifar100n")
    given = source.train.annotations
    assert shares(given["noisy_fine"], source.train.y) == 40.20
    assert shares(given["noisy_coarse"], given["coarse"]) == 26.40
    assert torch.equal(given["noisy_coarse"], source.superclasses[given["noisy_fine"]])


@pytest.mark.parametrize("name", ["cifar10", "mnist", "fashion_mnist"])
def test_each_shipped_table_of_predictions_went_through_softmax_twice(name):
    table = read_prediction_table(name)
    assert table.values.shape == (len(read(name).train), 10)
    assert "softmax was applied twice" in table.notes[0]
    assert "between 0.0853 and 0.2320" in table.notes[0]
    assert "tie exactly" in table.notes[1]


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashion_mnist"])
def test_shipped_labels_belong_to_the_training_images(name):
    true = read(name).train.y
    for kind in ("uniform", "class-dependent", "locally-concentrated", "feature-dependent"):
        for percent in range(5, 90, 10):
            shipped = read_shipped_labels(name, kind, percent, true)
            # A file in another order would be wrong in at least 88 %, whatever its name says.
            assert shipped.rate < 0.86
            assert bool(shipped.notes) == (abs(100 * shipped.rate - percent) > 1)
            if kind == "feature-dependent":
                assert round(100 * shipped.rate, 6) == percent
    if name == "cifar100":
        rates = [read_shipped_labels(name, "uniform", p, true).rate for p in (5, 15, 25, 85)]
        assert rates == [0, 0, 0.198, 0.792]


def test_twitter_has_its_tokens_and_all_25_tags():
    source = read("twitter")
    assert [len(part) for part in source.parts.values()] == [14_619, 4_823, 7_152]
    assert (source.train.y.bincount(minlength=25) > 0).all()
    for part in source.parts.values():
        assert part.x.shape[1] == 3
        assert part.x.min() >= 0
        assert part.x.max() < len(source.vocabulary)
    # A word's right-hand neighbour is the next window's middle, unless the tweet ends there.
    x = source.train.x
    inside = x[:-1, 2] > 0
    assert torch.equal(x[:-1, 2][inside], x[1:, 1][inside])
    assert int((~inside).sum()) == 999  # 1,000 tweets


def test_sst_has_its_phrases_and_as_many_of_each_class_as_published():
    source = read("sst")
    assert [len(part) for part in source.parts.values()] == [67_349, 872, 1_821]
    counted = {name: part.y.bincount().tolist() for name, part in source.parts.items()}
    assert counted["train"] == [29_780, 37_569]
    assert counted["validation"] == [428, 444]
    assert counted["test"] == [912, 909]
    assert len(source.vocabulary) == 10_002
    words = [source.vocabulary[index] for index in source.train.x[1].tolist() if index]
    assert " ".join(words) == "contains no wit , only labored gags"


@pytest.mark.parametrize(
    ("name", "folder", "sizes"),
    [
        ("clothing1m", "clothing1M", [1_000_000, 47_570, 14_313, 10_526]),
        ("food101n", "Food-101N_release", None),
        ("animal10n", "animal-10n", [50_000, 5_000]),
        ("webvision", "webvision", [65_944, 2_500]),
    ],
)
def test_a_dataset_that_has_to_be_fetched_by_hand(name, folder, sizes):
    if not (data_folder() / folder).exists():
        pytest.skip(f"{folder} is not in NLMETA_DATA")
    source = read(name)
    if sizes:
        assert [len(part) for part in source.parts.values()] == sizes
    for part in source.parts.values():
        assert part.y.unique().tolist() == list(range(source.num_classes))
        if isinstance(part.x, ImageFiles):
            assert part.x[:4].shape == (4, 3, 256, 256)
    source.check(every=1000)


@pytest.mark.parametrize(
    ("name", "labels", "rate"),
    [
        ("cifar10n", "aggregate", 9.01),
        ("cifar10n", "random1", 17.23),
        ("cifar10n", "random2", 18.12),
        ("cifar10n", "random3", 17.64),
        ("cifar10n", "worst", 40.21),
        ("cifar100n", "noisy_fine", 40.20),
        ("cifar100n", "noisy_coarse", 26.40),
    ],
)
def test_loading_all_of_cifar_n_for_training_gives_the_published_rates(name, labels, rate):
    split = load(name, labels=labels, seed=0, meta_size=0, validation_size=0)
    assert len(split.train) == 50_000
    assert len(split.test) == 10_000
    assert shares(split.train.y, split.true_labels) == rate
    assert split.manifest["kind"] == "human"


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100", "twitter"])
def test_loading_sets_meta_and_validation_samples_apart_from_training(name):
    split = load(name, noise="symmetric", rate=0.4, seed=0)
    own = name == "twitter"
    published = {"mnist": 60_000, "fashion_mnist": 60_000, "twitter": 14_619}.get(name, 50_000)
    assert len(split.meta) == 1_000
    assert len(split.validation) == (4_823 if own else 5_000)
    assert len(split.train) == published - 1_000 - (0 if own else 5_000)
    assert split.meta.y.unique().tolist() == list(range(split.num_classes))
    # Five standard errors of a rate of 0.4.
    assert abs(split.manifest["actual_rate"] - 0.4) < 5 * (0.24 / len(split.train)) ** 0.5
    if not own:
        x = split.train.x[:5000]
        assert x.mean((0, 2, 3)).abs().max() < 0.05
        assert (x.std((0, 2, 3)) - 1).abs().max() < 0.05


def test_the_feature_table_of_algan_and_ulusoy_drives_noise():
    table = read_prediction_table("cifar10").values
    with pytest.warns(UserWarning, match="softmax was probably applied twice"):
        split = load("cifar10", noise="feature-dependent", rate=0.4, predictions=table, seed=0)
    assert split.wrong.sum() == int(0.4 * len(split.train))


def test_the_labels_of_algan_and_ulusoy_are_taken_by_row():
    true = read("cifar10").train.y
    shipped = read_shipped_labels("cifar10", "feature-dependent", 35, true)
    split = load("cifar10", labels=shipped.y, seed=0)
    rows = split.indices["train"]
    assert torch.equal(split.train.y, shipped.y[rows])
    assert abs(split.manifest["actual_rate"] - 0.35) < 0.01
