"""What is recorded

Built is not reproduced. An entry is *implemented* if its code is here and tested; it is *faithful*
to a paper, to the code that its authors released, or to others' code, or it is ours; and it is
*recorded* only if a record that comes with the package holds its runs. The scale says how much was
run: `tiny` (seconds), `cores` (what two CPU cores can do), `paper` (as published). The form of a
method may be faithful where its settings are ours: the plan of each run, in its record, has them
all.

`python -m nlmeta list` says the same on your machine, and which data are at hand;
`python -m nlmeta list --page` writes this page.
"""

from collections.abc import Iterable

import pandas as pd

from nlmeta.experiments.builders import BUILDERS, CLOSED_FORMS
from nlmeta.experiments.record import RECORDS, Record
from nlmeta.experiments.task import Experiment, Task

__all__ = ["overview", "page"]

COLUMNS = ("experiment", "entry", "implemented", "form", "recorded")
FORMS = {
    "paper": "as in the paper",
    "code": "as the released code",
    "port": "as others' code",
    "ours": "ours (a control or a baseline)",
}


def overview(experiment: Experiment) -> pd.DataFrame:
    """A row for each entry of an experiment, by the record that comes with the package.

    Parameters
    ----------
    experiment : Experiment
        The experiment.

    Returns
    -------
    pandas.DataFrame
        ``experiment``, ``entry``, ``implemented``, ``form`` (faithful to what; the settings may be
        others, see the plan), ``recorded`` (problems, scale and seeds of the runs in the record,
        or "no").
    """
    record = Record(RECORDS / f"{experiment.name}.jsonl")
    entries = {entry.name: entry for entry in getattr(experiment, "entries", ())}
    runs: dict[str, list[Task]] = {name: [] for name in entries or experiment.names}
    for task in experiment.tasks(record):
        run = record.runs.get(task.key)
        if task.plan["stage"] != "choice" and run is not None and run.get("failed") is None:
            runs[task.plan["entry"]].append(task)
    found = []
    for name, done in runs.items():
        entry = entries.get(name)
        implemented = "yes" if entry is None or entry.build in {*BUILDERS, *CLOSED_FORMS} else "no"
        form = FORMS[entry.faithful] if entry else "measured"
        found.append(
            (experiment.name, name, implemented, form, _recorded(done, len(experiment.seeds)))
        )
    return pd.DataFrame(found, columns=COLUMNS)


def page(experiments: Iterable[Experiment]) -> str:
    """The overview of several experiments as a page in Markdown.

    Parameters
    ----------
    experiments : iterable of Experiment
        The experiments, in the order of the page.

    Returns
    -------
    str
    """
    parts = [f"# {__doc__}"]  # this module's text is that of the page
    for experiment in experiments:
        shown = overview(experiment).drop(columns="experiment")
        shown = shown.rename(columns={"form": "faithful to"})
        rows = [[*map(str, shown)], ["---"] * shown.shape[1], *shown.values.tolist()]
        lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        data = ", ".join(f"`{name}`" for name in experiment.datasets) or "none"
        parts.append(f"## `{experiment.name}`\n\n{experiment.about} Data: {data}.\n\n{lines}\n")
    return "\n".join(parts)


def _recorded(runs: list[Task], wanted: int) -> str:
    """Problems, scale and seeds; not all seeds are said to be so many of those that are wanted."""
    if not runs:
        return "no"
    seeds: dict[str | None, set[int]] = {}
    for task in runs:
        seeds.setdefault(task.plan.get("problem"), set()).add(task.seed)
    counts = [len(of_problem) for of_problem in seeds.values()]
    fewest, most = min(counts), max(counts)
    told = _counted(wanted, "seed")
    if fewest < wanted:
        told = f"{fewest if fewest == most else f'{fewest} to {most}'} of {told}"
    scales = ", ".join(sorted({task.plan["scale"] for task in runs}))
    problems = [] if None in seeds else [_counted(len(seeds), "problem")]
    return ", ".join([*problems, scales, told])


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number > 1)}"
