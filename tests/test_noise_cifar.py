"""Tests of nlmeta.noise on CIFAR's classes: the semantic map, superclasses, and false ones."""

import math

import pytest
import torch
from helpers import refused, seeded

from nlmeta import noise

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship"]
CIFAR10 += ["truck"]

# The dataset's own table of superclasses and classes (Krizhevsky, 2009).
CIFAR100 = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
FINE = sorted(name for names in CIFAR100.values() for name in names.split())
GROUPS = torch.tensor(noise.CIFAR100_SUPERCLASSES)


def leave_their_superclass(matrix):
    """Classes with a positive probability of a label from another superclass."""
    outside = GROUPS[:, None] != GROUPS
    return ((matrix > 0) & outside).any(1).nonzero().flatten().tolist()


def test_cifar10_is_confused_by_name():
    named = {CIFAR10[true]: CIFAR10[given] for true, given in noise.CIFAR10_MAP.items()}
    assert named == {
        "truck": "automobile",
        "bird": "airplane",
        "deer": "horse",
        "cat": "dog",
        "dog": "cat",
    }


def test_nobody_can_change_the_map_of_cifar10():
    with pytest.raises(TypeError):
        noise.CIFAR10_MAP[0] = 1


def test_superclasses_are_those_of_the_names():
    """Both levels are numbered by the alphabet."""
    assert len(FINE) == 100
    of_name = {name: group for group in CIFAR100 for name in CIFAR100[group].split()}
    want = [sorted(CIFAR100).index(of_name[name]) for name in FINE]
    assert list(noise.CIFAR100_SUPERCLASSES) == want
    assert GROUPS.bincount().tolist() == [5] * 20


@pytest.mark.parametrize("target", ["next", "uniform"])
def test_superclass_noise_stays_in_the_superclass_and_its_rate_is_the_one_asked_for(target):
    matrix = noise.superclass(GROUPS, 0.4, target=target)
    assert leave_their_superclass(matrix) == []
    assert noise.flip_rate(matrix) == pytest.approx(0.4, abs=1e-12)
    labels = torch.arange(20_000) % 100
    given = noise.corrupt(labels, matrix, generator=seeded(0))
    assert torch.equal(GROUPS[given], GROUPS[labels])
    rate = (given != labels).double().mean().item()
    assert abs(rate - 0.4) < 4 * math.sqrt(0.4 * 0.6 / len(labels))
    assert given[given != labels].unique().tolist() == list(range(100))  # every class is a target


def test_the_next_class_in_a_superclass_goes_around_it():
    fruit = [FINE.index(name) for name in CIFAR100["fruit_and_vegetables"].split()]
    matrix = noise.superclass(noise.CIFAR100_SUPERCLASSES, 0.25)
    for true, given in zip(fruit, fruit[1:] + fruit[:1], strict=True):
        assert matrix[true, given] == 0.25
        assert matrix[true, true] == 0.75
    assert ((matrix > 0).sum(1) == 2).all()
    assert ((matrix > 0).sum(0) == 2).all()  # every class is the target of one


def test_uniform_superclass_noise_gives_every_sibling_the_same():
    matrix = noise.superclass(noise.CIFAR100_SUPERCLASSES, 0.4, target="uniform")
    siblings = (GROUPS[:, None] == GROUPS) & ~torch.eye(100, dtype=torch.bool)
    assert torch.equal(matrix[siblings], torch.full((400,), 0.1, dtype=torch.float64))


def test_superclasses_may_have_any_size_and_number():
    """The names of groups do not matter, and a class that is alone stays clean."""
    matrix = noise.superclass([40, -3, 40, 7, 40], 0.5)
    want = torch.eye(5, dtype=torch.float64)
    for true, given in {0: 2, 2: 4, 4: 0}.items():
        want[true, true] = want[true, given] = 0.5
    assert torch.equal(matrix, want)


def test_consecutive_blocks_keep_6_of_100_flips_in_the_superclass():
    """So the check above finds the fault of the code that calls them superclasses."""
    matrix = noise.consecutive_blocks(100, 0.4)
    leaving = leave_their_superclass(matrix)
    assert sorted(set(range(100)) - set(leaving)) == [6, 19, 42, 63, 86, 89]
    labels = torch.arange(20_000) % 100
    given = noise.corrupt(labels, matrix, generator=seeded(1))
    flipped = given != labels
    stay = (GROUPS[given] == GROUPS[labels])[flipped].double().mean().item()
    # 6 of 100 classes; the flips of each are 0.4 of its 200 samples, up to sampling.
    assert abs(stay - 0.06) < 4 * math.sqrt(0.06 * 0.94 / int(flipped.sum()))


def test_consecutive_blocks_go_around_five_numbers():
    matrix = noise.consecutive_blocks(10, 1.0)
    assert matrix.argmax(1).tolist() == [1, 2, 3, 4, 0, 6, 7, 8, 9, 5]
    assert torch.equal(matrix, noise.superclass([i // 5 for i in range(10)], 1.0))


def test_refuses_groups_and_blocks_that_do_not_fit():
    text = "it must hold an integer for each class, its superclass"
    for groups in ([0], [], [0, 1.5], ["a", "b"]):
        refused(f"`groups` is {groups}; {text}", lambda g=groups: noise.superclass(g, 0.4))
    refused("`target` is 'all'", lambda: noise.superclass([0, 0], 0.4, target="all"))
    refused("`rate` is 1.5", lambda: noise.superclass([0, 0], 1.5))
    refused(
        "`num_classes` is 12; blocks of five need a multiple of 5",
        lambda: noise.consecutive_blocks(12, 0.4),
    )
    refused("`num_classes` is 0; it must be", lambda: noise.consecutive_blocks(0, 0.4))
