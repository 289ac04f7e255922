"""Residual networks: for images of 32 pixels with a 3x3 stem, and ResNet-50 from torchvision.

He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), puts norm and ReLU after each
convolution; "Identity Mappings in Deep Residual Networks" (ECCV 2016) puts them before. CLID-MU
uses ResNet-34 and PreAct-ResNet-18, MLNT PreAct-ResNet-32, Meta-Weight-Net ResNet-32. On
Clothing1M, MLNT, MSLG and CLID-MU use ResNet-50.
"""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from nlmeta._checks import check_choice, check_count, check_positive
from nlmeta.models.base import Network, he_weights, normalisation
from nlmeta.seeding import seeded

__all__ = ["CIFARResNet", "PreActBlock", "PreActResNet", "ResNet9", "resnet50", "stages"]

# Blocks of each stage. A block has two convolutions; stem and classifier make up the depth.
BLOCKS = {18: (2, 2, 2, 2), 32: (5, 5, 5), 34: (3, 4, 6, 3)}
ACTIVATED = ("projections", "none", "all")
WEIGHTS = (None, "IMAGENET1K_V1", "IMAGENET1K_V2")


class ResNet9(Network):
    """A small residual network that learns fast: eight convolutions and one linear layer.

    The shape is that of David Page's entry to the DAWNBench competition (2018). It has a stem and
    three stages; each stage is a convolution and a pooling that halves the image. The first and the
    last stage have a residual branch of two convolutions. The features are the largest values of
    the channels.

    Parameters
    ----------
    num_classes : int
        C, the number of classes.
    width : int
        Channels of the stem; the stages have 2, 4 and 8 times as many. Default 64, as in the entry,
        so the features have width D = 512. With 16, two CPU cores can train it.
    in_channels : int
        Number of channels of the images. Default 3.
    scale : float
        Factor of the features, and so of the logits without their bias. Default 1/8, as in the
        entry; it allows learning rates of 0.2 to 0.4 from the first step on.
    norm : {"batch", "group"}
        BatchNorm (default) or GroupNorm, as in `CIFARResNet`.
    seed : int
        Seed of the initial weights.

    Notes
    -----
    The network is made for images of 32 pixels; it also works for smaller ones, from 8 pixels on.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: int = 64,
        in_channels: int = 3,
        scale: float = 0.125,
        norm: str = "batch",
        seed: int,
    ) -> None:
        super().__init__()
        check_count("num_classes", num_classes)
        check_count("width", width)
        check_count("in_channels", in_channels)
        check_positive("scale", scale)
        with seeded(seed, "weights"):
            self.body = nn.Sequential(
                *_unit(in_channels, width, norm),
                *_unit(width, 2 * width, norm),
                nn.MaxPool2d(2),
                _Residual(2 * width, norm),
                *_unit(2 * width, 4 * width, norm),
                nn.MaxPool2d(2),
                *_unit(4 * width, 8 * width, norm),
                nn.MaxPool2d(2),
                _Residual(8 * width, norm),
                nn.AdaptiveMaxPool2d(1),
                nn.Flatten(),
                _Scaled(scale),
            )
            self.classifier = nn.Linear(8 * width, num_classes)
            he_weights(self)


class _Residual(nn.Module):
    """The input plus two convolutions of it."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *_unit(channels, channels, norm), *_unit(channels, channels, norm)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class _Scaled(nn.Module):
    """A constant factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x

    def extra_repr(self) -> str:
        return str(self.factor)


def _unit(before: int, after: int, norm: str) -> list[nn.Module]:
    """A convolution, its norm and ReLU."""
    convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
    return [convolution, normalisation(norm, after), nn.ReLU()]


class CIFARResNet(Network):
    """ResNet for images of 32 pixels: 3x3 stem, no max-pooling.

    Parameters
    ----------
    depth : {18, 32, 34}
        Number of layers. 18 and 34 have the four stages of ImageNet's ResNets, and 1x1 convolutions
        with norm as shortcuts between stages. 32 is the three-stage network of He et al. (CVPR
        2016, section 4.2) for CIFAR, whose shortcuts pad with zeros and have no weights.
    num_classes : int
        C, the number of classes.
    width : int, optional
        Channels of the first stage; each later stage has twice as many. Default, as published: 64
        for depths 18 and 34, 16 for 32. So the features have width D = 512, or 64.
    in_channels : int
        Number of channels of the images. Default 3.
    norm : {"batch", "group"}
        BatchNorm (default), or GroupNorm with at most 16 channels in a group, which does not depend
        on the division of a batch among GPUs.
    seed : int
        Seed of the initial weights.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int,
        *,
        width: int | None = None,
        in_channels: int = 3,
        norm: str = "batch",
        seed: int,
    ) -> None:
        super().__init__()
        check_choice("depth", depth, BLOCKS)
        width = (16 if depth == 32 else 64) if width is None else width
        _check_counts(num_classes=num_classes, width=width, in_channels=in_channels)

        def block(before: int, after: int, stride: int) -> nn.Module:
            return _BasicBlock(before, after, stride, norm=norm, pad=depth == 32)

        with seeded(seed, "weights"):
            self.body = nn.Sequential(
                _convolution(in_channels, width),
                normalisation(norm, width),
                nn.ReLU(),
                *stages(block, BLOCKS[depth], width, width),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            )
            self.classifier = nn.Linear(width * 2 ** (len(BLOCKS[depth]) - 1), num_classes)
            he_weights(self)


