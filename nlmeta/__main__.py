"""The command line: `data` is for datasets; `list`, `run`, `status`, `report` for experiments."""

import argparse
import sys
from collections.abc import Sequence

from nlmeta.data.sources import DATASETS, read
from nlmeta.data.summary import summary
from nlmeta.experiments.commands import add_experiments

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command and its options. Default: those of the command line.

    Returns
    -------
    int
        0 if the command succeeded, 1 after an error, whose message is printed, and 130 if it was
        stopped by Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="python -m nlmeta", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add_data(commands)
    add_experiments(commands)
    given = parser.parse_args(arguments)
    try:
        return given.run(given) or 0
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def add_data(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `data NAME` and its options."""
    data = commands.add_parser("data", help="print what a dataset holds, and check its files")
    data.add_argument("name", choices=DATASETS)
    data.add_argument("--data", help="folder of the datasets (default: $NLMETA_DATA)")
    data.add_argument("--download", action="store_true", help="download missing files, if allowed")
    data.add_argument(
        "--all-images",
        action="store_true",
        help="decode every image file (default: about a thousand of each part)",
    )
    data.set_defaults(run=run_data)


def run_data(given: argparse.Namespace) -> None:
    """Print what a dataset holds, and decode its image files or some of them."""
    source = read(given.name, folder=given.data, download=given.download)
    print(summary(source))
    for part, count in source.check(every=1 if given.all_images else None).items():
        print(f"{count:,} images of the {part} part decode")
    print("no file is missing, and no file that was checked is damaged")


if __name__ == "__main__":
    sys.exit(main())
