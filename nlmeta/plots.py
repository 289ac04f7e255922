"""The book's figures: one function per kind of picture, one colour per method.

Every function takes ``ax=None`` or makes a figure of its own, draws on white with title and
axes named, and returns what it drew on. Nothing here changes matplotlib's or seaborn's settings
on import, and nothing is told by colour alone. Colours: Okabe and Ito, "Color universal design"
(2008), with a wine red and a grey in place of the yellow that vanishes on white. What is said to
be an array is a tensor, a NumPy array or a pandas frame or column, such as `nlmeta.analysis`
returns.

First used in chapters 2 (memorisation), 3 (transition matrices) and 5 (learned ones, comparisons
over seeds). Left to others: measuring is `nlmeta.metrics`', the frame of suspects
`nlmeta.analysis`', sliders are `nlmeta.widgets`'.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from nlmeta import _checks, metrics, noise
from nlmeta._arrays import Array, as_tensor
from nlmeta.analysis import LossMixture, fit_loss_mixture
from nlmeta.data.images import Images

__all__ = [
    "COLOURS",
    "STYLES",
    "class_rates",
    "learned_transition",
    "loss_mixture",
    "memorisation_curve",
    "noisy_examples",
    "paired_difference_panels",
    "paired_differences",
    "suspects_sheet",
    "transition_beside_estimate",
    "transition_matrix",
]

#: How a method is drawn, ready for ``ax.plot(x, y, **STYLES["MLC"])``. The four methods of the
#: book have a colour each. Baselines share one by family and differ in line and marker: black
#: for one plain run (averaged weights: grey), orange for clean data, wine for a robust loss, light
#: blue for a T that is known or estimated beforehand. A control has the colour of its method and a
#: hollow marker.
STYLES: dict[str, dict[str, Any]] = {
    "cross-entropy": {"color": "#000000", "linestyle": "-", "marker": "o"},
    "early stopping": {"color": "#000000", "linestyle": "--", "marker": "s"},
    "EMA": {"color": "#707070", "linestyle": "-.", "marker": "^"},
    "meta set alone": {"color": "#E69F00", "linestyle": "-", "marker": "v"},
    "fine-tuning": {"color": "#E69F00", "linestyle": "--", "marker": "P"},
    "GCE": {"color": "#882255", "linestyle": ":", "marker": "X"},
    "ELR": {"color": "#882255", "linestyle": "-", "marker": (6, 1, 0)},
    "Co-teaching": {"color": "#999933", "linestyle": "-", "marker": (3, 1, 0)},
    "forward": {"color": "#56B4E9", "linestyle": "-", "marker": "<"},
    "GLC": {"color": "#56B4E9", "linestyle": "--", "marker": ">"},
    "learning to reweight": {"color": "#CC79A7", "linestyle": "-.", "marker": (4, 1, 0)},
    "mean teacher": {"color": "#D55E00", "linestyle": "--", "marker": "H"},
    "Meta-Weight-Net": {"color": "#CC79A7", "linestyle": "--", "marker": "8"},
    "MLNT": {"color": "#D55E00", "linestyle": "-", "marker": "p"},
    "MSLG": {"color": "#009E73", "linestyle": "-", "marker": "h"},
    "MLC": {"color": "#0072B2", "linestyle": "-", "marker": "D"},
    "CLID-MU": {"color": "#CC79A7", "linestyle": "-", "marker": "*"},
}
#: The colour of each method.
COLOURS: dict[str, str] = {method: style["color"] for method, style in STYLES.items()}

_UNKNOWN_METHOD = {"color": "#332288", "linestyle": (0, (1, 1)), "marker": "d"}  # a reader's own
_WRONG = "#D55E00"
_SCALE = "share of the true class (%)"
_CURVES = {  # column: (what it is called, line)
    "test_accuracy": ("clean test samples classified right", "-"),
    "train_accuracy": ("training samples fitted to their given label", "--"),
    "memorised": ("wrong labels memorised", ":"),
}


def transition_matrix(
    matrix: Array,
    *,
    ax: Axes | None = None,
    class_names: Sequence[str] | None = None,
    title: str = "Transition matrix",
    annotate: bool | None = None,
    colour_bar: bool = True,
) -> Axes:
    """Draw a transition matrix as a heat map: rows true class, columns given label.

    Parameters
    ----------
    matrix : array
        (C, C). A row with NaN (a class without samples, see `noise.empirical_transition`) is
        hatched and says so. Estimates need not be exact transition matrices; the colours span
        0 to 100 %.
    ax : Axes, optional
        Where to draw; default: a new figure.
    class_names : sequence of str, optional
        C names; default: 0 to C-1.
    title : str, default "Transition matrix"
    annotate : bool, optional
        Write the entries, in percent; those that round to 0 stay empty. Default: up to 10
        classes.
    colour_bar : bool, default True

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If `matrix` is not square or the names are not C.
    """
    matrix = as_tensor("matrix", matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"`matrix` has shape {tuple(matrix.shape)}; it must be square, (C, C)")
    num_classes = len(matrix)
    names = _names(class_names, num_classes)
    values = 100 * matrix.detach().cpu().double().numpy()  # (C, C), in percent
    size = min(1.8 + 0.28 * num_classes, 9.0)
    ax = _white(ax, (size + 0.6 * colour_bar, size))
    bar = {"label": _SCALE, "shrink": 0.8} if colour_bar else None
    _heat_map(ax, values, names, annotate, bar, vmin=0, vmax=100, cmap="Blues")
    ax.set(title=title, xlabel="given label", ylabel="true class")
    return ax


def learned_transition(
    estimate: Array, truth: Array, *, class_names: Sequence[str] | None = None
) -> Figure:
    """Draw a learned transition matrix beside the true one, its error in the title.

    Parameters
    ----------
    estimate, truth : array
        (C, C): rows true, columns given.
    class_names : sequence of str, optional
        C names; default: 0 to C-1.

    Returns
    -------
    Figure
        Two panels; the error is `metrics.transition_error`.

    Raises
    ------
    ValueError
        If the shapes differ or are not (C, C).
    """
    estimate, truth = as_tensor("estimate", estimate), as_tensor("truth", truth)
    error = metrics.transition_error(estimate, truth)
    size = min(1.8 + 0.26 * len(truth), 8.0)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(2 * size, size), layout="constrained", facecolor="white"
    )
    title = f"Learned (error {error:.3f})"
    transition_matrix(estimate, ax=left, class_names=class_names, title=title, colour_bar=False)
    transition_matrix(truth, ax=right, class_names=class_names, title="True", colour_bar=False)
    figure.colorbar(right.collections[0], ax=[left, right], label=_SCALE, shrink=0.8)
    return figure


def noisy_examples(
    images: Tensor,
    true_labels: Array,
    given_labels: Array,
    *,
    columns: int = 8,
    class_names: Sequence[str] | None = None,
    title: str = "Samples and their given labels",
) -> Figure:
    """Show samples with their given labels; a wrong one has a thick frame and names the truth.

    Parameters
    ----------
    images : Tensor
        (n, H, W), (n, 1, H, W) or (n, 3, H, W), in any range: the smallest value of all is drawn
        darkest and the largest brightest.
    true_labels, given_labels : array
        (n,), int64.
    columns : int, default 8
        Images in a row.
    class_names : sequence of str, optional
        Names of the classes; default: their indices.
    title : str

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are no images, their shape is another, or the lengths differ.
    """
    _checks.check_count("columns", columns)
    true_labels = as_tensor("true_labels", true_labels)
    given_labels = as_tensor("given_labels", given_labels)
    _checks.check_same_length("images", images, "true_labels", true_labels)
    _checks.check_same_length("true_labels", true_labels, "given_labels", given_labels)
    figure = _sheet(_pictures(images), columns, (1.15, 1.5), title)
    pairs = zip(true_labels.tolist(), given_labels.tolist(), strict=True)
    for ax, (true, given) in zip(figure.axes, pairs, strict=False):
        name, truth = (str(k) if class_names is None else class_names[k] for k in (given, true))
        if true == given:
            ax.set_title(f"{name}\n", fontsize=9)
            ax.spines[:].set(color="0.8")
        else:
            ax.set_title(f"{name}, wrong:\nit is {truth}", fontsize=9, color=_WRONG)
            ax.spines[:].set(color=_WRONG, linewidth=3)
    return figure


def memorisation_curve(
    history: pd.DataFrame,
    *,
    ax: Axes | None = None,
    method: str = "cross-entropy",
    title: str = "Memorisation",
) -> Axes:
    """Draw test accuracy, fit to the given labels and memorised share over the epochs.

    With several seeds a line is their mean and the band one standard deviation either side.

    Parameters
    ----------
    history : DataFrame
        Columns `epoch`, `test_accuracy`, `train_accuracy` (on the given labels) and `memorised`
        (`metrics.memorised`), all shares; optionally `seed`. Epochs without a measurement (NaN)
        are left out.
    ax : Axes, optional
        Where to draw; default: a new figure.
    method : str, default "cross-entropy"
        Whose colour to use; what is measured is told by the line.
    title : str, default "Memorisation"

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If a column is missing or a seed has two rows for one epoch.
    """
    _check_columns("history", history, ["epoch", *_CURVES])
    _check_unique("history", history, ["seed", "epoch"] if "seed" in history else ["epoch"])
    colour = STYLES.get(method, _UNKNOWN_METHOD)["color"]
    ax = _white(ax, (6.0, 3.8))
    for column, (label, line) in _CURVES.items():
        curve = history.dropna(subset=[column]).groupby("epoch")[column].agg(["mean", "std"])
        epochs, mean, spread = curve.index.to_numpy(), curve["mean"], curve["std"]
        ax.plot(epochs, mean, color=colour, linestyle=line, linewidth=2, label=label)
        ax.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.15, lw=0)
    ax.set(title=title, xlabel="epoch", ylabel="share", ylim=(-0.02, 1.02))
    ax.legend(frameon=False, fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def paired_differences(
    frame: pd.DataFrame,
    *,
    reference: str,
    ax: Axes | None = None,
    title: str = "Paired differences",
) -> Axes:
    """Draw by how much each method beats a reference, seed by seed.

    Split, noise and initialisation follow the seed, so methods are compared within a seed: the
    small markers are the differences, the large one is their mean and the bar one standard
    deviation (n - 1 in the denominator) either side.

    Parameters
    ----------
    frame : DataFrame
        Columns `method`, `seed`, `accuracy` (shares); one row for each method and seed.
    reference : str
        The method that the others are measured against.
    ax : Axes, optional
        Where to draw; default: a new figure.
    title : str, default "Paired differences"

    Returns
    -------
    Axes
        One row per method in the order of the frame; differences in percentage points.

    Raises
    ------
    ValueError
        If a column or the reference is missing, a method lacks a seed or has it twice, or
        there are fewer than two seeds.
    """
    differences = _differences(frame, reference)  # (seeds, methods)
    ax = _white(ax, (6.5, 1.2 + 0.45 * len(differences.columns)))
    for row, method in enumerate(differences):
        points = differences[method].to_numpy()
        mean, spread = points.mean(), points.std(ddof=1)
        style: dict[str, Any] = {**_style(str(method)), "linestyle": "none"}
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
        As for `paired_differences`, with the further column `facet`.
    reference : str
        The method that the others are measured against, within each panel.
    facet : str
        The column to split by; its values become the titles.
    columns : int, default 2
        Panels in a row.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        As for `paired_differences`.
    """
    _checks.check_count("columns", columns)
    _check_columns("frame", frame, [facet])
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


