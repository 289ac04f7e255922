"""The command line of the experiments: list, run, status, report, merge, prune."""

import argparse
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from nlmeta._checks import check_choice
from nlmeta.data.sources import at_hand
from nlmeta.experiments import (
    EXPERIMENTS,
    RECORDS,
    STUDIES,
    Experiment,
    Record,
    Wanted,
    report,
    runner,
)
from nlmeta.experiments.auditions import seconds_in
from nlmeta.experiments.forecast import forecast
from nlmeta.experiments.overview import overview, page, section

__all__ = ["add_experiments"]


def add_experiments(commands: Any) -> None:
    """Add the commands to a parser.

    Parameters
    ----------
    commands : argparse subparsers
        The commands of the parser. Each new one sets ``run``, which takes the parsed arguments and
        returns an exit status.
    """
    listed = commands.add_parser("list", help="say which experiments there are and what is done")
    listed.add_argument("name", nargs="?", choices=EXPERIMENTS, help="show the entries of one")
    listed.add_argument("--published", action="store_true", help="show figures of others")
    listed.add_argument("--page", action="store_true", help="print the page of the book")
    listed.set_defaults(run=_list)

    run = _command(commands, "run", _run, "run what a record lacks; stop and go on at any time")
    _select(run)
    run.add_argument("--jobs", type=int, help="tasks at the same time (default: one a processor)")
    run.add_argument("--threads", type=int, help="threads of the CPU in each task")
    run.add_argument("--device", help="default: the fastest there is")
    run.add_argument("--budget", type=_seconds, metavar="TIME", help="as 90s, 30m or 2h")
    run.add_argument("--checkpoints", type=Path, help="folder of unfinished runs")
    run.add_argument("--again", action="store_true", help="run once more what is done")
    run.add_argument("--dry-run", action="store_true", help="only say how long it takes")

    _select(_command(commands, "status", _status, "say what is done and what is to do"))

    shown = _command(commands, "report", _report, "print the tables of a record")
    shown.add_argument("--stage", help='default: "table", or all that an experiment measures')
    shown.add_argument("--problem", help="default: all")

    merge = _command(commands, "merge", _merge, "put records of several processes together")
    merge.add_argument("files", nargs="+", type=Path, help="records to add")

    _command(commands, "prune", _prune, "remove runs that the experiment no longer asks for")


def _command(commands: Any, name: str, work: Any, said: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=said)
    parser.add_argument("name", choices=EXPERIMENTS, metavar="NAME", help=", ".join(EXPERIMENTS))
    parser.add_argument("--record", type=Path, help="file (default: the one in the package)")
    parser.add_argument("--data", help="where the datasets lie (default: $NLMETA_DATA)")
    parser.set_defaults(run=work)
    return parser


def _select(parser: argparse.ArgumentParser) -> None:
    names = 'entries or problems, or "problem: entry"; `list NAME` has them'
    parser.add_argument("--only", nargs="+", metavar="NAME", help=names)
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="default: all")
    parser.add_argument("--shard", type=_shard, default=(1, 1), metavar="K/N", help="K-th of N")


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no part; it must be K/N, as 2/4")
    return int(found[1]), int(found[2])


