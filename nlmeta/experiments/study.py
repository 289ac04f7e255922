"""An experiment that a paper names, with its plans at three scales.

``paper`` is the full network, batch, schedule and dataset: a problem of a table. ``tiny`` is such a
plan with a thin network, small images and two steps in a stage, so that all of it can be tried in
seconds. What two CPU cores can do, ``cores``, is an experiment of its own, which a study names.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from nlmeta._checks import check_choice
from nlmeta.data import Part, Source, Split, SplitOptions, make_split
from nlmeta.experiments.task import Entry, Plan, Problem
from nlmeta.seeding import generator

__all__ = ["SHAPES", "Study", "hours", "stand_in", "thin", "tiny"]

#: Classes of a dataset, and channels, height and width of its images.
SHAPES: Mapping[str, tuple[int, int, int]] = {
    "cifar10": (10, 3, 32),
    "cifar100": (100, 3, 32),
    "cifar10n": (10, 3, 32),
    "cifar100n": (100, 3, 32),
    "animal10n": (10, 3, 64),
    "clothing1m": (14, 3, 224),
    "food101n": (101, 3, 224),
}

TINY_BATCH = 12  # MLNT looks for 10 neighbours in it
TINY_SIZE = 32  # pixels a side, where a dataset has larger images
TINY_NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "cnn8": {"name": "preact_resnet", "depth": 18, "width": 4},  # it has no width of its own
    "vgg19bn": {"width": 4},
    "preact_resnet": {"width": 4},
    "cifar_resnet": {"width": 4},
    "wide_resnet": {"depth": 10, "widen_factor": 1},
    "resnet50": {"name": "cifar_resnet", "depth": 18, "width": 4},
}


@dataclass(frozen=True)
class Study:
    """An experiment that a paper, or the code that its authors released, names.

    Attributes
    ----------
    name : str
        Method and dataset, and what tells it from other experiments.
    paper : str
        The file of its figures, see `literature.published`.
    settings : {"published", "code", "port", "ours", "unknown"}
        Origin of its settings, as for `nlmeta.presets.Preset`; unknown if no source has them.
    problems : sequence of Problem
        The data, network and training at the scale ``"paper"``, a problem for each kind of labels.
        Default: none, where settings are unknown or the code lacks something.
    entries : sequence of Entry
        The method, then what its time is compared with: cross-entropy. Default: none.
    images : int
        Number of training images. Default 0.
    cores : str, optional
        The experiment that asks the same at the scale ``"cores"``. Default: there is none.
    differs : str
        What our code does otherwise, or lacks.
    """

    name: str
    paper: str
    settings: Literal["published", "code", "port", "ours", "unknown"]
    problems: Sequence[Problem] = ()
    entries: Sequence[Entry] = ()
    images: int = 0
    cores: str | None = None
    differs: str = ""

    @property
    def scales(self) -> list[str]:
        """Scales at which there is a plan."""
        own = ["tiny", "paper"] if self.problems else []
        return [*own[:1], *["cores"] * bool(self.cores), *own[1:]]


def thin(plan: Plan, samples: int, **training: Any) -> Plan:
    """A plan on few samples, with one epoch in each stage; network and batches stay.

    Parameters
    ----------
    plan : mapping
        A plan of a `TrainingTable`.
    samples : int
        Number of training samples.
    **training
        Further arguments of `nlmeta.fit` that change in each stage.

    Returns
    -------
    mapping
        Another plan, with no weights that have to be downloaded. The meta set is one meta batch, or
        a little larger where all classes have to be in it; test and validation part are as small.
    """
    load, stages = dict(plan["load"]), {}
    for name in ("start", "training"):
        if name in plan:
            once = {"epochs": 1, "warmup_epochs": 0, "evaluate_every": 1, **training}
            stages[name] = {**plan[name], **once}
    classes, *_ = SHAPES[load["name"]]
    meta_batch = stages["training"]["meta_batch_size"] or 1
    for name in ("meta_size", "validation_size", "test_size"):
        if load.get(name) != 0:
            most = meta_batch if name == "meta_size" else 1
            load[name] = classes * math.ceil(most / classes)
    network = {name: value for name, value in plan["network"].items() if name != "weights"}
    changed = {**plan, **stages, "load": load, "network": network, "train_size": samples}
    return changed | ({"meta_size": meta_batch} if "meta_size" in plan else {})


def tiny(plan: Plan) -> Plan:
    """A plan of a `TrainingTable` at the scale ``"tiny"``: two steps of a thin network.

    MLNT has two trial steps instead of ten.

    Parameters
    ----------
    plan : mapping
        A plan at the scale ``"paper"``.

    Returns
    -------
    mapping
    """
    batches = {"batch_size": TINY_BATCH}
    if plan["training"]["meta_batch_size"]:
        batches["meta_batch_size"] = TINY_BATCH
    changed = dict(thin(plan, 2 * TINY_BATCH, **batches))
    name, load = changed["network"]["name"], dict(changed["load"])
    check_choice("network", name, TINY_NETWORKS)
    if "size" in load:
        load["size"] = TINY_SIZE
    network = {**changed["network"], **TINY_NETWORKS[name]}
    fewer = {"trials": 2} if "trials" in plan.get("options", {}) else {}
    options = {**plan.get("options", {}), **fewer}
    return {**changed, "scale": "tiny", "load": load, "network": network, "options": options}


def stand_in(
    name: str, *, seed: int, samples: int, size: int | None = None, **options: Any
) -> Split:
    """A split of random images in the shape of a dataset; called like `nlmeta.data.load`.

    Parameters
    ----------
    name : str
        One of `SHAPES`.
    seed : int
        Seed of images, split and noise.
    samples : int
        Number of training samples, at least.
    size : int, optional
        Side of an image in pixels. Default: that of `SHAPES`.
    **options
        Further arguments of `load`. Any table stands in for ``predictions``, and labels that are
        drawn for any ``labels``.

    Returns
    -------
    Split
    """
    check_choice("name", name, SHAPES)
    classes, channels, side = SHAPES[name]
    side, g = size or side, generator(seed, "stand-in")
    # Three times what is set apart: classes are drawn unevenly, and some have to be there twice.
    room = 3 * sum(options.get(f"{part}_size") or 0 for part in ("meta", "validation", "test"))
    wanted = samples + room
    labels = options.get("labels")

    def part(n: int) -> Part:
        x = torch.randint(256, (n, channels, side, side), generator=g, dtype=torch.uint8)
        given = {} if labels is None else {labels: torch.randint(classes, (n,), generator=g)}
        return Part(x, torch.arange(n) % classes, given)

    if "predictions" in options:
        logits = torch.randn(wanted, classes, generator=g)
        options = {**options, "predictions": logits.softmax(1)}
    source = Source(
        name=name,
        class_names=tuple(map(str, range(classes))),
        train=part(wanted),
        validation=part(room) if room else None,
        test=part(room) if room else None,
        noisy=False,
        attribution="random numbers",
        superclasses=torch.arange(classes) // 5,
    )
    return make_split(source, SplitOptions(seed=seed, **options))


def hours(study: Study, plan: Plan, seconds: Mapping[str, float]) -> float | None:
    """Hours of one run at the scale ``"paper"``, by seconds of its steps.

    Parameters
    ----------
    study : Study
        The study.
    plan : mapping
        A plan of one of its problems.
    seconds : mapping of str to float
        Seconds of a step by the name of the entry. Cross-entropy has to be among them, since stages
        before and warm-up are made of it.

    Returns
    -------
    float or None
        None if a kind of step was not measured. Measuring and reading images are left out.
    """
    method, plain = (seconds.get(name) for name in (plan["entry"], study.entries[-1].name))
    if method is None or plain is None:
        return None
    taken = 0.0
    for stage in ("start", "training"):
        if stage in plan:
            own = plan[stage]
            each = math.ceil(study.images / own["batch_size"])
            warmup = own["epochs"] if stage == "start" else own["warmup_epochs"]
            taken += each * (warmup * plain + (own["epochs"] - warmup) * method)
    return taken / 3600