def suspects_sheet(
    frame: pd.DataFrame,
    images: Tensor | Images,
    *,
    count: int = 24,
    columns: int = 8,
    score: str = "self_confidence",
    title: str = "Suspects",
) -> Figure:
    """Show the first samples of a frame of suspects: own id, given label, what it may be, score.

    Parameters
    ----------
    frame : DataFrame
        From `nlmeta.analysis.suspects`; it is drawn in its own order. Its column `row` says which
        image is meant.
    images : Tensor or Images, N rows
        Of the whole training part, `split.train.x` for example. A tensor is (N, H, W),
        (N, 1, H, W) or (N, 3, H, W), in any range: of those shown, the smallest value of all is
        drawn darkest and the largest brightest. Of `Images` the bytes are shown as they are.
    count : int, default 24
        Images to show at most.
    columns : int, default 8
        Images in a row.
    score : str, default "self_confidence"
        The column to write below the labels.
    title : str, default "Suspects"

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        A column is missing, there are no rows, or a row has no image.
    """
    _checks.check_count("count", count)
    _checks.check_count("columns", columns)
    _check_columns("frame", frame, ["id", "row", "given_name", "suggested_name", score])
    if len(frame) == 0:
        raise ValueError("`frame` has no rows; there is nothing to show")
    shown = frame.head(count)
    rows = torch.tensor(shown["row"].tolist(), dtype=torch.int64, device="cpu")
    if int(rows.max()) >= len(images):
        raise ValueError(
            f"`frame` speaks of row {int(rows.max())}; `images` has rows 0 to {len(images) - 1}"
        )
    if isinstance(images, Images):
        pictures = images.raw(rows).permute(0, 2, 3, 1).cpu().double() / 255
    else:
        pictures = _pictures(images[rows.to(images.device)])  # (n, H, W, 1 or 3)
    figure = _sheet(pictures, columns, (1.4, 2.1), title)
    for ax, (_, sample) in zip(figure.axes, shown.iterrows(), strict=False):
        same = sample["suggested_name"] == sample["given_name"]
        arrow = "stays" if same else f"\N{RIGHTWARDS ARROW} {sample['suggested_name']}"
        lines = (_short(sample["id"]), _short(sample["given_name"]), _short(arrow))
        text = "\n".join((*lines, f"{sample[score]:.3g}"))
        ax.set_title(text, fontsize=8, parse_math=False)  # a dollar in a file name is a dollar
    return figure


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
        (C, C): rows true, columns given.
    estimate : array
        (C, C), counted from labels (`noise.empirical_transition`) or learned. A row with NaN, of a
        class without samples, is hatched and says so.
    class_names : sequence of str, optional
        C names; default: 0 to C-1.
    titles : tuple of two str, default ("Noise matrix", "Estimate")

    Returns
    -------
    Figure
        Three panels. The third is the estimate minus the other in percentage points, red where it
        is too large and blue where it is too small; its title has `metrics.transition_error`,
        taken over the classes that have samples.

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
        _white(right, (size, size)), 100 * difference, names, None, bar, cmap="RdBu_r", **limits
    )
    right.set(title=f"Difference (error {error:.3f})", xlabel="given label", ylabel="true class")
    return figure


