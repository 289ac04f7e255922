#!/usr/bin/env bash
# One would guess that iaa-kit's `alpha_value`, which accepts missing ratings, is Krippendorff's
# alpha with them as well. Each pair of ratings counts the same, instead of each item by its
# number of ratings, and ratings without a partner enter the expected disagreement: without gaps
# it agrees with the krippendorff package to the last digit, with gaps it does not. The number is
# right in the reader's small test and wrong on crowd labels, where hardly anybody rates
# everything.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps iaa-kit==0.1.2 krippendorff==0.9.0

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from iaa_kit.krippendorff import alpha_value
from krippendorff import alpha

rng = np.random.default_rng(1)
truth = rng.integers(0, 3, 60)
full = np.where(rng.random((60, 4)) < 0.7, truth[:, None], rng.integers(0, 3, (60, 4))).astype(float)
gaps = np.where(rng.random(full.shape) < 0.4, np.nan, full)
print("iaa-kit", version("iaa-kit"), "krippendorff", version("krippendorff"))
difference = {}
for name, ratings in (("no gaps", full), ("two fifths missing", gaps)):
    right = alpha(ratings.T, level_of_measurement="nominal")
    seen = alpha_value(ratings.tolist())
    difference[name] = abs(right - seen)
    print(f"{name}: expected {right:.4f}, seen {seen:.4f}")
assert difference["no gaps"] < 1e-9
assert difference["two fifths missing"] > 0.01
PYTHON
