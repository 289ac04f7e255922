"""What is implemented, to what it is faithful, and what is recorded: built is not reproduced."""

from collections.abc import Iterable

import pandas as pd

from nlmeta.experiments.builders import BUILDERS
from nlmeta.experiments.record import RECORDS, Record
from nlmeta.experiments.task import Experiment

__all__ = ["overview", "page"]

FORMS = {
    "paper": "as in the paper",
    "code": "as the released code",
    "port": "as others' code",
    "ours": "ours (a control or a baseline)",
}


def overview(experiment: Experiment, record: Record | None = None) -> pd.DataFrame:
    """A row for each entry of an experiment.

    Parameters
    ----------
    experiment : Experiment
        Whose entries.
    record : Record, optional
        Default: the one that comes with the package.

    Returns
    -------
    pandas.DataFrame
        ``experiment``, ``entry``, ``implemented``, ``form`` (faithful to what; the settings may be
        others, see the plan), ``recorded`` (problems, scale and seeds of the runs in the record,
        or "no").
    """
    if record is None:
        record = Record(RECORDS / f"{experiment.name}.jsonl")
    entries = {entry.name: entry for entry in getattr(experiment, "entries", ())}
    found = []
    for name in entries or experiment.names:
        runs = [
            (record.plans[plan], seed)
            for (plan, seed), run in record.runs.items()
            if record.plans.get(plan, {}).get("entry") == name
            and record.plans[plan]["stage"] != "choice"
            and run.get("failed") is None
        ]
        entry = entries.get(name)
        found.append(
            {
                "experiment": experiment.name,
                "entry": name,
                "implemented": "yes" if entry is None or entry.build in BUILDERS else "no",
                "form": "measured" if entry is None else FORMS[entry.faithful],
                "recorded": _recorded(runs),
            }
        )
    return pd.DataFrame(found)


def page(experiments: Iterable[Experiment]) -> str:
    """The overview of several experiments as a page in Markdown.

    Parameters
    ----------
    experiments : iterable of Experiment
        In this order.

    Returns
    -------
    str
    """
    parts = [PAGE]
    for experiment in experiments:
        columns = overview(experiment).drop(columns="experiment")
        columns = columns.rename(columns={"form": "faithful to"})
        rows = [list(map(str, columns)), ["---"] * columns.shape[1]]
        rows += [[str(value) for value in row] for row in columns.to_numpy().tolist()]
        lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        data = ", ".join(f"`{name}`" for name in experiment.datasets) or "none"
        parts.append(f"## `{experiment.name}`\n\n{experiment.about} Data: {data}.\n\n{lines}\n")
    return "\n".join(parts)


PAGE = """# What is recorded

Built is not reproduced. An entry is *implemented* if its code is here and tested; it is *faithful*
to a paper, to the code that its authors released, or to others' code, or it is ours; and it is
*recorded* only if a record that comes with the package holds its runs. The scale says how much was
run: `tiny` (seconds), `cores` (what two CPU cores can do), `paper` (as published). The form of a
method may be faithful where its settings are ours: the plan of each run, in its record, has them
all.

`python -m nlmeta list` says the same on your machine, and which data are at hand;
`python -m nlmeta list --page` writes this page.
"""


def _recorded(runs: list[tuple[dict, int]]) -> str:
    if not runs:
        return "no"
    problems = {str(plan["problem"]) for plan, _ in runs if "problem" in plan}
    scales = ", ".join(sorted({str(plan.get("scale")) for plan, _ in runs}))
    seeds = len({seed for _, seed in runs})
    said = f"{scales}, {seeds} seed{'s' * (seeds > 1)}"
    return f"{len(problems)} problem{'s' * (len(problems) > 1)}, {said}" if problems else said