def class_rates(
    true_labels: Array,
    given_labels: Array,
    *,
    class_names: Sequence[str],
    transition: Array | None = None,
    ax: Axes | None = None,
    title: str = "Wrong labels by class",
) -> Axes:
    """Draw for each true class the share of its samples whose given label is wrong, with counts.

    Parameters
    ----------
    true_labels, given_labels : array
        (N,), int64.
    class_names : sequence of str
        C names.
    transition : array, optional
        (C, C), the matrix that the noise was drawn from. Its rates are drawn as marks, with two
        standard errors of a share of that many samples either side.
    ax : Axes, optional
        Where to draw; default: a new figure.
    title : str, default "Wrong labels by class"

    Returns
    -------
    Axes
        One row per class; beside it "wrong of all". A class without samples has no bar.

    Raises
    ------
    ValueError
        If the lengths differ, a label has no name, or `transition` is not (C, C).
    """
    num_classes = len(class_names)
    true = as_tensor("true_labels", true_labels).cpu()
    given = as_tensor("given_labels", given_labels).cpu()
    rates = 1 - noise.empirical_transition(true, given, num_classes).diagonal()  # checks the labels
    counts = true.bincount(minlength=num_classes)
    wrong = true[true != given].bincount(minlength=num_classes)
    ax = _white(ax, (6.0, 1.2 + 0.3 * num_classes))
    rows = np.arange(num_classes)
    ax.barh(rows, 100 * rates.nan_to_num().numpy(), height=0.6, color="0.75")
    if transition is not None:
        transition = as_tensor("transition", transition)
        _checks.check_transition("transition", transition)
        if len(transition) != num_classes:
            raise ValueError(
                f"`transition` has shape {tuple(transition.shape)}; {num_classes} classes need "
                f"{(num_classes, num_classes)}"
            )
        nominal = 1 - transition.detach().cpu().double().diagonal()
        error = (nominal * (1 - nominal) / counts.clamp_min(1)).sqrt()
        ax.errorbar(
            100 * nominal.numpy(),
            rows,
            xerr=200 * error.numpy(),
            linestyle="none",
            marker="|",
            markersize=12,
            color="black",
            capsize=3,
        )
    for row, (some, all_) in enumerate(zip(wrong.tolist(), counts.tolist(), strict=True)):
        text = f"{some} of {all_}"
        ax.text(1.02, row, text, transform=ax.get_yaxis_transform(), va="center", fontsize=9)
    ax.set_yticks(rows, list(class_names))
    ax.set_ylim(num_classes - 0.5, -0.5)  # the first class on top
    ax.set_xlim(left=0)
    measured = "given a wrong label (%)"
    asked = "; marks: rate asked for ± 2 standard errors"
    xlabel = measured if transition is None else measured + asked
    ax.set(title=title, xlabel=xlabel, ylabel="true class")
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
    """Draw a histogram of losses, the two components fitted to it, and where they are even.

    Parameters
    ----------
    losses : array
        (N,), the loss of each sample's given label.
    mixture : LossMixture, optional
        Default: `nlmeta.analysis.fit_loss_mixture` of these losses.
    wrong : array, optional
        (N,), bool: which given labels are wrong, where somebody knows. Bars are then in two parts,
        the upper one, of the wrong labels, hatched.
    bins : int, default 50
    ax : Axes, optional
        Where to draw; default: a new figure.
    title : str, default "Losses of the given labels"

    Returns
    -------
    Axes
        Vertical lines where the posterior is one half.

    Raises
    ------
    ValueError
        If losses are not finite or all equal, or `wrong` does not fit.
    """
    _checks.check_count("bins", bins)
    values = as_tensor("losses", losses).detach().cpu().double()
    mixture = fit_loss_mixture(values) if mixture is None else mixture
    ax = _white(ax, (6.0, 3.6))
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
        labels, colours, hatches = ["right labels", "wrong labels"], ["0.85", _WRONG], ["", "///"]
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


