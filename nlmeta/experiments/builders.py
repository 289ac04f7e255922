"""From names and plain options to networks and methods, for every problem alike."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from nlmeta import bilevel, methods, models
from nlmeta._checks import check_choice
from nlmeta._interface import rows_of
from nlmeta.data import Augmentation, Split
from nlmeta.data.augmentation import Compose, Cutout, RandAugmentMC, RandomCrop, RandomFlip
from nlmeta.methods.objectives import Objective
from nlmeta.procedures import (
    divergence_score,
    purified_labels,
    ridge,
    transition_from_anchors,
    transition_from_clean,
)

__all__ = [
    "AUGMENTATIONS",
    "BUILDERS",
    "CLOSED_FORMS",
    "NETWORKS",
    "SCORES",
    "STUDENTS",
    "Given",
    "build",
]

PEER = 1000  # between the seed of a network and that of its peer in Co-teaching


@dataclass(frozen=True)
class Given:
    """What there is to build a method from.

    Attributes
    ----------
    split : Split
        The data that the method is trained on.
    model : nn.Module
        The network as it is when the method begins.
    before : nn.Module or None
        The network of the stage before, if there is one; it may be `model`.
    new_network : callable
        ``new_network(seed)`` returns another one.
    steps_per_epoch : int
        Steps of the method in an epoch.
    seed : int
        Seed of the run.
    """

    split: Split
    model: nn.Module
    before: nn.Module | None
    new_network: Callable[[int], nn.Module]
    steps_per_epoch: int
    seed: int


def _ema(given: Given, **options: Any) -> methods.Method:
    return methods.EMA(methods.CrossEntropy(), given.new_network(given.seed), **options)


def _forward(given: Given) -> methods.Method:
    """With the matrix that the noise was drawn from, which nobody has outside of an experiment."""
    if given.split.transition is None:
        raise ValueError("`split` has noise without a known transition matrix to correct with")
    return methods.ForwardCorrection(given.split.transition)


def _forward_estimated(given: Given, **options: Any) -> methods.Method:
    estimate = transition_from_anchors(_before(given), given.split.train.x, **options)
    return methods.ForwardCorrection(estimate)


def _gold(given: Given) -> methods.Method:
    return methods.GoldLossCorrection(transition_from_clean(_before(given), given.split.meta))


def _co_teaching(given: Given, *, forget_rate: float, ramp_epochs: int) -> methods.Method:
    """Twice the work a step; the first network predicts."""
    peer = given.new_network(given.seed + PEER)
    ramp_steps = ramp_epochs * given.steps_per_epoch
    return methods.CoTeaching(peer, forget_rate=forget_rate, ramp_steps=ramp_steps)


def _clid_mu(
    given: Given, *, head: str, objective: str = "divergence", **options: Any
) -> methods.Method:
    made = HEADS[head](given, seed=given.seed, **options.pop("head_options", {}))
    return methods.CLIDMU(made, objective=OBJECTIVES[objective], **options)


def _label_head(
    given: Given, *, head: str, encoder: str | None = None, **options: Any
) -> methods.Method:
    frozen = None if encoder is None else ENCODERS[encoder](given)
    shown = given.model if frozen is None else frozen
    width = models.with_features(shown, rows_of(given.split.train.x, slice(2)))[1].shape[1]
    own = options.pop("head_options", {})
    made = LABEL_HEADS[head](width, given.split.num_classes, seed=given.seed, **own)
    return methods.LabelHead(made, encoder=frozen, **options)


class _Inputs(nn.Module):
    """A network whose features, and output, are its flattened inputs."""

    def forward(self, x: Tensor, return_features: bool = False) -> Any:
        flat = x.flatten(1)
        return (flat, flat) if return_features else flat


def _before(given: Given) -> nn.Module:
    if given.before is None:
        raise ValueError("the plan has no `start`, the stage whose network the method looks at")
    return given.before


#: ``build(given, **options)`` returns a method, by the name that an entry calls it. Those that only
#: pass their options on call them `o`.
BUILDERS: Mapping[str, Callable[..., methods.Method]] = {
    "cross_entropy": lambda given: methods.CrossEntropy(),
    "ema": _ema,
    "gce": lambda given, **o: methods.GeneralisedCrossEntropy(**o),
    "forward": _forward,
    "forward_estimated": _forward_estimated,
    "gold": _gold,
    "reweight": lambda given, **o: methods.LearningToReweight(**o),
    "co_teaching": _co_teaching,
    "elr": lambda given, **o: methods.ELR(len(given.split.train), given.split.num_classes, **o),
    "mlc": lambda given, **o: methods.MLC(given.split.num_classes, **o),
    "mslg": lambda given, **o: methods.MSLG(given.split.train.y, given.split.num_classes, **o),
    "clid_mu": _clid_mu,
    "label_head": _label_head,
    "mlnt": lambda given, **o: methods.MLNT(given.model, _before(given), seed=given.seed, **o),
}


def build(name: str, given: Given, options: Mapping[str, Any]) -> methods.Method:
    """The method of that name; a `mode` that is spelled out becomes a `bilevel.Lookahead`."""
    check_choice("build", name, BUILDERS)
    mode = options.get("mode")
    look = {"mode": bilevel.Lookahead(**mode)} if isinstance(mode, Mapping) else {}
    return BUILDERS[name](given, **{**options, **look})


#: ``build(split, **options)`` returns a network that needs no training, by the name of its builder.
CLOSED_FORMS: Mapping[str, Callable[..., nn.Module]] = {
    "ridge": lambda split, **o: nn.Sequential(
        nn.Flatten(),
        ridge(split.train.x[:].flatten(1), split.train.y, split.num_classes, **o),
    ),
    "purified_labels": lambda split, **o: purified_labels(split, **o).network,
}

#: Builders whose network is a row of its own beside the average that predicts.
STUDENTS = frozenset({"mlnt"})

#: Heads of CLID-MU.
HEADS: Mapping[str, Callable[..., methods.WeightNet | methods.LogitMultiplier]] = {
    "weights": lambda given, **o: methods.WeightNet(**o),
    "multipliers": lambda given, **o: methods.LogitMultiplier(
        given.model.classifier.in_features, given.split.num_classes, **o
    ),
}

#: Networks that give soft labels.
LABEL_HEADS: Mapping[str, Callable[..., methods.LinearLabelNet | methods.LabelCorrectionNet]] = {
    "linear": methods.LinearLabelNet,
    "corrected": methods.LabelCorrectionNet,
}

#: Networks that nothing trains any more, whose features a label head reads: that of the stage
#: before, or none, where the inputs are features already.
ENCODERS: Mapping[str, Callable[[Given], nn.Module]] = {
    "before": _before,
    "inputs": lambda given: _Inputs(),
}

#: Outer objectives of CLID-MU and of its controls.
OBJECTIVES: Mapping[str, Objective] = {
    "divergence": methods.CrossLayerDivergence(),
    "uniform divergence": methods.CrossLayerDivergence(temperature=math.inf),
    "prediction entropy": methods.PredictionEntropy(),
    "label cross-entropy": methods.LabelCrossEntropy(),
}


#: ``network(split, seed=seed, **options)`` returns a network with new weights.
NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    "mlp": lambda split, **o: models.MLP(split.train.x[:1].numel(), split.num_classes, **o),
    "cnn8": lambda split, **o: models.CNN8(split.num_classes, **o),
    "vgg19bn": lambda split, **o: models.VGG19BN(split.num_classes, **o),
    "cifar_resnet": lambda split, **o: models.CIFARResNet(num_classes=split.num_classes, **o),
    "preact_resnet": lambda split, **o: models.PreActResNet(num_classes=split.num_classes, **o),
    "wide_resnet": lambda split, **o: models.WideResNet(num_classes=split.num_classes, **o),
    "resnet50": lambda split, **o: models.resnet50(split.num_classes, **o),
    "resnet9": lambda split, **o: models.ResNet9(split.num_classes, **o),
    "text_mlp": lambda split, **o: models.TextMLP(len(split.vocabulary), split.num_classes, **o),
}

#: Of training images; meta images are not augmented.
AUGMENTATIONS: Mapping[str, Augmentation] = {
    "crop and flip": Compose([RandomCrop(padding=4), RandomFlip()]),
    "crop and both flips": Compose(
        [RandomFlip(), RandomFlip(vertical=True), RandomCrop(padding=4)]
    ),
    "flip, crop, RandAugmentMC": Compose(
        [RandomFlip(), RandomCrop(padding=4, mode="reflect"), RandAugmentMC(), Cutout(16)]
    ),
}

#: ``score(network, x=x, seed=seed)`` says how good an epoch is, without labels. Low is good.
SCORES: Mapping[str, Callable[..., float]] = {
    "divergence": divergence_score,
    "one-hot divergence": partial(divergence_score, one_hot=True),
}
