"""Pictures that compare methods, seed by seed."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nlmeta import _checks
from nlmeta.plots._frames import check_columns, check_unique
from nlmeta.plots.styles import style_of, white

__all__ = ["paired_difference_panels", "paired_differences"]


def paired_differences(
    frame: pd.DataFrame,
    *,
    reference: str,
    ax: Axes | None = None,
    title: str = "Paired differences",
) -> Axes:
    """Draw the differences of each method to a reference, seed by seed.

    The seed determines split, noise and initialisation, so methods are compared within a seed: the
    small markers are the differences, the large one is their mean, and the bar is one standard
    deviation (n - 1 in the denominator) on either side.

    Parameters
    ----------
    frame : DataFrame
        A frame with the columns `method`, `seed`, `accuracy` (shares); one row for each method and
        seed.
    reference : str
        The method that the others are compared with.
    ax : Axes, optional
        The axes to draw on. Default: those of a new figure.
    title : str, default "Paired differences"
        Title of the axes.

    Returns
    -------
    Axes
        The axes, with one row per method in the order of the frame; differences are in percentage
        points.

    Raises
    ------
    ValueError
        If a column or the reference is missing, a method lacks a seed or has it twice, or
        there are fewer than two seeds.
    """
    differences = _differences(frame, reference)  # (seeds, methods)
    ax = white(ax, (6.5, 1.2 + 0.45 * len(differences.columns)))
    for row, method in enumerate(differences):
        points = differences[method].to_numpy()
        mean, spread = points.mean(), points.std(ddof=1)
        style: dict[str, Any] = {**style_of(str(method)), "linestyle": "none"}
        ax.plot(points, np.full(len(points), row - 0.15), markersize=5, alpha=0.5, **style)
        ax.errorbar(mean, row + 0.15, xerr=spread, capsize=4, markersize=8, **style)
        text = f"{mean:+.1f} ± {spread:.1f}"
        ax.text(1.02, row, text, transform=ax.get_yaxis_transform(), va="center", fontsize=9)
    ax.axvline(0, color="0.4", linewidth=1)
    ax.set_yticks(range(len(differences.columns)), [str(name) for name in differences.columns])
    ax.set_ylim(len(differences.columns) - 0.5, -0.5)  # the first method on top
    ax.set(title=title, xlabel=f"points above {reference} (mean ± sd, n = {len(differences)})")
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax


def paired_difference_panels(
    frame: pd.DataFrame, *, reference: str, facet: str, columns: int = 2
) -> Figure:
    """Draw `paired_differences` once for each value of a column, on a common scale.

    Parameters
    ----------
    frame : DataFrame
        A frame as in `paired_differences`, with the additional column `facet`.
    reference : str
        The method that the others are compared with, within each panel.
    facet : str
        The column to split by; its values become the titles.
    columns : int, default 2
        Number of panels in a row.

    Returns
    -------
    Figure
        The figure.

    Raises
    ------
    ValueError
        The frame of a panel is refused by `paired_differences`.
    """
    _checks.check_count("columns", columns)
    check_columns("frame", frame, [facet])
    parts = list(frame.groupby(facet, sort=False))
    columns = min(columns, len(parts))
    rows = -(-len(parts) // columns)
    height = 1.2 + 0.45 * frame["method"].nunique()
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(5.2 * columns, height * rows),
        sharex=True,
        squeeze=False,
        layout="constrained",
        facecolor="white",
    )
    for ax in axes.flat[len(parts) :]:
        ax.set_axis_off()
    for ax, (value, part) in zip(axes.flat, parts, strict=False):
        paired_differences(part, reference=reference, ax=ax, title=str(value))
    return figure


def _differences(frame: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Percentage points above the reference: one row per seed, one column per other method."""
    check_columns("frame", frame, ["method", "seed", "accuracy"])
    check_unique("frame", frame, ["method", "seed"])
    methods = list(frame["method"].unique())
    _checks.check_choice("reference", reference, methods)
    table = frame.pivot(index="seed", columns="method", values="accuracy")[methods]
    for method in methods:
        gaps = table.index[table[method].isna()]
        if len(gaps):
            raise ValueError(
                f"`frame` lacks an accuracy of {method!r} for seed {gaps[0]}; "
                "paired differences need every method at every seed"
            )
    if len(table) < 2:
        raise ValueError(f"`frame` holds {len(table)} seed; a standard deviation needs at least 2")
    return 100 * table.drop(columns=reference).sub(table[reference], axis=0)
