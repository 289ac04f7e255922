"""Choosing, running, recording. The record is only ever added to, one line a network."""

import json
import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import joblib
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

import nlmeta
from nlmeta import metrics
from nlmeta._checks import check_count
from nlmeta.data import Split, load
from nlmeta.experiments.digits.recipes import RECIPES, Recipe, Setting
from nlmeta.training import progress_wanted

__all__ = ["META_SIZES", "NOISES", "SEEDS", "TUNING_SEEDS", "choose", "run"]

TUNING_SEEDS = (100, 101, 102)
SEEDS = (0, 1, 2, 3, 4)
NOISES = {"symmetric": 0.5, "one-target": 0.4}
META_SIZES = (100, 20)

Stage = Literal["choice", "table"]
Row = dict[str, Any]


def run(
    record: Path,
    *,
    recipes: Iterable[Recipe] = RECIPES,
    jobs: int | None = None,
    progress: bool | None = None,
) -> None:
    """Run what the record lacks, and add it.

    Parameters
    ----------
    record : Path
        A file of JSON lines; begun if it is not there.
    recipes : iterable of Recipe
        Default: all.
    jobs : int, optional
        Processes. Default: as many as there are processors.
    progress : bool, optional
        As for `nlmeta.fit`.
    """
    jobs = joblib.cpu_count() if jobs is None else jobs
    check_count("jobs", jobs)
    recipes = list(recipes)
    record.parent.mkdir(parents=True, exist_ok=True)
    by_name = {recipe.name: recipe for recipe in (*RECIPES, *recipes)}
    # First those whose choice others wait for; each round knows the choices of the rounds before.
    leaders = [r for r in recipes if r.after is None]
    followers = [r for r in recipes if r.after is not None]
    for group in (leaders, followers):
        for stage in ("choice", "table"):
            rows = _read(record)
            tasks = [task for task in _tasks(group, rows, stage, by_name) if not _done(task, rows)]
            pool = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
            outcomes = pool(joblib.delayed(_run_task)(*task) for task in tasks)
            shown = tqdm(
                outcomes,
                total=len(tasks),
                desc=stage,
                unit="run",
                disable=not progress_wanted(progress),
            )
            for outcome in shown:
                with record.open("a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in outcome)


def choose(rows: Iterable[Row], recipe: Recipe, noise: str, meta_size: int) -> Mapping[str, Row]:
    """For each network of a recipe its chosen setting: highest mean validation accuracy.

    Parameters
    ----------
    rows : iterable of dict
        Of the record.
    recipe : Recipe
        Which.
    noise : str
        Kind of noise.
    meta_size : int
        Clean samples. Recipes that use none have one choice for both sizes.

    Returns
    -------
    dict of str to dict
        Setting by name of the network. The first of the recipe's settings where two are equal.
    """
    if len(recipe.settings) == 1:
        return {recipe.name: dict(recipe.settings[0])}
    size = meta_size if recipe.clean else max(META_SIZES)
    place = {"stage": "choice", "recipe": recipe.name, "noise": noise, "meta_size": size}
    found = pd.DataFrame([r for r in rows if place.items() <= r.items()])
    if found.empty:
        raise ValueError(f"the record has no choice yet for {recipe.name!r}, {noise}, {size}")
    found["text"] = found["setting"].map(json.dumps)
    means = found.groupby(["network", "text"], sort=False)["validation"].mean()
    order = [json.dumps(dict(setting)) for setting in recipe.settings]

    def rank(text: str) -> int:
        own = {k: v for k, v in json.loads(text).items() if k in recipe.settings[0]}
        return order.index(json.dumps(own))

    chosen = {}
    for network, of_network in means.groupby(level="network"):
        by_text = of_network.droplevel("network")
        best = by_text[by_text == by_text.max()].index
        chosen[str(network)] = json.loads(min(best, key=rank))
    return chosen


# ..., seed, setting, and the networks to record, all where none is named.
Task = tuple[Recipe, Stage, str, int, int, Setting, tuple[str, ...]]


def _tasks(
    recipes: list[Recipe], rows: list[Row], stage: Stage, leaders: Mapping[str, Recipe]
) -> Iterator[Task]:
    everything: tuple[str, ...] = ()
    for noise in NOISES:
        for meta_size in META_SIZES:
            for recipe in recipes:
                given: Setting = {}
                if recipe.after is not None:
                    (given,) = choose(rows, leaders[recipe.after], noise, meta_size).values()
                settings = [{**setting, **given} for setting in recipe.settings]
                settled = len(settings) == 1 or (not recipe.clean and meta_size != max(META_SIZES))
                if stage == "choice" and settled:
                    continue
                if stage == "choice" or len(settings) == 1:
                    work = [(setting, everything) for setting in settings]
                else:
                    # Networks of one recipe may have chosen different settings.
                    chosen = choose(rows, recipe, noise, meta_size)
                    work = [
                        (setting, tuple(name for name in chosen if chosen[name] == setting))
                        for setting in settings
                        if setting in chosen.values()
                    ]
                for setting, networks in work:
                    for seed in TUNING_SEEDS if stage == "choice" else SEEDS:
                        yield recipe, stage, noise, meta_size, seed, setting, networks


def _run_task(
    recipe: Recipe,
    stage: Stage,
    noise: str,
    meta_size: int,
    seed: int,
    setting: Setting,
    networks: tuple[str, ...] = (),
) -> list[Row]:
    torch.set_num_threads(1)  # small networks, and sums in one order
    split = load("digits", noise=noise, rate=NOISES[noise], meta_size=meta_size, seed=seed)
    started = time.perf_counter()
    trained = recipe.run(split, seed, setting)
    seconds = time.perf_counter() - started
    return [
        {
            "stage": stage,
            "recipe": recipe.name,
            "network": name,
            "noise": noise,
            "rate": NOISES[noise],
            "meta_size": meta_size,
            "seed": seed,
            "setting": dict(setting),
            **_measure(network, split, of_test=stage == "table"),
            **{key: round(value, 6) for key, value in further.items()},
            "seconds": round(seconds, 2),
            "split": split.digest[:12],
            "nlmeta": nlmeta.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
        }
        for name, (network, further) in trained.items()
        if name in networks or not networks
    ]


def _measure(network: nn.Module, split: Split, *, of_test: bool) -> dict[str, float]:
    """Nothing of the test part where a setting is chosen."""

    def logits(x: metrics.Inputs) -> torch.Tensor:
        return metrics.predict(network, x, batch_size=1024)

    measured = {"validation": metrics.accuracy(logits(split.validation.x), split.validation.y)}
    if of_test:
        train = logits(split.train.x)
        measured |= {
            "accuracy": metrics.accuracy(logits(split.test.x), split.test.y),
            "memorised": metrics.memorised(train, split.train.y, split.true_labels),
            **metrics.label_recovery(train, split.train.y, split.true_labels),
        }
    return {name: round(value, 6) for name, value in measured.items()}


def _read(record: Path) -> list[Row]:
    if not record.exists():
        return []
    return [json.loads(line) for line in record.read_text().splitlines()]


def _done(task: Task, rows: list[Row]) -> bool:
    recipe, stage, noise, meta_size, seed, setting, networks = task
    wanted = {
        "stage": stage,
        "recipe": recipe.name,
        "noise": noise,
        "meta_size": meta_size,
        "seed": seed,
        "setting": dict(setting),
    }
    found = {row["network"] for row in rows if wanted.items() <= row.items()}
    return bool(found) and found.issuperset(networks)
