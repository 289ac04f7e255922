"""First runs on CIFAR-10: `python -m nlmeta.experiments.first_runs`."""

import argparse
from pathlib import Path

from nlmeta.experiments.first_runs import QUEUE, read, run, table
from nlmeta.experiments.first_runs.runner import SEEDS, SHORTEN, finished

parser = argparse.ArgumentParser(
    prog="python -m nlmeta.experiments.first_runs",
    description="Run what the folder lacks, seed by seed, and print a table of what it holds. "
    "Needs CIFAR-10 and CIFAR-N where NLMETA_DATA points. Stop and go on at any time.",
)
parser.add_argument(
    "--folder",
    type=Path,
    default=Path("benchmarks", "first_runs"),
    help="gets a file of JSON lines for each run (default: %(default)s)",
)
names = [entry.name for entry in QUEUE]
parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="some runs of --list")
parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="default: 0 1 2")
parser.add_argument(
    "--shorten",
    type=float,
    default=SHORTEN,
    metavar="FACTOR",
    help="divide all numbers of epochs by it (default: %(default)s)",
)
parser.add_argument("--device", help="default: the fastest there is")
parser.add_argument(
    "--checkpoints", type=Path, help="of unfinished runs (default: checkpoints in the folder)"
)
parser.add_argument(
    "--budget", type=float, metavar="SECONDS", help="begin nothing that will not end within them"
)
parser.add_argument(
    "--list", action="store_true", help="run nothing: print queue and state, then the table"
)
arguments = parser.parse_args()
entries = [entry for entry in QUEUE if arguments.only is None or entry.name in arguments.only]
if arguments.list:
    for seed in arguments.seeds:
        for entry in entries:
            done = finished(arguments.folder, entry, seed, arguments.shorten)
            print(f"{entry.name}-seed{seed}: {'finished' if done else 'to do'}")
else:
    try:
        run(
            arguments.folder,
            entries=entries,
            seeds=arguments.seeds,
            shorten=arguments.shorten,
            device=arguments.device,
            checkpoints=arguments.checkpoints,
            budget=arguments.budget,
        )
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last whole epoch")
runs = read(arguments.folder)
if not runs.empty:
    print(table(runs).to_string(float_format="{:.2f}".format, na_rep=""))
