"""Pictures of samples with their labels."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from nlmeta import _checks
from nlmeta._arrays import Array, as_tensor
from nlmeta.data.images import Images
from nlmeta.plots._frames import check_columns
from nlmeta.plots.styles import WRONG

__all__ = ["noisy_examples", "suspects_sheet"]


def noisy_examples(
    images: Tensor,
    true_labels: Array,
    given_labels: Array,
    *,
    columns: int = 8,
    class_names: Sequence[str] | None = None,
    title: str = "Samples and their given labels",
) -> Figure:
    """Show samples with their given labels; a wrong label has a thick frame and the true label.

    Parameters
    ----------
    images : Tensor
        Images (n, H, W), (n, 1, H, W) or (n, 3, H, W), in any range: the smallest value of all is
        drawn darkest and the largest brightest.
    true_labels, given_labels : array
        Labels (n,), int64.
    columns : int, default 8
        Number of images in a row.
    class_names : sequence of str, optional
        Names of the classes. Default: their indices.
    title : str, default "Samples and their given labels"
        Title of the figure.

    Returns
    -------
    Figure
        The figure.

    Raises
    ------
    ValueError
        If there are no images, their shape is not allowed, or the lengths differ.
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
            ax.set_title(f"{name}, wrong:\nit is {truth}", fontsize=9, color=WRONG)
            ax.spines[:].set(color=WRONG, linewidth=3)
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
    """Show the first samples of a frame of suspects: id, given label, suggested label, score.

    Parameters
    ----------
    frame : DataFrame
        A frame from `nlmeta.analysis.suspects`; it is drawn in its own order. Its column `row` is
        the index of the image.
    images : Tensor or Images, N rows
        Images of the whole training part, for example `split.train.x`. A tensor is (N, H, W),
        (N, 1, H, W) or (N, 3, H, W), in any range: among the images shown, the smallest value of
        all is drawn darkest and the largest brightest. The bytes of `Images` are shown as they are.
    count : int, default 24
        Largest number of images to show.
    columns : int, default 8
        Number of images in a row.
    score : str, default "self_confidence"
        The column to write below the labels.
    title : str, default "Suspects"
        Title of the figure.

    Returns
    -------
    Figure
        The figure.

    Raises
    ------
    ValueError
        A column is missing, there are no rows, or a row has no image.
    """
    _checks.check_count("count", count)
    _checks.check_count("columns", columns)
    check_columns("frame", frame, ["id", "row", "given_name", "suggested_name", score])
    if len(frame) == 0:
        raise ValueError("`frame` has no rows; there is nothing to show")
    shown = frame.head(count)
    rows = torch.tensor(shown["row"].tolist(), dtype=torch.int64, device="cpu")
    if int(rows.max()) >= len(images):
        raise ValueError(
            f"`frame` holds row {int(rows.max())}; `images` has rows 0 to {len(images) - 1}, pass "
            "those of the whole training part"
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


def _pictures(images: Tensor) -> Tensor:
    """Images for `imshow`: (n, H, W, 1 or 3), float64, scaled to the range 0 to 1 together."""
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
    """A figure with one axes for each picture, row by row; unused axes are off."""
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


def _short(text: object, length: int = 18) -> str:
    """The end of a long text, where file names differ."""
    text = str(text)
    return text if len(text) <= length else "\N{HORIZONTAL ELLIPSIS}" + text[1 - length :]
