"""Two plain convolutional networks: MSLG's of eight layers, and CLID-MU's VGG-19 with BatchNorm."""

from torch import nn

from nlmeta._checks import check_count
from nlmeta.models.base import Network, he_weights
from nlmeta.seeding import seeded

__all__ = ["CNN8", "VGG19BN"]


class CNN8(Network):
    """Six 3x3 convolutions and two linear layers, as in MSLG's code for CIFAR-10.

    Parameters
    ----------
    num_classes : int
        C, the number of classes.
    in_channels : int
        Number of channels of the images. Default 3.
    seed : int
        Seed of the initial weights.

    Notes
    -----
    The network is made for images of 32 pixels; it also works for smaller ones, from 8 pixels on.
    Features have width D = 256.
    """

    def __init__(self, num_classes: int, *, in_channels: int = 3, seed: int) -> None:
        super().__init__()
        check_count("num_classes", num_classes)
        check_count("in_channels", in_channels)
        with seeded(seed, "weights"):
            self.body = nn.Sequential(
                *_convolution(in_channels, 64),
                *_convolution(64, 64),
                nn.MaxPool2d(2),
                *_convolution(64, 128),
                *_convolution(128, 128),
                nn.MaxPool2d(2),
                *_convolution(128, 196),
                *_convolution(196, 196),
                nn.MaxPool2d(2),
                nn.AdaptiveAvgPool2d(4),  # changes nothing where the images have 32 pixels
                nn.Flatten(),
                nn.Linear(196 * 4 * 4, 256),
                nn.BatchNorm1d(256),
                nn.ReLU(),
            )
            self.classifier = nn.Linear(256, num_classes)
            he_weights(self)


class VGG19BN(Network):
    """VGG-19 with BatchNorm and one linear layer behind the convolutions.

    Simonyan and Zisserman (ICLR 2015), configuration E, without its two hidden linear layers, as is
    common for images of 32 pixels.

    Parameters
    ----------
    num_classes : int
        C, the number of classes.
    width : int
        Channels of the first stage; the later ones have 2, 4, 8 and 8 times as many. Default 64, so
        that the features have width D = 512.
    in_channels : int
        Number of channels of the images. Default 3.
    seed : int
        Seed of the initial weights.

    Notes
    -----
    Images must have at least 32 pixels a side, because each of five stages halves them. CLID-MU's
    code for Animal-10N has two more linear layers of 512 with dropout between features and logits,
    and its divergence uses the features before these layers.
    """

    def __init__(
        self, num_classes: int, *, width: int = 64, in_channels: int = 3, seed: int
    ) -> None:
        super().__init__()
        check_count("num_classes", num_classes)
        check_count("width", width)
        check_count("in_channels", in_channels)
        layers: list[nn.Module] = []
        with seeded(seed, "weights"):
            before = in_channels
            for factor, convolutions in ((1, 2), (2, 2), (4, 4), (8, 4), (8, 4)):
                for _ in range(convolutions):
                    layers += _convolution(before, factor * width)
                    before = factor * width
                layers.append(nn.MaxPool2d(2))
            self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.classifier = nn.Linear(before, num_classes)
            he_weights(self)


def _convolution(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
