"""The record of what was measured, and its tables."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["PRECISION_RECORD", "RECORD", "precision_file", "read", "table", "write"]

RECORD = Path(__file__).parents[1] / "records" / "cost.json"


def precision_file(record: Path) -> Path:
    """The file beside a record of costs that holds the cosines of the same run."""
    return record.with_name(f"{record.stem}-precision.json")


PRECISION_RECORD = precision_file(RECORD)


def write(rows: Iterable[Mapping[str, Any]], record: Path) -> None:
    """Write rows as a list in JSON, one row a line; what the file held is replaced.

    Parameters
    ----------
    rows : iterable of mapping
        From `measure`, or from `measure_precision`.
    record : Path
        The file. Its folder is made if it is not there.
    """
    record.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(dict(row)) for row in rows)
    record.write_text(f"[\n{lines}\n]\n")


def read(record: Path | None = None) -> pd.DataFrame:
    """A record as a frame, one row for each kind of step.

    Parameters
    ----------
    record : Path, optional
        Default: the one that comes with the package, ``RECORD``. ``PRECISION_RECORD`` is the other.

    Returns
    -------
    pandas.DataFrame
        Columns as `measure` or `measure_precision` names them.
    """
    return pd.DataFrame(json.loads((RECORD if record is None else record).read_text()))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """What a reader compares: milliseconds, and time and memory in units of cross-entropy.

    Parameters
    ----------
    rows : pandas.DataFrame
        From `read`, or ``pandas.DataFrame(measure(...))``.

    Returns
    -------
    pandas.DataFrame
        Indexed by method and mode; columns ``ms``, ``time`` and ``memory``.
    """
    columns = {
        "ms": 1000 * rows["seconds"],
        "time": rows["time_ratio"].astype(float),
        "memory": rows["memory_ratio"].astype(float),
    }
    index = pd.MultiIndex.from_frame(rows[["method", "mode"]])
    return pd.DataFrame({name: values.to_numpy() for name, values in columns.items()}, index=index)
