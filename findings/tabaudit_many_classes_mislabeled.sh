#!/usr/bin/env bash
# One would guess that tabaudit calls a row likely mislabelled when its model prefers another
# label: it "confidently disagrees", in its own words. A row is flagged as soon as the model gives
# the label less than 20 %, whatever it gives the others. With two classes that needs a strong
# disagreement; with twenty grades that overlap, right labels are at 10 % or so, and nearly the
# whole table is called likely mislabelled, with high severity. The same data, with the grades put
# together into low and high, are nearly clean.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 scipy==1.15.3 scikit-learn==1.7.2 pandas==2.3.3 typer==0.20.0 rich==14.2.0 jinja2==3.1.6
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps tabaudit==0.3.1

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import pandas as pd
from tabaudit import run_audit

rng = np.random.default_rng(0)
grade = rng.integers(0, 20, 2000)  # the labels, all of them right
features = {f"x{i}": grade + rng.normal(0, 6, 2000) for i in range(3)}


def likely(label):
    """The share of rows that are called likely mislabelled, and the finding itself."""
    table = pd.DataFrame({**features, "target": label})
    for finding in run_audit(table, target="target", checks=["label_noise"]).findings:
        if finding.check == "label_noise":
            return finding.evidence["fraction_likely"], finding
    return 0.0, None


two, _ = likely(np.where(grade < 10, "low", "high"))
twenty, finding = likely(np.char.add("grade ", grade.astype(str)))
print("tabaudit", version("tabaudit"))
print("expected: few rows, as all labels are right")
print(f"seen: {two:.1%} of the rows with two classes, {twenty:.1%} with twenty:", finding.severity)
assert two < 0.15
assert twenty > 0.8
PYTHON
