#!/usr/bin/env bash
# One would guess that `EarlyStopping(depth=5)` of early-stopping, which stops when the stored
# losses, the last five, are strictly increasing, waits for five of them. It judges as many as
# there are: with ignore=0 the very first loss stops the training, and with ignore=2 three rising
# ones do. Losses that are merely equal, as the error of a small validation set often is, count as
# increasing too: training stops on a plateau that the documentation lets it pass.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps early-stopping==0.1.3

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from early_stopping import EarlyStopping


def stopped_after(losses, ignore):
    stopper = EarlyStopping(depth=5, ignore=ignore)
    for epoch, loss in enumerate(losses, 1):
        if stopper.check(loss):
            return epoch
    return None


falling, rising, flat = [5, 4, 3, 2, 1, 0.5], [1, 2, 3, 4, 5, 6], [3, 2, 2, 2, 2, 2, 2]
seen = [stopped_after(falling, 0), stopped_after(rising, 2), stopped_after(flat, 2)]
print("early-stopping", version("early-stopping"))
print("expected epochs: None for falling losses, 5 for rising, None for a plateau")
print("seen:", seen)
assert seen == [1, 3, 6]
PYTHON
