"""The one frame and the one table: what a record says, as numbers first and as text last."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from nlmeta._checks import check_choice
from nlmeta.experiments.record import RECORDS, Record
from nlmeta.experiments.task import Plan
from nlmeta.procedures import SELECTORS, chosen_epoch, regret

__all__ = [
    "differences",
    "frame",
    "histories",
    "method_regrets",
    "problem_name",
    "read",
    "regrets",
    "rows",
    "table",
    "text",
]

REFERENCES = ("cross-entropy", "early stopping", "fine-tuning")
SHARES = ("accuracy", "memorised", "recovered", "destroyed")
Names = Sequence[str] | None
HERE = ("nlmeta", "commit", "torch", "numpy", "python", "machine", "device", "gpu", "threads")


def read(name: str | Path, *, stage: str = "table") -> pd.DataFrame:
    """A record as a frame, a row for each network and seed, or for each thing that was measured.

    Parameters
    ----------
    name : str or Path
        The name of an experiment whose record comes with the package, or a file.
    stage : str
        ``"table"`` (default): the runs with the chosen settings. ``"choice"``: those by which
        settings were chosen, on other seeds, with ``validation`` alone. An experiment that measures
        names its own.

    Returns
    -------
    pandas.DataFrame
        The frame that `frame` describes.

    Raises
    ------
    FileNotFoundError
        There is no such record.
    ValueError
        The file is no record, or nothing of the stage is in it.
    """
    return frame(_open(name), stage=stage)


def frame(record: Record, *, stage: str = "table") -> pd.DataFrame:
    """The runs of a stage as a frame.

    Parameters
    ----------
    record : Record
        The record.
    stage : str
        The stage, as for `read`. Default ``"table"``.

    Returns
    -------
    pandas.DataFrame
        ``method`` (the row's label), ``problem``, ``entry``, ``seed``, ``setting`` (what was
        chosen), ``scale``, the arguments of the data (``dataset``, ``noise``, ``rate``,
        ``meta_size``, ...), then what the run measured (``accuracy``: clean test samples, last
        epoch), ``seconds``, ``split`` (digest), and where it ran (``torch``, ``machine``, ...).
        Columns that are empty in all rows are left out.

    Raises
    ------
    ValueError
        The record has no run of that stage.
    """
    found = []
    for asked, seed, run in _of_stage(record, stage):
        load = dict(asked.get("load", {}))
        data = {"dataset": load.pop("name", None), **load} if load else {}
        where = record.environments.get(run["environment"], {})
        for row in run["rows"]:
            found.append(
                {"method": row.get("method"), "problem": asked.get("problem")}
                | {"entry": asked["entry"], "seed": seed, "setting": asked.get("setting", {})}
                | {"scale": asked.get("scale"), **data, **row}
                | {key: run.get(key) for key in ("seconds", "split") if key not in row}
                | {key: where.get(key) for key in HERE}
            )
    if not found:
        stages = sorted({str(line.get("stage")) for line in record.plans.values()})
        raise ValueError(
            f"`stage` is {stage!r}; {record.path.name} holds runs of {', '.join(stages) or 'none'}"
        )
    return pd.DataFrame(found).dropna(axis="columns", how="all")


def rows(name: str | Path, stage: str) -> list[dict[str, Any]]:
    """The rows of a stage as they are in the record, for what is no table.

    Parameters
    ----------
    name : str or Path
        The record, as for `read`.
    stage : str
        The stage, as for `read`.

    Returns
    -------
    list of dict
    """
    return [row for _, _, run in _of_stage(_open(name), stage) for row in run["rows"]]


def table(
    runs: pd.DataFrame, *, methods: Names = None, against: Names = None, columns: Names = None
) -> pd.DataFrame:
    """Mean, standard deviation and number of runs, and differences taken seed by seed.

    Parameters
    ----------
    runs : pandas.DataFrame
        The frame from `read`, or its rows of one problem.
    methods : sequence of str, optional
        Rows, in this order. Default: all.
    against : sequence of str, optional
        Methods that differences of accuracy are taken to. Default: those of `REFERENCES` that
        were run.
    columns : sequence of str, optional
        Quantities to show. Default: those of `SHARES` that were measured.

    Returns
    -------
    pandas.DataFrame
        A row for each method; columns are pairs of a quantity (of `columns`, or ``minus X``) and
        ``mean``, ``sd``, ``n``. The spread of a difference is that of the differences.

    Raises
    ------
    ValueError
        The runs are of several problems or scales, a method or column is not among them, or a
        method has two runs of one seed.
    """
    if len(problems := runs["problem"].unique()) > 1:
        raise ValueError(f"`runs` are of {len(problems)} problems; take those of one, {problems}")
    known = list(runs["method"].unique())
    methods = known if methods is None else list(methods)
    against = [name for name in REFERENCES if name in known] if against is None else against
    columns = [name for name in SHARES if name in runs] if columns is None else columns
    for name in columns:
        check_choice("columns", name, runs.columns)
    for argument, names in (("methods", methods), ("against", against)):
        for name in names:
            check_choice(argument, name, known)
    parts = {name: _by_seed(runs, name)[methods] for name in columns}
    accuracy = _by_seed(runs, "accuracy")
    for name in against:
        others = [method for method in methods if method != name]
        parts[f"minus {name}"] = accuracy[others].sub(accuracy[name], axis="index")
    summaries = {
        quantity: pd.DataFrame({method: _summary(part[method]) for method in part}).T
        for quantity, part in parts.items()
    }
    return pd.concat(summaries, axis="columns").reindex(methods).rename_axis("method")


def text(numbers: pd.DataFrame) -> pd.DataFrame:
    """A table in per cent and points, as ``"93.4 ± 1.2"``.

    Parameters
    ----------
    numbers : pandas.DataFrame
        The frame from `table`.

    Returns
    -------
    pandas.DataFrame
        Text, a column for each quantity; empty where a method would be compared with itself. A
        single run has no spread.
    """
    columns = {}
    for quantity in numbers.columns.get_level_values(0).unique():
        sign = "+" if str(quantity).startswith("minus ") else ""
        part = 100 * numbers[quantity][["mean", "sd"]]
        columns[quantity] = [
            " ± ".join(f"{x:{s}.1f}" for x, s in ((mean, sign), (sd, "")) if not math.isnan(x))
            for mean, sd in part.itertuples(index=False)
        ]
    return pd.DataFrame(columns, index=numbers.index)


def differences(runs: pd.DataFrame, pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Accuracy of one method minus that of another, seed by seed.

    Parameters
    ----------
    runs : pandas.DataFrame
        The frame from `read`.
    pairs : iterable of (str, str)
        A method and its reference, in each pair.

    Returns
    -------
    pandas.DataFrame
        A row for each pair and each problem on which both were run: ``problem``, ``method``,
        ``reference``, ``mean``, ``sd``, ``n``, and ``low`` and ``high``, the 95 % interval of the
        mean by Student's t (it takes the differences for draws from a normal distribution). Where
        the problems are of several scales, ``scale`` says which.

    Raises
    ------
    ValueError
        A method is not among the runs, or has two runs of one seed, or the runs of a problem are of
        several scales.
    """
    from scipy import stats  # slow to import, and for nothing else

    pairs, known = list(pairs), list(runs["method"].unique())
    for name in chain.from_iterable(pairs):
        check_choice("pairs", name, known)
    found, several = [], "scale" in runs and runs["scale"].nunique() > 1
    for problem, here in runs.groupby("problem", sort=False):
        accuracy = _by_seed(here, "accuracy")
        for method, reference in pairs:
            if not {method, reference} <= set(accuracy):
                continue
            summary = _summary(accuracy[method] - accuracy[reference])
            mean, n = summary["mean"], int(summary["n"])
            half = stats.t.ppf(0.975, n - 1) * summary["sd"] / math.sqrt(n) if n > 1 else math.nan
            names: dict[str, Any] = {"problem": problem, "method": method, "reference": reference}
            names |= {"scale": here["scale"].iloc[0]} if several else {}
            found.append({**names, **summary, "n": n, "low": mean - half, "high": mean + half})
    return pd.DataFrame(found)


