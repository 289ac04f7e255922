"""The record as a table: means, spreads, and differences seed by seed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from nlmeta._checks import check_choice

__all__ = ["RECORD", "read", "table"]

RECORD = Path(__file__).parents[1] / "records" / "digits.jsonl"
REFERENCES = ("cross-entropy", "early stopping", "fine-tuning")
SHARES = ("accuracy", "memorised", "recovered", "destroyed")


def read(
    record: Path | None = None, *, stage: Literal["table", "choice"] = "table"
) -> pd.DataFrame:
    """The runs of the table, those with the chosen settings.

    Parameters
    ----------
    record : Path, optional
        Default: the record that comes with the package.
    stage : {"table", "choice"}
        ``"choice"``: the runs by which settings were chosen, on other seeds, with ``validation``
        alone. Default ``"table"``.

    Returns
    -------
    pandas.DataFrame
        A row for each network and seed: ``network``, ``noise``, ``meta_size``, ``seed``,
        ``setting`` (what was chosen), ``accuracy`` (clean test, last epoch), ``validation``, and of
        the training samples ``memorised`` (share of the wrong labels that are predicted),
        ``recovered`` (wrong labels whose truth is predicted), ``destroyed`` (right labels that are
        not predicted). Some have more: ``transition_error``, ``labels_recovered``,
        ``labels_destroyed``, the last two of learned labels.
    """
    text = (RECORD if record is None else record).read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    check_choice("stage", stage, ("table", "choice"))
    runs = pd.DataFrame([row for row in rows if row["stage"] == stage])
    return runs.drop(columns=["stage", "rate"]).reset_index(drop=True)


def table(
    runs: pd.DataFrame,
    *,
    noise: str,
    meta_size: int,
    networks: Sequence[str] | None = None,
    references: Sequence[str] = REFERENCES,
) -> pd.DataFrame:
    """Mean and standard deviation over the seeds, in %, and paired differences in points.

    Parameters
    ----------
    runs : pandas.DataFrame
        From `read`.
    noise : str
        Kind of noise.
    meta_size : int
        Clean samples that were set aside, whether a method uses them or not.
    networks : sequence of str, optional
        Rows, in this order. Default: all.
    references : sequence of str
        What to take differences to; the spread is that of the differences.

    Returns
    -------
    pandas.DataFrame
        Text such as ``"93.4 ± 1.2"``; a row for each network.
    """
    check_choice("noise", noise, runs["noise"].unique())
    check_choice("meta_size", meta_size, [int(size) for size in runs["meta_size"].unique()])
    here = runs[(runs["noise"] == noise) & (runs["meta_size"] == meta_size)]
    known = list(here["network"].unique())
    networks = known if networks is None else list(networks)
    for name in (*networks, *references):
        check_choice("networks", name, known)
    wide = {share: here.pivot(index="seed", columns="network", values=share) for share in SHARES}
    columns = {
        share: [_spread(100 * wide[share][name], "{:.1f} ± {:.1f}") for name in networks]
        for share in SHARES
    }
    for reference in references:
        base = wide["accuracy"][reference]
        columns[f"minus {reference}"] = [
            ""
            if name == reference
            else _spread(100 * (wide["accuracy"][name] - base), "{:+.1f} ± {:.1f}")
            for name in networks
        ]
    return pd.DataFrame(columns, index=pd.Index(networks, name="network"))


def _spread(values: pd.Series, form: str) -> str:
    return form.format(values.mean(), values.std(ddof=1))
