"""What a meta step costs: time and memory of every method and mode, beside plain cross-entropy.

``python -m nlmeta.experiments.cost`` measures all of it on this machine, in about ten minutes on
two cores, and `measure` a part of it. The baseline of each method is `literal`: the same step in
the order of passes of the papers' released code.
"""

from nlmeta.experiments.cost.measure import (
    CANDIDATES,
    Candidate,
    count_operations,
    measure,
    measure_label_memory,
    peak_bytes,
)
from nlmeta.experiments.cost.precision import measure_precision
from nlmeta.experiments.cost.report import PRECISION_RECORD, RECORD, read, table, write
from nlmeta.experiments.cost.throughput import measure_batches, measure_decoding

__all__ = [
    "CANDIDATES",
    "PRECISION_RECORD",
    "RECORD",
    "Candidate",
    "count_operations",
    "measure",
    "measure_batches",
    "measure_decoding",
    "measure_label_memory",
    "measure_precision",
    "peak_bytes",
    "read",
    "table",
    "write",
]
