#!/usr/bin/env bash
# One would guess that `None` in a grid of gridsearcher leaves the option out, so that of the four
# commands for two learning rates and a weight decay of 0.1 or None two are without weight decay.
# A value of None is skipped when the options are set, and what the combination before had set
# stays: at most one command is without it, or none, as chance orders the values. The run without
# weight decay has the same options, and the same folder if named by them, as another one.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check pyyaml==6.0.3 tqdm==4.67.1 psutil==7.1.3 gpustat==1.1.1
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps gridsearcher==1.1.7

TERM=dumb "$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version
from string import Template

from gridsearcher import GridSearcher, SchedulingConfig, TorchRunConfig

search = GridSearcher("train.py")
grid = {"lr": [0.1, 0.01], "decay": [0.1, None]}
commands = search.run(
    "output", Template("runs/${lr}"),
    SchedulingConfig(distributed_training=True, max_jobs_per_gpu=1, gpus=[0], params_values=grid),
    TorchRunConfig(torchrun=False), debug=True,  # debug: only returns the commands
)
without = sum("--decay" not in command for command in commands)
print("gridsearcher", version("gridsearcher"))
print(*(command.strip() for command in commands), sep="\n")
print("expected: 4 commands, 2 without --decay")
print("seen:", len(commands), "commands,", without, "without --decay")
assert len(commands) == 4 and without < 2
assert len(set(commands)) < 4
PYTHON
