"""Pictures of one training run: its curves over the epochs, and its losses at the end."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.cbook import normalize_kwargs
from matplotlib.lines import Line2D

from nlmeta import _checks
from nlmeta._arrays import Array, as_tensor
from nlmeta.analysis import LossMixture, fit_loss_mixture
from nlmeta.plots._frames import check_columns, check_unique
from nlmeta.plots.styles import RIGHT, STYLES, UNKNOWN_METHOD, WRONG, white

__all__ = ["curves", "loss_mixture", "memorisation_curve"]

_CURVES = {  # column: (what it is called, line)
    "test_accuracy": ("clean test samples classified right", "-"),
    "train_accuracy": ("training samples fitted to their given label", "--"),
    "memorised": ("wrong labels memorised", ":"),
}


def memorisation_curve(
    history: pd.DataFrame,
    *,
    ax: Axes | None = None,
    method: str = "cross-entropy",
    title: str = "Memorisation",
) -> Axes:
    """Draw test accuracy, fit to the given labels and memorised share over the epochs.

    With several seeds a line is their mean, and the band is one standard deviation on either side.

    Parameters
    ----------
    history : DataFrame
        A frame with the columns `epoch`, `test_accuracy`, `train_accuracy` (on the given labels)
        and `memorised` (`metrics.memorised`), all shares; optionally `seed`. Epochs without a
        measurement (NaN) are left out.
    ax : Axes, optional
        The axes to draw on. Default: those of a new figure.
    method : str, default "cross-entropy"
        The method whose colour is used; the kind of line shows the quantity.
    title : str, default "Memorisation"
        Title of the axes.

    Returns
    -------
    Axes
        The axes.

    Raises
    ------
    ValueError
        If a column is missing or a seed has two rows for one epoch.
    """
    check_columns("history", history, ["epoch", *_CURVES])
    colour = STYLES.get(method, UNKNOWN_METHOD)["color"]
    lines = {
        column: {"color": colour, "linestyle": line, "label": label}
        for column, (label, line) in _CURVES.items()
    }
    ax = curves(history, lines, ax=ax, title=title)
    ax.set(ylabel="share", ylim=(-0.02, 1.02))
    ax.legend(frameon=False, fontsize=9)
    return ax


def curves(
    history: pd.DataFrame,
    lines: Mapping[str, Mapping[str, Any]],
    *,
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw columns of a frame over the epochs: each is a line with its own style.

    With several seeds a line is their mean, and the band is one standard deviation on either side.
    The legend and the label of the vertical axis are left to the caller.

    Parameters
    ----------
    history : DataFrame
        A frame with the column `epoch` and those that are drawn; optionally `seed`. Epochs without
        a measurement (NaN) are left out.
    lines : mapping of str to mapping
        The columns to draw, each with its arguments of ``Axes.plot``, such as a row of `STYLES`.
        The label in the legend is the column's name if they hold no `label`.
    ax : Axes, optional
        The axes to draw on. Default: those of a new figure.
    title : str, default ""
        Title of the axes.

    Returns
    -------
    Axes
        The axes.

    Raises
    ------
    ValueError
        If a column is missing or a seed has two rows for one epoch.
    """
    check_columns("history", history, ["epoch", *lines])
    check_unique("history", history, ["seed", "epoch"] if "seed" in history else ["epoch"])
    ax = white(ax, (6.0, 3.8))
    for column, style in lines.items():
        curve = history.dropna(subset=[column]).groupby("epoch")[column].agg(["mean", "std"])
        epochs, mean, spread = curve.index.to_numpy(), curve["mean"], curve["std"]
        options = {"linewidth": 2, "label": column, **normalize_kwargs(dict(style), Line2D)}
        (line,) = ax.plot(epochs, mean, **options)
        low, high = mean - spread, mean + spread
        ax.fill_between(epochs, low, high, color=line.get_color(), alpha=0.15, lw=0)
    ax.set(title=title, xlabel="epoch")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def loss_mixture(
    losses: Array,
    *,
    mixture: LossMixture | None = None,
    wrong: Array | None = None,
    bins: int = 50,
    ax: Axes | None = None,
    title: str = "Losses of the given labels",
) -> Axes:
    """Draw a histogram of losses, the two components fitted to it, and their boundaries.

    Parameters
    ----------
    losses : array
        The loss of each sample's given label, (N,).
    mixture : LossMixture, optional
        The two components. Default: `nlmeta.analysis.fit_loss_mixture` of these losses.
    wrong : array, optional
        Whether each given label is wrong, (N,), bool. Bars then have two parts; the upper one, of
        the wrong labels, is hatched. Default: unknown, one part.
    bins : int, default 50
        Number of bars.
    ax : Axes, optional
        The axes to draw on. Default: those of a new figure.
    title : str, default "Losses of the given labels"
        Title of the axes.

    Returns
    -------
    Axes
        The axes, with vertical lines where the posterior is one half.

    Raises
    ------
    ValueError
        If losses are not finite or all equal, or `wrong` does not fit.
    """
    _checks.check_count("bins", bins)
    values = as_tensor("losses", losses).detach().cpu().double()
    mixture = fit_loss_mixture(values) if mixture is None else mixture
    ax = white(ax, (6.0, 3.6))
    edges = np.linspace(float(values.min()), float(values.max()), bins + 1)
    parts, labels, colours, hatches = [values], ["all samples"], ["0.85"], [""]
    if wrong is not None:
        wrong = as_tensor("wrong", wrong)
        if wrong.dtype != torch.bool or wrong.shape != values.shape:
            raise ValueError(
                f"`wrong` is {wrong.dtype} of shape {tuple(wrong.shape)}; it must be torch.bool of "
                f"shape {tuple(values.shape)}"
            )
        parts = [values[~wrong.cpu()], values[wrong.cpu()]]
        labels, colours, hatches = ["right labels", "wrong labels"], [RIGHT, WRONG], ["", "///"]
    # One sample's share of the density of all, so that the two parts add up to the histogram.
    share = 1 / (len(values) * (edges[1] - edges[0]))
    ax.hist(
        [part.numpy() for part in parts],
        edges.tolist(),
        weights=[np.full(len(part), share) for part in parts],
        stacked=True,
        color=colours,
        hatch=hatches,
        edgecolor="0.4",
        linewidth=0.5,
        label=labels,
    )
    at = torch.from_numpy(np.linspace(edges[0], edges[-1], 500))
    lines = zip(mixture.densities(at), ("low losses", "high losses"), ("-", "--"), strict=True)
    for density, label, line in lines:
        ax.plot(at, density, color="black", linestyle=line, label=f"component of {label}")
    inside = [loss for loss in mixture.boundaries() if edges[0] <= loss <= edges[-1]]
    for number, loss in enumerate(inside):
        label = "posterior one half" if number == 0 else "_"
        ax.axvline(loss, color="black", linestyle=":", label=label)
    ax.set(title=title, xlabel="loss of the given label", ylabel="density")
    ax.legend(frameon=False, fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
