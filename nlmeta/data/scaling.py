"""Scaling of inputs: to mean 0 and standard deviation 1 over the training part, or as given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor

from nlmeta._interface import Inputs, rows_of
from nlmeta.data.images import ImageFiles, Images, channel_statistics

__all__ = ["Scale"]

# Mean and deviation of ImageNet's training images, for images that stay on disk: most networks for
# them were trained first on images brought to this scale (torchvision's documentation).
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Scale:
    """The mean and the deviation by which the inputs of every part are standardised.

    Attributes
    ----------
    mean, deviation : Tensor, optional
        One number, or for images one number for each channel, in grey values from 0 to 255. With
        None, inputs stay as they are.
    """

    mean: Tensor | None = None
    deviation: Tensor | None = None

    @classmethod
    def of(
        cls,
        x: Inputs | ImageFiles,
        rows: Tensor,
        given: tuple[Sequence[float], Sequence[float]] | None,
        standardise: bool,
    ) -> "Scale":
        """The scale of some rows.

        Parameters
        ----------
        x : Tensor, tuple or dict of Tensor, or ImageFiles, n rows
            Inputs of the training part as published. Several tensors stay as they are.
        rows : Tensor of int64
            Rows that are trained on.
        given : pair of sequences of float, optional
            Mean and deviation of each channel, for images between 0 and 1. Default: those of the
            rows; ImageNet's if images stay on disk.
        standardise : bool
            Whether inputs that are already floats are standardised.
        """
        if not _are_images(x):
            if given is not None:
                raise ValueError(
                    f"`scale` is {given}; it is for images of 8 bits only, so leave it out here"
                )
            if isinstance(x, Tensor) and x.is_floating_point() and standardise:
                return cls(x[rows].mean(), x[rows].std())
            return cls()
        if given is not None and any(len(values) != x.shape[1] for values in given):
            raise ValueError(
                f"`scale` is {given}; it must hold a mean and a deviation for each of the "
                f"{x.shape[1]} channels"
            )
        if given is not None or isinstance(x, ImageFiles):
            mean, deviation = IMAGENET if given is None else given
            return cls(255 * torch.tensor(mean), 255 * torch.tensor(deviation))
        return cls(*channel_statistics(x, rows))

    def bring(self, x: Inputs | ImageFiles, rows: Tensor) -> Inputs | Images:
        """Some rows of any part, standardised by this scale; images stay bytes."""
        if self.mean is None or self.deviation is None:
            return rows_of(x, rows)
        if _are_images(x):
            return Images(x, mean=self.mean, deviation=self.deviation).subset(rows)
        return (rows_of(x, rows) - self.mean) / self.deviation


def _are_images(x: Inputs | ImageFiles) -> TypeGuard[Tensor | ImageFiles]:
    return isinstance(x, ImageFiles) or (isinstance(x, Tensor) and x.dtype == torch.uint8)
