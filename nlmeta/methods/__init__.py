"""Methods: each is a plug-in to anybody's training loop, and owns what it learns beside the
network.

They all spell their one step alike, ``method.step(model, optimizer, train, meta)``;
`nlmeta.training` is one loop around it, and a reader's own ten lines are another.
"""

from nlmeta.methods.base import Method
from nlmeta.methods.captured import Captured
from nlmeta.methods.clid_mu import CLIDMU
from nlmeta.methods.co_teaching import CoTeaching
from nlmeta.methods.correction import ForwardCorrection, GoldLossCorrection
from nlmeta.methods.cross_entropy import EMA, CrossEntropy, GeneralisedCrossEntropy
from nlmeta.methods.early_learning import ELR
from nlmeta.methods.every_kth import EveryKth
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
from nlmeta.methods.reweighting import LearningToReweight, MetaWeightNet

__all__ = [
    "CLIDMU",
    "ELR",
    "EMA",
    "MLC",
    "MLNT",
    "MSLG",
    "Captured",
    "CoTeaching",
    "CrossEntropy",
    "CrossLayerDivergence",
    "EveryKth",
    "FixMatch",
    "ForwardCorrection",
    "GeneralisedCrossEntropy",
    "GoldLossCorrection",
    "LabelAbsoluteError",
    "LabelCrossEntropy",
    "LearningToReweight",
    "LogitMultiplier",
    "MetaWeightNet",
    "Method",
    "PredictionEntropy",
    "WeightNet",
    "neighbour_labels",
]
