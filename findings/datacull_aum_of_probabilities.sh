#!/usr/bin/env bash
# One would guess that the area under the margin in datacull is that of the paper and of its own
# documentation, the mean over the epochs of the label's logit less the greatest other *logit*, as
# the aum package takes it. It takes the margin of the *probabilities*: the values lie between -1
# and 1, and the ranking is another one. Of the 20 labels that look worst to the one, only about
# half look worst to the other; thresholds from papers do not fit at all.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 numpy==2.2.6 pandas==2.3.3 tqdm==4.67.1 orjsonl==1.0.0
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps datacull==1.0.2 aum==1.0.2
cd "$folder"
mkdir log

"$folder/venv/bin/python" - <<'PYTHON'
import contextlib
import io
from importlib.metadata import version

import numpy as np
import pandas as pd
import torch
from aum import AUMCalculator
from datacull import AUMImportance, DCDataset, DCLogger
from torch.utils.data import TensorDataset

torch.manual_seed(0)
rows, labels = torch.arange(200), torch.randint(0, 10, (200,))
data = TensorDataset(torch.zeros(200, 2), labels)
data.targets = labels.numpy()
data = DCDataset(data)
logger, calculator = DCLogger("log/"), AUMCalculator(".", compressed=True)
for epoch in range(5):
    logits = 3 * torch.randn(200, 10)
    logits[rows, labels] += 4
    logger.log_metric(epoch, rows, logits)
    calculator.update(logits, labels, rows.tolist())
calculator.finalize()
right = pd.read_csv("aum_values.csv").set_index("sample_id")["aum"].sort_index().to_numpy()
with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
    importance = AUMImportance(dataset=data, trajectory_length=5, logger_object=logger)
    seen = importance.compute_importance()
shared = len(set(np.argsort(right)[:20]) & set(np.argsort(seen)[:20]))
print("datacull", version("datacull"), "aum", version("aum"), "torch", version("torch"))
print(f"expected: from {right.min():.2f} to {right.max():.2f}")
print(f"seen: from {seen.min():.2f} to {seen.max():.2f}; {shared} of the 20 worst are the same")
assert np.abs(seen).max() <= 1 < np.abs(right).max()
assert shared < 15
PYTHON
