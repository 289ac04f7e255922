#!/usr/bin/env bash
# One would guess that doubtlab's `shuffle_labels`, meant for benchmarks with regression labels,
# exchanges the labels of the chosen rows among each other. It writes the row *numbers* into them:
# standard normal labels come back with values up to the length of the table. Any detector of
# label errors finds such noise at once, so a benchmark with it reports an excellent detector.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 pandas==2.3.3
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps doubtlab==0.2.4

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np

from doubtlab.benchmark import shuffle_labels

y = np.random.default_rng(0).normal(size=1000)
noisy, changed = shuffle_labels(y, n=100)
print("doubtlab", version("doubtlab"))
print("expected: the same 1000 values in another order, greatest", y.max().round(2))
print("seen: greatest value", noisy.max(), "and some of the changed labels", noisy[changed == 1][:6])
assert noisy.max() > 900
assert set(noisy[changed == 1]) <= set(range(1000))
PYTHON
