"""`fit`: the one training loop of the book, and `measure`: the one measurement.

`fit` does everything that a run needs around a method's `step`: batches, learning rate, warm-up,
evaluation after each epoch, a history, checkpoints from which a run continues to the same numbers,
and a clean stop on Ctrl-C. A method also works without it: its `step` fits into any loop.
"""

from nlmeta.training.devices import choose_device, resolve_precision
from nlmeta.training.evaluation import measure
from nlmeta.training.loop import fit
from nlmeta.training.progress import progress_wanted
from nlmeta.training.result import Result

__all__ = ["Result", "choose_device", "fit", "measure", "progress_wanted", "resolve_precision"]
