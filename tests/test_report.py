"""Tests of nlmeta.experiments.report: frames, tables and differences, numbers first."""

import math
from dataclasses import replace

import pandas as pd
import pytest
from small_experiments import COUNTING

from nlmeta import experiments
from nlmeta.experiments import Record, overview, report
from nlmeta.experiments.task import Task
from nlmeta.procedures import SELECTORS

VALUES = {"cross-entropy": (0.5, 0.6), "early stopping": (0.7, 0.9), "ours": (0.8, 0.7)}


def runs(problem="p"):
    return pd.DataFrame(
        [
            {"method": name, "problem": problem, "seed": seed} | dict.fromkeys(report.SHARES, value)
            for name, pair in VALUES.items()
            for seed, value in enumerate(pair)
        ]
    )


def test_the_table_has_means_spreads_numbers_and_paired_differences():
    got = experiments.table(runs(), against=["cross-entropy", "early stopping"])
    assert list(got.index) == list(VALUES)
    assert got.index.name == "method"
    assert got.loc["ours", ("accuracy", "mean")] == pytest.approx(0.75)
    assert got.loc["ours", ("accuracy", "sd")] == pytest.approx(0.1 / math.sqrt(2))
    assert got.loc["ours", ("accuracy", "n")] == 2
    assert got.loc["ours", ("minus cross-entropy", "mean")] == pytest.approx(0.2)  # +30 and +10
    assert math.isnan(got.loc["cross-entropy", ("minus cross-entropy", "mean")])


def test_text_is_in_per_cent_and_points():
    got = experiments.text(experiments.table(runs(), against=["cross-entropy", "early stopping"]))
    assert got.loc["ours", "accuracy"] == "75.0 ± 7.1"
    assert got.loc["ours", "minus cross-entropy"] == "+20.0 ± 14.1"
    assert got.loc["ours", "minus early stopping"] == "-5.0 ± 21.2"  # +10 and -20
    assert got.loc["cross-entropy", "minus cross-entropy"] == ""


def test_rows_come_in_the_order_that_was_asked_for():
    got = experiments.table(runs(), methods=["ours", "cross-entropy"], against=[])
    assert list(got.index) == ["ours", "cross-entropy"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"methods": ["theirs"], "against": []}, "`methods` is 'theirs'"),
        ({"against": ["fine-tuning"]}, "`against` is 'fine-tuning'"),
        ({"columns": ["speed"]}, "`columns` is 'speed'"),
    ],
)
def test_a_table_of_what_was_not_run_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        experiments.table(runs(), **options)


def test_a_table_of_several_problems_is_refused():
    both = pd.concat([runs("p"), runs("q")])
    with pytest.raises(ValueError, match="`runs` are of 2 problems"):
        experiments.table(both, against=[])


def test_runs_of_several_scales_are_never_one_table():
    """A tenth of a schedule beside a whole one."""
    mixed = pd.concat([runs().assign(scale="cores"), runs().assign(scale="paper", seed=7)])
    text = "`runs` are of the scales cores, paper; take those of one"
    with pytest.raises(ValueError, match=text):
        experiments.table(mixed, against=[])
    with pytest.raises(ValueError, match=text):
        experiments.differences(mixed, [("ours", "early stopping")])


def test_differences_on_problems_of_several_scales_carry_the_scale():
    first, second = runs("p").assign(scale="cores"), runs("q").assign(scale="paper")
    got = experiments.differences(pd.concat([first, second]), [("ours", "early stopping")])
    assert dict(zip(got["problem"], got["scale"], strict=True)) == {"p": "cores", "q": "paper"}
    assert "scale" not in experiments.differences(first, [("ours", "early stopping")])


def test_differences_have_the_interval_of_students_t():
    (row,) = experiments.differences(runs(), [("ours", "early stopping")]).to_dict("records")
    assert row["problem"] == "p"
    assert (row["mean"], row["n"]) == (pytest.approx(-0.05), 2)
    assert row["sd"] == pytest.approx(0.3 / math.sqrt(2))
    half = 12.706 * row["sd"] / math.sqrt(2)  # of two values, from a printed table
    assert row["low"] == pytest.approx(-0.05 - half, rel=1e-4)
    assert row["high"] == pytest.approx(-0.05 + half, rel=1e-4)


