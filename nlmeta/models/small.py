"""Two small networks for the embedded digits and for images of a similar size (chapters 2 to 8)."""

from collections.abc import Sequence

from torch import nn

from nlmeta._checks import check_count
from nlmeta.models.base import Network
from nlmeta.seeding import seeded

__all__ = ["MLP", "SmallCNN"]


class MLP(Network):
    """Fully connected network with ReLU; inputs of any shape are flattened.

    Parameters
    ----------
    in_features : int
        Numbers per sample; 64 for the digits.
    num_classes : int
        C, the number of classes.
    hidden : sequence of int
        Widths of the hidden layers; the last is the width D of the features. Default (256, 256).
    seed : int
        Seed of the initial weights.
    """

    def __init__(
        self, in_features: int, num_classes: int, hidden: Sequence[int] = (256, 256), *, seed: int
    ) -> None:
        super().__init__()
        for name, width in (("in_features", in_features), ("num_classes", num_classes)):
            check_count(name, width)
        if not hidden:
            raise ValueError("`hidden` is empty; it must hold the width of at least one layer")
        for width in hidden:
            check_count("hidden", width)
        with seeded(seed, "weights"):
            layers: list[nn.Module] = [nn.Flatten()]
            for before, after in zip([in_features, *hidden[:-1]], hidden, strict=True):
                layers += [nn.Linear(before, after), nn.ReLU()]
            self.body = nn.Sequential(*layers)
            self.classifier = nn.Linear(hidden[-1], num_classes)


class SmallCNN(Network):
    """Three 3x3 convolutions with BatchNorm and one hidden layer, for images of 8 to 64 pixels.

    Parameters
    ----------
    in_channels : int
        Number of channels of the images; 1 for the digits.
    num_classes : int
        C, the number of classes.
    width : int
        Channels of the first two convolutions; the third has twice as many. Default 32.
    hidden : int
        Width D of the features. Default 128.
    batch_norm : bool
        Whether the network has BatchNorm. Default True.
    seed : int
        Seed of the initial weights.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        width: int = 32,
        hidden: int = 128,
        batch_norm: bool = True,
        seed: int,
    ) -> None:
        super().__init__()
        sizes = {
            "in_channels": in_channels,
            "num_classes": num_classes,
            "width": width,
            "hidden": hidden,
        }
        for name, value in sizes.items():
            check_count(name, value)

        def convolution(before: int, after: int) -> list[nn.Module]:
            norm = [nn.BatchNorm2d(after)] if batch_norm else []
            return [nn.Conv2d(before, after, 3, padding=1, bias=not batch_norm), *norm, nn.ReLU()]

        with seeded(seed, "weights"):
            self.body = nn.Sequential(
                *convolution(in_channels, width),
                *convolution(width, width),
                nn.MaxPool2d(2),
                *convolution(width, 2 * width),
                nn.AdaptiveAvgPool2d(4),  # images larger than 8x8 are brought to 4x4 here
                nn.Flatten(),
                nn.Linear(2 * width * 4 * 4, hidden),
                nn.ReLU(),
            )
            self.classifier = nn.Linear(hidden, num_classes)
