"""Tests of nlmeta.data.augmentation: torchvision's and Pillow's bytes, and their distribution.

torchvision's own transforms, one image at a time, are the reference throughout; Pillow is for what
the released code of CLID-MU does with it.
"""

import re

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from scipy.stats import chi2, chi2_contingency
from torch.testing import assert_close
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from nlmeta.data._operations import OPERATIONS, _blended, _looked_up, _moved
from nlmeta.data.augmentation import (
    Compose,
    Cutout,
    RandAugment,
    RandAugmentMC,
    RandomCrop,
    RandomFlip,
)
from nlmeta.seeding import generator, seeded

# A chi-square test fails by chance once in a million seeds.
CHANCE = 1e-6
DIRECTED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
BLENDED = ("Brightness", "Color", "Contrast", "Sharpness")
ALL = [
    RandomCrop(padding=3),
    RandomCrop(padding=3, mode="reflect"),
    RandomCrop(7),
    RandomFlip(),
    RandomFlip(vertical=True),
    Cutout(4),
    RandAugment(2, 20),
    RandAugmentMC(),
    Compose([RandomFlip(), RandomCrop(padding=2), RandAugmentMC(1), Cutout(4)]),
]
augmentations = pytest.mark.parametrize("augmentation", ALL, ids=str)


def noise(n, channels=3, height=32, width=32):
    """Images of independent bytes."""
    random = generator(5, "images")
    return torch.randint(256, (n, channels, height, width), generator=random).to(torch.uint8)


def scenes(n, channels=3, height=32, width=32):
    """Smooth images of low contrast, so that stretching and equalising change them."""
    coarse = torch.rand(n, channels, 5, 5, generator=generator(6, "images"))
    fine = F.resize(coarse, [height, width], antialias=False)
    return (60 + 120 * fine).to(torch.uint8)


def uniform(n, augmentation, seed=1):
    return torch.rand(n, augmentation.num_random, generator=generator(seed, "u"))


def middle(place, choices):
    """A uniform number that chooses `place`."""
    return (place + 0.5) / choices


