#!/usr/bin/env bash
# One would guess that scikit-clean accepts labels -1 and +1, as scikit-learn does, or refuses
# them. The label is used as the number of a column, and -1 is the last one: the confidence of
# every -1 label is turned round, so that its clean labels look mislabelled and its errors clean,
# while +1 stays right. The approximate noise generator goes further: asked for 10 % it returns
# labels 0 and 1. Datasets with -1 and +1 (SVM files, one-against-the-rest) give an upside-down
# ranking for one class.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==1.23.5 scipy==1.10.1 scikit-learn==1.2.2 pandas==1.5.3 tqdm==4.67.1
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps scikit-clean==0.1.2

"$folder/venv/bin/python" - <<'PYTHON'
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")

import numpy as np
from sklearn.datasets import load_digits
from skclean.detectors import RandomForestDetector
from skclean.simulate_noise import flip_labels_uniform

x, digits = load_digits(return_X_y=True)
positive = digits > 4
print("scikit-clean", version("scikit-clean"))
means = {}
for labels in ((0, 1), (-1, 1)):
    y = np.where(positive, labels[1], labels[0])
    score = RandomForestDetector(random_state=0).detect(x, y)
    means[labels] = [float(score[positive == side].mean().round(3)) for side in (False, True)]
    print(f"clean labels {labels}: mean confidence of the two classes {means[labels]}")
print("expected: the same for both pairs of labels")
assert np.isclose(sum([means[0, 1][0], means[-1, 1][0]]), 1, atol=0.01) and means[-1, 1][0] < 0.3
y = np.where(positive, 1, -1)
noisy = flip_labels_uniform(y, 0.1, exact=False, random_state=0)
print("expected: labels -1 and 1, 10 % flipped; seen: labels", np.unique(noisy),
      "changed", (noisy != y).mean().round(3))
assert np.unique(noisy).tolist() == [0, 1] and (noisy != y).mean() > 0.4
PYTHON
