"""Tests of the digits' table: its rules, on the record that comes with the package."""

import json

import pytest

from nlmeta import bilevel, data, experiments, models
from nlmeta.experiments import EXPERIMENTS, RECORDS, Record
from nlmeta.experiments.builders import Given, build
from nlmeta.experiments.task import Place

DIGITS = EXPERIMENTS["digits"]
RECORD = Record(RECORDS / "digits.jsonl")


def test_the_record_is_whole_and_holds_nothing_else():
    tasks = DIGITS.tasks(RECORD)
    assert {task.key for task in tasks} == set(RECORD.runs)
    assert (RECORD.damaged, RECORD.unknown, RECORD.repeated) == ([], 0, 0)


def test_all_entries_have_the_same_effort_of_choice():
    assert {len(entry.grid) for entry in DIGITS.entries} == {1, 6}
    for entry in DIGITS.entries:
        assert len({json.dumps(setting) for setting in entry.grid}) == len(entry.grid)


def test_every_network_is_there_in_every_problem_on_every_seed_once():
    runs = experiments.read("digits")
    assert set(runs["entry"]) == {entry.name for entry in DIGITS.entries}
    counts = runs.groupby(["method", "problem", "seed"]).size()
    assert (counts == 1).all()
    assert len(counts) == len(DIGITS.problems) * len(DIGITS.seeds) * len(runs["method"].unique())


@pytest.mark.parametrize("entry", DIGITS.entries, ids=lambda entry: entry.name)
def test_what_the_record_reports_was_chosen_by_the_rule(entry):
    """With means of the frame, and not by the code that makes the tasks."""
    runs, tried = (experiments.read("digits", stage=stage) for stage in ("table", "choice"))
    if len(entry.grid) == 1:
        assert entry.name not in set(tried["entry"])
        return
    for problem in DIGITS.problems:
        shared = problem.choices_of and entry.meta in ("none", "noisy")
        of_choice = problem.choices_of if shared else problem.name
        own = tried[(tried["entry"] == entry.name) & (tried["problem"] == of_choice)]
        own = own.assign(text=own["setting"].map(json.dumps))
        table = runs[(runs["entry"] == entry.name) & (runs["problem"] == problem.name)]
        for method, of_method in table.groupby("method"):
            means = own[own["method"] == method].groupby("text", sort=False)["validation"].mean()
            assert len(means) == len(entry.grid)
            best = means.round(9).idxmax()  # of equal ones the first
            assert {json.dumps(setting) for setting in of_method["setting"]} == {best}


@pytest.mark.parametrize(("problem", "seed"), [(0, 0), (3, 4)])
def test_the_record_was_made_on_the_splits_that_are_loaded_today(problem, seed):
    split = data.load(**DIGITS.problems[problem].load, seed=seed)
    runs = experiments.read("digits")
    here = runs[(runs["problem"] == DIGITS.problems[problem].name) & (runs["seed"] == seed)]
    assert here["split"].unique().tolist() == [split.digest[:12]]


@pytest.mark.parametrize(
    "name", ["meta set alone", "early stopping", "fine-tuning", "GLC", "purified labels"]
)
def test_a_recorded_run_can_be_repeated(name):
    """Within 3 points: training in float32 differs between processors."""
    (task,) = (
        task
        for task in DIGITS.tasks(RECORD)
        if (task.plan["entry"], task.plan["stage"], task.seed) == (name, "table", 2)
        and task.plan["problem"] == DIGITS.problems[0].name
    )
    (row,) = RECORD.rows(task)
    (again,) = task.work(task.plan, task.seed, Place("cpu"))["rows"]
    assert again["accuracy"] == pytest.approx(row["accuracy"], abs=0.03)
    assert again["memorised"] == pytest.approx(row["memorised"], abs=0.05)
    assert set(row) <= set(again)


@pytest.mark.parametrize("name", ["MLC", "MSLG", "CLID-MU"])
def test_what_acts_first_differs_from_its_twin_in_the_sequence_alone(name):
    """And in the grid, where the rate of the step that is looked at is another one."""
    entries = {entry.name: entry for entry in DIGITS.entries}
    twin, first = entries[name], entries[f"{name}, act first"]
    assert first.options == {**twin.options, "virtual_lr": None, "mode": {"sequence": "act-first"}}
    kept = ("build", "training", "start", "meta", "meta_size", "after", "effort")
    assert [getattr(first, field) for field in kept] == [getattr(twin, field) for field in kept]
    split = data.load(**DIGITS.problems[0].load, seed=0)
    given = Given(split, models.MLP(64, 10, seed=0), None, lambda seed: None, 1, 0)
    method = build(first.build, given, {**first.options, **first.grid[0]})
    assert method.mode == bilevel.Lookahead(sequence="act-first")
    assert method.virtual_lr is None
