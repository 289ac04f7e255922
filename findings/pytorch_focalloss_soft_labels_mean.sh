#!/usr/bin/env bash
# One would guess that `MultiClassFocalLoss` of pytorch-focalloss with gamma 0 is PyTorch's
# `CrossEntropyLoss`, since its documentation says that they are identical, and it takes soft
# labels and class weights as well. With both of them together the mean is divided by the sum of
# the weights of the labels, where PyTorch divides by the number of samples. The loss is smaller by
# the mean weight in the batch, and that changes from batch to batch: a batch of rare classes, or
# of mixed labels that lean to them, no longer counts more than another.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 numpy==2.2.6
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps pytorch-focalloss==1.2.0

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import torch
from torch_focalloss import MultiClassFocalLoss

torch.manual_seed(0)
weight = torch.tensor([1.0, 9.0])  # class 1 is rare
logits = torch.zeros(8, 2)  # nothing is known: the plain cross-entropy is log(2) = 0.693
focal = MultiClassFocalLoss(gamma=0, weight=weight)
entropy = torch.nn.CrossEntropyLoss(weight=weight)
print("pytorch-focalloss", version("pytorch-focalloss"), "torch", torch.__version__)
for rare in (0.1, 0.9):
    soft = torch.tensor([[1 - rare, rare]]).repeat(8, 1)
    expected, seen = entropy(logits, soft).item(), focal(logits, soft).item()
    print(f"batch of soft labels, {rare} of them rare: expected {expected:.3f}, seen {seen:.3f}")
    assert abs(seen - 0.693) < 1e-3 and abs(expected / seen - (1 + 8 * rare)) < 1e-3
hard = torch.tensor([0, 1] * 4)  # here the two agree
assert torch.allclose(focal(logits, hard), entropy(logits, hard))
PYTHON
