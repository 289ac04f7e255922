#!/usr/bin/env bash
# One would guess that prediction sets made with `aps_nonconformity` of conformalpy are never
# empty, as its documentation guarantees, and that a calibrated classifier gives the same sets for
# the same data. The random number that breaks ties also shrinks the score of the most likely
# class, and no class is put back: with a good model some sets are empty, above all those of which
# it is sure. `predict` draws these numbers anew each time and takes no seed: nearly a quarter of
# the sets differ from call to call, and so do the labels that lie outside of their set, which one
# would look at as suspicious.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 scikit-learn==1.7.2 seaborn==0.13.2
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps conformalpy==1.0.0

"$folder/venv/bin/python" - <<'PYTHON'
from functools import partial
from importlib.metadata import version

import numpy as np
from conformalpy.classifier import ConformalClassifier
from conformalpy.nonconformity import aps_nonconformity
from sklearn.base import BaseEstimator, ClassifierMixin

rng = np.random.default_rng(0)
probabilities = rng.dirichlet([0.1] * 3, size=4000)  # mostly sure
labels = np.array([rng.choice(3, p=p) for p in probabilities])  # and calibrated


class Given(ClassifierMixin, BaseEstimator):
    """A model whose probabilities are the features."""

    def fit(self, x, y):
        self.classes_ = np.arange(3)
        return self

    def predict_proba(self, x):
        return x


conformal = ConformalClassifier(
    Given().fit(probabilities, labels),
    alpha=0.1,
    nonconformity_function=partial(aps_nonconformity, random_state=0),
)
conformal.calibrate(probabilities[:2000], labels[:2000])
new, truth = probabilities[2000:], labels[2000:]
first, second = conformal.predict(new), conformal.predict(new)
empty = np.array([not classes for classes in first])
differ = np.mean([one != other for one, other in zip(first, second)])
covered = np.mean([label in classes for label, classes in zip(truth, first)])
print("conformalpy", version("conformalpy"))
print(f"coverage {covered:.3f}, accuracy of the model {(new.argmax(axis=1) == truth).mean():.3f}")
print("expected: no empty set, and the same sets twice")
print(f"seen: {empty.sum()} of 2000 sets are empty")
print(f"      their mean greatest probability is {new[empty].max(axis=1).mean():.3f}")
print(f"seen: {differ:.3f} of the sets differ between two calls")
assert 0.88 < covered < 0.92
assert empty.sum() > 40 and new[empty].max(axis=1).mean() > new.max(axis=1).mean()
assert differ > 0.1
PYTHON
