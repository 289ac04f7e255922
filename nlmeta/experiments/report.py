"""The one frame and the one table: what a record says, as numbers first and as text last."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from nlmeta._checks import check_choice
from nlmeta.experiments.record import RECORDS, Record

__all__ = ["differences", "frame", "read", "rows", "table", "text"]

REFERENCES = ("cross-entropy", "early stopping", "fine-tuning")
SHARES = ("accuracy", "memorised", "recovered", "destroyed")
HERE = ("nlmeta", "commit", "torch", "numpy", "python", "machine", "device", "gpu", "threads")


def read(name: str | Path, *, stage: str = "table") -> pd.DataFrame:
    """A record as a frame, a row for each network and seed, or for each thing that was measured.

    Parameters
    ----------
    name : str or Path
        Of an experiment whose record comes with the package, or a file.
    stage : str
        ``"table"`` (default): the runs with the chosen settings. ``"choice"``: those by which
        settings were chosen, on other seeds, with ``validation`` alone. An experiment that measures
        names its own.

    Returns
    -------
    pandas.DataFrame
        See `frame`.

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
        What was run.
    stage : str
        As for `read`.

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
    for (plan, seed), run in record.runs.items():
        asked = record.plans.get(plan, {})
        if asked.get("stage") != stage:
            continue
        load = dict(asked.get("load", {}))
        where = record.environments.get(run["environment"], {})
        for row in run["rows"]:
            method = {"method": row["method"]} if "method" in row else {}
            found.append(
                method
                | {key: asked.get(key) for key in ("problem", "entry")}
                | {"seed": seed, "setting": asked.get("setting", {}), "scale": asked.get("scale")}
                | ({"dataset": load.pop("name", load.get("dataset"))} if load else {})
                | load
                | row
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
        As for `read`.
    stage : str
        As for `read`.

    Returns
    -------
    list of dict
    """
    record = _open(name)
    plans = record.plans
    return [
        row
        for (plan, _), run in record.runs.items()
        if plans.get(plan, {}).get("stage") == stage
        for row in run["rows"]
    ]


def table(
    runs: pd.DataFrame,
    *,
    methods: Sequence[str] | None = None,
    against: Sequence[str] = REFERENCES,
    columns: Sequence[str] = SHARES,
) -> pd.DataFrame:
    """Mean, standard deviation and number of runs, and differences taken seed by seed.

    Parameters
    ----------
    runs : pandas.DataFrame
        From `read`, of one problem.
    methods : sequence of str, optional
        Rows, in this order. Default: all.
    against : sequence of str
        Methods that differences of accuracy are taken to.
    columns : sequence of str
        What to show.

    Returns
    -------
    pandas.DataFrame
        A row for each method; columns are pairs of a quantity (of `columns`, or ``minus X``) and
        ``mean``, ``sd``, ``n``. The spread of a difference is that of the differences.

    Raises
    ------
    ValueError
        The runs are of several problems, or a method is not among them.
    """
    if len(problems := runs["problem"].unique()) > 1:
        raise ValueError(f"`runs` are of {len(problems)} problems; take those of one, {problems}")
    known = list(runs["method"].unique())
    methods = known if methods is None else list(methods)
    for argument, names in (("methods", methods), ("against", against)):
        for name in names:
            check_choice(argument, name, known)
    wide = {name: runs.pivot(index="seed", columns="method", values=name) for name in columns}
    values = {name: {method: wide[name][method] for method in methods} for name in columns}
    accuracy = runs.pivot(index="seed", columns="method", values="accuracy")
    for name in against:
        values[f"minus {name}"] = {m: accuracy[m] - accuracy[name] for m in methods if m != name}
    parts = {
        quantity: pd.DataFrame({method: _summary(v) for method, v in of_method.items()}).T
        for quantity, of_method in values.items()
    }
    whole = pd.concat(parts, axis="columns").reindex(methods)
    return whole.rename_axis("method")


def text(numbers: pd.DataFrame) -> pd.DataFrame:
    """A table in per cent and points, as ``"93.4 ± 1.2"``.

    Parameters
    ----------
    numbers : pandas.DataFrame
        From `table`.

    Returns
    -------
    pandas.DataFrame
        Text, a column for each quantity; empty where a method would be compared with itself.
    """
    columns = {}
    for quantity in numbers.columns.get_level_values(0).unique():
        form = "{:+.1f} ± {:.1f}" if str(quantity).startswith("minus ") else "{:.1f} ± {:.1f}"
        part = 100 * numbers[quantity]
        columns[quantity] = [
            "" if math.isnan(mean) else form.format(mean, sd)
            for mean, sd in zip(part["mean"], part["sd"], strict=True)
        ]
    return pd.DataFrame(columns, index=numbers.index)


def differences(runs: pd.DataFrame, pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Accuracy of one method minus that of another, seed by seed.

    Parameters
    ----------
    runs : pandas.DataFrame
        From `read`.
    pairs : iterable of (str, str)
        Method and reference.

    Returns
    -------
    pandas.DataFrame
        A row for each pair and problem: ``problem``, ``method``, ``reference``, ``mean``, ``sd``,
        ``n``, and ``low`` and ``high``, the 95 % interval of the mean by Student's t (it takes the
        differences for draws from a normal distribution).

    Raises
    ------
    ValueError
        A method is not among the runs.
    """
    found = []
    known = list(runs["method"].unique())
    for problem, here in runs.groupby("problem", sort=False):
        accuracy = here.pivot(index="seed", columns="method", values="accuracy")
        for method, reference in pairs:
            check_choice("pairs", method, known)
            check_choice("pairs", reference, known)
            gaps = (accuracy[method] - accuracy[reference]).dropna()
            summary = _summary(gaps)
            n = int(summary["n"])
            half = stats.t.ppf(0.975, n - 1) * summary["sd"] / math.sqrt(n) if n > 1 else math.nan
            found.append(
                {"problem": problem, "method": method, "reference": reference, **summary, "n": n}
                | {"low": summary["mean"] - half, "high": summary["mean"] + half}
            )
    return pd.DataFrame(found)


def _summary(values: pd.Series) -> dict[str, float]:
    return {"mean": values.mean(), "sd": values.std(ddof=1), "n": values.count()}


def _open(name: str | Path) -> Record:
    path = RECORDS / f"{name}.jsonl" if isinstance(name, str) else name
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in RECORDS.glob("*.jsonl")))
        raise FileNotFoundError(
            f"there is no record {str(path)!r}. The package has records of {known}; others are "
            "made by `python -m nlmeta run NAME`"
        )
    return Record(path)