def _seconds(text: str) -> float:
    try:
        return seconds_in(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _opened(given: argparse.Namespace) -> tuple[Experiment, Record]:
    if given.data is not None:
        os.environ["NLMETA_DATA"] = given.data
    return EXPERIMENTS[given.name], _record(given.record or RECORDS / f"{given.name}.jsonl", given)


def _record(path: Path, given: argparse.Namespace) -> Record:
    """A record; what is wrong with it is said."""
    record = Record(path)
    others = {plan["experiment"] for plan in record.plans.values()} - {given.name}
    if others:
        raise ValueError(f"{path} is a record of {', '.join(others)}, and not of {given.name}")
    lines = ", ".join(map(str, record.damaged))
    if record.damaged:
        said = f"line {lines} cannot be read; what stood there is to do again"
        print(f"{path}: {said}", file=sys.stderr)
    if record.unknown:
        said = f"{record.unknown} lines are of another version and are left alone"
        print(f"{path}: {said}", file=sys.stderr)
    return record


def _missing(datasets: Iterable[str]) -> list[str]:
    """What is not at hand of some datasets, and how to get it; once where two have it in common."""
    return list(dict.fromkeys(filter(None, map(at_hand, dict.fromkeys(datasets)))))


def _list(given: argparse.Namespace) -> int:
    if given.page:
        print(page(EXPERIMENTS.values(), STUDIES), end="")
        return 0
    if given.published:
        print(section(list(EXPERIMENTS.values()), STUDIES), end="")
        return 0
    if given.name is not None:
        print(overview(EXPERIMENTS[given.name]).to_string(index=False))
        return 0
    for name, experiment in EXPERIMENTS.items():
        record = Record(RECORDS / f"{name}.jsonl")
        said = [f"{name}: {experiment.about}", str(runner.status(experiment, record))]
        print("\n  ".join([*said, *_missing(experiment.datasets)]))
    print(f"{len(STUDIES)} published experiments, their figures and ours: `list --published`")
    return 0


def _run(given: argparse.Namespace) -> int:
    experiment, record = _opened(given)
    wanted = Wanted(given.only, given.seeds, given.shard)
    to_do = runner.status(experiment, record, wanted).to_do
    missing = _missing(name for task in to_do for name in experiment.reads(task))
    if given.dry_run:
        print("\n".join([forecast(experiment, record, wanted, device=given.device), *missing]))
        return 0
    if missing:
        raise FileNotFoundError("\n".join(missing))
    names = ("jobs", "threads", "device", "budget", "checkpoints", "again")
    options: Mapping[str, Any] = {name: getattr(given, name) for name in names}
    try:
        runner.run(experiment, record, wanted, **options)
    except KeyboardInterrupt:
        more = "begins again" if given.again else "goes on"
        print(f"stopped; {record.path} holds all that has ended, and the same command {more}")
        return 130
    found = runner.status(experiment, record, wanted)
    print(f"{record.path}: {found}")
    if found.waiting and not found.to_do:
        print("The rest waits for choices of other parts: merge the records, then run again.")
    return 0


def _status(given: argparse.Namespace) -> int:
    found = runner.status(*_opened(given), Wanted(given.only, given.seeds, given.shard))
    print(found)
    for task, why in found.failed:
        print(f"  failed: {task.name}: {why}")
    for task in found.to_do[:20]:
        print(f"  to do: {task.name}")
    if len(found.to_do) > 20:
        print(f"  ... and {len(found.to_do) - 20:,} more")
    return 0


def _report(given: argparse.Namespace) -> int:
    experiment, record = _opened(given)
    found = runner.status(experiment, record)
    if found.failed or found.stale:
        print(found, file=sys.stderr)
    recorded = dict.fromkeys(plan["stage"] for plan in record.plans.values())
    stages = list(recorded) if given.stage is None else [given.stage]
    for stage in stages if stages and "table" not in stages else ["table"]:
        runs = report.frame(record, stage=stage)
        if "accuracy" not in runs:
            print(f"\n{stage}\n{runs.to_string(max_colwidth=40, index=False)}")
            continue
        if "problem" not in runs:  # networks that a measurement has trained
            runs = runs.assign(problem=stage)
        if given.problem is not None:
            check_choice("problem", given.problem, runs["problem"].unique())
            runs = runs[runs["problem"] == given.problem]
        for (problem, scale), here in runs.groupby(["problem", "scale"], sort=False):
            print(f"\n{problem}\nscale {scale}, {_text(here)}")
    return 0


def _text(runs: pd.DataFrame) -> str:
    numbers = report.table(runs)
    seeds = numbers["accuracy", "n"]
    said = f"{seeds.min():.0f} to {seeds.max():.0f} seeds; per cent, mean ± sd, last epoch"
    return f"{said}\n{report.text(numbers).to_string()}"


def _merge(given: argparse.Namespace) -> int:
    _, record = _opened(given)
    for path in given.files:
        if not path.exists():
            raise FileNotFoundError(f"there is no record {path}")
    others = [_record(path, given) for path in given.files]
    with record.writing():
        added = record.merge(others)
    print(f"{record.path}: {added:,} runs added")
    return 0


def _prune(given: argparse.Namespace) -> int:
    experiment, record = _opened(given)
    with record.writing():
        stale = runner.status(experiment, record).stale
        removed = record.prune({plan for plan, _ in record.runs} - stale)
    print(f"{record.path}: {removed:,} runs removed")
    return 0
