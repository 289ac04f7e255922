#!/usr/bin/env bash
# One would guess that gradhpo's `T1T2Optimizer` gives each entry of a vector of hyperparameters
# its own hypergradient. The finite difference moves all entries of an array at once and the one
# number is written into each of them: every entry gets the *sum* of all. With one weight per
# training sample, the usual case for noisy labels, all weights move alike, so the clean and the
# mislabelled samples are never told apart; `OneStepOptimizer` of the same package is right.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check jax==0.7.2 jaxlib==0.7.2 optax==0.2.6 numpy==2.2.6 scipy==1.15.3 scikit-learn==1.7.2
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps gradhpo==0.1.3

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
import optax
from gradhpo.algorithms.baselines import OneStepOptimizer
from gradhpo.algorithms.t1t2 import T1T2Optimizer

rng = np.random.default_rng(0)
train, valid = ((jnp.array(rng.normal(size=(6, 2))), jnp.array(rng.normal(size=6))) for _ in "tv")
weights, sample_weights = jnp.zeros(2), jnp.ones(6)


def train_loss(w, s, batch):
    return jnp.mean(s * (batch[0] @ w - batch[1]) ** 2)


def valid_loss(w, s, batch):
    return jnp.mean((batch[0] @ w - batch[1]) ** 2)


def after_one_step(s):
    step = weights - 0.1 * jax.grad(train_loss)(weights, s, train)
    return valid_loss(step, s, valid)


def hypergradient(kind):
    optimizer = kind(inner_optimizer=optax.sgd(0.1), outer_optimizer=optax.sgd(1.0))
    state = optimizer.init(weights, sample_weights)
    return optimizer.compute_hypergradient(state, train, valid, train_loss, valid_loss)


exact = jax.grad(after_one_step)(sample_weights)
one_step, t1t2 = hypergradient(OneStepOptimizer), hypergradient(T1T2Optimizer)
print("gradhpo", version("gradhpo"))
print("expected:", exact, "with the sum", exact.sum())
print("seen: OneStepOptimizer", one_step)
print("seen: T1T2Optimizer", t1t2)
assert np.allclose(one_step, exact, atol=1e-6)
assert np.ptp(np.asarray(t1t2)) < 1e-7 and np.isclose(t1t2[0], exact.sum(), rtol=0.05)
PYTHON
