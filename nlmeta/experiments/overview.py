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

from collections.abc import Iterable, Sequence

import pandas as pd

from nlmeta.experiments import literature
from nlmeta.experiments.builders import BUILDERS, CLOSED_FORMS
from nlmeta.experiments.measured import Measurements
from nlmeta.experiments.record import RECORDS, Record
from nlmeta.experiments.report import frame, problem_name, regrets
from nlmeta.experiments.study import Study, hours
from nlmeta.experiments.task import Experiment, Task

__all__ = ["figures", "overview", "page", "rules_for_epochs", "section", "studies_of"]

COLUMNS = ("experiment", "entry", "implemented", "form", "recorded")
FIGURES = ["table", "dataset", "noise", "method", "setting", "published", "rule"]
FIGURES += ["certainty", "ours"]
RULES = """## Rules that choose an epoch

Each rule of `nlmeta.procedures.SELECTORS` names an epoch of a run without looking at a clean label.
Its regret is the clean test accuracy of the best epoch minus that of the named one: here in points,
as the mean over runs, whose number is in brackets. "All entries" are those whose epochs were all
scored, each as its own run.
"""
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


def studies_of(
    paper: str, studies: Iterable[Study], experiments: Iterable[Experiment]
) -> pd.DataFrame:
    """A row for each experiment that a paper or its released code names.

    Parameters
    ----------
    paper : str
        The paper, as for `literature.published`.
    studies : iterable of Study
        The studies of all papers.
    experiments : iterable of Experiment
        The experiments whose records come with the package; some have timed steps.

    Returns
    -------
    pandas.DataFrame
        ``experiment``, ``settings`` (their origin), ``scales`` (at which there is a plan), ``one
        run at full size`` (estimated from seconds of a step, or that no step was timed) and
        ``differs`` (what our code does otherwise, or lacks).
    """
    experiments, found = list(experiments), []
    for study in studies:
        if study.paper == paper:
            cores = ", ".join(f"`{name}`" for name in study.cores)
            scales = [f"cores ({cores})" if s == "cores" else s for s in study.scales]
            row = (study.name, study.settings, ", ".join(scales) or "none")
            found.append((*row, _length(study, experiments), study.differs))
    return pd.DataFrame(
        found, columns=["experiment", "settings", "scales", "one run at full size", "differs"]
    )


def _length(study: Study, experiments: Sequence[Experiment]) -> str:
    """Hours of one run of each entry, and the timed steps by which they are judged."""
    stage, said = study.steps_as or study.name, []
    for one in (one for one in experiments if isinstance(one, Measurements)):
        if stage not in one.parts or (rows := _frame(one, stage)) is None:
            continue
        plans = {plan["entry"]: plan for plan in one.parts[stage].options["plans"]}
        seconds = dict(zip(rows["method"], rows["seconds"], strict=True))
        for row in rows.to_dict("records"):
            taken = hours(study, plans[row["method"]], seconds)
            known = "an unknown number of" if taken is None else f"{taken:,.0f}"
            where = "core" if row["device"] == "cpu" else "card"
            steps = _counted(row["steps"], "step") if row["warmed_up"] else "the first step"
            judged = f"{steps} of {row['seconds']:.2g} s"
            said.append(f"{row['method']}: {known} {where}-hours ({judged})")
    return "; ".join(said) or ("no step was timed" if study.problems else "no plan")


def _frame(experiment: Experiment, stage: str) -> pd.DataFrame | None:
    """What is recorded of a stage; None if that is nothing."""
    record = Record(RECORDS / f"{experiment.name}.jsonl")
    recorded = {record.plans[plan]["stage"] for plan, _ in record.runs}
    return frame(record, stage=stage) if stage in recorded else None


def figures(paper: str, experiments: Iterable[Experiment]) -> pd.DataFrame:
    """What a paper has published for its own method, and what is recorded here.

    Parameters
    ----------
    paper : str
        The paper, as for `literature.published`; of ``"others"``, the figures of all methods.
    experiments : iterable of Experiment
        The experiments whose records come with the package.

    Returns
    -------
    pandas.DataFrame
        ``table``, ``dataset``, ``noise`` (and its rate), ``method``, ``setting``, ``published``
        (accuracy in per cent; rows that differ in the setting alone are one, unless people gave the
        labels), ``rule`` (the epoch that it is of), ``certainty`` and ``ours`` (of the last epoch;
        its difference to what was published, unless that is of another epoch; the experiment, its
        scale and number of seeds).
    """
    own = literature.published(paper)
    own = own[own["method"].str.startswith(literature.TITLES.get(paper, ""))]
    tables = {one.name: _frame(one, "table") for one in experiments}
    ours = pd.concat([t.assign(experiment=n) for n, t in tables.items() if t is not None])
    keys = ["table", "dataset", "noise", "rate", "method", "rule", "certainty"]
    of_people = own["setting"].where(own["noise"] == "human", "")
    found = []
    for _, rows in own.groupby([*keys, of_people], sort=False, dropna=False):
        row, settings = rows.iloc[0], list(rows["setting"])
        rate = "" if pd.isna(row["rate"]) else f" {100 * row['rate']:.0f} %"
        setting = settings[0] if len(settings) == 1 else f"{len(settings)} settings"
        said = {**row, "noise": row["noise"] + rate, "setting": setting, "ours": _ours(row, ours)}
        said["published"] = _range(rows["value"], rows["spread"])
        found.append({name: said[name] for name in FIGURES})
    return pd.DataFrame(found)


