"""First runs on real CIFAR-10: do the four methods work there at all, and what does a step cost?

``python -m nlmeta.experiments.first_runs`` works through a queue on one GPU and writes a file for
each run, as it ends. Started again after a stop it goes on where it was. Schedules are the
released ones, all shortened by one factor, on one network for all; nothing was tuned on CIFAR-10.
So the numbers are no results of the papers' tables, and each stands beside a baseline that was
trained alike.
"""

from nlmeta.experiments.first_runs.plan import PROBLEMS, QUEUE, Entry, Given
from nlmeta.experiments.first_runs.report import read, table
from nlmeta.experiments.first_runs.runner import run

__all__ = ["PROBLEMS", "QUEUE", "Entry", "Given", "read", "run", "table"]
