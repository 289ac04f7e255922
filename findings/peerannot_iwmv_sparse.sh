#!/usr/bin/env bash
# One would guess that `sparse=True` of peerannot's iterative weighted majority vote (and of Wawa,
# built on it) saves memory and changes nothing else. The sparse branch looks up a worker's weight
# one place too early, so each worker gets the weight of the one before: with two good workers
# among three that guess, the weighted vote falls below the plain majority vote. On large crowds,
# where the sparse branch is needed, aggregated labels come out noisier without any sign.
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

import numpy as np
from peerannot.models.aggregation.iwmv import IWMV

rng = np.random.default_rng(0)
truth = rng.integers(0, 3, 2000)
skill = [0.95, 0.9, 0.34, 0.34, 0.34]
votes = {
    i: {w: int(label if rng.random() < s else rng.integers(3)) for w, s in enumerate(skill)}
    for i, label in enumerate(truth)
}
plain = [np.bincount(list(v.values()), minlength=3).argmax() for v in votes.values()]
accuracy = {"majority": float(np.mean(plain == truth))}
for sparse in (False, True):
    np.random.seed(0)
    model = IWMV(votes, n_classes=3, sparse=sparse, n_workers=5)
    model.run()
    accuracy[f"sparse={sparse}"] = float((model.get_answers() == truth).mean())
print("peerannot", version("peerannot"))
print("expected: the same accuracy for both settings of sparse, above that of the majority vote")
print("seen:", accuracy)
assert accuracy["sparse=False"] - accuracy["sparse=True"] > 0.04
assert accuracy["sparse=True"] < accuracy["majority"]
PYTHON
