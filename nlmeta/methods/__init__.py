"""Methods: each takes one training step at a time, and keeps what it learns beside the network.

A method is a plug-in to any training loop. Its step replaces the loss, ``backward`` and the
optimiser's step of a plain loop, and is called in the same way for all methods. Here MLC learns,
from 100 checked digits, how labels were confused; `nlmeta.fit` is a longer loop around this step.

>>> import torch
>>> from nlmeta import data, methods, metrics, models, seeding
>>> split = data.load("digits", noise="one-target", rate=0.4, meta_size=100, seed=0)
>>> network = models.MLP(64, 10, seed=0)
>>> method = methods.MLC(10, virtual_lr=0.1, transition_lr=3.0)
>>> optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
>>> clean = data.Batch(split.meta.x, split.meta.y)
>>> batches = data.Batches(split.train, 64, generator=seeding.generator(0, "batches"))
>>> for epoch in range(5):
...     for batch in batches:
...         report = method.step(network, optimizer, batch, clean)
>>> sorted(report)
['hypergradient', 'loss', 'meta_loss']
>>> method.transition.shape  # row: true class, column: given label
torch.Size([10, 10])
>>> metrics.evaluate(network, split.test.x, split.test.y) > 0.8  # four labels in ten were wrong
True

The methods of the book are `MLC`, `MSLG`, `MLNT` and `CLIDMU`. Plain methods and rivals are there
for comparison. Three methods wrap another one and change how its steps are taken: `EMA`,
`EveryKth`, `Captured`. The rest are parts of a method: a head turns a forward pass into weights or
soft labels, an objective judges a virtual step.
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
from nlmeta.methods.label_head import LabelHead
from nlmeta.methods.label_networks import LabelCorrectionNet, LinearLabelNet
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
    # the shape of all, and what a new method derives from
    "Method",
    # the methods of the book
    "MLC",
    "MSLG",
    "MLNT",
    "CLIDMU",
    # plain ones, and rivals
    "CrossEntropy",
    "GeneralisedCrossEntropy",
    "ForwardCorrection",
    "GoldLossCorrection",
    "ELR",
    "CoTeaching",
    "LearningToReweight",
    "MetaWeightNet",
    "LabelHead",
    "FixMatch",
    # around another method
    "EMA",
    "EveryKth",
    "Captured",
    # parts: heads, which turn a forward pass into weights, or into soft labels
    "WeightNet",
    "LogitMultiplier",
    "LinearLabelNet",
    "LabelCorrectionNet",
    # parts: objectives, by which a virtual step is judged
    "LabelCrossEntropy",
    "LabelAbsoluteError",
    "PredictionEntropy",
    "CrossLayerDivergence",
    # parts: the synthetic labels of MLNT
    "neighbour_labels",
]
