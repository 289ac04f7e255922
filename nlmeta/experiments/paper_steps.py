"""What a step of the papers' experiments takes, at full network and batch.

``python -m nlmeta run paper_steps`` takes twenty steps of each method and of cross-entropy beside
it, or fewer where they take longer than half a minute together; the record says how many. A stop
between two studies loses nothing. Inputs are random images of the dataset's shape, so no data are
needed, and the time to read and change images is left out. Rates and kinds of noise change nothing
in a step, so one problem of each study stands for all.
"""

import math
from collections.abc import Sequence
from functools import partial
from statistics import fmean, median
from typing import Any

import torch

from nlmeta._checks import check_choice, check_count, check_positive
from nlmeta._interface import parts_of
from nlmeta.data import Batches, Part, Source, Split, SplitOptions, draw_batch, make_split
from nlmeta.data.sources import at_hand
from nlmeta.experiments.cost.clocks import dtype_of, seconds_of
from nlmeta.experiments.measured import Measurement, Measurements, Rows
from nlmeta.experiments.papers import PAPERS, SHAPES, STUDIES, TINY_NETWORKS
from nlmeta.experiments.study import Study
from nlmeta.experiments.task import Place, Plan
from nlmeta.experiments.training_runs import TrainingRun, train
from nlmeta.seeding import generator

__all__ = ["PAPER_STEPS", "stand_in", "take_steps", "thin", "tiny", "try_out"]

TINY_BATCH = 12  # MLNT looks for 10 neighbours in it
TINY_SIZE = 32  # pixels a side, where files of images are decoded


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
    load: dict[str, Any] = dict(plan["load"])
    stages: dict[str, dict[str, Any]] = {}
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
    batches: dict[str, Any] = {"batch_size": TINY_BATCH}
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


def try_out(study: Study, *, seed: int) -> Rows:
    """Run the last problem of a study at the scale ``"tiny"``, each entry once.

    It shows that the plan runs, and no result: two steps of a thin network. The dataset's own files
    are taken where they exist (`nlmeta.data.load` says where), else random images of its shape.

    Parameters
    ----------
    study : Study
        A study with problems.
    seed : int
        Seed of images, split, noise and training.

    Returns
    -------
    list of dict
        A row for each entry: ``method``, ``problem``, ``images`` (the dataset or "random"),
        ``samples``, ``loss`` (of the only epoch) and ``seconds``.

    Raises
    ------
    ValueError
        The study has no plan.
    """
    if not study.problems:
        raise ValueError(f"`study` is {study.name!r}, which has no plan: {study.differs}")
    problem, found = study.problems[-1], []
    for entry in study.entries:
        plan = tiny(PAPERS.plan(entry, problem, {}))
        samples, name = plan["train_size"], plan["load"]["name"]
        here = at_hand(name) is None
        load: Any = {} if here else {"load": partial(stand_in, samples=samples)}
        outcome = train(plan, seed, Place("cpu"), history=True, **load)
        losses = outcome["history"]["training"]["loss"]
        found.append(
            {"method": entry.name, "problem": problem.name, "images": name if here else "random"}
            | {"samples": samples, "loss": losses[-1], "seconds": outcome["seconds"]}
        )
    return found


def take_steps(plans: Sequence[Plan], *, most: int, budget: float, seed: int, device: str) -> Rows:
    """Take steps of several plans on random images, and time them.

    Parameters
    ----------
    plans : sequence of mapping
        Plans of a `TrainingTable`.
    most : int
        Number of steps of each plan that are timed, after one to warm up.
    budget : float
        Seconds after which no further step of a plan is taken. If the first step has used them up
        alone, it is the one that counts.
    seed : int
        Seed of weights, images and what a method draws.
    device : str
        The device.

    Returns
    -------
    list of dict
        A row for each plan: ``method`` (name of the entry), ``problem``, ``network``, ``shape`` (of
        an image), ``batch``, ``meta_batch`` (None where the method takes none), ``steps`` (how many
        were timed), ``warmed_up``, ``seconds`` (mean of a step; on the CPU of processor time,
        summed over threads), ``seconds_median``, ``dtype`` and ``parameters``.
    """
    check_count("most", most)
    check_positive("budget", budget)
    return [_timed(plan, most, budget, seed, device) for plan in plans]


def _timed(plan: Plan, most: int, budget: float, seed: int, device: str) -> dict[str, Any]:
    samples = 2 * plan["training"]["batch_size"]
    load = partial(stand_in, samples=samples)
    run = TrainingRun(thin(plan, samples), seed, Place(device), load)
    model = run.new_network(seed).to(device).train()
    before = run.new_network(seed).to(device) if "start" in plan else None
    method = run.method(model, before).to(device)
    settings, g = plan["training"], generator(seed, "steps")
    train = next(iter(Batches(run.split.train.to(device), settings["batch_size"], generator=g)))
    meta = None
    if method.needs_meta:
        meta = draw_batch(run.split.meta.to(device), settings["meta_batch_size"], generator=g)
    rates = {name: settings[name] for name in ("lr", "momentum", "weight_decay")}
    optimizer = torch.optim.SGD(model.parameters(), **rates)

    def step() -> None:
        method.step(model, optimizer, train, meta)

    first, taken = seconds_of(step, torch.device(device)), list[float]()
    while first < budget and len(taken) < most and first + sum(taken) < budget:
        taken.append(seconds_of(step, torch.device(device)))
    counted = taken or [first]
    network = dict(plan["network"])
    return {
        "method": plan["entry"],
        "problem": plan["problem"],
        "network": network.pop("name"),
        "network_options": network,
        "shape": list(parts_of(train.x)["x"].shape[1:]),
        "batch": len(train.y),
        "meta_batch": None if meta is None else len(meta.y),
        "steps": len(counted),
        "warmed_up": bool(taken),
        "seconds": round(fmean(counted), 6),
        "seconds_median": round(median(counted), 6),
        "dtype": dtype_of(model),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def _parts() -> dict[str, Measurement]:
    """A measurement for each study, of its first problem; one where several have the same steps."""
    parts = {}
    for study in STUDIES:
        if study.problems and study.steps_as is None:
            plans = [PAPERS.plan(entry, study.problems[0], {}) for entry in study.entries]
            options = {"plans": plans, "most": 20, "budget": 30.0}
            parts[study.name] = Measurement(take_steps, options, scale="paper")
    return parts


PAPER_STEPS = Measurements(
    name="paper_steps",
    about="What does a step of the papers' experiments take, at full network and batch?",
    parts=_parts(),
    at_once=False,
    threads=1,
)
