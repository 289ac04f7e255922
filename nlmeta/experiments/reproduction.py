"""How far a paper was reproduced: what was run of it, what else explains it, and what lies between.

The chapters on reproductions are made of this. Everything comes from the records that come with the
package, and what they lack is said to be not run.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from nlmeta._checks import check_choice
from nlmeta.experiments.record import RECORDS, Record
from nlmeta.experiments.report import differences, frame, histories
from nlmeta.experiments.study import Study

__all__ = ["UNKNOWN", "beside", "best_epochs", "bridge", "coverage", "recorded"]

#: The last bar between our number and a published one: all that was not run.
UNKNOWN = "network, schedule, unknown"


def recorded(method: str) -> pd.DataFrame:
    """All runs of the package's records on problems on which a method was run.

    Parameters
    ----------
    method : str
        The name of a row, such as ``"MLC"``.

    Returns
    -------
    pandas.DataFrame
        The columns that `frame` describes and ``experiment``, the name of the record. Empty if no
        record has the method.
    """
    found = [pd.DataFrame(columns=["method", "problem", "seed", "accuracy", "experiment"])]
    for path in sorted(RECORDS.glob("*.jsonl")):
        record = Record(path)
        if any(record.plans[plan]["stage"] == "table" for plan, _ in record.runs):
            runs = frame(record)
            with_it = runs.loc[runs["method"] == method, "problem"].unique()
            found.append(runs[runs["problem"].isin(with_it)].assign(experiment=path.stem))
    found = [runs for runs in found if len(runs)] or found[:1]
    return pd.concat(found, ignore_index=True)


def coverage(paper: str, studies: Iterable[Study], runs: pd.DataFrame) -> pd.DataFrame:
    """What was run of each experiment that a paper or its released code names.

    Parameters
    ----------
    paper : str
        The paper, as for `literature.published`.
    studies : iterable of Study
        The studies of all papers.
    runs : pandas.DataFrame
        The frame from `recorded`.

    Returns
    -------
    pandas.DataFrame
        A row for each study: ``experiment``, ``settings`` (their origin), ``full size`` (whether
        there is a plan, and how many of its problems were run) and ``on two cores`` (the
        experiments that ask the same with less, and what is recorded of each).
    """
    found = []
    for study in (study for study in studies if study.paper == paper):
        asked = [problem.name for problem in study.problems]
        done = len(set(asked) & set(runs["problem"]))
        full = f"planned, {done} of {len(asked)} run" if asked else "no plan"
        smaller = []
        for name in study.cores:
            own = runs[runs["experiment"] == name]
            number = own["problem"].nunique()
            said = f"{number} problem{'s' * (number > 1)}, {own['seed'].nunique()} seeds"
            smaller.append(f"{name}: {said if len(own) else 'not run'}")
        found.append((study.name, study.settings, full, "; ".join(smaller) or "no experiment"))
    return pd.DataFrame(found, columns=["experiment", "settings", "full size", "on two cores"])


def beside(runs: pd.DataFrame, method: str, rivals: Sequence[str]) -> pd.DataFrame:
    """A method, and on the same seeds how far it is above each rival.

    Parameters
    ----------
    runs : pandas.DataFrame
        Runs of one experiment, from `read` or `recorded`.
    method : str
        The method.
    rivals : sequence of str
        Rows that could explain it away; those that the experiment lacks are left out.

    Returns
    -------
    pandas.DataFrame
        Text, a column for each problem. The first row is the method's mean and standard deviation
        in per cent with the number of seeds. Each further row is the method minus a rival, in
        points, with the 95 % interval of the mean of the paired differences.

    Raises
    ------
    ValueError
        The method is not among the runs.
    """
    check_choice("method", method, runs["method"].unique())
    there = [name for name in rivals if name in set(runs["method"])]
    own = runs[runs["method"] == method].groupby("problem", sort=False)["accuracy"]
    cells: dict[str, dict[str, str]] = {}
    for problem, accuracy in own:
        said = f"{100 * accuracy.mean():.1f} ± {100 * accuracy.std():.1f}, n = {len(accuracy)}"
        cells[str(problem)] = {method: said}
    for row in differences(runs, [(method, name) for name in there]).to_dict("records"):
        mean, low, high = (100 * row[name] for name in ("mean", "low", "high"))
        cells[row["problem"]][f"minus {row['reference']}"] = (
            f"{mean:+.1f} ({low:+.1f}, {high:+.1f})"
        )
    shown = pd.DataFrame(cells).reindex([method, *(f"minus {name}" for name in there)])
    return shown.fillna("not run")


def best_epochs(name: str) -> pd.DataFrame:
    """Runs of a record as if the epoch that is best on the clean test images had been taken.

    Parameters
    ----------
    name : str
        The record, as for `histories`.

    Returns
    -------
    pandas.DataFrame
        ``problem``, ``method`` (with ``", best epoch on test"``), ``seed``, ``scale`` and
        ``accuracy``. Empty where no epochs were scored.
    """
    epochs = histories(name)
    columns = ["problem", "method", "seed", "scale"]
    if not len(epochs):
        return pd.DataFrame(columns=[*columns, "accuracy"])
    best = epochs.groupby(columns, sort=False)["test_accuracy"].max().rename("accuracy")
    found = best.reset_index()
    return found.assign(method=found["method"] + ", best epoch on test")


def bridge(
    runs: pd.DataFrame, steps: Mapping[str, str], *, published: float | None = None
) -> pd.DataFrame:
    """What lies between two numbers: a bar for each switch that was run, for `plots.waterfall`.

    Parameters
    ----------
    runs : pandas.DataFrame
        Runs of one problem.
    steps : mapping of str to str
        The method before and after each switch, in order: its name by what was switched. The first
        is where the bridge begins.
    published : float, optional
        The published accuracy in per cent at the end. Default: none, and no bar for the rest.

    Returns
    -------
    pandas.DataFrame
        A row for each step: ``step``, ``level`` (mean accuracy in per cent after it), ``change``
        (in points, seed by seed), ``low`` and ``high`` (its 95 % interval), ``n`` and ``ran``. The
        last is `UNKNOWN`, with ``ran`` false, where there is a published figure.

    Raises
    ------
    ValueError
        A method is not among the runs, or they are of several problems: no bridge either way.
    """
    problems = sorted(runs["problem"].unique())
    if len(problems) > 1:
        raise ValueError(f"`runs` are of {len(problems)} problems; a bridge is of one: {problems}")
    for method in steps.values():
        check_choice("steps", method, runs["method"].unique())
    level = 100 * runs.groupby("method")["accuracy"].mean()
    labels, methods = list(steps), list(steps.values())
    found = [{"step": labels[0], "level": level[methods[0]], "ran": True}]
    for label, before, after in zip(labels[1:], methods, methods[1:], strict=False):
        (row,) = differences(runs, [(after, before)]).to_dict("records")
        change = {"change": 100 * row["mean"], "low": 100 * row["low"], "high": 100 * row["high"]}
        found.append({"step": label, "level": level[after], **change, "n": row["n"], "ran": True})
    if published is not None and not math.isnan(published):
        rest = {"change": published - found[-1]["level"], "ran": False}
        found.append({"step": UNKNOWN, "level": published, **rest})
    columns = ["step", "level", "change", "low", "high", "n", "ran"]
    return pd.DataFrame(found).reindex(columns=columns)
