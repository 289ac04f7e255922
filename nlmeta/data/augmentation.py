"""Augmentation of whole batches on the device: pure functions of images and of uniform numbers.

``augmentation(x, u)`` changes each image by its own row of `u`. The training loop draws `u` from a
generator; nothing is drawn here. Images are bytes, as in torchvision's transforms, and the results
have the same distribution as with torchvision's transforms, applied to each image alone. So the
result for an image does not depend on the rest of its batch. Nothing here waits for a GPU.

The papers of this book use on CIFAR:

* MLC: none.
* MLNT, paper: ``Compose([RandomCrop(padding=4), RandomFlip()])``.
* MSLG, released code: ``Compose([RandomFlip(), RandomFlip(vertical=True),
  RandomCrop(padding=4)])``; none for meta images.
* CLID-MU, released code: ``Compose([RandomFlip(), RandomCrop(padding=4, mode="reflect"),
  RandAugmentMC(), Cutout()])``; meta images too.

Standardisation and the choice of rows are left to `nlmeta.data.Images`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from nlmeta._checks import check_choice, check_count
from nlmeta._host import to_device
from nlmeta.data._operations import OPERATIONS, both_directions, operate, pixels_at

__all__ = [
    "OPERATIONS",
    "Augmentation",
    "Compose",
    "Cutout",
    "RandAugment",
    "RandAugmentMC",
    "RandomCrop",
    "RandomFlip",
]

GREY = 127  # of what Cutout blanks; as in the released code of CLID-MU


@runtime_checkable
class Augmentation(Protocol):
    """A change of images for training: a pure function of the images and of uniform numbers.

    Its `repr` is stored in checkpoints and must be the same for the same change, like that of a
    dataclass.
    """

    @property
    def num_random(self) -> int:
        """Number of uniform numbers that an image needs."""

    def __call__(self, x: Tensor, u: Tensor) -> Tensor:
        """Change each image by numbers of its own.

        Parameters
        ----------
        x : Tensor of uint8, shape (n, channels, height, width)
            Images.
        u : Tensor of float, shape (n, num_random)
            Uniform numbers in [0, 1), on the device of `x`.

        Returns
        -------
        Tensor of uint8, shape (n, channels, new height, new width)
            The changed images.
        """

    def for_evaluation(self, x: Tensor) -> Tensor:
        """Images for evaluation, of the same size and without randomness; mostly those given."""


class _Augmentation:
    """The common base: arguments are checked, and evaluation uses images as they are."""

    @property
    def num_random(self) -> int:
        """Number of uniform numbers that an image needs."""
        raise NotImplementedError

    def __call__(self, x: Tensor, u: Tensor) -> Tensor:
        """Change each image by numbers of its own.

        Parameters
        ----------
        x : Tensor of uint8, shape (n, channels, height, width)
            Images, from 0 to 255. They are not changed in place.
        u : Tensor of float32 or float64, shape (n, num_random)
            Uniform numbers in [0, 1), on the device of `x`.

        Returns
        -------
        Tensor of uint8, shape (n, channels, new height, new width)
            The changed images.
        """
        _check_images(x)
        _check_numbers(u, x, self.num_random)
        return self._changed(x, u)

    def for_evaluation(self, x: Tensor) -> Tensor:
        """Images for evaluation: the images as they are."""
        _check_images(x)
        return x

    def _changed(self, x: Tensor, u: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Compose(_Augmentation):
    """Several augmentations, one after the other.

    Parameters
    ----------
    steps : sequence of augmentations
        The augmentations; the first is applied first and uses the first numbers.
    """

    steps: Sequence[_Augmentation]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        for step in self.steps:
            if not isinstance(step, _Augmentation):
                raise TypeError(f"`steps` holds {step!r}; it must hold augmentations")

    @property
    def num_random(self) -> int:
        """The sum over all steps."""
        return sum(step.num_random for step in self.steps)

    def for_evaluation(self, x: Tensor) -> Tensor:
        """Images for evaluation: each step's `for_evaluation`."""
        _check_images(x)
        for step in self.steps:
            x = step.for_evaluation(x)
        return x

    def _changed(self, x: Tensor, u: Tensor) -> Tensor:
        for step, own in zip(
            self.steps, u.split([s.num_random for s in self.steps], 1), strict=True
        ):
            x = step(x, own)
        return x


