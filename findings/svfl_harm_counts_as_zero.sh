#!/usr/bin/env bash
# One would guess that the Shapley values of svfl are those of the formula in its documentation: a
# client whose noisy labels make each model worse has a negative value. A contribution below zero
# is replaced by zero, and what it took away is charged to the client that comes next, if there is
# one. The harmful client has the same value as one that adds nothing, the others get less than
# they add, and the values do not sum to that of all together. Clients with wrong labels, which one
# looks for by their negative values, are not found.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps svfl==0.1.0

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version
from itertools import permutations

from svfl.svfl import calculate_sv

# What each client adds to the accuracy, whoever else takes part: its Shapley value.
adds = {"clean": 0.3, "clean too": 0.3, "idle": 0.0, "noisy": -0.2}


def value(group):
    return sum(adds[client] for client in group)


expected = dict.fromkeys(adds, 0.0)
orders = list(permutations(adds))
for order in orders:
    for place, client in enumerate(order):
        expected[client] += (value(order[: place + 1]) - value(order[:place])) / len(orders)
seen = calculate_sv({client: client for client in adds}, value, lambda models: tuple(models))


def text(values):
    return ", ".join(f"{client} {number:.3f}" for client, number in values.items())


print("svfl", version("svfl"))
print(f"expected: {text(expected)}; sum {sum(expected.values()):.3f}")
print(f"seen: {text(seen)}; sum {sum(seen.values()):.3f}")
assert abs(expected["noisy"] + 0.2) < 1e-9 and abs(sum(expected.values()) - 0.4) < 1e-9
assert seen["noisy"] == 0 and abs(seen["idle"]) < 1e-9
assert seen["clean"] < 0.29
PYTHON
