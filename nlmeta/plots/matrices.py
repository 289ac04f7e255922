"""Pictures of transition matrices; rows are true classes, columns given labels."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nlmeta import metrics
from nlmeta._arrays import Array, as_tensor
from nlmeta.plots.styles import white

__all__ = ["transition_beside_estimate", "transition_matrix"]

_SCALE = "share of the true class (%)"


def transition_matrix(
    matrix: Array,
    *,
    ax: Axes | None = None,
    class_names: Sequence[str] | None = None,
    title: str = "Transition matrix",
    annotate: bool | None = None,
    colour_bar: bool = True,
) -> Axes:
    """Draw a transition matrix as a heat map; rows are true classes, columns given labels.

    Parameters
    ----------
    matrix : array
        A matrix (C, C). A row with NaN (a class without samples, see `noise.empirical_transition`)
        is hatched and marked as such. Estimates need not be exact transition matrices; the colours
        span 0 to 100 %.
    ax : Axes, optional
        The axes to draw on. Default: those of a new figure.
    class_names : sequence of str, optional
        Names of the C classes. Default: 0 to C - 1.
    title : str, default "Transition matrix"
        Title of the axes.
    annotate : bool, optional
        Whether to write the entries, in percent; entries that round to 0 stay empty. Default: True
        for up to 10 classes.
    colour_bar : bool, default True
        Whether to draw a colour bar.

    Returns
    -------
    Axes
        The axes.

    Raises
    ------
    ValueError
        If `matrix` is not square or there are not C names.
    """
    matrix = as_tensor("matrix", matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"`matrix` has shape {tuple(matrix.shape)}; it must be square, (C, C)")
    num_classes = len(matrix)
    names = _names(class_names, num_classes)
    values = 100 * matrix.detach().cpu().double().numpy()  # (C, C), in percent
    size = min(1.8 + 0.28 * num_classes, 9.0)
    ax = white(ax, (size + 0.6 * colour_bar, size))
    bar = {"label": _SCALE, "shrink": 0.8} if colour_bar else None
    _heat_map(ax, values, names, annotate, bar, vmin=0, vmax=100, cmap="Blues")
    ax.set(title=title, xlabel="given label", ylabel="true class")
    return ax


def transition_beside_estimate(
    truth: Array,
    estimate: Array,
    *,
    class_names: Sequence[str] | None = None,
    titles: tuple[str, str] = ("Noise matrix", "Estimate"),
) -> Figure:
    """Draw a noise matrix, an estimate of it and their difference side by side.

    Parameters
    ----------
    truth : array
        The true matrix (C, C); rows: true classes, columns: given labels.
    estimate : array
        A matrix (C, C), counted from labels (`noise.empirical_transition`) or learned. A row with
        NaN, of a class without samples, is hatched and marked as such.
    class_names : sequence of str, optional
        Names of the C classes. Default: 0 to C - 1.
    titles : tuple of two str, default ("Noise matrix", "Estimate")
        Titles of the first two panels.

    Returns
    -------
    Figure
        A figure of three panels. The third is the estimate minus the true matrix in percentage
        points, red where the estimate is too large and blue where it is too small; its title has
        `metrics.transition_error`, taken over the classes that have samples.

    Raises
    ------
    ValueError
        If the shapes differ or are not (C, C).
    """
    truth, estimate = as_tensor("truth", truth), as_tensor("estimate", estimate)
    metrics.transition_error(estimate, truth)  # checks the shapes
    names = _names(class_names, len(truth))
    difference = (estimate.detach().cpu().double() - truth.detach().cpu().double()).numpy()
    seen = ~np.isnan(difference).any(axis=1)
    error = np.abs(difference[seen]).sum(axis=1).mean() / 2 if seen.any() else np.nan
    size = min(1.8 + 0.26 * len(truth), 8.0)
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(3 * size + 1.4, size), layout="constrained", facecolor="white"
    )
    for ax, matrix, title in ((left, truth, titles[0]), (middle, estimate, titles[1])):
        transition_matrix(matrix, ax=ax, class_names=names, title=title, colour_bar=False)
    figure.colorbar(middle.collections[0], ax=[left, middle], label=_SCALE, shrink=0.8)
    # A scale of at least one point either side: rounding must not look like a difference.
    largest = max(np.abs(100 * difference[seen]).max(initial=0), 1)
    bar = {"label": "percentage points", "shrink": 0.8}
    limits = {"vmin": -largest, "vmax": largest}
    _heat_map(
        white(right, (size, size)), 100 * difference, names, None, bar, cmap="RdBu_r", **limits
    )
    right.set(title=f"Difference (error {error:.3f})", xlabel="given label", ylabel="true class")
    return figure


def _heat_map(
    ax: Axes,
    values: np.ndarray,
    names: list[str],
    annotate: bool | None,
    bar: dict[str, Any] | None,
    **colours: Any,
) -> None:
    """A matrix in percent, (C, C), with names at both sides; rows with NaN are marked."""
    num_classes = len(values)
    annotate = num_classes <= 10 if annotate is None else annotate
    texts = np.array([[_entry(percent) for percent in row] for row in values])
    sns.heatmap(
        values,
        ax=ax,
        square=True,
        annot=texts if annotate else False,
        fmt="",
        annot_kws={"fontsize": 8},
        xticklabels=names,
        yticklabels=names,
        cbar=bar is not None,
        cbar_kws=bar,
        linewidths=0.5 if num_classes <= 20 else 0,
        linecolor="0.9",
        **colours,
    )
    words = max(map(len, names), default=0) > 3  # beside each other they would overlap
    ax.tick_params(axis="x", labelrotation=90 if words else 0)
    ax.tick_params(axis="y", labelrotation=0)
    ax.patch.set(hatch="///", edgecolor="0.7")  # shines through where an entry is NaN
    for row in np.flatnonzero(np.isnan(values).any(axis=1)):
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        ax.text(num_classes / 2, row + 0.5, "no samples", ha="center", va="center", bbox=box)


def _names(class_names: Sequence[str] | None, num_classes: int) -> list[str]:
    if class_names is None:
        return [str(k) for k in range(num_classes)]
    if len(class_names) != num_classes:
        raise ValueError(
            f"`class_names` holds {len(class_names)} names; it must hold {num_classes}, one for "
            "each class of the matrix"
        )
    return list(class_names)


def _entry(percent: float) -> str:
    return "" if np.isnan(percent) or abs(percent) < 0.5 else f"{percent:.0f}"
