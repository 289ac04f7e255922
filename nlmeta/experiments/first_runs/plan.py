"""What is run on CIFAR-10, as data: noise problems, and a queue of methods and baselines.

Schedules stand here at full length; `runner` shortens them. Settings are the released ones of
`nlmeta.presets` but for what a comment beside them says.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from nlmeta import presets
from nlmeta.data import Augmentation, Split
from nlmeta.data.augmentation import Compose, RandomCrop, RandomFlip
from nlmeta.methods import CLIDMU, EMA, MLC, MLNT, MSLG, CrossEntropy, LogitMultiplier, Method
from nlmeta.models import CNN8

__all__ = ["PROBLEMS", "QUEUE", "Entry", "Given"]


@dataclass(frozen=True)
class Given:
    """What a method is built from.

    Attributes
    ----------
    split : Split
        What is trained on.
    model : nn.Module
        The network as it is when the method begins.
    first : nn.Module or None
        The network that was trained before, if there is such a stage; it may be `model`.
    seed : int
        Of the run.
    shorten : float
        Whatever a method counts in steps or epochs is divided by it.
    """

    split: Split
    model: nn.Module
    first: nn.Module | None
    seed: int
    shorten: float


def _as_loaded(split: Split, seed: int) -> Split:
    return split


def _network(split: Split, seed: int) -> nn.Module:
    return CNN8(split.num_classes, seed=seed)


@dataclass(frozen=True)
class Entry:
    """A run of the queue, for any seed.

    Attributes
    ----------
    name : str
        Of its files.
    problem : str
        Rows of one problem stand together in the table.
    load : mapping
        Arguments of `nlmeta.data.load`.
    method : callable
        ``method(given)`` returns the method.
    training : mapping
        Arguments of `nlmeta.fit`, at full length.
    cost : float
        About how many steps of cross-entropy one of its steps takes; for the budget alone. Default
        1.
    start : mapping, optional
        Arguments of `nlmeta.fit`, at full length, for cross-entropy in a stage before. Default:
        there is none.
    start_goes_on : bool
        Whether the network of that stage is trained on. Default True. False: the method begins with
        new weights and looks at that network.
    data : callable
        ``data(split, seed)`` returns what is trained on. Default: the split as it was loaded.
    network : callable
        ``network(split, seed)`` returns a new one. Default: `CNN8`.
    augmentation : Augmentation or None
        Of the training images; meta images are not augmented. Default: a crop with 4 pixels of
        padding and a horizontal flip.
    """

    name: str
    problem: str
    load: Mapping[str, Any]
    method: Callable[[Given], Method]
    training: Mapping[str, Any]
    cost: float = 1.0
    start: Mapping[str, Any] | None = None
    start_goes_on: bool = True
    data: Callable[[Split, int], Split] = _as_loaded
    network: Callable[[Split, int], nn.Module] = _network
    augmentation: Augmentation | None = Compose([RandomCrop(padding=4), RandomFlip()])


#: Arguments of `nlmeta.data.load`. Sizes are its own: 1,000 clean meta images and 5,000 validation
#: images, which nobody looks at here, leave 44,000 for training; 10,000 test images.
PROBLEMS: Mapping[str, Mapping[str, Any]] = {
    "symmetric60": {"name": "cifar10", "noise": "symmetric", "rate": 0.6},
    "one-target40": {"name": "cifar10", "noise": "one-target", "rate": 0.4},
    "symmetric50": {"name": "cifar10", "noise": "symmetric", "rate": 0.5},
    "worst": {"name": "cifar10n", "labels": "worst"},
}

# Trainings, each that of the method which its problem is there for. The baselines take it too, so
# that a method and its baseline differ in the method alone.

MSLG_TRAINING: Mapping[str, Any] = presets.MSLG_CIFAR10.training
PLAIN_TRAINING = {**MSLG_TRAINING, "warmup_epochs": 0}  # which cross-entropy has no use for

# ours: ten times the epochs, 9,600 steps of a batch of 128 where 1,000 images make 8 an epoch.
META_TRAINING = {**PLAIN_TRAINING, "epochs": 1200, "schedule": (420, 820)}

# Steps of the release in epochs of its 50,000 images: 30,000 of warm-up, then 50,000. The meta
# batch is as large as the whole released meta set.
MLC_START = {
    "epochs": 38,
    "batch_size": 64,
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": "constant",
}
MLC_TRAINING = {**presets.MLC_CIFAR10.training, "epochs": 64, "meta_batch_size": 500}
# The same step on the mean of 64 losses instead of their sum.
MEAN_TRAINING = {**MLC_TRAINING, "lr": 64 * 1e-4, "weight_decay": 5e-4 / 64}

MLNT_TRAINING: Mapping[str, Any] = presets.MLNT_CIFAR10.training
MLNT_START = {  # port
    "epochs": 10,
    "batch_size": 128,
    "lr": 0.04,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "schedule": "constant",
}

# ours: the cosine ends at zero, with the last epoch; released, at 1e-3 ten epochs before.
CLID_MU_TRAINING = {**presets.CLID_MU_CIFAR_MULTIPLIERS.training, "schedule": "cosine"}


def _cross_entropy(given: Given) -> Method:
    return CrossEntropy()


def _ema(given: Given) -> Method:
    return EMA(CrossEntropy(), given.model, decay=0.999)  # ours


def _mslg(given: Given, **switches: Any) -> Method:
    options: dict[str, Any] = {**presets.MSLG_CIFAR10.method, **switches}
    return MSLG(given.split.train.y, given.split.num_classes, **options)


def _mlc(given: Given, *, preset: Mapping[str, Any]) -> Method:
    return MLC(given.split.num_classes, **preset)


def _mlnt(given: Given, **switches: Any) -> Method:
    assert given.first is not None
    options: dict[str, Any] = {**presets.MLNT_CIFAR10.method, **switches}
    options["ramp_steps"] = round(options["ramp_steps"] / given.shorten)
    return MLNT(given.model, given.first, seed=given.seed, **options)


def _clid_mu(given: Given) -> Method:
    options: dict[str, Any] = dict(presets.CLID_MU_CIFAR_MULTIPLIERS.method)
    classifier = given.model.classifier
    assert isinstance(classifier, nn.Linear)
    head = LogitMultiplier(classifier.in_features, given.split.num_classes, seed=given.seed)
    return CLIDMU(head, **options)


def _meta_alone(split: Split, seed: int) -> Split:
    return split.on_meta_set()


def _noisy_meta(split: Split, seed: int) -> Split:
    """As released: any 1,000 training images, which stay in the training part."""
    return split.with_noisy_meta(1000, seed=seed)


def _entry(
    problem: str,
    name: str,
    method: Callable[[Given], Method],
    training: Mapping[str, Any],
    **further: Any,
) -> Entry:
    return Entry(f"{problem}-{name}", problem, PROBLEMS[problem], method, training, **further)


# Costs are rounded from the record of `nlmeta.experiments.cost`, 5 for the large meta batch.
_on_symmetric = partial(_entry, "symmetric60")
_on_one_target = partial(_entry, "one-target40", start=MLC_START)
_on_symmetric50 = partial(_entry, "symmetric50")
_on_worst = partial(_entry, "worst")

#: The order of work: each question once, then the baselines that the other problems need.
QUEUE = (
    _on_symmetric("cross-entropy", _cross_entropy, PLAIN_TRAINING),
    _on_symmetric("ema", _ema, PLAIN_TRAINING, cost=1.1),
    _on_symmetric("meta-alone", _cross_entropy, META_TRAINING, data=_meta_alone),
    _on_symmetric("mslg", _mslg, MSLG_TRAINING, cost=4),
    _on_symmetric("mslg-labels-stay", partial(_mslg, label_lr=0.0), MSLG_TRAINING, cost=4),
    _on_one_target(
        "mlc-textbook", partial(_mlc, preset=presets.MLC_DIGITS.method), MEAN_TRAINING, cost=5
    ),
    _on_one_target(
        "mlc-official", partial(_mlc, preset=presets.MLC_CIFAR10.method), MLC_TRAINING, cost=5
    ),
    _on_symmetric50("mlnt", _mlnt, MLNT_TRAINING, cost=18, start=MLNT_START, start_goes_on=False),
    _on_symmetric50(
        "mean-teacher",
        partial(_mlnt, trial_lr=0.0, trials=1),
        MLNT_TRAINING,
        cost=3.5,
        start=MLNT_START,
        start_goes_on=False,
    ),
    _on_symmetric("clid-mu", _clid_mu, CLID_MU_TRAINING, cost=4, data=_noisy_meta),
    _on_worst("cross-entropy", _cross_entropy, PLAIN_TRAINING),
    _on_one_target("cross-entropy", _cross_entropy, MEAN_TRAINING),
    _on_one_target("ema", _ema, MEAN_TRAINING, cost=1.1),
    _on_symmetric50("cross-entropy", _cross_entropy, MLNT_TRAINING),
    _on_symmetric50("ema", _ema, MLNT_TRAINING, cost=1.1),
    _on_symmetric("cross-entropy-as-clid-mu", _cross_entropy, CLID_MU_TRAINING),
    _on_worst("ema", _ema, PLAIN_TRAINING, cost=1.1),
)
