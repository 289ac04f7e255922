"""Readers of datasets in the formats that their publishers ship, one module for each dataset.

Call ``read(name)`` to read a dataset. If a file is missing, an error says what to get, from whom
and where to put it; nothing is downloaded by default, and nothing is replaced by other data. To add
a dataset, add a module here and a line in `nlmeta.data.sources.registry`.
"""

from nlmeta.data.source import data_folder
from nlmeta.data.sources.feature_noise import (
    PredictionTable,
    ShippedLabels,
    read_prediction_table,
    read_shipped_labels,
)
from nlmeta.data.sources.registry import DATASETS, Dataset, at_hand, read

__all__ = [
    "DATASETS",
    "Dataset",
    "PredictionTable",
    "ShippedLabels",
    "at_hand",
    "data_folder",
    "read",
    "read_prediction_table",
    "read_shipped_labels",
]
