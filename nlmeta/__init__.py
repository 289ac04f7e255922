"""nlmeta: meta-learning for noisy labels, one readable package behind one executable book.

The four methods share one idea, a gradient through a gradient step; it lives in `nlmeta.bilevel`.
The methods themselves are in `nlmeta.methods`, noise in `nlmeta.noise`, data in `nlmeta.data`, and
`nlmeta.fit` is the training loop. Figures are in `nlmeta.plots` and `nlmeta.widgets`.

Each of these names is imported when it is first used (PEP 562), so that unused parts take no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING

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
    "audition",
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
    "plots",
    "presets",
    "procedures",
    "seeding",
    "training",
    "widgets",
]

if TYPE_CHECKING:  # for type checkers and editors, which import nothing
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
        plots,
        presets,
        procedures,
        seeding,
        training,
        widgets,
    )
    from nlmeta.experiments import audition
    from nlmeta.methods import CLIDMU, EMA, MLC, MLNT, MSLG, CrossEntropy, Method
    from nlmeta.training import Result, choose_device, fit
else:  # there, any attribute would be known
    _MODULE_OF = {
        **dict.fromkeys(
            ("CLIDMU", "EMA", "MLC", "MLNT", "MSLG", "CrossEntropy", "Method"), "nlmeta.methods"
        ),
        "audition": "nlmeta.experiments",
        **dict.fromkeys(("Result", "choose_device", "fit"), "nlmeta.training"),
    }

    def __getattr__(name):
        """A public name, at its first use."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name not in _MODULE_OF:
            return import_module(f"{__name__}.{name}")
        value = getattr(import_module(_MODULE_OF[name]), name)
        globals()[name] = value
        return value

    def __dir__():
        """The public names, for completion."""
        return sorted({*globals(), *__all__})
