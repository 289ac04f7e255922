"""Networks. Each returns logits and, with ``return_features=True``, also its last features.

Their initial weights are drawn from a seed; building a network does not change PyTorch's global
generator. The papers' networks have He's normal weights in their convolutions
(`models.base.he_weights`) and PyTorch's own in their linear layers.
"""

from nlmeta.models.base import Network
from nlmeta.models.convolutional import CNN8, VGG19BN
from nlmeta.models.copies import copy_of
from nlmeta.models.outputs import FeaturesOf, logits_of, with_features
from nlmeta.models.resnet import CIFARResNet, PreActResNet, ResNet9, resnet50
from nlmeta.models.small import MLP, SmallCNN
from nlmeta.models.text import TextMLP
from nlmeta.models.wide_resnet import WideResNet

__all__ = [
    "CNN8",
    "MLP",
    "CIFARResNet",
    "FeaturesOf",
    "Network",
    "PreActResNet",
    "ResNet9",
    "SmallCNN",
    "TextMLP",
    "VGG19BN",
    "WideResNet",
    "copy_of",
    "logits_of",
    "resnet50",
    "with_features",
]
