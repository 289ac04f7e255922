#!/usr/bin/env bash
# One would guess that the isotonic calibration of calikit gives all samples with one score the
# share of positives among them, as scikit-learn does; its documentation calibrates scores from 1
# to 10. Samples with equal scores are sorted by their label and are not pooled: the wrong ones go
# to the block below, and the right ones make a block of their own. Labels on which all five
# annotators agree, right in 80 % of the cases, get probability 1, those that nobody chose 0.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 scikit-learn==1.7.2
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps calikit==0.1.0

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from calikit import fit_isotonic
from sklearn.isotonic import IsotonicRegression

rng = np.random.default_rng(0)
share = rng.integers(0, 6, 3000) / 5  # of five annotators who chose the label
right = (rng.random(3000) < 0.2 + 0.6 * share).astype(int)
scores = np.arange(6) / 5
expected = IsotonicRegression().fit(share, right).predict(scores)
seen = np.array(fit_isotonic(share.tolist(), right.tolist()).apply(scores.tolist()))
print("calikit", version("calikit"), "scikit-learn", version("scikit-learn"))
print("share of annotators:", scores)
print("share of right labels:", np.array([right[share == s].mean() for s in scores]).round(3))
print("expected:", expected.round(3))
print("seen:", seen.round(3))
assert 0.15 < expected[0] < 0.25 and 0.75 < expected[-1] < 0.85
assert seen[0] == 0 and seen[-1] == 1
PYTHON
