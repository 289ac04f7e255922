"""The book's figures: one function per kind of picture, one colour per method.

Every function takes ``ax=None`` or makes a figure of its own, draws on white with a title and axis
labels, and returns the axes or the figure. The import does not change settings of matplotlib or
seaborn, and colour alone never carries information. Colours are those of Okabe and Ito, "Color
universal design" (2008), with a wine red and a grey instead of the yellow that is hard to see on
white. An array is a tensor, a NumPy array or a pandas frame or column, such as `nlmeta.analysis`
returns.

They are first used in chapters 2 (memorisation, paired differences), 3 (transition matrices), 4
(curves), 5 (intervals), 8 (dot plots), 14 (learned matrices) and 20 (waterfalls).
`nlmeta.metrics` measures, `nlmeta.analysis` makes the frame of suspects, and `nlmeta.widgets` adds
sliders.
"""

from nlmeta.plots.comparisons import (
    dot_plot,
    intervals,
    paired_differences,
    waterfall,
)
from nlmeta.plots.matrices import transition_beside_estimate, transition_matrix
from nlmeta.plots.samples import noisy_examples, suspects_sheet
from nlmeta.plots.styles import COLOURS, RIGHT, STYLES, WRONG
from nlmeta.plots.training import curves, loss_mixture, memorisation_curve

__all__ = [
    "COLOURS",
    "RIGHT",
    "STYLES",
    "WRONG",
    "curves",
    "dot_plot",
    "intervals",
    "loss_mixture",
    "memorisation_curve",
    "noisy_examples",
    "paired_differences",
    "suspects_sheet",
    "transition_beside_estimate",
    "transition_matrix",
    "waterfall",
]
