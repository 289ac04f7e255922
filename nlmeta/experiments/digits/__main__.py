"""Run the table on the digits: `python -m nlmeta.experiments.digits`."""

import argparse
from pathlib import Path

from nlmeta.experiments.digits import RECORD
from nlmeta.experiments.digits.recipes import RECIPES
from nlmeta.experiments.digits.runner import run

parser = argparse.ArgumentParser(
    prog="python -m nlmeta.experiments.digits",
    description="Run what the record of the digits lacks, and add it. Stop and go on at any time.",
)
parser.add_argument(
    "--record", type=Path, default=RECORD, help="file of JSON lines (default: %(default)s)"
)
parser.add_argument("--jobs", type=int, help="processes (default: one for each processor)")
parser.add_argument("--only", nargs="+", choices=[r.name for r in RECIPES], help="some recipes")
arguments = parser.parse_args()
chosen = [r for r in RECIPES if arguments.only is None or r.name in arguments.only]
run(arguments.record, recipes=chosen, jobs=arguments.jobs)
