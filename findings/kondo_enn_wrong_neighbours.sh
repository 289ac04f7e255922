#!/usr/bin/env bash
# One would guess that kondo-ml's `RegEnnSelector` (edited nearest neighbours for noisy regression
# labels) finds about the same rows in a table whether it is sorted or shuffled. Neighbours are
# numbered within the rows that are left, but their labels are fetched with these numbers from the
# whole table: after each rejection the threshold comes from the labels of other rows. In a sorted
# table these happen to be close by and nearly all wrong labels are found; in a shuffled one the
# first rejection makes the threshold so wide that nothing else is. (The package imports PyTorch
# for another method; it is not needed here.)
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 pandas==2.3.3 scikit-learn==1.7.2
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps kondo-ml==0.0.10

"$folder/venv/bin/python" - <<'PYTHON'
import contextlib
import io
import sys
from importlib.metadata import version
from unittest.mock import MagicMock

for name in (
    "mutual_info", "mutual_info.mutual_info", "torch", "torch.nn", "torch.optim",
    "torch.utils", "torch.utils.data",
):
    sys.modules[name] = MagicMock()
sys.modules["torch"].Tensor = type("Tensor", (), {})

import numpy as np

with contextlib.redirect_stdout(io.StringIO()):
    from kondo_ml.instance_selection import RegEnnSelector

rng = np.random.default_rng(0)
x = rng.uniform(0, 10, (300, 1))
y = 2 * x[:, 0] + rng.normal(0, 0.3, 300)
y[rng.choice(300, 30, replace=False)] += 5  # the noisy labels
wrong = y - 2 * x[:, 0] > 3


def rejected(order):
    verdict = RegEnnSelector(alpha=2).fit_predict(x[order], y[order])
    return np.flatnonzero(wrong[order] & (verdict == -1)).size


by_x, shuffled = rejected(np.argsort(x[:, 0])), rejected(np.arange(300))
print("kondo-ml", version("kondo-ml"))
print("expected: about as many of the", wrong.sum(), "wrong labels found in any order")
print("seen:", by_x, "when sorted by the feature,", shuffled, "when shuffled")
assert by_x > 20 and shuffled < 5
PYTHON
