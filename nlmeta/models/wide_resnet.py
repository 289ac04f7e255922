"""Wide residual networks (Zagoruyko and Komodakis, BMVC 2016), for images of 32 pixels.

MLC uses WRN-40-2; CLID-MU and Meta-Weight-Net WRN-28-10, CLID-MU with FixMatch WRN-28-2.
"""

from torch import nn

from nlmeta._checks import check_count, check_not_negative, check_rate
from nlmeta.models.base import Network, he_weights, normalisation
from nlmeta.models.resnet import PreActBlock, stages
from nlmeta.seeding import seeded

__all__ = ["WideResNet"]


class WideResNet(Network):
    """WRN-`depth`-`widen_factor`: pre-activation blocks in three wide stages.

    Parameters
    ----------
    depth : int
        Number of layers, 6 k + 4 for k blocks in a stage: 40 and 28 in the papers.
    widen_factor : int
        Factor of the channels: the stages have 16, 32 and 64 times as many. 2 and 10 in the papers.
        So the features have width D = 64 * `widen_factor`.
    num_classes : int
        C, the number of classes.
    in_channels : int
        Number of channels of the images. Default 3.
    dropout : float
        Rate of dropout between the two convolutions of a block. Default 0, as in MLC's code.
    negative_slope : float
        Negative slope of LeakyReLU: 0.01 in MLC's code, 0.1 in CLID-MU's with FixMatch. Default 0,
        which is ReLU, as published.
    norm : {"batch", "group"}
        BatchNorm (default), or GroupNorm with at most 16 channels in a group, which does not depend
        on the division of a batch among GPUs.
    seed : int
        Seed of the initial weights.

    Notes
    -----
    The code of the papers differs in more than the slope. In MLC's code all shortcuts start before
    norm and activation, the second convolution of a block has the stride, and the running
    statistics of the last norm move with momentum 0.9. In CLID-MU's code with FixMatch the running
    statistics of all norms move with momentum 0.001, and their epsilon is 0.001. In both codes the
    convolutions have a bias, which the following norms remove.
    """

    def __init__(
        self,
        depth: int,
        widen_factor: int,
        num_classes: int,
        *,
        in_channels: int = 3,
        dropout: float = 0.0,
        negative_slope: float = 0.0,
        norm: str = "batch",
        seed: int,
    ) -> None:
        super().__init__()
        check_count("depth", depth, minimum=10)
        if depth % 6 != 4:
            raise ValueError(f"`depth` is {depth}; it must be 6 k + 4, for example 28 or 40")
        check_count("widen_factor", widen_factor)
        check_count("num_classes", num_classes)
        check_count("in_channels", in_channels)
        check_rate("dropout", dropout)
        check_not_negative("negative_slope", negative_slope)
        blocks = 3 * [(depth - 4) // 6]
        width = 16 * widen_factor

        def block(before: int, after: int, stride: int) -> nn.Module:
            return PreActBlock(
                before, after, stride, norm=norm, negative_slope=negative_slope, dropout=dropout
            )

        with seeded(seed, "weights"):
            self.body = nn.Sequential(
                nn.Conv2d(in_channels, 16, 3, padding=1, bias=False),
                *stages(block, blocks, 16, width),
                normalisation(norm, 4 * width),
                nn.LeakyReLU(negative_slope) if negative_slope else nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            )
            self.classifier = nn.Linear(4 * width, num_classes)
            he_weights(self)
