#!/usr/bin/env bash
# One would guess that `NoiseLabelDataset` of noise-label-pkg gives each of the chosen samples one
# wrong label. Only the choice of samples is kept: their wrong label is drawn again at each access,
# so that a sample has another one in each epoch, and two passes over the dataset do not give the
# same labels. Such noise cannot be memorised, which is the very thing that methods for noisy
# labels are there to prevent. (PyTorch and torchvision are only imported for names here and are
# replaced by stand-ins.)
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps noise-label-pkg==0.1.0

"$folder/venv/bin/python" - <<'PYTHON'
import contextlib
import io
import random
import sys
from importlib.metadata import version
from unittest.mock import MagicMock

for name in (
    "matplotlib", "matplotlib.pyplot", "torch", "torch.nn", "torch.utils", "torch.utils.data",
    "torchvision", "torchvision.transforms",
):
    sys.modules[name] = MagicMock()
sys.modules["torch.utils.data"].Dataset = object

from NoiseLabelDataset import NoiseLabelDataset


class Clean:
    """A dataset of ten classes with `targets`, like those of torchvision."""

    targets = [i % 10 for i in range(1000)]

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return 0.0, self.targets[index]


random.seed(0)
with contextlib.redirect_stdout(io.StringIO()):
    noisy = NoiseLabelDataset(Clean(), ErrorRate=0.4)
epochs = [[noisy[i][1] for i in range(1000)] for _ in range(10)]
wrong = [i for i in range(1000) if epochs[0][i] != Clean.targets[i]]
distinct = sum(len({labels[i] for labels in epochs}) for i in wrong) / len(wrong)
print("noise-label-pkg", version("noise-label-pkg"))
print("wrong labels in each epoch:", [sum(a != b for a, b in zip(e, Clean.targets)) for e in epochs])
print("expected: one label for each wrong sample")
print(f"seen: {distinct:.1f} different ones in ten epochs, on average")
assert len(wrong) == 400
assert distinct > 5
PYTHON
