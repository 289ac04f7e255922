#!/usr/bin/env bash
# One would guess that scikit-clean's `CCNoise(0.0)` adds no label noise and that `CCNoise(0.2)`
# flips about 20 % in each class. A rate of 0.0 counts as `not given` and becomes 0.2. The class
# rates are drawn at random around the nominal one, and only five of them, which are then
# repeated: of ten digits, k and k+5 share a rate, which runs from 0.04 to 0.35. A curve of
# accuracy over the noise rate starts with noise, and its noise is not the one on the axis.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==1.23.5 scipy==1.10.1 scikit-learn==1.2.2 pandas==1.5.3 tqdm==4.67.1
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps scikit-clean==0.1.2

"$folder/venv/bin/python" - <<'PYTHON'
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")

import contextlib
import io

import numpy as np
from sklearn.datasets import load_digits
from skclean.simulate_noise import CCNoise

x, y = load_digits(return_X_y=True)


def rates(nominal, seed):
    with contextlib.redirect_stdout(io.StringIO()):
        _, noisy = CCNoise(nominal, random_state=seed).fit_transform(x, y)
    return np.array([(noisy != y)[y == k].mean() for k in range(10)])


zero = rates(0.0, 0).mean()
at_fifth = np.array([rates(0.2, seed) for seed in range(3)])
print("scikit-clean", version("scikit-clean"))
print("expected: 0 at rate 0.0; about 0.2 in each class at rate 0.2")
print("seen at rate 0.0:", zero.round(3))
print("seen at rate 0.2, three seeds, classes 0 to 9:", at_fifth.round(2), sep="\n")
assert zero > 0.05
assert np.ptp(at_fifth) > 0.2
assert np.corrcoef(at_fifth[:, :5].ravel(), at_fifth[:, 5:].ravel())[0, 1] > 0.9
PYTHON