def test_a_problem_without_one_of_the_two_has_no_difference():
    few = runs("q")
    both = pd.concat([runs("p"), few[few["method"] != "ours"]])
    got = experiments.differences(both, [("ours", "cross-entropy")])
    assert got["problem"].tolist() == ["p"]


def test_a_method_with_two_runs_of_a_seed_is_refused():
    """As after a change of a plan: a mean over both would be of nothing."""
    twice = pd.concat([runs(), runs().iloc[[1]]])
    for report_it in (
        lambda: experiments.table(twice),
        lambda: experiments.differences(twice, [("ours", "early stopping")]),
    ):
        with pytest.raises(ValueError, match="'cross-entropy' twice on seed 1.*prune"):
            report_it()


def test_by_default_a_table_shows_what_there_is():
    """Without the true labels nothing is memorised, and not every experiment has all references."""
    got = experiments.table(runs().drop(columns=["memorised", "recovered", "destroyed"]))
    quantities = list(got.columns.get_level_values(0).unique())
    assert quantities == ["accuracy", "minus cross-entropy", "minus early stopping"]


def test_a_single_run_has_no_spread():
    one = experiments.text(
        experiments.table(runs()[runs()["seed"] == 0], against=["cross-entropy"])
    )
    assert one.loc["ours", "accuracy"] == "80.0"
    assert one.loc["ours", "minus cross-entropy"] == "+30.0"


def test_a_difference_to_what_was_not_run_is_refused():
    with pytest.raises(ValueError, match="`pairs` is 'theirs'"):
        experiments.differences(runs(), [("ours", "theirs")])


@pytest.fixture
def record(tmp_path):
    """Two environments, a table and a choice, a failed run, and a line of few fields."""
    written = Record(tmp_path / "r.jsonl")
    load = {"name": "digits", "noise": "symmetric", "rate": 0.5, "meta_size": 100}
    plan = {"experiment": "e", "stage": "table", "entry": "a", "problem": "p", "load": load}
    row = {"method": "a", "accuracy": 0.5}
    for seed, commit in enumerate(("abc", "abd")):
        outcome = {"seconds": 1.5, "split": "0123", "failed": None, "rows": [row]}
        written.add(Task(plan, seed, None), outcome, {"commit": commit, "torch": "2.15.0"})
    failed = {"failed": "not finite", "rows": []}
    written.add(Task(plan, 2, None), failed, {"commit": "abd", "torch": "2.15.0"})
    choice = {**plan, "stage": "choice", "setting": {"lr": 0.1}}
    outcome = {"rows": [{"method": "a", "validation": 0.25}]}
    written.add(Task(choice, 100, None), outcome, {"commit": "abc"})
    return written


def test_a_frame_says_what_was_run_what_came_out_and_where(record):
    found = experiments.frame(record)
    assert found["seed"].tolist() == [0, 1]
    assert found["commit"].tolist() == ["abc", "abd"]
    first = found.iloc[0]
    wanted = {"method": "a", "problem": "p", "entry": "a", "dataset": "digits", "rate": 0.5}
    wanted |= {"noise": "symmetric", "meta_size": 100, "accuracy": 0.5, "seconds": 1.5}
    assert {name: first[name] for name in wanted} == wanted
    assert "machine" not in found  # nobody said


def test_every_network_of_a_run_has_the_data_of_the_run(record):
    load = {"name": "digits", "noise": "symmetric"}
    plan = {"experiment": "e", "stage": "table", "entry": "b", "problem": "p", "load": load}
    both = [{"method": "b", "accuracy": 0.5}, {"method": "b, student", "accuracy": 0.4}]
    record.add(Task(plan, 0, None), {"rows": both}, {"commit": "abc"})
    found = experiments.frame(record)
    assert found[found["entry"] == "b"]["dataset"].tolist() == ["digits", "digits"]


def test_a_choice_is_a_frame_of_its_own(record):
    found = experiments.read(record.path, stage="choice")
    assert found["setting"].tolist() == [{"lr": 0.1}]
    assert found["validation"].tolist() == [0.25]


def test_rows_are_as_they_were_written(record):
    assert experiments.rows(record.path, "choice") == [{"method": "a", "validation": 0.25}]


