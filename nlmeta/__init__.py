"""nlmeta: meta-learning for noisy labels, one readable package behind one executable book.

The four methods share one idea, a gradient through a gradient step; it lives in `nlmeta.bilevel`.
The methods themselves are in `nlmeta.methods`, noise in `nlmeta.noise`, data in `nlmeta.data`, and
`nlmeta.fit` is the training loop. Figures (`nlmeta.plots`, `nlmeta.widgets`) are imported by name.
"""

from nlmeta import (
    analysis,
    bilevel,
    data,
    distributed,
    experiments,
    losses,
    methods,
    metrics,
    models,
    noise,
    presets,
    procedures,
)
from nlmeta.methods import CLIDMU, EMA, MLC, MLNT, MSLG, CrossEntropy, Method
from nlmeta.training import Result, choose_device, fit

__version__ = "0.1.0"

__all__ = [
    "CLIDMU",
    "EMA",
    "MLC",
    "MLNT",
    "MSLG",
    "CrossEntropy",
    "Method",
    "Result",
    "analysis",
    "bilevel",
    "choose_device",
    "data",
    "distributed",
    "experiments",
    "fit",
    "losses",
    "methods",
    "metrics",
    "models",
    "noise",
    "presets",
    "procedures",
]
