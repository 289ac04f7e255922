"""From the fields of a plan to its split, which tasks of one seed share."""

import json
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from nlmeta import data
from nlmeta._checks import check_choice
from nlmeta._interface import rows_of
from nlmeta.data import Samples, Split, load
from nlmeta.data.source import Part
from nlmeta.data.sources import read, read_prediction_table
from nlmeta.experiments.task import Plan
from nlmeta.seeding import generator

__all__ = ["Load", "load_named", "loaded_by"]

DATA = ("load", "features", "train_size", "held_out")  # fields of a plan that make its split

Load = Callable[..., Split]  # as `nlmeta.data.load`


def load_named(name: str, *, predictions: str | None = None, **options: Any) -> Split:
    """`nlmeta.data.load`; ``"shipped"`` predictions are the table of MSLG's authors.

    ``"class means"`` are those of somebody who compares an input with the mean of each class.
    """
    check_choice("predictions", predictions, (None, "shipped", "class means"))
    table = None
    if predictions == "shipped":
        table = read_prediction_table(name).values
    elif predictions == "class means":
        table = _likeness(read(name).train)
    return load(name, predictions=table, **options)


def _likeness(part: Part) -> Tensor:
    """Probabilities by the squared distance to the mean of a class, in units of its own average."""
    x = rows_of(part.x, slice(None)).flatten(1).double()
    means = torch.stack([x[part.y == c].mean(0) for c in range(int(part.y.max()) + 1)])
    distance = torch.cdist(x, means).square()
    return (-distance / distance.gather(1, part.y[:, None]).mean() * 5).softmax(1)


def loaded_by(plan: Plan, seed: int, load: Load) -> tuple[Split, Samples | None]:
    """The split of a plan, and noisy samples that are set apart from its training part."""
    asked = {name: plan[name] for name in DATA if name in plan}
    return _loaded(json.dumps(asked), seed, load)


@lru_cache(maxsize=2)  # tasks of one seed come one after the other
def _loaded(text: str, seed: int, load: Load) -> tuple[Split, Samples | None]:
    asked = json.loads(text)
    split, held_out = load(**asked["load"], seed=seed), None
    if "features" in asked:
        split = data.features(split, _backbone(asked["features"]), progress=False)
    place = torch.randperm(len(split.train), generator=generator(seed, "train size")).argsort()
    apart = asked.get("held_out", 0)
    if apart:
        held_out = split.train.subset(place < apart)
    if apart or "train_size" in asked:
        end = apart + asked.get("train_size", len(place))
        split = split.keep((apart <= place) & (place < end))
    return split, held_out


@cache
def _backbone(name: str) -> data.Backbone:
    return data.backbone(name)
