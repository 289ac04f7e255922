#!/usr/bin/env bash
# One would guess that the label model of labelforge runs EM until the likelihood of the votes
# stops growing. The posterior is normalised before the likelihood is taken, so the log-likelihood
# is 0 in every iteration, the first comparison says `converged`, and EM ends after two iterations
# close to its random start. The accuracy of the labels is then decided by the seed and is mostly
# below that of a plain majority vote, which makes weak supervision look worse, or better, than it
# is.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 scipy==1.15.3 scikit-learn==1.7.2 pandas==2.3.3
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps labelforge==0.1.0

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np

from labelforge.label_model import LabelModel
from labelforge.types import LFOutput

rng = np.random.default_rng(0)
truth = rng.integers(0, 2, 500)
right = rng.random((500, 5)) < [0.9, 0.8, 0.7, 0.6, 0.55]
votes = np.where(right, truth[:, None], 1 - truth[:, None])
output = LFOutput(votes, list("abcde"), [str(i) for i in range(500)])
accuracy, steps, likelihood = [], [], []
for seed in range(8):
    model = LabelModel(random_state=seed).fit(output)
    accuracy.append((model.predict(output) == truth).mean())
    steps.append(model.history_["n_iter"])
    likelihood += model.history_["log_likelihood"]
majority = ((votes.mean(axis=1) > 0.5) == truth).mean()
print("labelforge", version("labelforge"))
print("expected: log-likelihood near -1700, tens of iterations, hardly any influence of the seed")
print("seen: greatest size of a log-likelihood:", np.abs(likelihood).max(), "iterations:", steps)
print("seen: accuracy of eight seeds:", np.round(accuracy, 3), "majority vote:", majority)
assert np.abs(likelihood).max() < 1e-9 and max(steps) <= 3
assert max(accuracy) - min(accuracy) > 0.1
assert sum(a < majority for a in accuracy) >= 4
PYTHON