def _ours(row: pd.Series, runs: pd.DataFrame) -> str:
    """Means over the runs of the same method, dataset, noise and rate, by experiment and scale.

    With the number of seeds and the difference to what was published, unless that is known to be of
    another epoch than the last.
    """
    asked = {"dataset": row["dataset"], "method": row["method"]}
    if row["noise"] == "human":
        asked["labels"] = row["setting"].partition(",")[0]
    elif row["noise"] != "unknown":
        asked |= {"noise": row["noise"], "rate": row["rate"]}
    for column, value in asked.items():
        runs = runs[runs[column] == value] if column in runs else runs[:0]
    said = []
    for (name, scale), here in runs.groupby(["experiment", "scale"], sort=False):
        means = (100 * here.groupby("problem")["accuracy"].mean()).round(1)
        problems = f" on {len(means)} problems" if len(means) > 1 else ""
        apart = (means - row["value"]).round(1)
        alike = row["rule"] in ("last epoch", "unknown") and apart.notna().all()
        difference = f", {_range(apart, sign='+')}" if alike else ""
        seeds = _counted(here["seed"].nunique(), "seed")
        said.append(f"{_range(means)}{difference}{problems} (`{name}`, {scale}, {seeds})")
    return "; ".join(said) or "no"


def _range(values: pd.Series, spreads: pd.Series | None = None, *, sign: str = "") -> str:
    """One number with its spread, or the lowest and the highest."""
    low, high = values.min(), values.max()
    if pd.isna(low):
        return "unknown"
    if low < high:
        return f"{low:{sign}g} to {high:{sign}g}"
    spread = float("nan") if spreads is None else spreads.iloc[0]
    return f"{low:{sign}g}" if pd.isna(spread) else f"{low:{sign}g} ± {spread:g}"


def page(experiments: Iterable[Experiment], studies: Sequence[Study] = ()) -> str:
    """The overview of several experiments as a page in Markdown.

    Parameters
    ----------
    experiments : iterable of Experiment
        The experiments, in the order of the page.
    studies : sequence of Study
        The experiments that papers name. Default: none, and no section on them.

    Returns
    -------
    str
    """
    experiments = list(experiments)
    parts = [f"# {__doc__}"]  # this module's text is that of the page
    for experiment in experiments:
        shown = overview(experiment).drop(columns="experiment")
        shown = shown.rename(columns={"form": "faithful to"})
        data = ", ".join(f"`{name}`" for name in experiment.datasets) or "none"
        said = f"{experiment.about} Data: {data}."
        parts.append(f"## `{experiment.name}`\n\n{said}\n\n{_lines(shown)}\n")
    parts += [text for text in (rules_for_epochs(experiments),) if text]
    return "\n".join([*parts, section(experiments, studies)] if studies else parts)


def rules_for_epochs(experiments: Iterable[Experiment]) -> str:
    """How much the rules that choose an epoch lose, as a section in Markdown.

    Parameters
    ----------
    experiments : iterable of Experiment
        The experiments whose records are looked at.

    Returns
    -------
    str
        The section; empty if no record holds runs whose epochs were all scored.
    """
    records = [RECORDS / f"{experiment.name}.jsonl" for experiment in experiments]
    found = [regrets(path) for path in records if path.exists()]
    found = [runs for runs in found if len(runs)]
    if not found:
        return ""
    rows = []
    for (problem, dataset), runs in pd.concat(found).groupby(["problem", "dataset"], sort=False):
        for rule, of_rule in runs.groupby("selector", sort=False):
            plain = of_rule[of_rule["method"] == "cross-entropy"]
            shown = [_mean_regret(part["regret"]) for part in (plain, of_rule)]
            rows.append((problem_name(str(dataset), str(problem)), rule, *shown))
    columns = ["problem", "rule", "cross-entropy", "all entries"]
    return f"{RULES}\n{_lines(pd.DataFrame(rows, columns=columns))}\n"


def _mean_regret(regret: pd.Series) -> str:
    return f"{100 * regret.mean():.1f} ({len(regret)})" if len(regret) else ""


def section(experiments: Sequence[Experiment], studies: Sequence[Study]) -> str:
    """What the papers published and what their experiments take, as a section in Markdown.

    Parameters
    ----------
    experiments : sequence of Experiment
        The experiments whose records come with the package.
    studies : sequence of Study
        The experiments that papers name.

    Returns
    -------
    str
    """
    parts = [f"## {literature.__doc__}"]
    for paper, title in literature.TITLES.items():
        tables = [studies_of(paper, studies, experiments), _narrow(figures(paper, experiments))]
        parts.append("\n\n".join([f"### {title}", *map(_lines, tables)]) + "\n")
    others = figures("others", experiments)
    beside = _narrow(others[others["ours"] != "no"])
    parts.append(f"### Other works, where ours were run\n\n{_lines(beside)}\n")
    return "\n".join(parts)


def _narrow(shown: pd.DataFrame) -> pd.DataFrame:
    """The frame of `figures` in six columns, so that a page has room for it."""
    rule = shown["rule"].where(shown["rule"] != "unknown", "rule unknown")
    known = shown["published"] != "unknown"
    return pd.DataFrame(
        {
            "table": shown["table"],
            "data": shown["dataset"] + ", " + shown["noise"],
            "method": shown["method"] + shown["setting"].map(lambda s: f", {s}" if s else ""),
            "published": shown["published"] + (", " + rule).where(known, ""),
            "certainty": shown["certainty"],
            "ours": shown["ours"],
        }
    )


def _lines(shown: pd.DataFrame) -> str:
    rows = [[*map(str, shown)], ["---"] * shown.shape[1], *shown.values.tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


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
