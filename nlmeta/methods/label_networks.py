"""Two small networks that give a sample its soft label; `LabelHead` learns them.

A label network returns label logits u; the soft label is their softmax. It reads features, so it
also labels samples that no training has seen. The features are detached from the network that is
trained, so the label enters the virtual step through the loss alone.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nlmeta import bilevel
from nlmeta._checks import check_class_indices, check_count
from nlmeta.methods.heads import checked_features
from nlmeta.seeding import seeded

__all__ = ["LabelCorrectionNet", "LabelNetwork", "LinearLabelNet"]


class LabelNetwork(nn.Module, ABC):
    """What label networks share: they are called with a forward pass, or with features alone."""

    needs_features = True
    settings: Any

    def forward(self, forward: bilevel.ForwardPass, labels: Tensor) -> Tensor:
        """Label logits (n, C) for the first n samples of a forward pass."""
        features = checked_features(self, forward.features)
        return self.label_logits(features[: len(labels)], labels)

    @abstractmethod
    def label_logits(self, features: Tensor, given: Tensor | None = None) -> Tensor:
        """Label logits from features.

        Parameters
        ----------
        features : Tensor, shape (n, D)
            Features of the samples, in the type of the network's own weights.
        given : Tensor of int64, shape (n,), optional
            Given labels. A network that reads none ignores them.

        Returns
        -------
        Tensor, shape (n, C)
            The logits u.
        """


class LinearLabelNet(LabelNetwork):
    """The soft label as the softmax of one linear layer on the features (MetaLabelNet).

    G. Algan, I. Ulusoy, "MetaLabelNet: Learning to Generate Soft-Labels From Noisy-Labels", IEEE
    Transactions on Image Processing 31, 2022. It reads no given label, so it labels unlabelled
    samples as well. Given labels count through the features, which a network learned from them.

    Parameters
    ----------
    num_features : int
        D, width of the features.
    num_classes : int
        C, the number of classes.
    seed : int
        Seed of the initial weights, which are drawn as in `torch.nn.Linear`.
    """

    def __init__(self, num_features: int, num_classes: int, *, seed: int) -> None:
        super().__init__()
        sizes = {"num_features": num_features, "num_classes": num_classes}
        for name, size in sizes.items():
            check_count(name, size)
        self.settings = {"name": "LinearLabelNet", **sizes, "seed": seed}
        with seeded(seed, "head"):
            self.layer = nn.Linear(num_features, num_classes)

    def label_logits(self, features: Tensor, given: Tensor | None = None) -> Tensor:
        """W h + b; `given` is not looked at. See `LabelNetwork.label_logits`."""
        return self.layer(features)


class LabelCorrectionNet(LabelNetwork):
    """The soft label from features and the given label: the network of Meta Label Correction.

    G. Zheng, A. H. Awadallah, S. Dumais, "Meta Label Correction for Noisy Label Learning", AAAI
    2021. The features stand beside an embedding of the given label; two layers with tanh follow.
    The authors call their method MLC. In this package `MLC` is Meta Loss Correction (Wang et al.,
    CVPR 2020), which learns a transition matrix and changes no label.

    Parameters
    ----------
    num_features : int
        D, width of the features.
    num_classes : int
        C, the number of classes.
    embedding : int
        Width of a label's embedding. Default 128, as in the released commands; 64 in their parser.
    hidden : int
        Width of both hidden layers. Default 128, released.
    skip : bool
        If True, the label is a mixture of the softmax and the given label's one-hot, by a share
        that the network computes for each sample. It is an option of the released code that the
        released commands do not use. Default False.
    seed : int
        Seed of the initial weights: Xavier's, with biases of zero, as released.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        embedding: int = 128,
        hidden: int = 128,
        skip: bool = False,
        seed: int,
    ) -> None:
        super().__init__()
        sizes = {"num_features": num_features, "num_classes": num_classes, "embedding": embedding}
        sizes["hidden"] = hidden
        for name, size in sizes.items():
            check_count(name, size)
        self.settings = {"name": "LabelCorrectionNet", **sizes, "skip": skip, "seed": seed}
        self.skip = skip
        with seeded(seed, "head"):
            self.embedding = nn.Embedding(num_classes, embedding)
            self.layers = nn.Sequential(
                nn.Linear(num_features + embedding, hidden),
                nn.Tanh(),
                nn.Linear(hidden, hidden),
                nn.Tanh(),
                nn.Linear(hidden, num_classes + skip),
            )
            nn.init.xavier_uniform_(self.embedding.weight)
            for layer in self.layers:
                if isinstance(layer, nn.Linear):
                    nn.init.xavier_normal_(layer.weight)
                    nn.init.zeros_(layer.bias)

    def label_logits(self, features: Tensor, given: Tensor | None = None) -> Tensor:
        """Label logits; `given` is required. See `LabelNetwork.label_logits`."""
        if given is None:
            raise ValueError(
                "`given` is missing; LabelCorrectionNet reads the given label of each sample. For "
                "unlabelled samples use LinearLabelNet"
            )
        check_class_indices("given", given)
        u = self.layers(torch.cat([features, self.embedding(given)], dim=1))
        if not self.skip:
            return u
        u, gate = u[:, :-1], u[:, -1:]
        # The logarithm of (1 - a) softmax(u) + a e, with a = sigmoid(gate).
        log_s = F.log_softmax(u, dim=1) + F.logsigmoid(-gate)
        place = given[:, None]
        return log_s.scatter(1, place, torch.logaddexp(log_s.gather(1, place), F.logsigmoid(gate)))
