#!/usr/bin/env bash
# One would guess that `ConformalClassifier(mondrian=True)` of conformalpy covers each class with
# probability 1 - alpha or more, a rare one too: the theory then takes all scores, an infinite
# threshold, and the warning that comes with fewer than ten samples of a class says that its
# coverage may be very conservative. The level is capped at 1, so that the threshold is the largest
# score seen. The right label is missed far more often than asked for: of a class with three
# calibration samples in a quarter of the cases, with one sample in half of them, at alpha 0.1.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 scikit-learn==1.7.2 seaborn==0.13.2
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps conformalpy==1.0.0

"$folder/venv/bin/python" - <<'PYTHON'
import warnings
from importlib.metadata import version

import numpy as np
from conformalpy.classifier import ConformalClassifier
from conformalpy.nonconformity import lac_nonconformity
from sklearn.base import BaseEstimator, ClassifierMixin

rng = np.random.default_rng(0)


class Given(ClassifierMixin, BaseEstimator):
    """A model whose probability of class 1 is the feature."""

    def fit(self, x, y):
        self.classes_ = np.arange(2)
        return self

    def predict_proba(self, x):
        return np.concatenate([1 - x, x], axis=1)


def coverage(rare):
    """Share of right labels in the sets of class 1, over 400 calibration sets."""
    hits = []
    for _ in range(400):
        x, labels = rng.uniform(size=(100 + rare, 1)), np.repeat([0, 1], [100, rare])
        conformal = ConformalClassifier(
            Given().fit(x, labels),
            alpha=0.1,
            nonconformity_function=lac_nonconformity,
            mondrian=True,
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            conformal.calibrate(x, labels)
        hits += [1 in labels for labels in conformal.predict(rng.uniform(size=(50, 1)))]
    return np.mean(hits), [str(warning.message) for warning in caught]


print("conformalpy", version("conformalpy"))
print("expected: coverage of 0.9 or more")
for rare in (1, 3, 100):
    seen, said = coverage(rare)
    print(f"seen with {rare} calibration samples of the class: {seen:.3f}", *said)
    assert abs(seen - (0.9 if rare == 100 else rare / (rare + 1))) < 0.05
    assert rare == 100 or "conservative" in said[0]
PYTHON
