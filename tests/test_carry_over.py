"""Tests of the record on step sizes "auto": its rules, and where they fail by it."""

import pytest

from nlmeta import experiments
from nlmeta.experiments import EXPERIMENTS, RECORDS, Record
from nlmeta.experiments.carry_over import AUTO

CARRY_OVER = EXPERIMENTS["carry_over"]
RECORD = Record(RECORDS / "carry_over.jsonl")
#: A mean of more than two points below early stopping. The docstring of the experiment says so too.
BY_LOOKS, FOLDER = "digits, by looks 22 %", "digits, own folder 22 %"
TWITTER, SST = "Twitter, symmetric 40 %", "SST, symmetric 40 %"
FAIL = {
    (TWITTER, "MLC, auto"),
    (TWITTER, "MSLG, auto"),
    (TWITTER, "MetaLabelNet, auto"),
    (TWITTER, "Meta Label Correction, auto"),
    (SST, "MLC, auto"),
    (SST, "MSLG, auto"),
    (SST, "MetaLabelNet, auto"),
    (SST, "Meta Label Correction, auto"),
    (FOLDER, "MetaLabelNet, auto"),
    (BY_LOOKS, "MetaLabelNet, auto"),
    (BY_LOOKS, "Meta Label Correction, auto"),
    ("digits, instance-dependent 40 %", "MetaLabelNet, auto"),
    ("Fashion-MNIST, one-target 40 %", "MetaLabelNet, auto"),
}


def test_the_record_is_whole_and_holds_nothing_else():
    assert {task.key for task in CARRY_OVER.tasks(RECORD)} == set(RECORD.runs)
    assert (RECORD.damaged, RECORD.unknown, RECORD.repeated) == ([], 0, 0)


def test_nothing_was_chosen_and_no_problem_is_one_of_those_that_the_rules_come_from():
    assert all(len(entry.grid) == 1 for entry in CARRY_OVER.entries)
    for problem in CARRY_OVER.problems:
        if problem.load["name"] == "digits":
            assert problem.load["noise"] not in ("symmetric", "one-target")


def test_early_stopping_is_where_noisy_validation_is_highest():
    runs = experiments.read("carry_over")
    stopped = runs[runs["method"] == "early stopping"].set_index(["problem", "seed"])
    assert len(stopped) == len(CARRY_OVER.problems) * len(CARRY_OVER.seeds)
    for (plan, seed), run in RECORD.runs.items():
        asked = RECORD.plans[plan]
        if asked["entry"] == "cross-entropy":
            history, row = run["history"]["training"], stopped.loc[(asked["problem"], seed)]
            scores = history["noisy_validation"]
            best = scores.index(max(scores))
            assert row["epoch"] == history["epoch"][best]
            assert row["accuracy"] == pytest.approx(history["test_accuracy"][best])


def test_auto_is_at_most_two_points_below_early_stopping_but_where_it_is_said():
    pairs = [(method, "early stopping") for method in AUTO]
    found = experiments.differences(experiments.read("carry_over"), pairs)
    assert len(found) == len(pairs) * len(CARRY_OVER.problems)
    assert set(found["n"]) == {len(CARRY_OVER.seeds)}
    assert len(CARRY_OVER.problems) == 7
    below = found[found["mean"] < -0.02]
    assert set(zip(below["problem"], below["method"], strict=True)) == FAIL


def test_what_is_said_of_single_problems_is_so():
    """The docstring of the experiment: chance on SST, and on the folder by the digits' number."""
    runs = experiments.read("carry_over").groupby(["problem", "method"])["accuracy"]
    mean, lowest, highest = runs.mean(), runs.min(), runs.max()
    for name in ("MLC, auto", "MLC, 30"):
        assert mean[SST, name] == pytest.approx(0.5, abs=0.01)
    assert mean[SST, "MSLG, 2,000"] > mean[SST, "MSLG, auto"]
    assert highest[FOLDER, "MSLG, 2,000"] < 0.12 < 0.7 < lowest[FOLDER, "MSLG, auto"]
    assert mean[TWITTER, "fine-tuning"] < mean[TWITTER, "early stopping"]


def test_sst_is_cut_to_10000_phrases():
    (sst,) = [problem for problem in CARRY_OVER.problems if problem.name == SST]
    assert (sst.train_size, sst.load["rate"]) == (10_000, 0.4)
