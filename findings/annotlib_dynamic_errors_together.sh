#!/usr/bin/env bash
# One would guess that annotators of annotlib whose skill fades with the number of queries
# (`DynamicAnnot` with negative learning rates) slip independently of each other, and that
# `random_state`, documented to serve for flipping the labels, gives another draw. The generator
# of each annotator is seeded with its number of answered queries: annotators who were asked
# equally often err on the same samples with the same wrong label, for every seed. A majority vote
# of five is then no better than one of them, and any label model looks useless.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 scikit-learn==1.7.2 seaborn==0.13.2 numpy-indexed==0.3.7
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps annotlib==1.0.0

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from annotlib import StandardAnnot
from annotlib.dynamic import DynamicAnnot

rng = np.random.default_rng(0)
x, truth = rng.normal(size=(2000, 2)), rng.integers(0, 4, 2000)


def second_round(seed):
    """Labels of five faultless annotators that have grown tired by 30 queries."""
    perfect = np.repeat(truth[:, None], 5, axis=1).astype(float)
    annotators = DynamicAnnot(
        StandardAnnot(X=x, C=np.ones(perfect.shape), Y=perfect),
        y_unique=np.arange(4), learning_rates=[-0.01] * 5, random_state=seed,
    )
    annotators.class_labels(x[:30], y_true=truth[:30], query_value=30)
    return annotators.class_labels(x, y_true=truth)


labels = second_round(0)
print("annotlib", version("annotlib"))
print("expected: five annotators with different errors, and other ones with another seed")
print("seen: error rates", (labels != truth[:, None]).mean(axis=0).round(3))
print("seen: samples on which all five agree", (labels == labels[:, :1]).all(axis=1).mean())
print("seen: the same with seed 1:", (labels == second_round(1)).all())
assert (labels != truth[:, None]).mean() > 0.1
assert (labels == labels[:, :1]).all() and (labels == second_round(1)).all()
PYTHON
