"""The runs as a table: last epochs, spreads, and the price of a step."""

from pathlib import Path

import pandas as pd

from nlmeta.experiments.first_runs.runner import read_file

__all__ = ["read", "table"]


def read(folder: Path) -> pd.DataFrame:
    """The finished runs of a folder.

    Parameters
    ----------
    folder : Path
        With files ``NAME-seedK.jsonl``.

    Returns
    -------
    pandas.DataFrame
        A row a run: ``name``, ``problem``, ``seed``, ``split`` (digest), ``shorten``,
        ``batch_size``, ``machine``, ``method``, ``accuracy`` (clean test images, last epoch; never
        the best), ``memorised`` (share of the wrong labels that are predicted), ``step_seconds``
        (median over the method's epochs in which nothing was evaluated; not a number where there
        is none), ``baseline`` (whether it is cross-entropy on the noisy labels), ``failed`` (what
        stopped it for good, or None).
    """
    runs = []
    for path in sorted(folder.glob("*.jsonl")):
        header, rows = read_file(path)
        training = header["training"]
        own = [row for row in rows if row["stage"] == "method"]
        last = own[-1] if own and own[-1]["epoch"] == training["epochs"] else {}
        if not last and header["failed"] is None:
            continue  # was stopped, and can go on
        timed = [
            row["seconds"]
            for row in own
            if row["epoch"] > training.get("warmup_epochs", 0) and "test_accuracy" not in row
        ]
        method = None if header["method"] is None else header["method"]["name"]
        runs.append(
            {key: header[key] for key in ("name", "problem", "seed", "split", "shorten")}
            | {
                "batch_size": training["batch_size"],
                "machine": header["machine"],
                "method": method,
                "accuracy": last.get("test_accuracy", float("nan")),
                "memorised": last.get("memorised", float("nan")),
                "step_seconds": pd.Series(timed, dtype=float).median() / header["steps_per_epoch"],
                "baseline": method == "CrossEntropy" and header["trained_on"] == header["split"],
                "failed": header["failed"],
            }
        )
    return pd.DataFrame(runs)


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Means and standard deviations over the seeds.

    Parameters
    ----------
    runs : pandas.DataFrame
        From `read`, all with schedules shortened alike.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``problem`` and ``name``: ``runs`` and how many of them ``failed``; ``accuracy``
        and ``memorised`` in %, each with its standard deviation (``_sd``; not a number for a single
        run); ``step_ms``; ``step_ratio``, to cross-entropy of the same problem, batch size and
        machine.

    Raises
    ------
    ValueError
        There is no run, or schedules were shortened by different factors.
    """
    if runs.empty:
        raise ValueError("`runs` is empty; there is no finished run")
    factors = sorted(float(factor) for factor in runs["shorten"].unique())
    if len(factors) > 1:
        raise ValueError(f"`runs` have schedules shortened by {factors}; compare those of one")
    like = ["problem", "batch_size", "machine"]
    plain = runs[runs["baseline"]].groupby(like)["step_seconds"].mean()
    runs = runs.join(plain.rename("plain_seconds"), on=like)
    runs["ratio"] = runs["step_seconds"] / runs["plain_seconds"]
    groups = runs.groupby(["problem", "name"], sort=False)
    return pd.DataFrame(
        {
            "runs": groups.size(),
            "failed": groups["failed"].count(),
            "accuracy": 100 * groups["accuracy"].mean(),
            "accuracy_sd": 100 * groups["accuracy"].std(ddof=1),
            "memorised": 100 * groups["memorised"].mean(),
            "memorised_sd": 100 * groups["memorised"].std(ddof=1),
            "step_ms": 1000 * groups["step_seconds"].mean(),
            "step_ratio": groups["ratio"].mean(),
        }
    )
