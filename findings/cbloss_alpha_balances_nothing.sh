#!/usr/bin/env bash
# One would guess that `alpha` of cbloss' `FocalLoss` balances positive and negative samples, as
# its documentation says and its formula shows: alpha for the one, 1 - alpha for the other. It is a
# factor of all losses. With alpha 0.9 instead of 0.5 a positive sample should weigh nine times
# as much as a negative one; both weigh 1.8 times as much as before. It acts as a larger learning
# rate, and the rare class gets no more attention.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 numpy==2.2.6
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps cbloss==0.2.0

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import torch
from cbloss.loss import FocalLoss

logits = torch.tensor([0.5, -0.5])  # equally wrong by symmetry
target = torch.tensor([0, 1])


def losses(alpha):
    return FocalLoss(num_classes=2, alpha=alpha, reduction="none")(logits, target)


p = torch.sigmoid(logits)  # the formula in the documentation, with gamma 2
one, zero = -((1 - p) ** 2) * p.log(), -(p**2) * (1 - p).log()


def formula(alpha):
    return torch.where(target == 1, alpha * one, (1 - alpha) * zero)


print("cbloss", version("cbloss"), "torch", torch.__version__)
for alpha in (0.5, 0.9):
    print(f"alpha {alpha}: negative and positive expected {formula(alpha).tolist()}")
    print(f"           negative and positive seen     {losses(alpha).tolist()}")
torch.testing.assert_close(losses(0.5), formula(0.5))
assert abs(formula(0.9)[1] / formula(0.9)[0] - 9) < 1e-4
assert abs(losses(0.9)[1] / losses(0.9)[0] - 1) < 1e-4
torch.testing.assert_close(losses(0.9), 1.8 * losses(0.5))
PYTHON
