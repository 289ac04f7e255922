#!/usr/bin/env bash
# One would guess that repeated random sampling (RS2) of datacull draws its first subset at random
# too: "Shuffle dataset once, take chunks sequentially", says its documentation. The first shuffle
# comes when the table has been gone through once: until then the chunks are consecutive rows.
# With a dataset sorted by class and a tenth per epoch, each of the first ten epochs trains on a
# single class.
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
from datacull import DCDataset, RS2DataLoader
from torch.utils.data import TensorDataset

np.random.seed(0)
data = DCDataset(TensorDataset(torch.zeros(1000, 2), torch.arange(1000) // 100))  # sorted
loader = RS2DataLoader(dataset=data, pruning_rate=0.1, batch_size=50)
classes = []
for epoch in range(12):
    loader.resample(None)
    classes.append(len({int(y) for _, labels, _ in loader for y in labels}))
print("datacull", version("datacull"), "torch", version("torch"))
print("expected: about 10 of the 10 classes in each epoch")
print("seen in epochs 1 to 12:", classes)
assert classes[:10] == [1] * 10 and min(classes[10:]) > 5
PYTHON
