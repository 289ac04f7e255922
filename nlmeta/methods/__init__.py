"""Methods: each is a plug-in to anybody's training loop, and owns what it learns beside the
network.

They all spell their one step alike, ``method.step(model, optimizer, train, meta)``;
`nlmeta.training` is one loop around it, and a reader's own ten lines are another.
"""

from nlmeta.methods.base import Method
from nlmeta.methods.clid_mu import CLIDMU
from nlmeta.methods.cross_entropy import EMA, CrossEntropy, GeneralisedCrossEntropy
from nlmeta.methods.fixmatch import FixMatch
from nlmeta.methods.heads import LogitMultiplier, WeightNet
from nlmeta.methods.mlc import MLC
from nlmeta.methods.mlnt import MLNT
from nlmeta.methods.mslg import MSLG
from nlmeta.methods.neighbours import neighbour_labels
from nlmeta.methods.objectives import (
    CrossLayerDivergence,
    LabelAbsoluteError,
    LabelCrossEntropy,
    PredictionEntropy,
)

__all__ = [
    "CLIDMU",
    "EMA",
    "MLC",
    "MLNT",
    "MSLG",
    "CrossEntropy",
    "CrossLayerDivergence",
    "FixMatch",
    "GeneralisedCrossEntropy",
    "LabelAbsoluteError",
    "LabelCrossEntropy",
    "LogitMultiplier",
    "Method",
    "PredictionEntropy",
    "WeightNet",
    "neighbour_labels",
]
