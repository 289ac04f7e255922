"""What is implemented, to what it is faithful, and what is recorded: built is not reproduced."""

import pandas as pd

from nlmeta.experiments.builders import BUILDERS
from nlmeta.experiments.record import RECORDS, Record
from nlmeta.experiments.task import Experiment

__all__ = ["overview"]

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


def _recorded(runs: list[tuple[dict, int]]) -> str:
    if not runs:
        return "no"
    problems = {plan.get("problem") for plan, _ in runs} - {None}
    scales = ", ".join(sorted({str(plan.get("scale")) for plan, _ in runs}))
    seeds = len({seed for _, seed in runs})
    said = f"{scales}, {seeds} seed{'s' * (seeds > 1)}"
    return f"{len(problems)} problem{'s' * (len(problems) > 1)}, {said}" if problems else said
