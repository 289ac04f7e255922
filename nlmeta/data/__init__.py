"""Datasets as splits that are ready to train on: noisy training labels, clean meta set, test set.

``load(name, ...)`` returns a split of a known dataset; ``from_arrays``, ``from_folder``,
``from_dataset`` and ``from_rows`` return a split of a reader's own data. No file here depends on a
method.
"""

from nlmeta.data.augmentation import (
    Augmentation,
    Compose,
    Cutout,
    RandAugment,
    RandAugmentMC,
    RandomCrop,
    RandomFlip,
)
from nlmeta.data.batches import Batch, Batches, draw_batch
from nlmeta.data.fixed_features import BACKBONES, Backbone, backbone, features, features_of
from nlmeta.data.images import ImageFiles, Images
from nlmeta.data.loading import load, make_split
from nlmeta.data.own import from_arrays, from_dataset, from_folder
from nlmeta.data.rows import from_rows
from nlmeta.data.source import Part, Source
from nlmeta.data.sources import DATASETS, Dataset, at_hand
from nlmeta.data.split import Samples, Split
from nlmeta.data.splitting import SplitOptions

__all__ = [
    "BACKBONES",
    "DATASETS",
    "Augmentation",
    "Backbone",
    "Batch",
    "Batches",
    "Compose",
    "Cutout",
    "Dataset",
    "ImageFiles",
    "Images",
    "Part",
    "RandAugment",
    "RandAugmentMC",
    "RandomCrop",
    "RandomFlip",
    "Samples",
    "Source",
    "Split",
    "SplitOptions",
    "at_hand",
    "backbone",
    "draw_batch",
    "features",
    "features_of",
    "from_arrays",
    "from_dataset",
    "from_folder",
    "from_rows",
    "load",
    "make_split",
]
