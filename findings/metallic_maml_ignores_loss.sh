#!/usr/bin/env bash
# One would guess that MAML in metallic trains with the `loss_function` that it is given, a robust
# one for noisy labels for instance. The argument is accepted, documented and not handed on: inner
# and outer loop both use the cross-entropy, and the given function is never called. No error
# appears as long as the targets suit the cross-entropy too, so that a comparison of losses
# compares one loss with itself. (torchvision and Pillow are only imported for datasets that are
# not used here.)
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 numpy==2.2.6 tqdm==4.67.1
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps metallic==0.1.0 higher==0.2.1

FOLDER="$folder" "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import os
import sys
from importlib.metadata import version
from unittest.mock import MagicMock

for name in (
    "PIL", "torchvision", "torchvision.datasets", "torchvision.datasets.omniglot",
    "torchvision.datasets.utils", "torchvision.transforms", "torchvision.transforms.functional",
):
    sys.modules[name] = MagicMock()
sys.modules["torchvision.datasets.omniglot"].Omniglot = object

import torch
from metallic.metalearners import MAML

calls = []


def absolute_error(logits, target):
    """The mean absolute error, a loss that withstands symmetric label noise."""
    calls.append(len(target))
    return 2 * (1 - logits.softmax(1).gather(1, target[:, None])).mean()


def outer_loss(**options):
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 3)
    x, y = torch.randn(4, 2, 30, 5), torch.randint(0, 3, (4, 2, 30))
    batch = {"support": (x[:, 0], y[:, 0]), "query": (x[:, 1], y[:, 1])}
    learner = MAML(
        model, torch.optim.SGD(model.parameters(), lr=0.1),
        torch.optim.SGD(model.parameters(), lr=0.1), root=os.environ["FOLDER"], **options,
    )
    return learner.outer_loop(batch)[0]


default, given = outer_loss(), outer_loss(loss_function=absolute_error)
print("metallic", version("metallic"), "torch", version("torch"))
print("expected: 8 calls of the given loss for 4 tasks, and another outer loss")
print(f"seen: {len(calls)} calls, outer loss {given:.6f}, with the default loss {default:.6f}")
assert not calls and given == default
PYTHON