def histories(name: str | Path) -> pd.DataFrame:
    """Every epoch of the runs of a table whose epochs were scored.

    Parameters
    ----------
    name : str or Path
        The record, as for `read`.

    Returns
    -------
    pandas.DataFrame
        A row for each epoch of each run: ``method``, ``problem``, ``dataset``, ``seed``, ``scale``,
        then the history of `nlmeta.fit` with the scores of `nlmeta.procedures.EpochScores`. Only
        the last stage of a run counts, and only if it has at least two epochs. A history is of the
        network that the method predicts with, so a run that was made for another network of the
        method, such as a student, is left out. Empty if no epochs were scored.
    """
    found = [pd.DataFrame({**own, **history}) for own, history in _scored(name)]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def regrets(name: str | Path) -> pd.DataFrame:
    """The loss of each rule that chooses an epoch, on each run whose epochs were all scored.

    Parameters
    ----------
    name : str or Path
        The record, as for `read`.

    Returns
    -------
    pandas.DataFrame
        A row for each run of `histories` and each rule of `nlmeta.procedures.SELECTORS`:
        ``method``, ``problem``, ``dataset``, ``seed``, ``scale``, ``epochs`` (length of the run),
        ``selector``, ``epoch`` (the chosen one) and ``regret`` (clean test accuracy of the best
        epoch minus that of the chosen one).
    """
    found = []
    for own, epochs in _scored(name):
        history = pd.DataFrame(epochs)
        for rule in SELECTORS:
            chosen = {"epoch": chosen_epoch(history, rule), "regret": regret(history, rule)}
            found.append({**own, "epochs": len(history), "selector": rule, **chosen})
    return pd.DataFrame(found)


