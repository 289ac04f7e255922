#!/usr/bin/env bash
# One would guess that `GetLabelCoverageStats` of element-python-package gives a labelling function
# that is always right a precision and a recall of 1. The sums of the truth column are rounded to
# whole *millions* before they are divided. With a column of zeros and ones that has fewer than
# half a million ones this is 0 / 0; the error is caught, and all four precisions and recalls are
# set to 0, the two of the counts too, which have nothing to do with it. A perfect labelling
# function cannot be told from one that is always wrong.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 pandas==2.3.3
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps element-python-package==0.2.11

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import pandas as pd
from element_python_package.weakLabelSupport import GetLabelCoverageStats

truth = np.random.default_rng(0).integers(0, 2, 1000)
votes = pd.DataFrame({"id": np.arange(1000), "right": truth, "wrong": 1 - truth})
columns = ["Count Precision", "Count Recall", "Metric Precision", "Metric Recall"]


def stats(unit):
    table = pd.DataFrame({"id": np.arange(1000), "truth": truth * unit})
    return GetLabelCoverageStats(table, votes, "id", "truth", unit).set_index("Weak Label")[columns]


print("element-python-package", version("element-python-package"))
print("expected, and seen if a positive counts 1,000,000:")
print(stats(1_000_000).astype(float).to_string())
print("seen if it counts 1:")
print(stats(1).astype(float).to_string())
assert (stats(1_000_000).loc["right"] == 1).all()
assert (stats(1).to_numpy() == 0).all()
PYTHON
