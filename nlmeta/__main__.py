"""The command line: `data` for datasets, `audition` for your own, `course` for teaching.

The other commands are for experiments.
"""

import argparse
import sys
from collections.abc import Sequence

from nlmeta.course.commands import add_course

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
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="python -m nlmeta", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add_course(commands)
    if given[:1] != ["course"]:  # the process that grades stays small: these import PyTorch
        _add_others(commands)
    parsed = parser.parse_args(given)
    try:
        return parsed.run(parsed) or 0
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _add_others(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from nlmeta.data.commands import add_data, add_features
    from nlmeta.experiments.audition_command import add_audition
    from nlmeta.experiments.commands import add_experiments

    for add in (add_data, add_features, add_audition, add_experiments):
        add(commands)


if __name__ == "__main__":
    sys.exit(main())
