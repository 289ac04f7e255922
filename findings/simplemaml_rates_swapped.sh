#!/usr/bin/env bash
# One would guess from its documentation that simplemaml's `alpha` is the rate of the inner, task-
# specific steps, `beta` that of the meta-update, and that `validation_split=0.2` holds out a
# fifth of each task. All three are the other way round: with alpha=0 the network never changes,
# with beta=0 it does, and a fifth of each task is used to *train*. Rates taken from a paper land
# in the wrong loop. (Needs TensorFlow; the installation takes a minute or two.)
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check tensorflow-cpu==2.15.1
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps simplemaml==1.2.13

"$folder/venv/bin/python" - <<'PYTHON'
import contextlib
import io
import os
import random
from importlib.metadata import version

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import simplemaml
from tensorflow import keras

rng = np.random.default_rng(0)
tasks = []
for slope in (-2, -1, 0, 1, 2):
    x = rng.normal(size=(50, 1)).astype("float32")
    tasks.append({"inputs": x, "target": slope * x})


def moved(alpha, beta):
    """How far the meta-learned weights have moved, and how many rows each call saw."""
    keras.utils.set_random_seed(0)
    random.seed(0)
    layers = [keras.layers.Input((1,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    before = [w.copy() for w in model.get_weights()]
    sizes = []

    def loss(target, prediction):
        sizes.append(len(target))
        return keras.losses.mse(target, prediction)

    with contextlib.redirect_stdout(io.StringIO()):
        model, _ = simplemaml.MAML(
            model, alpha=alpha, beta=beta, c_loss=loss, meta_epochs=5,
            meta_tasks_per_epoch=[3, 3], tasks=tasks, validation_split=0.2,
        )
    return max(float(np.abs(a - b).max()) for a, b in zip(before, model.get_weights())), sizes[:2]


no_alpha, no_beta = moved(0.0, 0.01), moved(0.01, 0.0)
print("simplemaml", version("simplemaml"))
print("expected: weights still with beta=0, moving with alpha=0; 40 rows to train, 10 to test")
print("seen: moved by", no_alpha[0], "with alpha=0 and by", no_beta[0], "with beta=0")
print("seen: rows to train and to test:", no_alpha[1])
assert no_alpha[0] == 0 < no_beta[0]
assert no_alpha[1] == [10, 40]
PYTHON
