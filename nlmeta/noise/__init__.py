"""Label noise: matrices, noise that depends on the sample, and labels drawn from both.

The convention of the whole book: ``transition[i, j]`` is the probability that a sample whose
*true* class is i (the row) is *given* the label j (the column), so every row sums to 1. C is the
number of classes, n the number of samples. Matrices and random numbers are float64 on the CPU: the
same seed and the same table give the same labels on every machine.

`matrices` has noise that depends on the class alone, `instances` noise that depends on the sample;
`drawing` draws labels and counts them; `by_class` tests whether errors follow the class alone;
`names` has every kind of noise by its name and describes its effect. Chapter 3, *Injecting noise*,
builds them one by one.

An array is a tensor, a NumPy array or a pandas frame or column, such as `nlmeta.analysis` returns;
the last two count as tensors on the CPU.

`nlmeta.data` decides which samples are corrupted and which stay clean, `nlmeta.metrics` measures
the error of an estimated matrix, and `nlmeta.plots` draws matrices.
"""

from nlmeta.noise.by_class import Alikeness, neighbours_alike
from nlmeta.noise.drawing import corrupt, corrupt_by_probabilities, empirical_transition
from nlmeta.noise.instances import feature_dependent, instance_dependent
from nlmeta.noise.matrices import (
    CIFAR10_MAP,
    CIFAR100_SUPERCLASSES,
    asymmetric,
    consecutive_blocks,
    flip_rate,
    one_target,
    pair,
    superclass,
    symmetric,
)
from nlmeta.noise.names import (
    CONVENTIONS,
    KINDS,
    Corruption,
    describe,
    inject,
    make_transition,
)

__all__ = [
    "Alikeness",
    "CIFAR100_SUPERCLASSES",
    "CIFAR10_MAP",
    "CONVENTIONS",
    "KINDS",
    "Corruption",
    "asymmetric",
    "consecutive_blocks",
    "corrupt",
    "corrupt_by_probabilities",
    "describe",
    "empirical_transition",
    "feature_dependent",
    "flip_rate",
    "inject",
    "instance_dependent",
    "make_transition",
    "neighbours_alike",
    "one_target",
    "pair",
    "superclass",
    "symmetric",
]
