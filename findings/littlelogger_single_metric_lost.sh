#!/usr/bin/env bash
# One would guess that `load_log` of littlelogger shows the metric of a training function that
# returns just a number, its accuracy for instance. The number is in the file, but the table has
# no column for it, without a warning; and once a single run returned a dictionary, the column
# is there and the other runs are empty in it, as if they had failed.
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
def train(seed, detailed=False):
    accuracy = 0.9 + seed / 100
    return {"accuracy": accuracy} if detailed else accuracy


train(0)
train(1)
print("littlelogger", version("littlelogger"))
print("expected: a column with 0.90 and 0.91")
before = load_log("runs.jsonl")
print("seen:", list(before.columns))
train(2, detailed=True)
after = load_log("runs.jsonl")
print("seen after a third run:", after["metric_accuracy"].tolist())
assert '"metrics": 0.91' in open("runs.jsonl").read()
assert not any(name.startswith("metric") for name in before.columns)
assert after["metric_accuracy"].isna().tolist() == [True, True, False]
PYTHON
