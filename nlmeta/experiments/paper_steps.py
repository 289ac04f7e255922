"""What a step of the papers' experiments takes, at full network and batch.

``python -m nlmeta run paper_steps`` takes twenty steps of each method and of cross-entropy beside
it, or fewer where they take longer than half a minute together; the record says how many. A stop
between two studies loses nothing. Inputs are random images of the dataset's shape, so no data are
needed, and the time to read and change images is left out. Rates and kinds of noise change nothing
in a step, so one problem of each study stands for all.
"""

from collections.abc import Sequence
from functools import partial
from statistics import fmean, median
from typing import Any

import torch

from nlmeta._checks import check_count, check_positive
from nlmeta.data import Batches, draw_batch
from nlmeta.experiments.cost.clocks import dtype_of, seconds_of
from nlmeta.experiments.measured import Measurement, Measurements, Rows
from nlmeta.experiments.papers import PAPERS, STUDIES
from nlmeta.experiments.study import stand_in, thin
from nlmeta.experiments.task import Place, Plan
from nlmeta.experiments.training_runs import TrainingRun
from nlmeta.seeding import generator

__all__ = ["PAPER_STEPS", "take_steps"]


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
        "shape": list(train.x.shape[1:]),
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
    """A measurement for each study, of its first problem."""
    parts = {}
    for study in STUDIES:
        if study.problems:
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
