"""Experiments that take longer than a chapter may: as data, with one runner and one report.

``python -m nlmeta list`` says what there is, ``run NAME`` runs what a record lacks, ``status`` and
``report`` say how far it is and what came out. The records of the project come with the package::

    from nlmeta import experiments

    runs = experiments.read("digits")
    here = runs[runs["problem"] == "symmetric 50 %, 100 clean"]
    experiments.text(experiments.table(here, methods=["cross-entropy", "MLC"]))

Your own is an object like those of `EXPERIMENTS`: a `TrainingTable` of problems and entries, or
`Measurements`. `audition` makes one of your own data.
"""

from nlmeta.experiments.auditions import Audition, audition
from nlmeta.experiments.carry_over import CARRY_OVER
from nlmeta.experiments.cifar10 import CIFAR10
from nlmeta.experiments.cifar10n import CIFAR10N, CIFAR100N
from nlmeta.experiments.cost import COST
from nlmeta.experiments.digits import DIGITS
from nlmeta.experiments.fashion_mnist import FASHION_MNIST
from nlmeta.experiments.human_noise import HUMAN_NOISE
from nlmeta.experiments.literature import published
from nlmeta.experiments.measured import Measurement, Measurements
from nlmeta.experiments.mnist import MNIST
from nlmeta.experiments.own_folder import OWN_FOLDER
from nlmeta.experiments.paper_steps import PAPER_STEPS
from nlmeta.experiments.papers import PAPERS, STUDIES
from nlmeta.experiments.pixels import PIXELS
from nlmeta.experiments.record import RECORDS, Record
from nlmeta.experiments.report import (
    differences,
    frame,
    histories,
    problem_name,
    read,
    regrets,
    rows,
    table,
    text,
)
from nlmeta.experiments.runner import Wanted, run, status
from nlmeta.experiments.study import Study
from nlmeta.experiments.task import Entry, Experiment, Problem, over
from nlmeta.experiments.training_runs import TrainingTable
from nlmeta.experiments.twitter import TWITTER

__all__ = [
    "EXPERIMENTS",
    "RECORDS",
    "STUDIES",
    "Audition",
    "Entry",
    "Experiment",
    "Measurement",
    "Measurements",
    "Problem",
    "Record",
    "Study",
    "TrainingTable",
    "Wanted",
    "audition",
    "differences",
    "frame",
    "histories",
    "over",
    "problem_name",
    "published",
    "read",
    "regrets",
    "rows",
    "run",
    "status",
    "table",
    "text",
]

#: The experiments of the project by their names.
EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        *(DIGITS, MNIST, TWITTER, FASHION_MNIST, CARRY_OVER, OWN_FOLDER),
        *(CIFAR10N, CIFAR100N, PIXELS, CIFAR10),
        *(COST, HUMAN_NOISE, PAPERS, PAPER_STEPS),
    )
}
