"""The common parts of the networks: features, norm layers and initial weights."""

from torch import Tensor, nn

from nlmeta._checks import check_choice

__all__ = ["Network", "he_weights", "normalisation"]


class Network(nn.Module):
    """A body that computes features and a linear layer that computes logits.

    Attributes
    ----------
    body : nn.Module
        The layers that map a batch of inputs to features of shape (n, D).
    classifier : nn.Linear
        The layer that maps features to logits of shape (n, C). The last layer of every network has
        this name.
    """

    body: nn.Module
    classifier: nn.Linear

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Logits of a batch and, on request, the features that enter the last linear layer.

        Parameters
        ----------
        x : Tensor, shape (n, ...)
            Batch of inputs.
        return_features : bool
            If True, the features are returned as well. Default False.

        Returns
        -------
        logits : Tensor, shape (n, C)
            The logits.
        features : Tensor, shape (n, D)
            The features; only with `return_features`.
        """
        features = self.body(x)  # (n, D)
        logits = self.classifier(features)  # (n, C)
        return (logits, features) if return_features else logits


def normalisation(norm: str, channels: int) -> nn.Module:
    """A norm layer for images of shape (n, channels, height, width).

    Parameters
    ----------
    norm : {"batch", "group"}
        BatchNorm, or GroupNorm (Wu and He, ECCV 2018) for training on several GPUs: it normalises
        each image by itself, so the way in which a batch is divided does not matter. Its groups
        have 16 channels, or the next smaller number that divides `channels`.
    channels : int
        Number of channels of the images.
    """
    check_choice("norm", norm, ("batch", "group"))
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    size = max(divisor for divisor in range(1, 17) if channels % divisor == 0)
    return nn.GroupNorm(channels // size, channels)


def he_weights(network: nn.Module) -> None:
    """Draw each convolution's initial weights anew, in place, from PyTorch's global generator.

    They are normal with mean 0 and variance 2 / (kernel height * kernel width * channels out), so
    that ReLU makes the gradient neither grow nor shrink (He et al., ICCV 2015); biases are 0.

    Parameters
    ----------
    network : nn.Module
        A network; its linear and norm layers keep PyTorch's initial weights.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
