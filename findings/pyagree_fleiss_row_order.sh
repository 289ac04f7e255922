#!/usr/bin/env bash
# One would guess that pyagree's `fleiss_kappa` refuses a table in which items have different
# numbers of ratings, as statsmodels does, or at least gives one number for it. It takes the
# number of raters from the first row: the same table gives another kappa when its rows are sorted
# another way, here 9.57, far above the greatest possible value 1, and 0.07 when read from the
# bottom. Crowd labels are nearly always uneven.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps pyagree==0.0.4

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from pyagree import fleiss_kappa

counts = np.array([[2, 0], [1, 1], [3, 0], [2, 1], [0, 3], [1, 2]])
down, up = fleiss_kappa(counts), fleiss_kappa(counts[::-1])
print("pyagree", version("pyagree"))
print("expected: an error, or one number of at most 1 for either order of the items")
print("seen:", down, "and with the rows turned round", up)
assert down > 1 and up < 0.1
PYTHON
