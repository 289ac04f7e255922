#!/usr/bin/env bash
# One would guess from its documentation that `get_calibration_error_uncertainties(alpha=0.1)` of
# uncertainty-calibration gives a 90 % confidence interval of the calibration error. The level is
# passed on to a function that takes per cent: 0.1 is read as 0.1 %, and the result is practically
# the smallest and greatest of the 100 bootstrap samples, about twice as wide. Two networks whose
# calibration differs clearly are reported as equal; alpha=10 gives what was asked for.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 scipy==1.15.3 scikit-learn==1.7.2
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps uncertainty-calibration==0.1.4

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import calibration
import numpy as np

rng = np.random.default_rng(0)
positive = rng.random(1000)
labels = (rng.random(1000) < positive).astype(int)
probabilities = np.stack([1 - positive, positive], axis=1)


def width(alpha):
    np.random.seed(0)
    low, _, high = calibration.get_calibration_error_uncertainties(
        probabilities, labels, p=1, alpha=alpha
    )
    return high - low


documented, per_cent = width(0.1), width(10)
np.random.seed(0)
samples = []
for _ in range(100):
    rows = np.random.choice(1000, 1000)
    samples.append(
        calibration.get_calibration_error(probabilities[rows], labels[rows], p=1, debias=False)
    )
print("uncertainty-calibration", version("uncertainty-calibration"))
print("expected: width of the middle 90 % of 100 samples:", np.ptp(np.percentile(samples, [5, 95])))
print("seen: width for alpha=0.1:", documented, "and for alpha=10:", per_cent)
print("width from the smallest to the greatest sample:", np.ptp(samples))
assert documented > 1.3 * per_cent
assert np.isclose(documented, np.ptp(samples), rtol=0.05)
PYTHON
