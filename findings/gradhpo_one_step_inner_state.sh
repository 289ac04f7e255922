#!/usr/bin/env bash
# One would guess that `OneStepOptimizer` of gradhpo trains the network with the inner optimizer
# that it is given, be it SGD with momentum or Adam. The state of the inner optimizer is never
# stored: momentum is always that of a first step (plain SGD), and Adam always takes its first
# step, which is the sign of the gradient times the rate. `T1T2Optimizer` keeps the state. A
# comparison of the two therefore compares two inner optimizers and not two hypergradients.
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
start, hyper = jnp.zeros(2), jnp.array(1.0)


def loss(w, h, batch):
    return h * jnp.mean((batch[0] @ w - batch[1]) ** 2)


def with_optax(inner):
    w, state = start, inner.init(start)
    for _ in range(5):
        update, state = inner.update(jax.grad(loss)(w, hyper, train), state, w)
        w = optax.apply_updates(w, update)
    return w


def with_package(kind, inner):
    optimizer = kind(inner_optimizer=inner, outer_optimizer=optax.sgd(0.0))
    state = optimizer.init(start, hyper)
    for _ in range(5):
        state = optimizer.step(state, train, valid, loss, loss)
    return state.params


print("gradhpo", version("gradhpo"), "optax", version("optax"))
for name, inner in (("momentum", optax.sgd(0.1, momentum=0.9)), ("Adam", optax.adam(0.1))):
    right = with_optax(inner)
    seen = with_package(OneStepOptimizer, inner)
    print(f"{name}, five steps: expected {right}, seen {seen}")
    assert np.allclose(with_package(T1T2Optimizer, inner), right, atol=1e-5)
    assert not np.allclose(seen, right, atol=1e-2)
assert np.allclose(with_package(OneStepOptimizer, optax.sgd(0.1, momentum=0.9)),
                   with_optax(optax.sgd(0.1)), atol=1e-6)
PYTHON
