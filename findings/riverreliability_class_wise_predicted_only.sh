#!/usr/bin/env bash
# One would guess that `class_wise_error` of riverreliability is the class-wise calibration error
# of the paper that it names: for each class, its probability on *all* samples against how often
# it occurs. It takes for each class only the samples for which that class was predicted. A class
# that is never predicted counts as perfectly calibrated, however wrong its probability is, and
# well-calibrated probabilities get a larger error than in classifier-calibration, which follows
# the paper. The two numbers have one name in print.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==1.23.5 scipy==1.10.1 scikit-learn==1.2.2 pandas==1.5.3 matplotlib==3.7.5
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps riverreliability==0.1.2 classifier-calibration==0.1.6

"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from classifier_calibration.calibration_error import classwise_ece
from riverreliability.metrics import class_wise_error, ece

# Class 0 is always predicted, with the right probability; 1 and 2 have each other's.
probabilities = np.tile([0.5, 0.4, 0.1], (5000, 1))
labels = np.random.default_rng(0).choice(3, 5000, p=[0.5, 0.1, 0.4])
right = classwise_ece(probabilities, labels, num_bins=10)
seen = class_wise_error(probabilities, probabilities.argmax(axis=1), labels, ece, bins=10)
print("riverreliability", version("riverreliability"))
print("classifier-calibration", version("classifier-calibration"))
print(f"expected (errors of about 0, 0.3 and 0.3): {right:.3f}")
print(f"seen: {seen:.3f}")
assert abs(right - 0.2) < 0.02
assert seen < 0.01
PYTHON