def test_rules_that_choose_an_epoch_are_compared_on_runs_whose_epochs_were_scored(record):
    """A run of one epoch, an earlier stage and a run without scores are no comparison, nor is a run
    whose settings were chosen for another network than the one that the epochs are scored of.
    """
    load = {"name": "digits"}
    plan = {"experiment": "e", "stage": "table", "entry": "c", "problem": "p", "load": load}
    scored = {"epoch": [1, 2, 3], "test_accuracy": [0.5, 0.9, 0.6], "changed": [1.0, 0.2, 0.9]}
    scored |= {name: [3.0, 2.0, 1.0] for name in ("entropy", "divergence", "one_hot_divergence")}
    scored["noisy_validation"] = [0.3, 0.4, 0.2]
    single = {name: values[:1] for name, values in scored.items()}
    bare = {name: scored[name] for name in ("epoch", "test_accuracy")}
    for seed, stage in enumerate((scored, single, bare)):
        outcome = {"rows": [], "history": {"start": scored, "training": stage}}
        record.add(Task(plan, seed, None), outcome, {"commit": "abc"})
    of_student = {**plan, "networks": ["c, student"]}
    outcome = {"rows": [], "history": {"training": scored}}
    record.add(Task(of_student, 3, None), outcome, {"commit": "abc"})
    found = experiments.regrets(record.path)
    assert set(found["seed"]) == {0}
    assert set(found["epochs"]) == {3}
    assert found["dataset"].tolist() == ["digits"] * len(SELECTORS)
    by_rule = found.set_index("selector")
    assert by_rule.loc["last epoch", ["epoch", "regret"]].tolist() == [3, pytest.approx(0.3)]
    assert by_rule.loc["noisy validation", ["epoch", "regret"]].tolist() == [2, 0.0]
    assert by_rule.loc["entropy", "epoch"] == 3
    epochs = experiments.histories(record.path)
    assert epochs["test_accuracy"].tolist() == scored["test_accuracy"]
    assert epochs[["method", "problem", "seed"]].drop_duplicates().values.tolist() == [
        ["c", "p", 0]
    ]


def test_a_problem_is_named_with_its_dataset_once():
    assert report.problem_name("cifar10n", "worst") == "cifar10n, worst"
    own = "Fashion-MNIST, one-target 40 %"
    assert report.problem_name("fashion_mnist", own) == own
    assert report.problem_name("mnist", own) == f"mnist, {own}"
    assert report.problem_name("digits", "digits of others") == "digits, digits of others"


def test_a_record_without_scored_epochs_has_no_histories(record):
    assert experiments.histories(record.path).empty
    assert experiments.regrets(record.path).empty


def test_the_page_shows_mean_regrets_by_problem(record, monkeypatch):
    """Of two runs of cross-entropy and one of a method, in points."""
    load = {"name": "digits"}
    plan = {"experiment": "e", "stage": "table", "problem": "p", "load": load}
    for seed, (entry, last) in enumerate(
        (("cross-entropy", 0.6), ("cross-entropy", 0.8), ("c", 0.9))
    ):
        history = {"epoch": [1, 2], "test_accuracy": [0.9, last], "changed": [1.0, 0.2]}
        history |= {name: [2.0, 1.0] for name in ("entropy", "divergence", "one_hot_divergence")}
        history["noisy_validation"] = [0.4, 0.3]
        outcome = {"rows": [], "history": {"training": history}}
        record.add(Task({**plan, "entry": entry}, seed, None), outcome, {"commit": "abc"})
    monkeypatch.setattr(overview, "RECORDS", record.path.parent)
    shown = overview.rules_for_epochs([COUNTING, replace(COUNTING, name=record.path.stem)])
    lines = shown.splitlines()
    assert "| problem | rule | cross-entropy | all entries |" in lines
    assert "| digits, p | last epoch | 20.0 (2) | 13.3 (3) |" in lines
    assert "| digits, p | noisy validation | 0.0 (2) | 0.0 (3) |" in lines
    assert sum(line.startswith("| digits, p |") for line in lines) == len(SELECTORS)
    assert overview.rules_for_epochs([COUNTING]) == ""


def test_a_stage_that_was_not_run_is_refused_with_those_there_are(record):
    with pytest.raises(
        ValueError, match=r"`stage` is 'steps'; r.jsonl holds runs of choice, table"
    ):
        experiments.frame(record, stage="steps")


def test_a_record_that_is_not_there_is_refused_with_those_that_come_with_the_package():
    with pytest.raises(
        FileNotFoundError,
        match="records of carry_over, cifar10n, cost, digits, fashion_mnist, human_noise, mnist",
    ):
        experiments.read("imagenet")
