"""Several methods on the same seeds: a tidy table, and differences seed by seed."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping

import pandas as pd
from torch import nn
from tqdm import tqdm

from nlmeta._checks import check_count
from nlmeta.data import Split
from nlmeta.training import choose_device, measure, progress_wanted

__all__ = ["Recipe", "compare", "paired_difference"]


Recipe = Callable[[Split, int], Mapping[str, nn.Module | tuple[nn.Module, Mapping[str, float]]]]


def compare(
    recipes: Iterable[Recipe],
    load_split: Callable[[int], Split],
    seeds: Iterable[int],
    *,
    jobs: int | None = None,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Train every recipe on every seed; all recipes of a seed see the same split and noise.

    Parameters
    ----------
    recipes : iterable of callable
        Functions ``recipe(split, seed)`` that train and return the networks to predict with, by
        name. The value of a name is a network, or a network and a mapping of further numbers for
        the table. One recipe may return several networks of one training run, such as a network
        and the average of its weights.
    load_split : callable
        A function ``load_split(seed)`` that returns the data. With one job it is called once per
        seed, else once per run.
    seeds : iterable of int
        The seeds; every recipe is run once for each.
    jobs : int, optional
        Number of runs at the same time, each in a process of its own. Default: the number of
        processors, or 1 if there is a GPU.
    progress : bool, optional
        Whether a progress bar is shown, as in `nlmeta.fit`.

    Returns
    -------
    pandas.DataFrame
        One row for each network: ``method``, ``seed``, ``accuracy`` (clean test), ``memorised``
        (share of the wrong labels that it predicts; NaN if the training images stay on disk), and
        the further numbers.

    Raises
    ------
    FloatingPointError
        The logits of a network are not finite.
    """
    import joblib  # a sixth of a second, which other procedures do without

    recipes, seeds = list(recipes), list(seeds)
    if jobs is None:
        jobs = joblib.cpu_count() if choose_device().type == "cpu" else 1
    check_count("jobs", jobs)
    # Not pickle but cloudpickle is at work here, so recipes may be functions of a notebook.
    pool = joblib.Parallel(
        n_jobs=max(min(jobs, len(seeds) * len(recipes)), 1), return_as="generator"
    )
    if jobs == 1:
        load_split = functools.lru_cache(maxsize=1)(load_split)
    runs = [(recipe, seed) for seed in seeds for recipe in recipes]
    tables = pool(joblib.delayed(_run)(recipe, load_split, seed) for recipe, seed in runs)
    shown = tqdm(
        tables,
        total=len(runs),
        unit="run",
        leave=False,
        disable=not progress_wanted(progress),
    )
    return pd.DataFrame([row for rows in shown for row in rows])


def _run(recipe: Recipe, load_split: Callable[[int], Split], seed: int) -> list[dict[str, object]]:
    split = load_split(seed)
    rows = []
    for name, outcome in recipe(split, seed).items():
        predictor, further = outcome if isinstance(outcome, tuple) else (outcome, {})
        measured = measure(predictor, split)
        # `measure` leaves out the training part where its images stay on disk.
        numbers = {key: measured.get(key, math.nan) for key in ("accuracy", "memorised")}
        rows.append({"method": name, "seed": seed, **numbers, **further})
    return rows


def paired_difference(table: pd.DataFrame, method: str, reference: str) -> pd.Series:
    """Accuracy of one method minus that of another, seed by seed.

    Results differ far more between seeds, because of split and noise, than between methods on one
    seed. So the spread of these differences, and not that of the accuracies, shows whether two
    methods differ.

    Parameters
    ----------
    table : pandas.DataFrame
        A table from `compare`, with each pair of method and seed once.
    method, reference : str
        Names in the column ``method``.

    Returns
    -------
    pandas.Series
        Differences indexed by seed.

    Raises
    ------
    ValueError
        A name is not in the table, or the two were not run on the same seeds.
    """
    twice = table[table.duplicated(["method", "seed"])]
    if len(twice):
        name, seed = twice.iloc[0][["method", "seed"]]
        raise ValueError(f"`table` holds {name!r} twice for seed {seed}; each pair must occur once")
    accuracy = table.pivot(index="seed", columns="method", values="accuracy")
    for argument, name in (("method", method), ("reference", reference)):
        if name not in accuracy:
            raise ValueError(
                f"`{argument}` is {name!r}; it must be one of {list(accuracy.columns)}"
            )
    difference = accuracy[method] - accuracy[reference]
    if difference.isna().any():
        missing = list(difference.index[difference.isna()])
        raise ValueError(
            f"`table` lacks a run of {method!r} or {reference!r} for seeds {missing}; run both on "
            "the same seeds"
        )
    return difference.rename(f"{method} - {reference}")
