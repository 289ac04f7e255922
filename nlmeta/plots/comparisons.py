"""Pictures that compare methods, seed by seed."""

import itertools
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nlmeta import _checks
from nlmeta.plots._frames import check_columns, check_unique
from nlmeta.plots.styles import style_of, white

__all__ = ["dot_plot", "intervals", "paired_differences", "waterfall"]


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


def dot_plot(
    frame: pd.DataFrame,
    *,
    methods: Sequence[str],
    coloured: Sequence[str] = (),
    panel: str = "noise",
    series: str = "meta_size",
) -> Figure:
    """Draw the accuracy of each method: a tick for each seed, a dot for their mean.

    Panels lie one below another and the figure is narrow, so that it reads on a phone.

    Parameters
    ----------
    frame : DataFrame
        Runs, such as `nlmeta.experiments.read` gives. It has the columns `method`, `seed`,
        `accuracy` (shares) and the two below.
    methods : sequence of str
        The rows, from top to bottom. Runs of other methods are left out.
    coloured : sequence of str, default ()
        The methods that keep their colour, and with it all methods that are named after them
        ("MSLG, labels stay"). The others are grey.
    panel : str, default "noise"
        A column; each of its values has a panel, in the order of the frame.
    series : str, default "meta_size"
        A column with one or two values. The larger has filled dots, the smaller hollow ones, a
        little below.

    Returns
    -------
    Figure
        The figure, with accuracies in percent on a common axis.

    Raises
    ------
    ValueError
        If a column is missing, `series` has more than two values, a method lacks a run in a panel
        or a series, or has a seed twice.
    """
    check_columns("frame", frame, ["method", "seed", "accuracy", panel, series])
    frame = frame[frame["method"].isin(methods)]
    check_unique("frame", frame, ["method", "seed", panel, series])
    values = sorted(frame[series].unique().tolist(), reverse=True)
    if len(values) > 2:
        raise ValueError(f"the column {series!r} has the values {values}; it may have two at most")
    there = set(frame[["method", panel, series]].itertuples(index=False, name=None))
    wanted = itertools.product(methods, frame[panel].unique().tolist(), values)
    lacking = [", ".join(map(str, row)) for row in wanted if row not in there]
    if lacking or not there:
        raise ValueError(
            f"`methods` is {list(methods)}; `frame` must have a run of each in every panel and "
            f"series, and lacks {lacking or 'all of them'}"
        )
    parts = list(frame.groupby(panel, sort=False))
    figure, axes = plt.subplots(
        len(parts),
        1,
        figsize=(4.7, (0.7 + 0.27 * len(methods)) * len(parts) + 0.6),
        sharex=True,
        squeeze=False,
        layout="constrained",
        facecolor="white",
    )
    for ax, (value, part) in zip(axes.flat, parts, strict=True):
        for place, name in enumerate(methods):
            family = name.partition(",")[0]
            colour = style_of(name)["color"] if family in coloured else "0.4"
            for order, which in enumerate(values):
                height = place + 0.3 * (order - (len(values) - 1) / 2)
                of_one = part[(part["method"] == name) & (part[series] == which)]
                points = 100 * of_one["accuracy"].to_numpy()
                ax.plot(points, [height] * len(points), "|", color=colour, alpha=0.5)
                hollow = {"markerfacecolor": "white"} if order else {}
                ax.plot(points.mean(), height, "o", color=colour, markersize=5.5, **hollow)
        ax.set_yticks(range(len(methods)), methods, fontsize=9)
        ax.set_ylim(len(methods) - 0.5, -0.5)  # the first method on top
        ax.set_title(str(value), fontsize=10)
        ax.grid(axis="x", color="0.9")
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("clean test accuracy (%)")
    if len(values) == 2:
        for fill, which in zip(("0.4", "white"), values, strict=True):
            axes[0, 0].plot([], [], "o", color="0.4", markerfacecolor=fill, label=str(which))
        title = series.replace("_", " ")
        figure.legend(title=title, loc="outside lower center", ncols=2, fontsize=9)
    return figure


