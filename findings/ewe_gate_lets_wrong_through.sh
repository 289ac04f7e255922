#!/usr/bin/env bash
# One would guess that the gate of ewe-gate, made for training that withstands label noise, holds
# back wrong labels once the network knows better. The score by which it admits samples grows with
# the loss in two of its three parts, and the third is bounded: with a network that has learnt the
# true classes every wrong label is admitted and most of the right ones are not. Besides, the
# threshold is said to loosen as there are more classes, and tightens.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 numpy==2.2.6
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps ewe-gate==0.2.0

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import torch
import torch.nn.functional as F
from ewe import EWEGate

torch.manual_seed(0)
rows = torch.arange(5000)
truth = torch.randint(0, 10, (5000,))
wrong = torch.rand(5000) < 0.2
given = torch.where(wrong, (truth + torch.randint(1, 10, (5000,))) % 10, truth)
logits = torch.randn(5000, 10)
logits[rows, truth] += 5  # a network that has learnt the true classes
gate = EWEGate(num_classes=10)
admitted = torch.cat([
    gate(F.cross_entropy(z, y, reduction="none"), z)
    for z, y in zip(logits.split(100), given.split(100))
])
right_in, wrong_in = admitted[~wrong].float().mean().item(), admitted[wrong].float().mean().item()
print("ewe-gate", version("ewe-gate"), "torch", version("torch"))
print("accuracy of the network on the true classes:", (logits.argmax(1) == truth).float().mean().item())
print("expected: more of the right labels admitted than of the wrong ones")
print(f"seen: {right_in:.0%} of the right and {wrong_in:.0%} of the wrong labels")
print("k, which is subtracted times the spread:", [round(EWEGate(c).k, 3) for c in (2, 10, 100)])
assert wrong_in > 0.99 and right_in < 0.3
assert EWEGate(100).k < EWEGate(2).k
PYTHON
