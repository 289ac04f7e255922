"""From names and plain options to networks and methods, for every problem alike."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from nlmeta.data import Augmentation, Split
from nlmeta.data.augmentation import Compose, RandomCrop, RandomFlip
from nlmeta.methods import (
    CLIDMU,
    ELR,
    EMA,
    MLC,
    MLNT,
    MSLG,
    CoTeaching,
    CrossEntropy,
    CrossLayerDivergence,
    ForwardCorrection,
    GeneralisedCrossEntropy,
    GoldLossCorrection,
    LabelCrossEntropy,
    LearningToReweight,
    LogitMultiplier,
    Method,
    PredictionEntropy,
    WeightNet,
)
from nlmeta.methods.objectives import Objective
from nlmeta.models import CNN8, MLP, SmallCNN
from nlmeta.procedures import divergence_score, transition_from_anchors, transition_from_clean

__all__ = ["AUGMENTATIONS", "BUILDERS", "NETWORKS", "SCORES", "STUDENTS", "Given"]

PEER = 1000  # between the seed of a network and that of its peer in Co-teaching


@dataclass(frozen=True)
class Given:
    """What a method is built from.

    Attributes
    ----------
    split : Split
        What the method is trained on.
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


def _cross_entropy(given: Given) -> Method:
    return CrossEntropy()


def _ema(given: Given, *, decay: float) -> Method:
    return EMA(CrossEntropy(), given.new_network(given.seed), decay=decay)


def _gce(given: Given, *, q: float) -> Method:
    return GeneralisedCrossEntropy(q=q)


def _forward(given: Given) -> Method:
    """With the matrix that the noise was drawn from, which nobody has outside of an experiment."""
    if given.split.transition is None:
        raise ValueError("`split` has noise without a known transition matrix to correct with")
    return ForwardCorrection(given.split.transition)


def _forward_estimated(given: Given, *, percentile: float) -> Method:
    estimate = transition_from_anchors(_before(given), given.split.train.x, percentile=percentile)
    return ForwardCorrection(estimate)


def _gold(given: Given) -> Method:
    return GoldLossCorrection(transition_from_clean(_before(given), given.split.meta))


def _reweight(given: Given) -> Method:
    return LearningToReweight()


def _co_teaching(given: Given, *, forget_rate: float, ramp_epochs: int) -> Method:
    """Twice the work a step; the first network predicts."""
    return CoTeaching(
        given.new_network(given.seed + PEER),
        forget_rate=forget_rate,
        ramp_steps=ramp_epochs * given.steps_per_epoch,
    )


def _elr(given: Given, **options: Any) -> Method:
    return ELR(len(given.split.train), given.split.num_classes, **options)


def _mlc(given: Given, **options: Any) -> Method:
    return MLC(given.split.num_classes, **options)


def _mslg(given: Given, **options: Any) -> Method:
    return MSLG(given.split.train.y, given.split.num_classes, **options)


def _clid_mu(
    given: Given,
    *,
    head: str,
    objective: str = "divergence",
    head_options: Mapping[str, Any] = {},
    **options: Any,
) -> Method:
    if head == "weights":
        return CLIDMU(WeightNet(seed=given.seed), objective=OBJECTIVES[objective], **options)
    classifier = given.model.get_submodule("classifier")
    assert isinstance(classifier, nn.Linear)
    multiplier = LogitMultiplier(
        classifier.in_features, given.split.num_classes, seed=given.seed, **head_options
    )
    return CLIDMU(multiplier, objective=OBJECTIVES[objective], **options)


def _mlnt(given: Given, **options: Any) -> Method:
    return MLNT(given.model, _before(given), seed=given.seed, **options)


def _before(given: Given) -> nn.Module:
    if given.before is None:
        raise ValueError("the plan has no `start`, the stage whose network the method looks at")
    return given.before


#: ``build(given, **options)`` returns a method, by the name that an entry calls it.
BUILDERS: Mapping[str, Callable[..., Method]] = {
    "cross_entropy": _cross_entropy,
    "ema": _ema,
    "gce": _gce,
    "forward": _forward,
    "forward_estimated": _forward_estimated,
    "gold": _gold,
    "reweight": _reweight,
    "co_teaching": _co_teaching,
    "elr": _elr,
    "mlc": _mlc,
    "mslg": _mslg,
    "clid_mu": _clid_mu,
    "mlnt": _mlnt,
}

#: Builders whose network is a row of its own beside the average that predicts.
STUDENTS = frozenset({"mlnt"})

#: Outer objectives of CLID-MU and of its controls.
OBJECTIVES: Mapping[str, Objective] = {
    "divergence": CrossLayerDivergence(),
    "uniform divergence": CrossLayerDivergence(temperature=math.inf),
    "prediction entropy": PredictionEntropy(),
    "label cross-entropy": LabelCrossEntropy(),
}


def _mlp(split: Split, *, seed: int, **options: Any) -> nn.Module:
    return MLP(math.prod(split.train.x.shape[1:]), split.num_classes, seed=seed, **options)


def _small_cnn(split: Split, *, seed: int, **options: Any) -> nn.Module:
    return SmallCNN(split.train.x.shape[1], split.num_classes, seed=seed, **options)


def _cnn8(split: Split, *, seed: int, **options: Any) -> nn.Module:
    return CNN8(split.num_classes, seed=seed, **options)


#: ``network(split, seed=seed, **options)`` returns a network with new weights.
NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    "mlp": _mlp,
    "small_cnn": _small_cnn,
    "cnn8": _cnn8,
}

#: Of training images; meta images are not augmented.
AUGMENTATIONS: Mapping[str, Augmentation] = {
    "crop and flip": Compose([RandomCrop(padding=4), RandomFlip()]),
}

#: ``score(network, x=x, seed=seed)`` says how good an epoch is, without labels. Low is good.
SCORES: Mapping[str, Callable[..., float]] = {
    "divergence": divergence_score,
    "one-hot divergence": partial(divergence_score, one_hot=True),
}
