#!/usr/bin/env bash
# One would guess that the column `performance` of a simulated crowd of crowdED says whether the
# worker's answer in that row is right. Answers and column come from two separate draws: of the
# rows with performance 0 two thirds are right, and of those with 1 a fifth is wrong. Who takes the
# column for the truth about the workers, to test a model of annotators, compares with noise.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 pandas==2.3.3 scipy==1.15.3 shortuuid==1.0.13
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps crowdED==0.1.4

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from crowded.make import crowd_table_one_stage

np.random.seed(0)
table = crowd_table_one_stage(total_tasks=1000, total_workers=30, nk=7)
right = table["worker_answers"] == table["true_answers"]
of_one, of_zero = right[table["performance"] == 1].mean(), right[table["performance"] == 0].mean()
print("crowdED", version("crowdED"), "-", len(table), "answers")
print("expected: right answers 100 % where performance is 1, 0 % where it is 0")
print(f"seen: {of_one:.0%} and {of_zero:.0%}")
assert of_one < 0.9 and of_zero > 0.5
PYTHON
