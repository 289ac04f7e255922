#!/usr/bin/env bash
# One would guess that the `params` in a record of littlelogger are those that the training
# function was called with. They are noted before the run but written after it, from the very
# same objects: what the function does to its configuration (popping the seed, halving the rate
# on a plateau, a line of defaults) is in the record, and what it was called with is not. Two runs
# with different seeds get equal records.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check pandas==2.3.3 littlelogger==1.1.1
cd "$folder"

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from littlelogger import load_log, log_run


@log_run("runs.jsonl")
def train(config):
    config.pop("seed")
    for _ in range(3):
        config["rate"] /= 10  # the schedule
    return {"accuracy": 0.9}


train({"seed": 0, "rate": 0.1})
train({"seed": 1, "rate": 0.1})
table = load_log("runs.jsonl")
print("littlelogger", version("littlelogger"))
print("expected: seeds 0 and 1, rate 0.1")
print(table.drop(columns=["timestamp", "runtime_seconds"]).to_string())
assert "param_config.seed" not in table
assert (table["param_config.rate"] < 0.001).all()
PYTHON
