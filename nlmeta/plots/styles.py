"""The table of styles of the methods, and the white background of all figures."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

__all__ = ["COLOURS", "RIGHT", "STYLES", "UNKNOWN_METHOD", "WRONG", "style_of", "white"]

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
    "L2B": {"color": "#CC79A7", "linestyle": (0, (5, 1)), "marker": (8, 1, 0)},
    "mean teacher": {"color": "#6B3E00", "linestyle": "--", "marker": "H"},
    "Meta-Weight-Net": {"color": "#CC79A7", "linestyle": "--", "marker": "8"},
    "MetaLabelNet": {"color": "#009E73", "linestyle": "--", "marker": (7, 1, 0)},
    "Meta Label Correction": {"color": "#009E73", "linestyle": "-.", "marker": (5, 1, 36)},
    "MLNT": {"color": "#6B3E00", "linestyle": "-", "marker": "p"},
    "MSLG": {"color": "#009E73", "linestyle": "-", "marker": "h"},
    "MLC": {"color": "#0072B2", "linestyle": "-", "marker": "D"},
    "CLID-MU": {"color": "#CC79A7", "linestyle": "-", "marker": "*"},
}
#: The colour of each method.
COLOURS: dict[str, str] = {method: style["color"] for method, style in STYLES.items()}

#: A method that the table lacks, such as a reader's own.
UNKNOWN_METHOD: dict[str, Any] = {"color": "#117733", "linestyle": (0, (1, 1)), "marker": "d"}
#: The colour of right labels, which no method has.
RIGHT = "#332288"
#: The colour of wrong labels, which no method has.
WRONG = "#D55E00"


def style_of(method: str) -> dict[str, Any]:
    """The style of a method, or of a control, which is named after it ("MSLG, labels stay").

    A control has hollow markers and a dotted line, and so has an unknown method.
    """
    if method in STYLES:
        return dict(STYLES[method])
    family = STYLES.get(method.partition(",")[0])
    if family is None:
        return dict(UNKNOWN_METHOD)
    return {**family, "linestyle": ":", "markerfacecolor": "white"}


def white(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The given axes or new ones, white: a page in dark mode must not shine through."""
    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    ax.figure.set_facecolor("white")
    ax.set_facecolor("white")
    return ax
