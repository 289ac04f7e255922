#!/usr/bin/env bash
# One would guess that iaa-kit's weighted kappa of ratings from 1 to 10 counts a 9 against a 10 as
# a near miss. The levels are sorted by their printed form, in which 10 comes right after 1, so 9
# against 10 counts as nearly the worst disagreement and 1 against 10 as the smallest. With up to
# nine levels all is well; with ten a good agreement looks mediocre, and graded labels are thrown
# away for no reason.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 scipy==1.15.3 scikit-learn==1.7.2
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps iaa-kit==0.1.2

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from iaa_kit.cohen import weighted_kappa
from sklearn.metrics import cohen_kappa_score


def both(levels):
    rng = np.random.default_rng(1)
    first = list(range(1, levels + 1)) * 10
    second = [min(levels, a + 1) if rng.random() < 0.5 else a for a in first]
    reference = cohen_kappa_score(first, second, weights="quadratic")
    return weighted_kappa(first, second, "quadratic"), float(reference)


nine, ten = both(9), both(10)
print("iaa-kit", version("iaa-kit"))
print("nine levels: expected", nine[1], "seen", nine[0])
print("ten levels: expected", ten[1], "seen", ten[0])
assert abs(nine[0] - nine[1]) < 1e-9
assert ten[1] - ten[0] > 0.2
PYTHON
