#!/usr/bin/env bash
# One would guess that `diff_sgd`, hypergrad's differentiable SGD, carries the meta-gradient
# through momentum as it does without it. The first momentum buffer is a detached copy of the
# gradient: after one step the meta-gradient is cut off entirely, after two it lacks the first
# step's part. Learning to reweight takes just one such step, so the weights of the samples would
# never learn anything.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 numpy==2.2.6
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps hypergrad==0.0.1

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import torch

from hypergrad.optimizers import diff_sgd


def meta_gradient(momentum, steps, own):
    """Gradient of the weights' sum after the steps with respect to the weight of the loss."""
    scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    state, buffer = None, 0
    for _ in range(steps):
        (grad,) = torch.autograd.grad(scale * (weight**2).sum(), weight, create_graph=True)
        if own:
            buffer = momentum * buffer + grad
            weight = weight - 0.1 * buffer
        else:
            (weight,), state = diff_sgd([weight], [grad], state, 0.0, momentum, 0.1)
    return torch.autograd.grad(weight.sum(), scale, allow_unused=True)[0]


print("hypergrad", version("hypergrad"))
for momentum in (0.0, 0.9):
    for steps in (1, 2):
        right, seen = (meta_gradient(momentum, steps, own) for own in (True, False))
        print(f"momentum {momentum}, {steps} step(s): expected {right.item():.4f}, seen {seen}")
        if momentum == 0:
            assert torch.allclose(seen, right)
        elif steps == 1:
            assert seen is None
        else:
            assert not torch.allclose(seen, right)
PYTHON
