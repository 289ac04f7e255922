#!/usr/bin/env bash
# One would guess that `DawidSkene.run()` of peerannot returns the log-likelihood of the votes
# after each step of EM, a negative number. It returns the logarithm of the *sum* of the tasks'
# likelihoods instead of the sum of their logarithms: positive here, ruled by the few easiest
# tasks, and it is also what the stopping rule looks at. It cannot be used to compare models or
# numbers of classes, nor with other tools.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 numpy==2.2.6 scipy==1.15.3 scikit-learn==1.7.2 pandas==2.3.3 tqdm==4.67.1 pydantic==2.11.7 annotated-types==0.7.0 sparse==0.15.5 matplotlib==3.10.3 torchmetrics==1.7.4
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps peerannot==0.0.1.post43

"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version
from unittest.mock import MagicMock

warnings.simplefilter("ignore")
# The package imports torchvision and more for its deep models, which this script does not use.
for name in ("torchvision", "torchvision.transforms", "torchvision.datasets", "torchvision.models"):
    sys.modules[name] = MagicMock()

import contextlib
import io

import numpy as np
from peerannot.models.aggregation.dawid_skene import DawidSkene

rng = np.random.default_rng(0)
truth = rng.integers(0, 3, 2000)
skill = [0.95, 0.9, 0.34, 0.34, 0.34]
votes = {
    i: {w: int(label if rng.random() < s else rng.integers(3)) for w, s in enumerate(skill)}
    for i, label in enumerate(truth)
}
model = DawidSkene(votes, n_classes=3, n_workers=5)
with contextlib.redirect_stderr(io.StringIO()):
    reported, _ = model.run()
right = np.log(model.denom_e_step).sum()
print("peerannot", version("peerannot"))
print("expected: log-likelihood of 10 000 votes", right)
print("seen:", float(reported[-1]))
assert reported[-1] > 0 > right
assert np.isclose(reported[-1], np.log(model.denom_e_step.sum()))
PYTHON
