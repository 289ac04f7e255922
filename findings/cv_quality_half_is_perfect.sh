#!/usr/bin/env bash
# One would guess that the label quality score of cv-quality, said to lie between 0 and 1 with
# higher for cleaner labels, gives a surely right label a score near 1. The default score compares
# the label's probability with the greatest one, which includes itself, so the best possible score
# is 0.5: the mean quality of perfect labels reads 0.5, and any threshold above the default 0.5
# flags every sample.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 scipy==1.15.3 scikit-learn==1.7.2 pandas==2.3.3 pillow==11.3.0 pyyaml==6.0.2 tqdm==4.67.1
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps cv-quality==1.0.1

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.util
from importlib.metadata import distribution, version

import numpy as np

# The module is loaded by its file, since the package's entry point imports image libraries.
path = distribution("cv-quality").locate_file("cvquality/quality/label_quality.py")
spec = importlib.util.spec_from_file_location("label_quality", path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

labels = np.arange(10)
probabilities = np.full((10, 10), 0.001)
probabilities[labels, labels] = 0.991
scorer = module.LabelQualityScorer(probabilities, labels)
scores = scorer.quality_scores()
print("cv-quality", version("cv-quality"))
print("expected: ten surely right labels score nearly 1, and none is flagged at a threshold of 0.6")
print("seen: scores", scores, "flagged at 0.6:", scorer.find_label_issues(threshold=0.6).sum())
assert np.allclose(scores, 0.5)
assert scorer.find_label_issues(threshold=0.6).all()
PYTHON
