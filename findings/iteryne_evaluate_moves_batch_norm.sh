#!/usr/bin/env bash
# One would guess that `MetaTrainer.evaluate` of iteryne, which performs no meta-update according
# to its documentation and names batch normalisation among what works without rewriting, leaves
# the network as it is. The running statistics are shared with the learners and move with each
# inner step and each query, during evaluation too: after 20 evaluations on tasks whose inputs lie
# elsewhere, the mean of the training tasks is forgotten, and the network gives other outputs in
# evaluation mode. How often one looks at the meta-test tasks decides what is stored in the end.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check torch==2.13.0 numpy==2.2.6
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps iteryne==0.1.0

"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import torch
from iteryne import MAML, MetaTrainer, Task
from torch import nn


class Tasks:
    """Regression tasks with a slope of their own and inputs around `centre`."""

    def __init__(self, centre):
        self.centre, self.generator = centre, torch.Generator().manual_seed(0)

    def task(self):
        x = self.centre + torch.randn(40, 1, generator=self.generator)
        y = torch.randn(1, generator=self.generator) * x
        return Task(x[:20], y[:20], x[20:], y[20:])

    def sample(self, number):
        return [self.task() for _ in range(number)]


torch.manual_seed(0)
norm = nn.BatchNorm1d(1)
maml = MAML(nn.Sequential(norm, nn.Linear(1, 1)), inner_lr=0.01, inner_steps=5)
optimizer = torch.optim.SGD(maml.parameters(), lr=0.01)
trainer = MetaTrainer(maml, optimizer, nn.MSELoss(), Tasks(centre=0.0))
trainer.fit(num_iterations=20, meta_batch_size=4)


def state():
    maml.eval()
    output = maml(torch.tensor([[1.0]])).item()
    maml.train()
    return norm.running_mean.item(), output


before = state()
weights = [weight.clone() for weight in maml.parameters()]
for task in Tasks(centre=5.0).sample(20):
    trainer.evaluate([task])
after = state()
print("iteryne", version("iteryne"), "torch", torch.__version__)
print(f"expected: running mean {before[0]:.2f}, output for 1 is {before[1]:.3f}")
print(f"seen after evaluation: running mean {after[0]:.2f}, output for 1 is {after[1]:.3f}")
assert all(torch.equal(old, new) for old, new in zip(weights, maml.parameters()))
assert abs(before[0]) < 0.5 and after[0] > 4
assert abs(after[1] - before[1]) > 1e-3
PYTHON
