#!/usr/bin/env bash
# One would guess, also from its README ("pruning_rate=0.2,  # Remove 20% of samples"), that the
# loaders of datacull remove the given share of the samples. They keep it: of 1,000 samples 200
# are left. At rates around one half nobody notices; a table of accuracies over pruning rates has
# its axis turned round, and 90 % pruning looks harmless.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 numpy==2.2.6 tqdm==4.67.1 orjsonl==1.0.0
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps datacull==1.0.2

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import torch
from datacull import DCDataset, RS2DataLoader, TDDSDataLoader
from torch.utils.data import TensorDataset

data = DCDataset(TensorDataset(torch.zeros(1000, 2), torch.arange(1000) % 10))
scores = np.random.default_rng(0).random(1000)
print("datacull", version("datacull"), "torch", version("torch"))
for loader_class in (TDDSDataLoader, RS2DataLoader):
    loader = loader_class(dataset=data, pruning_rate=0.2, batch_size=50)
    loader.resample(scores)
    left = sum(len(batch[0]) for batch in loader)
    print(f"{loader_class.__name__} with pruning_rate=0.2: expected 800 samples left, seen {left}")
    assert left == 200
PYTHON
