#!/usr/bin/env bash
# One would guess that hypergrad's `conjugate_gradient` agrees with its `neumann` (and with the
# exact inverse) once it has taken as many steps as there are weights, whatever its step size
# `lr`. Its new direction is built from the residual before the step, and a rate other than 1
# enters the residual twice: at lr=0.1 the implicit gradient grows with each further step. Who
# learns sample weights by implicit differentiation gets a wrong hypergradient, and more
# iterations make it worse.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 numpy==2.2.6
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps hypergrad==0.0.1

"$folder/venv/bin/python" - <<'PYTHON'
import warnings
from importlib.metadata import version

import torch

warnings.simplefilter("ignore")
from hypergrad.approx_hypergrad import conjugate_gradient, neumann

matrix = torch.tensor([[3.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
slope = torch.tensor([1.0, -2.0], dtype=torch.float64)
outer_weights = torch.tensor([1.0, 1.0], dtype=torch.float64)
inner_weights = torch.linalg.solve(matrix, outer_weights)


def inner(i, o):
    return 0.5 * i[0] @ matrix @ i[0] - i[0] @ o[0]


def outer(i, o):
    return slope @ i[0] + 0 * o[0].sum()


exact = torch.linalg.solve(matrix, slope)
problem = (inner, outer, (inner_weights,), (outer_weights,))
series = neumann(*problem, 500, 0.1)[0]
found = {(n, lr): conjugate_gradient(*problem, n, lr)[0] for n in (2, 10, 50) for lr in (1.0, 0.1)}
print("hypergrad", version("hypergrad"))
print("expected: exact after 2 steps at every rate:", exact.tolist())
print("seen: neumann, 500 terms, lr 0.1:", series.tolist())
for (n, lr), value in found.items():
    print(f"seen: conjugate gradient, {n} steps, lr {lr}:", value.tolist())
assert torch.allclose(series, exact, atol=1e-8)
assert (found[2, 1.0] - exact).abs().max() > 0.05
assert (found[50, 0.1] - exact).abs().max() > 10
assert (found[50, 0.1] - exact).norm() > (found[10, 0.1] - exact).norm()
PYTHON
