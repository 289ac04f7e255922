#!/usr/bin/env bash
# One would guess that `mix_labels(noise_rate=0.3)` of opendataval, the benchmark for data
# valuation, flips labels of the training set and leaves the validation set clean, as the methods
# assume which measure an example by its use for the validation set. It flips 30 % of the
# validation labels too, and records the places of the training ones only. A meta-learning method
# judged on it is steered by a noisy guide.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 numpy==2.2.6 scipy==1.15.3 scikit-learn==1.7.2 pandas==2.3.3 tqdm==4.67.1
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps opendataval==1.3.0

"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version
from unittest.mock import MagicMock

warnings.simplefilter("ignore")
# The package imports libraries for images, texts and plots that this script does not use.
for name in (
    "PIL", "geomloss", "matplotlib", "matplotlib.axes", "matplotlib.figure", "mpl_toolkits",
    "mpl_toolkits.axes_grid1", "mpl_toolkits.axes_grid1.axes_divider", "pandera", "requests",
    "torcheval", "torcheval.metrics", "torcheval.metrics.functional", "torchvision",
    "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional",
    "transformers", "typer",
):
    sys.modules[name] = MagicMock()

import numpy as np
from opendataval.dataloader import DataFetcher
from opendataval.dataloader.noisify import mix_labels

rng = np.random.default_rng(0)
labels = np.eye(3)[rng.integers(0, 3, 600)]
data = DataFetcher.from_data(rng.normal(size=(600, 4)), labels, one_hot=False, random_state=0)
data = data.split_dataset_by_count(200, 200, 200)
parts = ("y_train", "y_valid", "y_test")
before = {part: getattr(data, part).copy() for part in parts}
data.noisify(mix_labels, noise_rate=0.3)
rate = {part: float((before[part] != getattr(data, part)).any(axis=1).mean()) for part in parts}
print("opendataval", version("opendataval"))
print("expected: y_train 0.3, y_valid 0.0, y_test 0.0")
print("seen:", rate)
assert rate == {"y_train": 0.3, "y_valid": 0.3, "y_test": 0.0}
PYTHON
