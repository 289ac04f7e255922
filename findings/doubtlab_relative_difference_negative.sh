#!/usr/bin/env bash
# One would guess that doubtlab's `RelativeDifferenceReason` doubts a regression label when the
# prediction is far from it relative to the size of the label. The difference is divided by the
# label with its sign: a negative label, however wrong, is never doubted. On centred targets half
# of the label errors stay invisible without a warning.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 pandas==2.3.3 cleanlab==2.9.0
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps doubtlab==0.2.4

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np

from doubtlab.reason import RelativeDifferenceReason

prediction = np.array([1.0, 1.0, -1.0, -1.0])
label = np.array([1.1, 50.0, -1.1, -50.0])
doubt = RelativeDifferenceReason.from_predict(prediction, label, threshold=0.5)
print("doubtlab", version("doubtlab"))
print("expected: the second and the fourth label are doubted: [0. 1. 0. 1.]")
print("seen:", doubt)
assert doubt.tolist() == [0.0, 1.0, 0.0, 0.0]
PYTHON
