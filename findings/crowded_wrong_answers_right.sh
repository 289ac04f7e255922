#!/usr/bin/env bash
# One would guess that a simulated worker of crowdED who is to answer wrongly chooses among the
# other answers. What is taken out of the possible answers is the set of *letters* of the true
# one, which leaves it in: with two possible answers half of the wrong answers are right, with
# three a third. The crowd is better than its parameters say, by an amount that depends on the
# number of classes. (An answer of a single letter is taken out as it should be.)
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6 pandas==2.3.3 scipy==1.15.3
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps crowdED==0.1.4

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import pandas as pd
from crowded.method import WorkerAnswer

np.random.seed(0)


def share_right(keys):
    truth = pd.Series([keys[0]] * 3000)
    answers = WorkerAnswer(truth, pd.Series([0] * 3000), keys).match()  # 0: to be answered wrongly
    return float(np.mean(np.array(answers) == keys[0]))


print("crowdED", version("crowdED"))
print("expected: share of right answers among those to be wrong: 0.0, 0.0, 0.0")
two, three, letters = share_right(["cat", "dog"]), share_right(["cat", "dog", "owl"]), share_right(["c", "d"])
print(f"seen: {two:.2f} (cat, dog), {three:.2f} (cat, dog, owl), {letters} (c, d)")
assert abs(two - 1 / 2) < 0.05 and abs(three - 1 / 3) < 0.05 and letters == 0
PYTHON
