"""Human label noise as counts: how often people gave which label, in CIFAR-10N and CIFAR-100N.

``python -m nlmeta.experiments.human_noise`` reads the two datasets (Wei et al., ICLR 2022) and
counts; the record that it wrote comes with the package. Neither images nor the label of any single
image are in it.
"""

from nlmeta.experiments.human_noise.counts import RECORD, count, read, write

__all__ = ["RECORD", "count", "read", "write"]
