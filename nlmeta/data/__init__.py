"""Datasets as splits that are ready to train on: noisy training labels, clean meta set, test set.

``load(name, ...)`` gives a split of a known dataset; ``from_arrays``, ``from_folder`` and
``from_dataset`` one of a reader's own. Nothing here knows a method.
"""

from nlmeta.data.batches import Batch, Batches, draw_batch
from nlmeta.data.images import Augmentation, ImageFiles, Images
from nlmeta.data.loading import DATASETS, load, make_split
from nlmeta.data.own import from_arrays, from_dataset, from_folder
from nlmeta.data.source import Part, Source
from nlmeta.data.split import Samples, Split

__all__ = [
    "DATASETS",
    "Augmentation",
    "Batch",
    "Batches",
    "ImageFiles",
    "Images",
    "Part",
    "Samples",
    "Source",
    "Split",
    "draw_batch",
    "from_arrays",
    "from_dataset",
    "from_folder",
    "load",
    "make_split",
]
