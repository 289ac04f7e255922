"""What can be tested of a GPU without one: nothing mixes devices, and nothing waits.

`pretended.py` takes the steps, on a device with nothing behind it. Numbers are for `test_gpu.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from methods import LINES

HERE = Path(__file__).parent
NAMES = {line.name for line in LINES}
# Their rows lie there, so each step must wait for their ids.
ON_THE_CPU = {"MSLG, labels on the CPU", "ELR, targets on the CPU"}
# A device that is pretended has no autocast, so these end where they ask for it.
HALF = {"MLC, outer gradient and tangent in bfloat16", "MLNT, trials in bfloat16"}


@pytest.fixture(scope="module")
def report():
    run = subprocess.run(
        [sys.executable, "-W", "error", "pretended.py"],
        cwd=HERE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)


def test_no_step_and_no_batch_mixes_devices_or_looks_at_a_number(report):
    """Each method, MLC and MLNT on each of the networks, and the batches."""
    assert report.keys() > NAMES
    assert len(report) > len(NAMES) + 16
    errors = {name: tried["error"] for name, tried in report.items() if tried["error"]}
    assert errors.keys() == ON_THE_CPU | HALF
    for name, error in errors.items():
        assert error.startswith(
            "AssertionError: Tried to use AMP" if name in HALF else "DataDependentOutputException"
        )


def test_no_step_and_no_batch_waits_for_the_device(report):
    """A copy that blocks would hold Python back until all that was asked for before is done."""
    waits = {name: tried["waits"] for name, tried in report.items() if tried["waits"]}
    assert waits.keys() == ON_THE_CPU


def test_no_step_that_can_be_recorded_takes_from_the_cpu_but_through_from_host(report):
    """A graph would copy again from a place that belongs to something else by then."""
    lost = {name for name, tried in report.items() if tried["lost"]}
    batches = {name for name in lost if name.startswith("batches")}  # made before the step
    assert lost - batches == {*ON_THE_CPU, "FixMatch", "FixMatch with CLID-MU"}
    with_numbers = {"MLNT", "CLID-MU, multipliers"}  # these do take something
    assert with_numbers <= report.keys() - lost


def test_a_wait_or_a_mixture_would_be_seen():
    """The same machinery on steps that do what is forbidden."""
    program = """
import json
import torch
from torch import nn
import pretended
from nlmeta import CrossEntropy
pretended.backend_registration._setup_privateuseone_for_python_backend(pretended.DEVICE)

class Looking(CrossEntropy):
    def step(self, model, optimizer, train, meta=None):
        return float(super().step(model, optimizer, train)["loss"])

class Mixing(CrossEntropy):
    def step(self, model, optimizer, train, meta=None):
        return super().step(model, optimizer, train._replace(y=train.y + torch.arange(64)))

class Waiting(CrossEntropy):
    def step(self, model, optimizer, train, meta=None):
        noise = pretended.FROM_CPU(train.x)
        return super().step(model, optimizer, train._replace(x=train.x + noise))

class Indexing(CrossEntropy):
    def step(self, model, optimizer, train, meta=None):
        order = torch.arange(64)
        return super().step(model, optimizer, train._replace(x=train.x[order]))

found = []
pretended.FROM_CPU = lambda x: torch.zeros(x.shape).to(x.device)
for kind in (Looking, Mixing, Waiting, Indexing):
    run = lambda: pretended.steps(lambda model: kind(), pretended.mlp, (1, 8, 8))
    found.append(pretended.tried(run))
print(json.dumps(found))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=HERE, capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr[-2000:]
    looking, mixing, waiting, indexing = json.loads(run.stdout)
    assert looking["error"].startswith("DataDependentOutputException")
    assert "devices" in mixing["error"]
    assert waiting["error"] is None
    assert len(waiting["waits"]) == 1
    assert waiting["lost"] == waiting["waits"]
    assert indexing["error"] is None
    assert (len(indexing["waits"]), len(indexing["lost"])) == (0, 1)
