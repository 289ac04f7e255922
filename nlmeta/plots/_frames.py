"""Checks on the frames that figures are drawn from."""

from collections.abc import Sequence

import pandas as pd

__all__ = ["check_columns", "check_unique"]


def check_columns(name: str, frame: pd.DataFrame, wanted: Sequence[str]) -> None:
    missing = [column for column in wanted if column not in frame]
    if missing:
        raise ValueError(f"`{name}` has the columns {list(frame)}; it lacks {missing}, add them")


def check_unique(name: str, frame: pd.DataFrame, keys: list[str]) -> None:
    repeated = frame[frame.duplicated(keys)]
    if len(repeated):
        row = ", ".join(f"{key} {repeated[key].iloc[0]}" for key in keys)
        raise ValueError(f"`{name}` has two rows for {row}; it must have one")