class PreActResNet(Network):
    """ResNet with norm and ReLU before each convolution, for images of 32 pixels.

    Parameters
    ----------
    depth : {18, 32}
        Number of layers. 18 has four stages, as in CLID-MU (and DivideMix before it); 32 has three,
        as in MLNT.
    num_classes : int
        C, the number of classes.
    width : int, optional
        Channels of the first stage; each later stage has twice as many. Default 64 for depth 18
        (released code of CLID-MU), 32 for depth 32 (a port of MLNT to CIFAR). So the features have
        width D = 512, or 128.
    in_channels : int
        Number of channels of the images. Default 3.
    final_norm : bool
        If True (default, as published and as in MLNT's port), norm and ReLU come before the average
        over the image. CLID-MU's code has neither, so its features can be negative.
    activated : {"projections", "none", "all"}
        The shortcuts that start behind the block's first norm and ReLU: those with a 1x1
        convolution (default, the usual form), none (MLNT's port), or all (CLID-MU's code; then no
        signal passes a block unchanged).
    norm : {"batch", "group"}
        BatchNorm (default), or GroupNorm with at most 16 channels in a group, which does not depend
        on the division of a batch among GPUs.
    seed : int
        Seed of the initial weights. CLID-MU's code and MLNT's port have PyTorch's instead of He's.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int,
        *,
        width: int | None = None,
        in_channels: int = 3,
        final_norm: bool = True,
        activated: str = "projections",
        norm: str = "batch",
        seed: int,
    ) -> None:
        super().__init__()
        check_choice("depth", depth, (18, 32))
        width = (32 if depth == 32 else 64) if width is None else width
        _check_counts(num_classes=num_classes, width=width, in_channels=in_channels)
        dimension = width * 2 ** (len(BLOCKS[depth]) - 1)

        def block(before: int, after: int, stride: int) -> nn.Module:
            return PreActBlock(before, after, stride, norm=norm, activated=activated)

        with seeded(seed, "weights"):
            final = [normalisation(norm, dimension), nn.ReLU()] if final_norm else []
            self.body = nn.Sequential(
                _convolution(in_channels, width),
                *stages(block, BLOCKS[depth], width, width),
                *final,
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            )
            self.classifier = nn.Linear(dimension, num_classes)
            he_weights(self)


def resnet50(num_classes: int, *, weights: str | None = None, seed: int) -> Network:
    """torchvision's ResNet-50 with a new last layer, for images of 224 pixels.

    Parameters
    ----------
    num_classes : int
        C, the number of classes.
    weights : {None, "IMAGENET1K_V1", "IMAGENET1K_V2"}
        Weights trained on ImageNet, which torchvision downloads once, or none (default). They are
        for images standardised with ImageNet's mean and deviation. On Clothing1M the papers start
        from ImageNet: CLID-MU's code names V2, MLNT and MSLG are older than V2.
    seed : int
        Seed of the initial weights of the last layer and, without `weights`, of all others.

    Returns
    -------
    Network
        The network; its features have width D = 2048.
    """
    from torchvision.models import resnet50 as build  # half a second that no other network needs

    check_count("num_classes", num_classes)
    check_choice("weights", weights, WEIGHTS)
    network = Network()
    with seeded(seed, "weights"):
        layers = dict(build(weights=weights).named_children())
        last = layers.pop("fc")
        network.body = nn.Sequential(*layers.values(), nn.Flatten())
        network.classifier = nn.Linear(last.in_features, num_classes)
    return network


class PreActBlock(nn.Module):
    """Twice norm, activation and 3x3 convolution, added to a shortcut.

    Parameters
    ----------
    before, after : int
        Channels of the input, of shape (n, before, height, width), and of the output.
    stride : int
        Stride of the first convolution.
    norm : {"batch", "group"}
        Kind of the norm layers, as in `normalisation`.
    activated : {"projections", "none", "all"}
        The shortcuts that start behind the first norm and activation, as in `PreActResNet`.
    negative_slope : float
        Negative slope of the activation. Default 0, which is ReLU.
    dropout : float
        Rate in [0, 1] at which inputs of the second convolution are dropped. Default 0.
    """

    def __init__(
        self,
        before: int,
        after: int,
        stride: int,
        *,
        norm: str = "batch",
        activated: str = "projections",
        negative_slope: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice("activated", activated, ACTIVATED)
        self.norm1 = normalisation(norm, before)
        self.conv1 = _convolution(before, after, stride)
        self.norm2 = normalisation(norm, after)
        self.conv2 = _convolution(after, after)
        self.activation = nn.LeakyReLU(negative_slope) if negative_slope else nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        projects = stride != 1 or before != after
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if projects else None
        self.shortcut_is_activated = activated == "all" or (projects and activated != "none")

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, of shape (n, after, height / stride, width / stride)."""
        z = self.activation(self.norm1(x))
        shortcut = z if self.shortcut_is_activated else x
        if self.shortcut is not None:
            shortcut = self.shortcut(shortcut)
        z = self.activation(self.norm2(self.conv1(z)))
        return self.conv2(self.dropout(z)) + shortcut