def numbers_for(name, direction):
    """What makes RandAugment with one operation choose `name`, in a direction of -1 or 1."""
    return [middle(OPERATIONS.index(name), 14), middle((direction + 1) // 2, 2)]


def operate(x, name, direction, magnitude):
    """One operation by `RandAugment`."""
    u = torch.tensor([numbers_for(name, direction)]).expand(len(x), 2)
    return RandAugment(1, magnitude)(x, u)


def reference(x, name, direction, magnitude):
    """The same by torchvision, one image at a time."""
    height, width = x.shape[2:]
    span = {"ShearX": 0.3, "ShearY": 0.3, "Rotate": 30.0}
    span |= {"TranslateX": 150 / 331 * width, "TranslateY": 150 / 331 * height}
    span |= dict.fromkeys(BLENDED, 0.9)
    level = direction * float(torch.linspace(0, span.get(name, 0.0), 31)[magnitude])
    tilt = float(np.degrees(np.arctan(level)))

    def affine(image, translate=(0, 0), shear=(0.0, 0.0), center=None):
        return F.affine(image, 0.0, list(translate), 1.0, list(shear), center=center)

    call = {
        "Identity": lambda image: image,
        "ShearX": lambda image: affine(image, shear=(tilt, 0.0), center=[0, 0]),
        "ShearY": lambda image: affine(image, shear=(0.0, tilt), center=[0, 0]),
        "TranslateX": lambda image: affine(image, translate=(int(level), 0)),
        "TranslateY": lambda image: affine(image, translate=(0, int(level))),
        "Rotate": lambda image: F.rotate(image, level),
        "Brightness": lambda image: F.adjust_brightness(image, 1 + level),
        "Color": lambda image: F.adjust_saturation(image, 1 + level),
        "Contrast": lambda image: F.adjust_contrast(image, 1 + level),
        "Sharpness": lambda image: F.adjust_sharpness(image, 1 + level),
        "Posterize": lambda image: F.posterize(image, round(8 - 4 * magnitude / 30)),
        "Solarize": lambda image: F.solarize(
            image, 255.0 * float(torch.linspace(1, 0, 31)[magnitude])
        ),
        "AutoContrast": F.autocontrast,
        "Equalize": F.equalize,
    }[name]
    return torch.stack([call(image) for image in x])


def difference(got, want):
    """The largest difference in grey values, and the share of bytes that differ at all."""
    gap = (got.int() - want.int()).abs()
    return gap.max().item(), (gap > 0).float().mean().item()


def outcomes(images, possible):
    """How often each of the possible images came out; each must be one of them."""
    same = (images[:, None] == possible[None]).flatten(2).all(2)  # (n, possible)
    assert (same.sum(1) == 1).all()  # the possible ones differ, and nothing else came out
    return same.sum(0).double()


def assert_as_expected(counts, shares):
    """A chi-square test of counts against the shares they should have."""
    expected = shares / shares.sum() * counts.sum()
    assert expected.min() > 5  # or the test statistic has another distribution
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    assert statistic < chi2.isf(CHANCE, len(counts) - 1)


def assert_alike(first, second):
    """A chi-square test that two samples have one distribution."""
    assert chi2_contingency(np.stack([first, second])).pvalue > CHANCE


# Crops


@pytest.mark.parametrize("mode", ["constant", "reflect"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [None, 4, 9])
def test_a_crop_at_each_place_is_torchvisions_padded_and_cropped_image(mode, channels, size):
    x = noise(1, channels, 6, 8)
    padded = F.pad(x[0], [3, 3, 3, 3], padding_mode=mode)  # (channels, 12, 14)
    height, width = (size or 6), (size or 8)
    for top in range(12 - height + 1):
        for left in range(14 - width + 1):
            u = torch.tensor([[middle(top, 13 - height), middle(left, 15 - width)]])
            got = RandomCrop(size, padding=3, mode=mode)(x, u)[0]
            assert torch.equal(got, F.crop(padded, top, left, height, width))


def test_places_of_a_crop_are_equally_likely_and_distributed_as_torchvisions():
    x = noise(1, 1, 5, 6)[0]
    padded = F.pad(x, [2, 2, 2, 2])
    places = [(top, left) for top in range(5) for left in range(5)]
    possible = torch.stack([F.crop(padded, top, left, 5, 6) for top, left in places])
    crop = RandomCrop(padding=2)
    ours = outcomes(crop(x.expand(3000, -1, -1, -1), uniform(3000, crop)), possible)
    with seeded(3, "torchvision"):
        theirs = v2.RandomCrop((5, 6), padding=2)
        theirs = outcomes(torch.stack([theirs(x) for _ in range(3000)]), possible)
    assert_as_expected(ours, torch.ones(25))
    assert_alike(ours, theirs)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (9, 12), (10, 8), (11, 7)])
def test_a_crop_at_rest_is_the_middle_of_the_image(height, width):
    x = noise(2, 3, height, width)
    got = RandomCrop(7, padding=2).for_evaluation(x)
    assert torch.equal(got, F.center_crop(x, [7, 7]))
    assert not torch.equal(got, x[:, :, :7, :7])


@pytest.mark.parametrize("size", [5, 8, 12])
def test_evaluation_sees_the_size_that_training_sees(size):
    crop = RandomCrop(size, padding=2, mode="reflect")
    x = noise(3, 1, 8, 10)
    assert crop.for_evaluation(x).shape == crop(x, uniform(3, crop)).shape == (3, 1, size, size)


# Flips


def test_flips_are_torchvisions():
    x = noise(4)
    u = torch.tensor([[0.0], [0.499], [0.5], [0.999]])
    got = RandomFlip()(x, u)
    assert torch.equal(got[:2], F.horizontal_flip(x[:2]))
    assert torch.equal(got[2:], x[2:])
    got = RandomFlip(vertical=True)(x, u)
    assert torch.equal(got[:2], F.vertical_flip(x[:2]))
    assert torch.equal(got[2:], x[2:])


def test_half_of_the_images_are_flipped_each_way():
    """MSLG's both flips: the four results are equally likely."""
    x = noise(1, 1, 3, 3)
    flips = Compose([RandomFlip(), RandomFlip(vertical=True)])
    possible = torch.stack([x[0], x[0].flip(2), x[0].flip(1), x[0].flip(1, 2)])
    counts = outcomes(flips(x.expand(2000, -1, -1, -1), uniform(2000, flips)), possible)
    assert_as_expected(counts, torch.ones(4))


# RandAugment


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("magnitude", [0, 9, 10, 30])
def test_an_operation_gives_torchvisions_bytes(name, channels, magnitude):
    """Exactly, but for Color, Sharpness and Contrast.

    There float32 rounds some whole numbers down before they are cut to bytes, and does so for
    others of them in torchvision, which adds and multiplies in another order: one grey value.
    """
    share = {"Color": 0.1, "Sharpness": 0.02, "Contrast": 0.001}.get(name, 0.0)
    x = torch.cat([noise(6, channels), scenes(6, channels)])
    for direction in (-1, 1):
        want = reference(x, name, direction, magnitude)
        largest, off = difference(operate(x, name, direction, magnitude), want)
        assert largest <= (share > 0)
        assert off <= share
        idle = name == "Identity" or (name == "Color" and channels == 1)
        idle |= magnitude == 0 and name not in ("AutoContrast", "Equalize")
        if name == "Solarize" and magnitude == 0:  # 255 itself is inverted
            assert difference(want, x)[1] < 0.01
        else:
            assert torch.equal(want, x) == idle


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_gives_torchvisions_bytes_on_images_that_are_not_square(name):
    """Height and width do not change places. Colours as above."""
    x = torch.cat([noise(4, 3, 14, 40), scenes(4, 3, 14, 40)])
    for direction in (-1, 1):
        want = reference(x, name, direction, 17)
        largest, off = difference(operate(x, name, direction, 17), want)
        assert largest <= (name in BLENDED)
        assert off <= (0.02 if name in BLENDED else 0.0)


@pytest.mark.parametrize("name", ["ShearX", "ShearY", "Rotate"])
def test_of_images_of_an_odd_side_a_few_pixels_come_from_an_equally_near_neighbour(name):
    """By 0.2 a shear puts each fifth row, here, half-way; by 30 degrees a turn the middle one."""
    x = noise(8, 3, 31, 27)
    magnitude = 30 if name == "Rotate" else 20
    for direction in (-1, 1):
        want = reference(x, name, direction, magnitude)
        assert difference(operate(x, name, direction, magnitude), want)[1] < 0.05
        assert difference(want, x)[1] > 0.5


@pytest.mark.parametrize("shape", [(1, 1), (2, 6), (6, 2), (3, 3)])
def test_operations_take_the_smallest_images(shape):
    """Sharpness leaves alone what has no pixel with eight neighbours, as in torchvision."""
    x = noise(5, 3, *shape)
    for name in OPERATIONS:
        largest, _ = difference(operate(x, name, 1, 9), reference(x, name, 1, 9))
        assert largest <= (name in BLENDED)
    assert torch.equal(operate(x, "Sharpness", 1, 9), x) == (min(shape) < 3)


def test_an_image_of_one_grey_value_keeps_it_when_stretched_or_equalised():
    x = torch.full((1, 1, 4, 4), 77, dtype=torch.uint8)
    for name in ("AutoContrast", "Equalize", "Sharpness"):
        assert torch.equal(operate(x, name, 1, 9), x)


def test_operations_are_as_likely_as_torchvisions():
    """Fourteen equally likely ones, nine of them in either of two directions."""
    x = scenes(1, 3, 20, 20)
    x[0, 0, 0, 0], x[0, 1, 1, 1] = 250, 0  # so that Solarize and AutoContrast differ from others
    ways = [(n, d) for n in OPERATIONS for d in ((-1, 1) if n in DIRECTED + BLENDED else (1,))]
    shares = torch.tensor([0.5 if name in DIRECTED + BLENDED else 1.0 for name, _ in ways])
    once = RandAugment(1, 20)
    possible = torch.cat([operate(x, *way, 20) for way in ways])
    ours = outcomes(once(x.expand(2000, -1, -1, -1), uniform(2000, once)), possible)
    with seeded(4, "torchvision"):
        theirs = v2.RandAugment(1, 20)
        theirs = torch.stack([theirs(x[0]) for _ in range(2000)])
    theirs = outcomes(theirs, torch.cat([reference(x, *way, 20) for way in ways]))
    assert_as_expected(ours, shares)
    assert_alike(ours, theirs)


@pytest.mark.parametrize("kind", [RandAugment, RandAugmentMC])
def test_operations_in_a_row_are_single_ones_one_after_the_other(kind):
    x = scenes(200, 3, 10, 10)
    once, thrice = kind(1, 8), kind(3, 8)
    u = uniform(200, thrice)
    want = x
    for own in u.split(once.num_random, 1):
        want = once(want, own)
    assert torch.equal(thrice(x, u), want)
    assert not torch.equal(once(x, u[:, : once.num_random]), want)


# What the released code of CLID-MU calls RandAugment


def pillow(x, name, level, direction):
    """An operation of `rand_aug.py` by Pillow, one image at a time."""
    share, factor = level * 0.3 / 10, level * 0.9 / 10 + 0.05

    def affine(image, *matrix):
        return image.transform(image.size, Image.Transform.AFFINE, matrix)

    def call(image):
        across, down = (int(direction * share * side) for side in image.size)
        return {
            "Identity": lambda: image,
            "ShearX": lambda: affine(image, 1, direction * share, 0, 0, 1, 0),
            "ShearY": lambda: affine(image, 1, 0, 0, direction * share, 1, 0),
            "TranslateX": lambda: affine(image, 1, 0, -across, 0, 1, 0),
            "TranslateY": lambda: affine(image, 1, 0, 0, 0, 1, -down),
            "Rotate": lambda: image.rotate(direction * level * 3),
            "Brightness": lambda: ImageEnhance.Brightness(image).enhance(factor),
            "Color": lambda: ImageEnhance.Color(image).enhance(factor),
            "Contrast": lambda: ImageEnhance.Contrast(image).enhance(factor),
            "Sharpness": lambda: ImageEnhance.Sharpness(image).enhance(factor),
            "Posterize": lambda: ImageOps.posterize(image, int(level * 4 / 10) + 4),
            "Solarize": lambda: ImageOps.solarize(image, 256 - int(level * 256 / 10)),
            "AutoContrast": lambda: ImageOps.autocontrast(image),
            "Equalize": lambda: ImageOps.equalize(image),
        }[name]()

    made = [np.array(call(Image.fromarray(image.permute(1, 2, 0).numpy()))) for image in x]
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_released_variant_gives_pillows_bytes_at_every_level(name):
    """Pillow rounds where torchvision cuts, hence one grey value of Color, Contrast, AutoContrast.

    Its shears place pixels in fixed point, which decides otherwise half-way between two.
    """
    x = torch.cat([noise(4), scenes(4)])
    for level in range(1, 10):
        for direction in (-1, 1):
            numbers = [numbers_for(name, direction)[0], middle(level - 1, 9), 0.49, 0.5]
            numbers[3] += direction / 4
            got = RandAugmentMC(1)(x, torch.tensor([numbers]).expand(8, 4))
            largest, off = difference(got, pillow(x, name, level, direction))
            if name in ("ShearX", "ShearY", "Rotate"):
                assert off < 0.02
            else:
                assert largest <= (name in ("Color", "Contrast", "AutoContrast"))
            still = name == "Identity" or (name.startswith("Translate") and level == 1)  # 0.96 is 0
            assert (difference(got, x)[1] < 0.02) == still


def test_the_released_variant_leaves_out_half_and_draws_levels_evenly():
    """An even grid of numbers, TranslateX: shifts by 3 to 27 of 100 columns, either way."""
    x = torch.arange(1, 101, dtype=torch.uint8).expand(1, 1, 2, 100)
    grid = torch.arange(36) / 36 + 1 / 72
    parts = torch.cartesian_prod(grid, torch.tensor([0.2, 0.4999, 0.5, 0.7]), grid[::18])
    u = torch.cat([torch.full((len(parts), 1), middle(3, 14)), parts], 1)
    got = RandAugmentMC(1)(x.expand(len(u), -1, -1, -1), u)
    shifts = got[:, 0, 0, 50].int() - 51  # (288,); a shift by k moves column 50 - k there
    counted = dict(zip(*(part.tolist() for part in shifts.unique(return_counts=True)), strict=True))
    wanted = {int(k * 0.3 / 10 * 100) * sign for k in range(1, 10) for sign in (-1, 1)}
    assert len(wanted) == 18
    assert counted == {0: 144} | dict.fromkeys(wanted, 8)


@pytest.mark.parametrize(("height", "width", "size"), [(32, 32, 16), (20, 9, 4), (7, 7, 3)])
def test_cutout_blanks_the_rectangle_that_pillow_draws(height, width, size):
    """With the corners as the released code has them; both ends belong to the square."""
    x = noise(60, 3, height, width)
    u = uniform(60, Cutout(size))
    want = []
    for image, (across, down) in zip(x, u.tolist(), strict=True):
        drawn = Image.fromarray(image.permute(1, 2, 0).numpy().copy())
        left, top = (
            int(max(0, share * side - size / 2))
            for share, side in ((across, width), (down, height))
        )
        right, bottom = int(min(width, left + size)), int(min(height, top + size))
        ImageDraw.Draw(drawn).rectangle((left, top, right, bottom), (127, 127, 127))
        want.append(torch.from_numpy(np.array(drawn)).permute(2, 0, 1))
    got = Cutout(size)(x, u)
    assert torch.equal(got, torch.stack(want))
    assert (got != x).flatten(1).any(1).all()


# All of them


def test_a_composition_applies_its_steps_in_order_each_to_its_own_numbers():
    x = noise(30, 3, 9, 9)
    crop, flip = RandomCrop(7, padding=2), RandomFlip()
    both = Compose([crop, flip])
    u = uniform(30, both)
    assert both.num_random == 3
    assert torch.equal(both(x, u), flip(crop(x, u[:, :2]), u[:, 2:]))
    assert not torch.equal(both(x, u), crop(x, u[:, :2]))
    assert torch.equal(both.for_evaluation(x), crop.for_evaluation(x))
    assert torch.equal(Compose([])(x, torch.rand(30, 0)), x)


@augmentations
def test_each_image_draws_its_own(augmentation):
    """One image many times: the results differ, though most numbers leave some alike."""
    x = scenes(1, 3, 12, 12).expand(200, -1, -1, -1)
    got = augmentation(x, uniform(200, augmentation))
    assert len(got.flatten(1).unique(dim=0)) >= 2
    assert len(got) == 200
    if augmentation.num_random > 1:
        assert len(got.flatten(1).unique(dim=0)) >= 20


@augmentations
def test_an_image_comes_out_the_same_whatever_else_is_in_the_batch(augmentation):
    x = torch.cat([noise(60, 3, 20, 20), scenes(60, 3, 20, 20)])
    u = uniform(120, augmentation)
    whole = augmentation(x, u)
    assert torch.equal(augmentation(x, u), whole)
    order = torch.randperm(120, generator=generator(2, "order"))
    assert torch.equal(augmentation(x[order], u[order]), whole[order])
    alone = [augmentation(x[i : i + 1], u[i : i + 1]) for i in range(120)]
    assert torch.equal(torch.cat(alone), whole)


@augmentations
def test_images_and_global_generator_are_left_as_they_were(augmentation):
    x = noise(20, 3, 12, 12)
    before, state = x.clone(), torch.get_rng_state()
    got = augmentation(x, uniform(20, augmentation))
    augmentation.for_evaluation(x)
    got.fill_(9)  # what comes out does not share the memory of what went in
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert got.dtype == torch.uint8


@augmentations
def test_the_smallest_and_the_largest_number_choose_the_first_and_the_last(augmentation):
    """1 - 2 ** -24 is the largest that `torch.rand` can give in float32."""
    x = noise(1, 3, 12, 12)
    for number in (0.0, 1 - 2**-24):
        u = torch.full((1, augmentation.num_random), number)
        slightly_inside = u.double() * (1 - 1e-6) + 5e-7
        assert torch.equal(augmentation(x, u), augmentation(x, slightly_inside))


@augmentations
def test_an_empty_batch_stays_empty(augmentation):
    x = torch.zeros(0, 3, 12, 12, dtype=torch.uint8)
    got = augmentation(x, torch.zeros(0, augmentation.num_random))
    assert got.shape == augmentation.for_evaluation(x).shape


@pytest.mark.parametrize("family", [_moved, _looked_up, _blended])
def test_a_family_of_operations_leaves_the_images_of_others_alone(family):
    """On a GPU each goes over the whole batch; on the CPU over its own images."""
    x = torch.cat([noise(140), scenes(140)])
    operation = torch.arange(280) % 14
    strength = RandAugment(1, 20)._strengths(32, 32)[operation, torch.arange(280) // 14 % 2]
    changed = (family(x, operation, strength) != x).flatten(1).any(1)
    own = {_moved: DIRECTED, _blended: BLENDED}.get(family, OPERATIONS[10:])
    mine = torch.tensor([OPERATIONS[k] in own for k in operation])
    assert not changed[~mine].any()
    assert changed[mine].float().mean() > 0.8  # noise cannot be stretched further


@pytest.mark.gpu
@augmentations
def test_a_gpu_gives_the_bytes_of_the_cpu(augmentation):
    """A turn's sine and the mean behind Contrast may differ in their last digit."""
    x = torch.cat([noise(200, 3, 20, 20), scenes(200, 3, 20, 20)])
    u = uniform(400, augmentation)
    got = augmentation(x.cuda(), u.cuda()).cpu()
    assert_close(difference(got, augmentation(x, u))[1], 0.0, rtol=0, atol=1e-3)
    assert torch.equal(augmentation.for_evaluation(x.cuda()).cpu(), augmentation.for_evaluation(x))


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")  # once, that it is a prototype
@augmentations
def test_augmenting_does_not_wait_for_the_gpu(augmentation):
    x, u = noise(50, 3, 12, 12).cuda(), uniform(50, augmentation).cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        augmentation(x, u)
        augmentation.for_evaluation(x)
    finally:
        torch.cuda.set_sync_debug_mode("default")


# Bad input


X = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: RandomFlip()(X.float(), torch.rand(2, 1)), ValueError, "`x` is torch.float32 of"),
        (
            lambda: RandomFlip()(X[0], torch.rand(2, 1)),
            ValueError,
            "shape (3, 8, 8); images must be",
        ),
        (lambda: RandomFlip()([X], torch.rand(2, 1)), TypeError, "`x` is a list; it must be a"),
        (
            lambda: RandomFlip().for_evaluation(X.int()),
            ValueError,
            "`x` is torch.int32 of shape (2, 3,",
        ),
        (lambda: RandomFlip()(X, torch.rand(2, 2)), ValueError, "shape (2, 2); 2 images need"),
        (lambda: RandomFlip()(X, torch.rand(1, 1)), ValueError, "`u` is torch.float32 of shape"),
        (lambda: RandomFlip()(X, torch.zeros(2, 1).int()), ValueError, "`u` is torch.int32 of"),
        (lambda: RandomFlip()(X, 0.5), TypeError, "`u` is a float; it must be a tensor of"),
        (lambda: Compose([RandomFlip(), 3]), TypeError, "`steps` holds 3; it must hold"),
        (lambda: RandomCrop(0), ValueError, "`size` is 0; it must be at least 1"),
        (lambda: RandomCrop(padding=-1), ValueError, "`padding` is -1; it must be at least 0"),
        (lambda: RandomCrop(mode="edge"), ValueError, "`mode` is 'edge'; it must be one of 'con"),
        (
            lambda: RandomCrop(13, padding=2)(X, torch.rand(2, 2)),
            ValueError,
            "`size` is 13; images of 8 x 8 pixels with a border of 2 have only 12 x 12",
        ),
        (
            lambda: RandomCrop(9).for_evaluation(X),
            ValueError,
            "`size` is 9; images of 8 x 8 pixels with",
        ),
        (
            lambda: RandomCrop(padding=8, mode="reflect")(X, torch.rand(2, 2)),
            ValueError,
            "`padding` is 8; images of 8 x 8 pixels can be mirrored by at most 7",
        ),
        (lambda: Cutout(0), ValueError, "`size` is 0; it must be at least 1"),
        (lambda: RandAugment(0), ValueError, "`num_ops` is 0; it must be at least 1"),
        (lambda: RandAugment(2, 31), ValueError, "`magnitude` is 31; with 31 bins it must be at"),
        (lambda: RandAugment(2, 0.5), TypeError, "`magnitude` is 0.5; it must be an integer"),
        (lambda: RandAugment(2, 0, 1), ValueError, "`num_magnitude_bins` is 1; it must be at"),
        (
            lambda: RandAugment(1)(X[:, :2], torch.rand(2, 2)),
            ValueError,
            "`x` has 2 channels; it must",
        ),
        (lambda: RandAugmentMC(1)(X[:, :2], torch.rand(2, 4)), ValueError, "`x` has 2 channels;"),
        (lambda: RandAugmentMC(2, 1), ValueError, "`magnitude` is 1; it must be at least 2"),
        (lambda: RandAugmentMC(2, 11), ValueError, "`magnitude` is 11; it must be at most 10"),
    ],
)
def test_bad_input_is_named(call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call()