def intervals(
    frame: pd.DataFrame, *, ax: Axes | None = None, title: str = "Mean differences"
) -> Axes:
    """Draw mean differences with their 95 % intervals, a row for each rival.

    An interval that does not reach zero has a filled marker, one that does a hollow marker.

    Parameters
    ----------
    frame : DataFrame
        The frame from `nlmeta.experiments.differences`, of one method and one problem.
    ax : Axes, optional
        The axes to draw on. Default: those of a new figure.
    title : str, default "Mean differences"
        Title of the axes.

    Returns
    -------
    Axes
        The axes, with one row per rival in the order of the frame; differences are in points.

    Raises
    ------
    ValueError
        If a column is missing, there is no row, or rows are of several methods or problems.
    """
    check_columns("frame", frame, ["problem", "method", "reference", "mean", "low", "high"])
    check_unique("frame", frame, ["reference"])
    if frame["method"].nunique() != 1 or frame["problem"].nunique() != 1:
        raise ValueError(
            f"`frame` holds {frame['method'].nunique()} methods on "
            f"{frame['problem'].nunique()} problems; a picture is of one method on one problem"
        )
    ax = white(ax, (6.5, 1.2 + 0.4 * len(frame)))
    method = frame["method"].iloc[0]
    for row, line in enumerate(frame.to_dict("records")):
        mean, low, high = (100 * line[name] for name in ("mean", "low", "high"))
        style: dict[str, Any] = {**style_of(str(line["reference"])), "linestyle": "none"}
        style["markerfacecolor"] = "white" if low <= 0 <= high else style["color"]
        reach = [[mean - low], [high - mean]]
        ax.errorbar(mean, row, xerr=reach, capsize=4, markersize=8, **style)
        ax.text(1.02, row, f"{mean:+.1f}", transform=ax.get_yaxis_transform(), va="center")
    ax.axvline(0, color="0.4", linewidth=1)
    ax.set_yticks(range(len(frame)), [str(name) for name in frame["reference"]])
    ax.set_ylim(len(frame) - 0.5, -0.5)  # the first rival on top
    ax.set(title=title, xlabel=f"points by which {method} is above (95 % interval)")
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax


def waterfall(
    steps: pd.DataFrame,
    *,
    ax: Axes | None = None,
    title: str = "From one number to another",
    xlabel: str = "test accuracy (%)",
) -> Axes:
    """Draw what lies between two numbers: a bar for each step, from the level before to its own.

    Filled bars are switches that were run, a hatched one is what was not run. Each carries its
    change in points, and a black line the 95 % interval of the change where there is one.

    Parameters
    ----------
    steps : DataFrame
        A row for each step, from top to bottom, with the columns `step` (its name), `level` (the
        number after it) and `ran` (whether it was run); `low` and `high`, the interval of the
        change, may be missing. The first row is where the bars begin.
    ax : Axes, optional
        The axes to draw on. Default: those of a new figure.
    title : str, default "From one number to another"
        Title of the axes.
    xlabel : str, default "test accuracy (%)"
        The quantity.

    Returns
    -------
    Axes
        The axes; a row for each step, and one for the end.

    Raises
    ------
    ValueError
        If a column or a level is missing, or there are fewer than two rows.
    """
    check_columns("steps", steps, ["step", "level", "ran"])
    levels = steps["level"].to_numpy(float)
    if len(steps) < 2 or np.isnan(levels).any():
        raise ValueError(
            f"`steps` has the levels {levels.tolist()}; a waterfall needs at least two numbers"
        )
    ax = white(ax, (7.2, 1.4 + 0.45 * len(steps)))
    bounds = steps.reindex(columns=["low", "high"]).to_numpy(float)
    for row, (before, after) in enumerate(zip(levels, levels[1:], strict=False), start=1):
        ran = bool(steps["ran"].iloc[row])
        up = after >= before
        look: dict[str, Any] = {"color": "#0072B2" if up else "#D55E00"}
        if not ran:
            look = {"facecolor": "white", "edgecolor": "0.4", "hatch": "///"}
        ax.barh(row, after - before, left=before, height=0.6, **look)
        ax.plot([before, before], [row - 1.3, row + 0.3], color="0.5", linewidth=0.8)
        ends = [before, after]
        if not np.isnan(bounds[row]).any():
            ends += list(before + bounds[row])
            ax.plot(before + bounds[row], [row, row], color="black", linewidth=1.5, marker="|")
        ax.annotate(
            f"{after - before:+.1f}",
            (max(ends), row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
        )
    last = len(steps)
    ax.plot([levels[-1]] * 2, [last - 1.3, last], color="0.5", linewidth=0.8)
    for row, level in ((0, levels[0]), (last, levels[-1])):
        ax.plot(level, row, "o", color="black", markersize=7, clip_on=False)
        ax.annotate(
            f"{level:.1f}", (level, row), xytext=(8, 0), textcoords="offset points", va="center"
        )
    ax.set_yticks(range(last + 1), [*map(str, steps["step"]), "end"])
    ax.set_ylim(last + 0.5, -0.5)  # the start on top
    ax.margins(x=0.12)
    ax.set(title=title, xlabel=xlabel)
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax


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