def _heat_map(
    ax: Axes,
    values: np.ndarray,
    names: list[str],
    annotate: bool | None,
    bar: dict[str, Any] | None,
    **colours: Any,
) -> None:
    """A matrix in percent, (C, C), with names at both sides; rows with NaN say so."""
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


def _pictures(images: Tensor) -> Tensor:
    """For `imshow`: (n, H, W, 1 or 3), float64; the smallest value of all is 0, the largest 1."""
    pictures = images.detach().cpu().double()
    pictures = pictures.unsqueeze(1) if pictures.ndim == 3 else pictures  # (n, 1 or 3, H, W)
    if pictures.ndim != 4 or pictures.shape[1] not in (1, 3) or len(pictures) == 0:
        raise ValueError(
            f"`images` has shape {tuple(images.shape)}; "
            "it must be (n, H, W), (n, 1, H, W) or (n, 3, H, W) with n at least 1"
        )
    span = (pictures.max() - pictures.min()).clamp(min=1e-12)  # one grey picture is no error
    return ((pictures - pictures.min()) / span).permute(0, 2, 3, 1)


def _sheet(pictures: Tensor, columns: int, size: tuple[float, float], title: str) -> Figure:
    """A figure with one axes for each picture, row by row; further axes are off."""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    width, height = size
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(width * columns, height * rows + 0.4),
        squeeze=False,
        layout="constrained",
        facecolor="white",
    )
    figure.suptitle(title)
    for ax in axes.flat[len(pictures) :]:
        ax.set_axis_off()
    for ax, picture in zip(axes.flat, pictures, strict=False):
        ax.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    return figure


