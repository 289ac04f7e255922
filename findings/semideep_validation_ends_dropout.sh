#!/usr/bin/env bash
# One would guess that a validation set given to `WeightedTrainer.train` of semideep, a method for
# noisy labels, is only measured. The measurement puts the network into evaluation mode, and
# nothing puts it back: from the second epoch on it is trained without dropout and with frozen
# running statistics of batch normalisation. The same run with and without a validation set gives
# two networks, and the one that is watched has lost its regularisation.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 numpy==2.2.6 scikit-learn==1.7.2 seaborn==0.13.2 tqdm==4.67.1
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps semideep==0.0.1

"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import torch
from semideep import WeightedTrainer

rng = np.random.default_rng(0)
x = rng.normal(size=(64, 5)).astype("float32")
y = (x[:, 0] > 0).astype(int)


def epochs_with_dropout(*validation):
    """Whether dropout was active, for each of four epochs of one batch."""
    torch.manual_seed(0)
    dropout, active = torch.nn.Dropout(0.5), []

    def note(layer, inputs, output):
        if torch.is_grad_enabled():  # a training step
            active.append(layer.training)

    dropout.register_forward_hook(note)
    network = torch.nn.Sequential(torch.nn.Linear(5, 8), dropout, torch.nn.Linear(8, 2))
    trainer = WeightedTrainer(
        network, x, y, X_test=x, epochs=4, batch_size=64, device="cpu", verbose=False
    )
    trainer.train(*validation)
    return active


print("semideep", version("semideep"), "torch", torch.__version__)
print("expected: dropout in epochs", [True] * 4)
print("seen without a validation set:", epochs_with_dropout())
print("seen with one:", epochs_with_dropout(x, y))
assert epochs_with_dropout() == [True] * 4
assert epochs_with_dropout(x, y) == [True, False, False, False]
PYTHON
