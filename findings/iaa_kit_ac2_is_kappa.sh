#!/usr/bin/env bash
# One would guess that `ac2` of iaa-kit is Gwet's AC2, which stays high when one class is much
# more frequent than the others. It returns the weighted Cohen kappa, digit for digit, which is
# the very coefficient that falls in that case; irrCAC gives the real AC2 on the same ratings.
# Whoever reports it to show that a dataset with rare classes was labelled reliably reports kappa
# under another name.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 scipy==1.15.3 pandas==2.3.3
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps iaa-kit==0.1.2 irrCAC==0.4.4

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import pandas as pd
from iaa_kit.cohen import weighted_kappa
from iaa_kit.gwet import ac2
from irrCAC.raw import CAC

rng = np.random.default_rng(1)
first = rng.choice([1, 2, 3], 200, p=[0.9, 0.07, 0.03]).tolist()
second = [a if rng.random() < 0.85 else int(rng.choice([1, 2, 3])) for a in first]
table = pd.DataFrame({"first": first, "second": second})
gwet = CAC(table, weights="linear").gwet()["est"]["coefficient_value"]
print("iaa-kit", version("iaa-kit"), "irrCAC", version("irrCAC"))
print("expected: AC2 with linear weights as irrCAC gives it:", float(gwet))
print("seen: ac2", ac2(first, second), "weighted kappa", weighted_kappa(first, second))
assert ac2(first, second) == weighted_kappa(first, second)
assert gwet - ac2(first, second) > 0.2
PYTHON
