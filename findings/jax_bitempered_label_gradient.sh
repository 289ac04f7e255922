#!/usr/bin/env bash
# One would guess that the bi-tempered loss of jax-bitempered-loss can be differentiated with
# respect to soft labels and the temperatures, as any JAX function. Its custom rule returns a
# gradient for the activations only and lets JAX fill in zeros for everything else: no error, just
# exact zeros. A meta-learner that corrects labels, or learns the temperature, through this loss
# never moves.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check jax==0.7.2 jaxlib==0.7.2 numpy==2.2.6 scipy==1.15.3
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps jax-bitempered-loss==0.0.2

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
from jax_bitempered_loss.loss import bi_tempered_logistic_loss

activations = jnp.array([[2.0, -1.0, 0.5]])
labels = jnp.array([[0.7, 0.2, 0.1]])


def loss(a, y, t1):
    return bi_tempered_logistic_loss(a, y, t1, 1.3).sum()


def central(function, x, step=1e-2):
    out = []
    for i in range(x.size):
        move = jnp.zeros(x.size).at[i].set(step).reshape(x.shape)
        out.append((function(x + move) - function(x - move)) / (2 * step))
    return np.array(out)


t1 = jnp.array(0.7)
found = [np.ravel(jax.grad(loss, i)(activations, labels, t1)) for i in range(3)]
right = [
    central(lambda x: loss(x, labels, t1), activations),
    central(lambda x: loss(activations, x, t1), labels),
    central(lambda x: loss(activations, labels, x), t1),
]
print("jax-bitempered-loss", version("jax-bitempered-loss"), "jax", version("jax"))
for name, expected, seen in zip(("activations", "labels", "temperature t1"), right, found):
    print(f"{name}: expected (finite differences) {expected.round(3)}, seen {seen.round(3)}")
assert np.allclose(found[0], right[0], atol=1e-2)
assert not found[1].any() and np.abs(right[1]).max() > 0.1
assert not found[2].any() and np.abs(right[2]).max() > 0.05
PYTHON
