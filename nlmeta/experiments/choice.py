"""The choice of settings, on seeds that no table uses, and of an epoch without clean labels."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import pandas as pd

from nlmeta.experiments.task import Setting
from nlmeta.procedures import chosen_epoch

__all__ = ["Rule", "choose", "highest_mean_validation", "stopped_row"]

Row = Mapping[str, Any]
Rule = Callable[[Sequence[Row]], float]


def highest_mean_validation(rows: Sequence[Row]) -> float:
    """The mean accuracy on the clean validation samples after the last epoch, to rank a setting by.

    Parameters
    ----------
    rows : sequence of mapping
        The rows of one network, a row for each tuning seed, with ``validation``.

    Returns
    -------
    float
        Minus infinity where a run failed.

    Examples
    --------
    >>> highest_mean_validation([{"validation": 0.5}, {"validation": 0.75}])
    0.625
    """
    values: list[Any] = [row.get("validation") for row in rows]
    return float("-inf") if None in values else fmean(values)


def choose(
    tried: Sequence[tuple[Setting, Sequence[Sequence[Row]]]], rule: Rule = highest_mean_validation
) -> dict[str, Setting]:
    """For each network that the runs hand out, the setting that is best by a rule.

    Parameters
    ----------
    tried : sequence of pair
        Each setting with the rows of its runs, a run for each tuning seed.
    rule : callable
        ``rule(rows)`` says how good a setting is for one network. Default: mean accuracy on the
        clean validation samples.

    Returns
    -------
    dict of str to mapping
        Setting by ``method``, the name of the network's rows. Of equal settings the first.

    Raises
    ------
    ValueError
        No run of any setting has handed out a network.

    Examples
    --------
    >>> runs = [[{"method": "a", "validation": 0.5}]], [[{"method": "a", "validation": 0.7}]]
    >>> choose([({"lr": 0.1}, runs[0]), ({"lr": 0.2}, runs[1])])
    {'a': {'lr': 0.2}}
    """
    networks = dict.fromkeys(row["method"] for _, runs in tried for rows in runs for row in rows)
    if not networks:
        raise ValueError(f"none of the {len(tried)} settings has a run that ended with a network")

    def value(network: str, runs: Sequence[Sequence[Row]]) -> float:
        own = [row for rows in runs for row in rows if row["method"] == network]
        return rule(own) if len(own) == len(runs) else float("-inf")

    chosen = {}
    for network in networks:
        values = [value(network, runs) for _, runs in tried]
        chosen[network] = tried[values.index(max(values))][0]
    return chosen


def stopped_row(history: Mapping[str, Sequence[Any]], selector: str) -> dict[str, Any]:
    """The row of early stopping, from the history of a run that was evaluated in every epoch.

    Parameters
    ----------
    history : mapping of str to sequence
        A number for each epoch, with ``epoch``, ``test_accuracy`` and what the rule needs.
    selector : str
        Name in `nlmeta.procedures.SELECTORS`.

    Returns
    -------
    dict
        ``method`` "early stopping", the ``epoch`` that the rule chooses, and its ``accuracy``.

    Examples
    --------
    >>> history = {"epoch": [1, 2], "test_accuracy": [0.8, 0.6], "noisy_validation": [0.5, 0.4]}
    >>> stopped_row(history, "noisy validation")
    {'method': 'early stopping', 'epoch': 1, 'accuracy': 0.8}
    """
    epoch = chosen_epoch(pd.DataFrame(history), selector)
    accuracy = history["test_accuracy"][list(history["epoch"]).index(epoch)]
    return {"method": "early stopping", "epoch": epoch, "accuracy": accuracy}
