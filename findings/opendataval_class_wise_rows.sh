#!/usr/bin/env bash
# One would guess that class-wise Shapley values in opendataval weigh the accuracy on the
# validation examples of the class by that on the validation examples of all other classes. The
# second set is picked with the row numbers of the *training* examples: it can consist of the
# class itself, and some validation rows are never used. No error appears as long as the training
# set is not the larger one. The values differ from those of the paper for every class.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 numpy==2.2.6 scipy==1.15.3 scikit-learn==1.7.2 pandas==2.3.3 tqdm==4.67.1
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps opendataval==1.3.0

"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version
from unittest.mock import MagicMock

warnings.simplefilter("ignore")
# The package imports libraries for images, texts and plots that this script does not use.
for name in (
    "PIL", "geomloss", "matplotlib", "matplotlib.axes", "matplotlib.figure", "mpl_toolkits",
    "mpl_toolkits.axes_grid1", "mpl_toolkits.axes_grid1.axes_divider", "pandera", "requests",
    "torcheval", "torcheval.metrics", "torcheval.metrics.functional", "torchvision",
    "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional",
    "transformers", "typer",
):
    sys.modules[name] = MagicMock()

import torch
from opendataval.dataval import ClassWiseShapley
from opendataval.dataval.margcontrib import TMCSampler
from opendataval.model import Model

train_classes = torch.tensor([0] * 5 + [1] * 5)
valid_classes = torch.tensor([1] * 8 + [0] * 12)
rows = torch.arange(20.0).unsqueeze(1)
asked = []


class Recorder(Model):
    """A model that notes which validation rows it has to predict."""

    def fit(self, *args, **kwargs):
        return self

    def predict(self, x):
        found = torch.stack([x[i] for i in range(len(x))])[:, 0].int().tolist()
        asked.append(tuple(found))
        return torch.nn.functional.one_hot(valid_classes[found], 2).float()

    def clone(self):
        return self


one_hot = torch.nn.functional.one_hot
method = ClassWiseShapley(sampler=TMCSampler(mc_epochs=1, min_cardinality=1, cache_name=None))
method.pred_model = Recorder()
method.evaluate = lambda y, y_hat: float((y.argmax(1) == y_hat.argmax(1)).float().mean())
method.input_data(
    torch.zeros(10, 1), one_hot(train_classes, 2).float(), rows, one_hot(valid_classes, 2).float()
)
method.train_data_values()
pairs = sorted(set(zip(asked[::2], asked[1::2])))
print("opendataval", version("opendataval"))
print("expected: rows of class 1 (0 to 7) against rows of class 0 (8 to 19), and the reverse")
for inside, outside in pairs:
    print("seen: rows of the class", inside, "rows of the others", outside)
assert (tuple(range(8)), tuple(range(5))) in pairs
PYTHON
