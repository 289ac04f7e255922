#!/usr/bin/env bash
# One would guess that `auc_deltas` of rank-preserving-calibration counts a tie as one half, as its
# source says: it is there to show what the plateaus of a calibrated matrix cost. Tied samples are
# ranked by their row. If the rows are sorted by class, as many tables are, probabilities that are
# the same for all samples have an AUC of 0 for the first class and of 1 for the last: the one
# seems to be ranked upside down, the other perfectly, by a matrix that ranks nothing.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps rank-preserving-calibration==0.6.0

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from rank_preserving_calibration import auc_deltas

rng = np.random.default_rng(0)
labels = np.repeat([0, 1], 100)
second = rng.uniform(size=200)  # the probability of class 1, by chance
before = np.stack([1 - second, second], axis=1)
flat = np.full((200, 2), 0.5)  # one plateau, where all samples are tied


def seen(order):
    aucs = auc_deltas(labels[order], before[order], flat[order])["per_class"]
    return np.round(aucs["before"], 3).tolist(), np.round(aucs["after"], 3).tolist()


print("rank-preserving-calibration", version("rank-preserving-calibration"))
print("expected after calibration: [0.5, 0.5], whatever the order of the rows")
print("seen, before and after, rows sorted by class:", *seen(np.arange(200)))
print("seen, the same rows the other way round:", *seen(np.arange(200)[::-1]))
assert seen(np.arange(200))[1] == [0, 1] and seen(np.arange(200)[::-1])[1] == [1, 0]
assert seen(np.arange(200))[0] == seen(np.arange(200)[::-1])[0]
PYTHON
