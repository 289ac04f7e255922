"""Datasets as splits that are ready to train on: noisy training labels, clean meta set, test set.

``load(name, ...)`` is the one way in. A split holds plain tensors; nothing here knows a method.
"""

from nlmeta.data.batches import Batch, Batches, draw_batch
from nlmeta.data.loading import load
from nlmeta.data.split import Samples, Split

__all__ = ["Batch", "Batches", "Samples", "Split", "draw_batch", "load"]
