#!/usr/bin/env bash
# One would guess that `EVEEarlyStopping(mode="min")` of evestop waits for a loss that no longer
# falls. The smoothed quality, the loss with a minus sign, starts at the baseline 0, which is also
# the best one so far: no positive loss ever beats it. Training stops as soon as the patience is
# over although each loss was the lowest, and the best weights are `None`. `min_delta` does not
# ask for a larger improvement either: it is taken off each value, so all differences stay.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check setuptools==80.9.0 wheel==0.45.1
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps --no-build-isolation evestop==0.1

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from evestop.generic import EVEEarlyStopping


def run(values, **options):
    """Number of epochs that were trained, and the epoch whose weights were kept."""
    stopper = EVEEarlyStopping(patience=10, **options)
    for epoch, value in enumerate(values, 1):
        stopper.register(value, epoch)
        if not stopper.proceed:
            break
    return epoch, stopper.best_measuree


falling = [2.3 * 0.95**epoch for epoch in range(100)]
crawling = [0.5 + 0.0001 * epoch for epoch in range(100)]
seen = run(falling, mode="min")
kept = run(crawling, mode="max", min_delta=0.1)
print("evestop", version("evestop"))
print("expected: (100, 100) for a loss that falls in each of 100 epochs")
print("seen:", seen)
print("expected: a stop within 40 epochs if an accuracy must rise by 0.1 and rises by 0.0001")
print("seen:", kept)
assert seen == (11, None)
assert kept == (100, 100)
PYTHON
