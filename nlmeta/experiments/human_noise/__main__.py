"""Count the labels that people gave: `python -m nlmeta.experiments.human_noise`."""

import argparse
from pathlib import Path

from nlmeta.experiments.human_noise import count, write

parser = argparse.ArgumentParser(
    prog="python -m nlmeta.experiments.human_noise",
    description="Count how often people gave which label in CIFAR-10N and CIFAR-100N.",
)
parser.add_argument(
    "--folder", type=Path, help="of the datasets (default: the environment variable NLMETA_DATA)"
)
parser.add_argument(
    "--output",
    type=Path,
    default=Path("human-noise.json"),
    help="file to write (default: %(default)s)",
)
arguments = parser.parse_args()
write(count(arguments.folder), arguments.output)
print(f"Written: {arguments.output}")