class _BasicBlock(nn.Module):
    """Twice 3x3 convolution and norm, with ReLU between them and after adding the shortcut."""

    def __init__(self, before: int, after: int, stride: int, *, norm: str, pad: bool) -> None:
        super().__init__()
        self.conv1 = _convolution(before, after, stride)
        self.norm1 = normalisation(norm, after)
        self.conv2 = _convolution(after, after)
        self.norm2 = normalisation(norm, after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = (
                _Padding(after - before, stride)
                if pad
                else nn.Sequential(
                    nn.Conv2d(before, after, 1, stride, bias=False), normalisation(norm, after)
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        z = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(z)) + self.shortcut(x))


class _Padding(nn.Module):
    """A shortcut without weights: every second pixel, and zeros for the missing channels."""

    def __init__(self, missing: int, stride: int) -> None:
        super().__init__()
        self.channels = (missing // 2, missing - missing // 2)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *self.channels))


def stages(
    block: Callable[[int, int, int], nn.Module], blocks: Sequence[int], before: int, width: int
) -> list[nn.Module]:
    """The blocks of all stages; each stage but the first halves the image and doubles its channels.

    Parameters
    ----------
    block : callable
        A function of the channels before the block, the channels after it and the stride; it
        returns the block.
    blocks : sequence of int
        Number of blocks in each stage.
    before : int
        Number of channels before the first stage.
    width : int
        Number of channels of the first stage.
    """
    layers = []
    for stage, count in enumerate(blocks):
        for index in range(count):
            after = width * 2**stage
            layers.append(block(before, after, 2 if stage > 0 and index == 0 else 1))
            before = after
    return layers


def _convolution(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, padding=1, bias=False)


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        check_count(name, value)
