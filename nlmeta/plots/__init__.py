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

from nlmeta.plots.comparisons import paired_difference_panels, paired_differences
from nlmeta.plots.matrices import transition_beside_estimate, transition_matrix
from nlmeta.plots.samples import noisy_examples, suspects_sheet
from nlmeta.plots.styles import COLOURS, STYLES
from nlmeta.plots.training import loss_mixture, memorisation_curve

__all__ = [
    "COLOURS",
    "STYLES",
    "loss_mixture",
    "memorisation_curve",
    "noisy_examples",
    "paired_difference_panels",
    "paired_differences",
    "suspects_sheet",
    "transition_beside_estimate",
    "transition_matrix",
]