def problem_name(dataset: str, problem: str) -> str:
    """The name of a problem where those of several records stand side by side.

    Parameters
    ----------
    dataset, problem : str
        The columns of `histories` and `regrets`.

    Returns
    -------
    str
        The problem, with its dataset in front unless its name begins with it.

    Examples
    --------
    >>> problem_name("cifar10n", "worst"), problem_name("sst", "SST, symmetric 40 %")
    ('cifar10n, worst', 'SST, symmetric 40 %')
    """
    begins_so = problem.partition(",")[0].lower().replace("-", "_") == dataset
    return problem if begins_so else f"{dataset}, {problem}"


def _scored(name: str | Path) -> Iterator[tuple[dict[str, Any], Mapping[str, list[Any]]]]:
    """What a run is, and the columns of its history, of each run that `histories` describes."""
    for asked, seed, run in _of_stage(_open(name), "table"):
        history = (run.get("history") or {}).get("training", {})
        method = asked.get("label") or asked["entry"]
        predicts = method in asked.get("networks", [method])
        if predicts and "changed" in history and len(history["changed"]) > 1:
            own = {"method": method, "problem": asked["problem"], "dataset": asked["load"]["name"]}
            yield {**own, "seed": seed, "scale": asked.get("scale")}, history


def method_regrets(name: str | Path) -> pd.DataFrame:
    """The loss of whoever takes the method that is best on noisy samples, in each race of methods.

    A race is all methods of a record that were run on one problem with one seed, so on the same
    samples. They are compared as they are after their last epoch.

    Parameters
    ----------
    name : str or Path
        The record, as for `read`. Runs count whose epochs were all scored, and rows with
        ``noisy_validation``, the accuracy on held-out samples with noisy labels.

    Returns
    -------
    pandas.DataFrame
        A row for each race: ``problem``, ``seed``, ``methods`` (how many), ``method`` (the first of
        those that are best on noisy samples), ``regret`` (clean test accuracy of the best method
        minus that of the taken one) and ``worst`` (the same of the worst method).
    """
    record, races = _open(name), dict[tuple[str, int], list[dict[str, Any]]]()
    for (plan, seed), run in record.runs.items():
        asked = record.plans[plan]
        if asked["stage"] == "choice":
            continue
        race = races.setdefault((asked.get("problem") or asked["stage"], seed), [])
        race += [row for row in run["rows"] if "noisy_validation" in row]
        if len(history := _history(run)):
            last = history.iloc[-1]
            row = {"accuracy": last["test_accuracy"], "noisy_validation": last["noisy_validation"]}
            race.append({"method": asked.get("label") or asked["entry"], **row})
    found = []
    for (problem, seed), race in races.items():
        if len(runs := pd.DataFrame(race)) > 1:
            lost = runs["accuracy"].max() - runs["accuracy"]
            taken = runs["noisy_validation"].argmax()
            said = {"problem": problem, "seed": seed, "methods": runs["method"].nunique()}
            said |= {"method": runs["method"].iloc[taken], "regret": lost.iloc[taken]}
            found.append({**said, "worst": lost.max()})
    return pd.DataFrame(found)


def _history(run: Mapping[str, Any]) -> pd.DataFrame:
    """The history of a run's last stage, without rows if its epochs were not scored."""
    history = pd.DataFrame((run.get("history") or {}).get("training", {}))
    return history if "noisy_validation" in history else history.iloc[:0]


def _by_seed(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """A quantity with a row for each seed and a column for each method."""
    scales = sorted(runs["scale"].dropna().unique()) if "scale" in runs else []
    if len(scales) > 1:
        raise ValueError(f"`runs` are of the scales {', '.join(scales)}; take those of one")
    twice = runs[runs.duplicated(["method", "seed"])]
    if len(twice):
        method, seed = twice.iloc[0][["method", "seed"]]
        raise ValueError(
            f"`runs` have {method!r} twice on seed {seed}, as where a plan has changed since; "
            "`python -m nlmeta prune NAME` removes the runs of plans that are gone"
        )
    return runs.pivot(index="seed", columns="method", values=column)


def _summary(values: pd.Series) -> dict[str, float]:
    return {"mean": values.mean(), "sd": values.std(ddof=1), "n": values.count()}


def _of_stage(record: Record, stage: str) -> Iterator[tuple[Plan, int, Mapping[str, Any]]]:
    """Plan, seed and run, of the runs of a stage."""
    for (plan, seed), run in record.runs.items():
        if record.plans[plan].get("stage") == stage:
            yield record.plans[plan], seed, run


def _open(name: str | Path) -> Record:
    path = RECORDS / f"{name}.jsonl" if isinstance(name, str) else name
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in RECORDS.glob("*.jsonl")))
        raise FileNotFoundError(
            f"there is no record {str(path)!r}. The package has records of {known}; others are "
            "made by `python -m nlmeta run NAME`"
        )
    return Record(path)
