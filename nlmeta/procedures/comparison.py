"""Several methods on the same seeds: a tidy table, and differences taken pair by pair."""

from collections.abc import Callable, Iterable, Mapping

import pandas as pd
from torch import nn
from tqdm import tqdm

from nlmeta import metrics
from nlmeta.data import Split
from nlmeta.training import progress_wanted

__all__ = ["compare", "paired_difference"]


Recipe = Callable[[Split, int], Mapping[str, nn.Module]]


def compare(
    recipes: Iterable[Recipe],
    load_split: Callable[[int], Split],
    seeds: Iterable[int],
    *,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Train every recipe on every seed; all recipes of a seed see the same split and noise.

    Parameters
    ----------
    recipes : iterable of callable
        ``recipe(split, seed)`` trains and returns networks to predict with, by name. One recipe may
        return several that share a training run, such as a network and the average of its weights.
    load_split : callable
        ``load_split(seed)`` gives the data.
    seeds : iterable of int
        One run of every recipe for each.
    progress : bool, optional
        As for `nlmeta.fit`.

    Returns
    -------
    pandas.DataFrame
        A row for each network: ``method``, ``seed``, ``accuracy`` (clean test), ``memorised``
        (share of the wrong labels that it predicts).
    """
    recipes, seeds = list(recipes), list(seeds)
    rows = []
    total = len(seeds) * len(recipes)
    with tqdm(total=total, leave=False, disable=not progress_wanted(progress)) as bar:
        for seed in seeds:
            split = load_split(seed)
            for recipe in recipes:
                bar.set_description(f"seed {seed}")
                for name, predictor in recipe(split, seed).items():
                    rows.append({"method": name, "seed": seed, **_measure(predictor, split)})
                bar.update()
    return pd.DataFrame(rows)


def _measure(predictor: nn.Module, split: Split) -> dict[str, float]:
    like = next(predictor.parameters())
    split = split.to(like.device, like.dtype)
    test = metrics.predict(predictor, split.test.x, batch_size=1024)
    train = metrics.predict(predictor, split.train.x, batch_size=1024)
    return {
        "accuracy": metrics.accuracy(test, split.test.y),
        "memorised": metrics.memorised(train, split.train.y, split.true_labels),
    }


def paired_difference(table: pd.DataFrame, method: str, reference: str) -> pd.Series:
    """Accuracy of one method minus that of another, seed by seed.

    Seeds differ in split and noise far more than methods do on one seed, so the spread of these
    differences, and not that of the accuracies, says whether two methods differ.

    Parameters
    ----------
    table : pandas.DataFrame
        From `compare`; each pair of method and seed once.
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
    accuracy = table.pivot(index="seed", columns="method", values="accuracy")
    for argument, name in (("method", method), ("reference", reference)):
        if name not in accuracy:
            raise ValueError(f"`{argument}` is {name!r}; the table has {list(accuracy.columns)}")
    difference = accuracy[method] - accuracy[reference]
    if difference.isna().any():
        missing = list(difference.index[difference.isna()])
        raise ValueError(f"`table` lacks a run of {method!r} or {reference!r} for seeds {missing}")
    return difference.rename(f"{method} - {reference}")