def _style(method: str) -> dict[str, Any]:
    """As listed; a control, named after its method ("MSLG, labels stay"), hollow; others dotted."""
    if method in STYLES:
        return dict(STYLES[method])
    family = STYLES.get(method.partition(",")[0])
    if family is None:
        return dict(_UNKNOWN_METHOD)
    return {**family, "linestyle": ":", "markerfacecolor": "white"}


def _white(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The given axes or new ones, white: a page in dark mode must not shine through."""
    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    ax.figure.set_facecolor("white")
    ax.set_facecolor("white")
    return ax


def _names(class_names: Sequence[str] | None, num_classes: int) -> list[str]:
    if class_names is None:
        return [str(k) for k in range(num_classes)]
    if len(class_names) != num_classes:
        raise ValueError(
            f"`class_names` holds {len(class_names)} names; the matrix has {num_classes} classes"
        )
    return list(class_names)


def _entry(percent: float) -> str:
    return "" if np.isnan(percent) or abs(percent) < 0.5 else f"{percent:.0f}"


def _short(text: object, length: int = 18) -> str:
    """The end of a long text, which is where file names differ."""
    text = str(text)
    return text if len(text) <= length else "\N{HORIZONTAL ELLIPSIS}" + text[1 - length :]


def _check_columns(name: str, frame: pd.DataFrame, wanted: Sequence[str]) -> None:
    missing = [column for column in wanted if column not in frame]
    if missing:
        raise ValueError(f"`{name}` has the columns {list(frame)}; it lacks {missing}")


def _check_unique(name: str, frame: pd.DataFrame, keys: list[str]) -> None:
    repeated = frame[frame.duplicated(keys)]
    if len(repeated):
        row = ", ".join(f"{key} {repeated[key].iloc[0]}" for key in keys)
        raise ValueError(f"`{name}` has two rows for {row}; it must have one")


def _differences(frame: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Percentage points above the reference: a row per seed, a column per other method."""
    _check_columns("frame", frame, ["method", "seed", "accuracy"])
    _check_unique("frame", frame, ["method", "seed"])
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
        raise ValueError(f"`frame` holds {len(table)} seed; a spread needs at least 2")
    return 100 * table.drop(columns=reference).sub(table[reference], axis=0)
