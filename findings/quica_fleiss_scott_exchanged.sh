#!/usr/bin/env bash
# One would guess that `Fleiss'K` in quica's table is Fleiss' kappa and that `Scotts' Kappa`,
# which is defined for two coders, is something else with three. The line called Scott's is
# Fleiss' kappa, digit for digit; the line called Fleiss' is another coefficient, with chance
# agreement taken coder by coder, and is higher when the coders' habits differ. Reported as
# "Fleiss' kappa" it does not compare with that of any other paper.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 pandas==2.3.3 scipy==1.15.3 scikit-learn==1.7.2 nltk==3.9.2 krippendorff==0.8.1 statsmodels==0.14.5
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps quica==0.2.5

"$folder/venv/bin/python" - <<'PYTHON'
import warnings
from importlib.metadata import version

import numpy as np

warnings.simplefilter("ignore")
from quica.dataset.dataset import IRRDataset
from quica.quica import Quica
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

rng = np.random.default_rng(0)
truth = rng.integers(0, 3, 200)
coders = [np.where(rng.random(200) < a, truth, rng.choice(3, 200, p=[0.9, 0.05, 0.05])) for a in (0.9, 0.6, 0.3)]
table = Quica(IRRDataset([c.tolist() for c in coders])).get_results()["score"]
right = fleiss_kappa(aggregate_raters(np.array(coders).T)[0])
print("quica", version("quica"), "statsmodels", version("statsmodels"))
print(f"expected: Fleiss' kappa {right:.4f}")
fleiss, scott = table["Fleiss'K"], table["Scotts' Kappa"]
print(f"seen: Fleiss'K {fleiss:.4f}, Scotts' Kappa {scott:.4f}")
assert abs(scott - right) < 1e-9
assert fleiss - right > 0.01
PYTHON