@dataclass(frozen=True)
class RandomCrop(_Augmentation):
    """A square cut out of each image, or of the image with a border around it, at a random place.

    All places are equally likely, as in torchvision's `RandomCrop`. An image needs two numbers.

    Parameters
    ----------
    size : int, optional
        Side of the square in pixels. Default: height and width of the image.
    padding : int
        Width of the border on each side in pixels. Default 0.
    mode : {"constant", "reflect"}
        Content of the border: black (default), or the image mirrored at its outermost pixels, which
        are not repeated. CLID-MU's released code has ``"reflect"``.
    """

    size: int | None = None
    padding: int = 0
    mode: Literal["constant", "reflect"] = "constant"

    def __post_init__(self) -> None:
        if self.size is not None:
            check_count("size", self.size)
        check_count("padding", self.padding, minimum=0)
        check_choice("mode", self.mode, ("constant", "reflect"))

    @property
    def num_random(self) -> int:
        """Two: the place from the top and from the left."""
        return 2

    def for_evaluation(self, x: Tensor) -> Tensor:
        """Images for evaluation: the middle of the image if a size is set, else the image."""
        _check_images(x)
        if self.size is None:
            return x
        self._check_room(x)
        top, left = (
            torch.full((1,), round((side - self.size) / 2), device=x.device) for side in x.shape[2:]
        )
        return self._cut(x, top, left)

    def _changed(self, x: Tensor, u: Tensor) -> Tensor:
        self._check_room(x)
        top, left = (
            _choose(own, side + 2 * self.padding - (self.size or side) + 1) - self.padding
            for own, side in zip(u.unbind(1), x.shape[2:], strict=True)
        )  # (n,) each
        return self._cut(x, top, left)

    def _cut(self, x: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """Cut at places counted from the image's corner, so from -padding on."""
        height, width = x.shape[2:]
        row = top[:, None, None] + torch.arange(self.size or height, device=x.device)[:, None]
        column = left[:, None, None] + torch.arange(self.size or width, device=x.device)
        if self.mode == "reflect":
            row, column = _reflected(row, height), _reflected(column, width)
        return pixels_at(x, row, column)

    def _check_room(self, x: Tensor) -> None:
        height, width = x.shape[2:]
        if self.mode == "reflect" and self.padding >= min(height, width):
            raise ValueError(
                f"`padding` is {self.padding}; images of {height} x {width} pixels can be mirrored "
                f"by at most {min(height, width) - 1}"
            )
        if self.size is not None and self.size > min(height, width) + 2 * self.padding:
            raise ValueError(
                f"`size` is {self.size}; images of {height} x {width} pixels with a border of "
                f"{self.padding} have only {height + 2 * self.padding} x "
                f"{width + 2 * self.padding}"
            )


@dataclass(frozen=True)
class RandomFlip(_Augmentation):
    """Each image mirrored with probability one half; an image needs one number.

    It works like torchvision's `RandomHorizontalFlip` and `RandomVerticalFlip`.

    Parameters
    ----------
    vertical : bool
        If False (default), left and right change places. If True, top and bottom do; the released
        code of MSLG has both flips.
    """

    vertical: bool = False

    @property
    def num_random(self) -> int:
        """One."""
        return 1

    def _changed(self, x: Tensor, u: Tensor) -> Tensor:
        return torch.where(u[:, :, None, None] < 0.5, x.flip(2 if self.vertical else 3), x)


@dataclass(frozen=True)
class Cutout(_Augmentation):
    """A grey square at a random place of each image, which needs two numbers.

    The idea is from DeVries and Taylor (2017, arXiv 1708.04552); the details are those of the
    released code of CLID-MU, where it is the last step of RandAugment. The square has ``size + 1``
    pixels a side, since both ends are included. It may reach beyond the image at the right and the
    bottom, but never at the left and the top, where it is moved to the edge.

    Parameters
    ----------
    size : int
        Size of the square in pixels. Default 16 (code: half of CIFAR's 32).
    """

    size: int = 16

    def __post_init__(self) -> None:
        check_count("size", self.size)

    @property
    def num_random(self) -> int:
        """Two: where the middle is, from the left and from the top."""
        return 2

    def _changed(self, x: Tensor, u: Tensor) -> Tensor:
        height, width = x.shape[2:]
        left = (u[:, 0] * width - self.size / 2).clamp(min=0).long()[:, None]
        top = (u[:, 1] * height - self.size / 2).clamp(min=0).long()[:, None]
        column = torch.arange(width, device=x.device)
        row = torch.arange(height, device=x.device)
        across = (column >= left) & (column <= left + self.size)  # (n, width)
        down = (row >= top) & (row <= top + self.size)  # (n, height)
        blank = down[:, None, :, None] & across[:, None, None, :]
        return x.masked_fill(blank, GREY)


@dataclass(frozen=True)
class RandAugment(_Augmentation):
    """Several operations one after the other, each drawn from fourteen, all of one magnitude.

    This is RandAugment (Cubuk, Zoph, Shlens and Le, CVPR workshops 2020, arXiv 1909.13719) in the
    form of torchvision's `RandAugment`: nearest neighbour, black outside. Directions have
    probability one half each. An image needs two numbers for each operation.

    Operations give torchvision's bytes, with two exceptions. Up to 10 bytes in 100 for Color, 2 in
    100 for Sharpness and 1 in 1,000 for Contrast differ by one grey value, where float32 rounds a
    whole number down in only one of the two codes. And a shear or rotation may take the other of
    two equally near neighbours, for some magnitudes and sizes (none at 32 x 32 pixels and 31 bins).

    ``n=2, m=10`` in the released code of CLID-MU has another meaning, see `RandAugmentMC`.

    Parameters
    ----------
    num_ops : int
        Number of operations for an image. Default 2 (torchvision).
    magnitude : int
        Magnitude of all operations, from 0, which for most operations changes nothing, to
        ``num_magnitude_bins - 1``. Default 9 (torchvision).
    num_magnitude_bins : int
        Number of magnitudes. Default 31 (torchvision).
    """

    num_ops: int = 2
    magnitude: int = 9
    num_magnitude_bins: int = 31

    def __post_init__(self) -> None:
        check_count("num_ops", self.num_ops)
        check_count("num_magnitude_bins", self.num_magnitude_bins, minimum=2)
        check_count("magnitude", self.magnitude, minimum=0)
        if self.magnitude >= self.num_magnitude_bins:
            raise ValueError(
                f"`magnitude` is {self.magnitude}; with {self.num_magnitude_bins} bins it must be "
                f"at most {self.num_magnitude_bins - 1}"
            )

    @property
    def num_random(self) -> int:
        """Two for each operation: its kind and its direction."""
        return 2 * self.num_ops

    def _changed(self, x: Tensor, u: Tensor) -> Tensor:
        _check_channels(x)
        strengths = to_device(self._strengths(*x.shape[2:]), x.device)
        for own in u.unflatten(1, (self.num_ops, 2)).unbind(1):
            which, direction = own.unbind(1)
            operation = _choose(which, len(OPERATIONS))
            x = operate(x, operation, strengths[operation, _choose(direction, 2)])
        return x

    def _strengths(self, height: int, width: int) -> Tensor:
        """Strengths of each operation in each direction, (14, 2); `operate` has their units."""

        def between(first: float, last: float) -> float:
            # In float32 as torchvision's, so that what is then cut to whole numbers agrees.
            steps = torch.linspace(
                first, last, self.num_magnitude_bins, dtype=torch.float32, device="cpu"
            )
            return steps[self.magnitude].item()

        factor = between(0, 0.9)
        return both_directions(
            shear=between(0, 0.3),
            shift_x=int(between(0, 150 / 331 * width)),
            shift_y=int(between(0, 150 / 331 * height)),
            degrees=between(0, 30),
            factors=(1 - factor, 1 + factor),
            bits=round(8 - 4 * self.magnitude / (self.num_magnitude_bins - 1)),
            threshold=255 * between(1, 0),
        )


@dataclass(frozen=True)
class RandAugmentMC(_Augmentation):
    """RandAugment of the released code of CLID-MU, where it has this name.

    It comes from a PyTorch version of FixMatch (kekmodel/FixMatch-pytorch). The fourteen operations
    are those of `RandAugment`, but each is left out with probability one half, and its level k is
    drawn anew, from 1 to ``magnitude - 1``. Shears are by 0.03 k, shifts by 0.03 k of the side,
    rotations by 3 k degrees, in either direction. Brightness, Color, Contrast and Sharpness have
    the factor 0.05 + 0.09 k, which is below 1, so they always weaken. Solarize inverts the upper k
    tenths of the grey values, Posterize keeps 4 to 7 bits. The released class ends with a blank
    square, which here is `Cutout`. An image needs four numbers for each operation.

    The source is ``sota/.ipynb_checkpoints/rand_aug-checkpoint.py`` of CLID-MU's repository at
    commit bfc66a0. It calls Pillow, whose bytes these operations give, with two exceptions: Color,
    Contrast and AutoContrast may differ by one grey value, and 2 in 100 sheared or rotated pixels
    may come from the other of two neighbours that are about equally near.

    Parameters
    ----------
    num_ops : int
        Number of operations for an image. Default 2 (code).
    magnitude : int
        Largest magnitude, from 2 to 10. Default 10 (code).
    """

    num_ops: int = 2
    magnitude: int = 10

    def __post_init__(self) -> None:
        check_count("num_ops", self.num_ops)
        check_count("magnitude", self.magnitude, minimum=2)
        if self.magnitude > 10:
            raise ValueError(f"`magnitude` is {self.magnitude}; it must be at most 10")

    @property
    def num_random(self) -> int:
        """Four for each operation: its kind, its level, whether it is used, and its direction."""
        return 4 * self.num_ops

    def _changed(self, x: Tensor, u: Tensor) -> Tensor:
        _check_channels(x)
        levels = range(1, self.magnitude)
        strengths = torch.stack([self._strengths(level, *x.shape[2:]) for level in levels])
        strengths = to_device(strengths, x.device)  # (levels, 14, 2)
        for own in u.unflatten(1, (self.num_ops, 4)).unbind(1):
            which, level, applied, direction = own.unbind(1)
            operation = _choose(which, len(OPERATIONS))
            operation = operation.masked_fill(applied >= 0.5, OPERATIONS.index("Identity"))
            drawn = _choose(level, len(levels)), operation, _choose(direction, 2)
            x = operate(x, operation, strengths[drawn])
        return x

    def _strengths(self, level: int, height: int, width: int) -> Tensor:
        factor = level * 0.9 / 10 + 0.05
        return both_directions(
            shear=level * 0.3 / 10,
            shift_x=int(level * 0.3 / 10 * width),
            shift_y=int(level * 0.3 / 10 * height),
            degrees=int(level * 30 / 10),
            factors=(factor, factor),
            bits=int(level * 4 / 10) + 4,
            threshold=256 - int(level * 256 / 10),
        )


def _reflected(place: Tensor, side: int) -> Tensor:
    """Places beyond an edge, mirrored at the outermost pixel."""
    return (side - 1) - ((side - 1) - place.abs()).abs()


def _choose(u: Tensor, choices: int) -> Tensor:
    """Equally likely integers from 0 to ``choices - 1``, int64, from uniform numbers."""
    return (u * choices).long().clamp(0, choices - 1)


def _check_images(x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"`x` is a {type(x).__name__}; it must be a tensor of images")
    if x.dtype != torch.uint8 or x.ndim != 4:
        raise ValueError(
            f"`x` is {x.dtype} of shape {tuple(x.shape)}; images must be torch.uint8 of shape "
            "(n, channels, height, width)"
        )


def _check_numbers(u: Tensor, x: Tensor, numbers: int) -> None:
    if not isinstance(u, Tensor):
        raise TypeError(f"`u` is a {type(u).__name__}; it must be a tensor of uniform numbers")
    if u.dtype not in (torch.float32, torch.float64) or u.shape != (len(x), numbers):
        raise ValueError(
            f"`u` is {u.dtype} of shape {tuple(u.shape)}; {len(x)} images need torch.float32 or "
            f"torch.float64 of shape {(len(x), numbers)}"
        )


def _check_channels(x: Tensor) -> None:
    if x.shape[1] not in (1, 3):
        raise ValueError(f"`x` has {x.shape[1]} channels; it must have 1 (grey) or 3 (colour)")
