#!/usr/bin/env bash
# One would guess that, after `Voter.fit(L, class_balances=[0.5, 0.5])` of flippers, the predicted
# probabilities on the same votes have the mean 0.5 and 0.5, since its documentation guarantees
# just that. It scales the sums of votes to the balance and normalises each sample afterwards,
# which undoes it: the rare class gets half of what was asked for. With samples without any vote
# the means do not even add up to 1. Soft labels made with it have another class balance than the
# one that the paper states. (The package imports PyTorch for another model; it is not needed
# here.)
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 pandas==2.3.3 tqdm==4.67.1
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps flippers==0.0.1b5

"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version
from types import ModuleType
from unittest.mock import MagicMock

for name in ("torch", "torch.nn", "torch.optim"):
    sys.modules[name] = MagicMock()
sys.modules["torch.nn"].Module = sys.modules["torch"].nn.Module = type("Module", (), {})

import numpy as np
from flippers.models import Voter

rng = np.random.default_rng(0)
truth = rng.choice(2, 5000, p=[0.9, 0.1])
votes_for = np.array([0, 0, 0, 1, 1])  # the class of each labelling function
fires = rng.random((5000, 5)) < np.where(votes_for == truth[:, None], 0.6, 0.15)
votes = fires[fires.any(axis=1)].astype(int)
print("flippers", version("flippers"))
for asked in ([0.9, 0.1], [0.5, 0.5]):
    voter = Voter(votes_for, 2)
    voter.fit(votes, asked)
    mean = voter.predict_proba(votes).mean(axis=0)
    print("expected:", asked, "seen:", mean.round(3))
assert abs(mean[0] - 0.5) > 0.15
PYTHON
