"""Readers of datasets in the formats that their publishers ship, one module for each dataset.

``read(name)`` is the one way in. What is missing is an error that says what to get, from whom and
where to put it; nothing is downloaded unasked, and nothing replaced by something else. A new
dataset is a module here and a line in `nlmeta.data.sources.registry`.
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
