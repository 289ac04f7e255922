"""Tests of nlmeta.experiments.reproduction, and of the pictures that its chapters draw."""

import math

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from helpers import refused

from nlmeta import experiments, plots
from nlmeta.experiments import STUDIES, Problem, Study, paper_steps, reproduction

mpl.use("Agg")

VALUES = {"plain": (0.5, 0.6), "stopped": (0.7, 0.9), "ours": (0.8, 0.7)}


def runs(**values):
    return pd.DataFrame(
        [
            {"method": name, "problem": "p", "seed": seed, "accuracy": value, "experiment": "e"}
            for name, pair in {**VALUES, **values}.items()
            for seed, value in enumerate(pair)
        ]
    )


def test_recorded_runs_are_of_problems_that_have_the_method():
    """With their experiment, rivals included; a problem without the method is left out."""
    found = reproduction.recorded("MLC")
    assert {"twitter", "digits"} <= set(found["experiment"])
    for _, here in found.groupby(["experiment", "problem"]):
        assert {"MLC", "cross-entropy"} <= set(here["method"])
    twitter = experiments.read("twitter")
    assert len(found[found["experiment"] == "twitter"]) == len(twitter)
    other = reproduction.recorded("MLC, 30")
    assert set(other["experiment"]) == {"carry_over"}
    assert not len(reproduction.recorded("no such method"))


def test_a_study_that_was_not_run_says_so():
    problem = Problem("p", {"name": "cifar10"}, {"name": "mlp"}, {}, scale="paper")
    studies = [
        Study("small", "mlc", "unknown", cores=("e", "other")),
        Study("full", "mlc", "code", [problem, Problem("q", {}, {}, {})]),
        Study("of another paper", "mslg", "code"),
    ]
    found = reproduction.coverage("mlc", studies, runs())
    assert found.to_numpy().tolist() == [
        ["small", "unknown", "no plan", "e: 1 problem, 2 seeds; other: not run"],
        ["full", "code", "planned, 1 of 2 run", "no experiment"],
    ]


def test_a_method_stands_beside_its_rivals_with_intervals_by_hand():
    """Differences to plain of 30 and 10 points: 20, and 12.706 times 10 on either side."""
    got = reproduction.beside(runs(), "ours", ["plain", "stopped", "unheard of"])
    assert list(got.index) == ["ours", "minus plain", "minus stopped"]
    assert got.loc["ours", "p"] == "75.0 ± 7.1, n = 2"
    assert got.loc["minus plain", "p"] == "+20.0 (-107.1, +147.1)"
    assert got.loc["minus stopped", "p"].startswith("-5.0 (")
    more = pd.concat([runs(), runs().assign(problem="q").query("method == 'ours'")])
    assert reproduction.beside(more, "ours", ["plain"]).loc["minus plain", "q"] == "not run"
    refused("`method` is 'theirs'", lambda: reproduction.beside(runs(), "theirs", ["plain"]))


def test_a_bridge_has_a_bar_for_each_switch_and_one_for_the_rest():
    steps = {"begin": "plain", "stopped early": "stopped", "ours instead": "ours"}
    got = reproduction.bridge(runs(), steps, published=78.0)
    assert list(got["step"]) == [*steps, reproduction.UNKNOWN]
    assert got["level"].tolist() == pytest.approx([55, 80, 75, 78])
    assert got["change"].tolist()[1:] == pytest.approx([25, -5, 3])
    assert got["ran"].tolist() == [True, True, True, False]
    assert got["low"].iloc[1] == pytest.approx(25 - 12.7062 * 5)  # differences of 20 and 30
    assert math.isnan(got["low"].iloc[3])
    for published in (None, math.nan):
        assert len(reproduction.bridge(runs(), steps, published=published)) == 3
    missing = {"begin": "plain", "T forgotten": "never run"}
    refused("`steps` is 'never run'", lambda: reproduction.bridge(runs(), missing))
    two = pd.concat([runs(), runs().assign(problem="another")])
    refused("`runs` are of 2 problems", lambda: reproduction.bridge(two, steps))


def test_the_best_epoch_is_never_below_the_last():
    best = reproduction.best_epochs("cifar10n")
    last = experiments.read("cifar10n")
    last = last.assign(method=last["method"] + ", best epoch on test")
    both = best.merge(last, on=["problem", "method", "seed"], suffixes=("", "_last"))
    assert len(both) == len(best) > 40
    assert (both["accuracy"] >= both["accuracy_last"] - 1e-6).all()
    plain = both[both["method"].str.startswith("cross-entropy") & (both["problem"] == "worst")]
    assert (plain["accuracy"] > plain["accuracy_last"] + 0.1).all()
    assert not len(reproduction.best_epochs("digits"))


def test_a_study_is_tried_out_on_random_pictures_or_on_files(monkeypatch):
    study = next(one for one in STUDIES if one.name == "CLID-MU, CIFAR-10N")
    monkeypatch.setattr(paper_steps, "at_hand", lambda name: "cifar-10 is missing")
    rows = paper_steps.try_out(study, seed=3)
    assert [row["method"] for row in rows] == ["CLID-MU, multipliers", "cross-entropy"]
    assert {row["images"] for row in rows} == {"random"}
    assert {row["problem"] for row in rows} == {"CLID-MU, CIFAR-10N, worst"}
    assert all(math.isfinite(row["loss"]) for row in rows)
    asked = []

    def trained(plan, seed, place, **given):
        asked.append(given)
        return {"history": {"training": {"loss": [1.0]}}, "seconds": 0.0}

    monkeypatch.setattr(paper_steps, "train", trained)
    monkeypatch.setattr(paper_steps, "at_hand", lambda name: None)
    assert {row["images"] for row in paper_steps.try_out(study, seed=3)} == {"cifar10n"}
    assert asked == [{"history": True}] * 2  # the loader is that of the package's own data
    unknown = next(one for one in STUDIES if one.name == "MLC, MNIST")
    refused(
        "`study` is 'MLC, MNIST', which has no plan", lambda: paper_steps.try_out(unknown, seed=0)
    )


STEPS = pd.DataFrame(
    {
        "step": ["begin", "a switch", "the rest"],
        "level": [60.0, 72.0, 70.0],
        "low": [math.nan, 10.0, math.nan],
        "high": [math.nan, 15.0, math.nan],
        "ran": [True, True, False],
    }
)


def test_a_waterfall_has_a_bar_from_level_to_level_and_hatches_what_was_not_run():
    ax = plots.waterfall(STEPS)
    bars = [(bar.get_x(), bar.get_x() + bar.get_width(), bar.get_hatch()) for bar in ax.patches]
    assert bars == [(60, 72, None), (72, 70, "///")]
    assert [text.get_text() for text in ax.texts] == ["+12.0", "-2.0", "60.0", "70.0"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["begin", "a switch", "the rest", "end"]
    interval = [line.get_xdata().tolist() for line in ax.lines if line.get_marker() == "|"]
    assert interval == [[70, 75]]
    plt.close(ax.figure)


def test_a_waterfall_of_nothing_is_refused():
    refused("a waterfall needs at least two numbers", lambda: plots.waterfall(STEPS[:1]))
    gap = STEPS.assign(level=[60.0, math.nan, 70.0])
    refused("a waterfall needs at least two numbers", lambda: plots.waterfall(gap))
    refused("it lacks ['ran']", lambda: plots.waterfall(STEPS.drop(columns="ran")))


def test_an_interval_that_reaches_zero_is_hollow():
    steady = {"steady": (0.70, 0.6002)}  # 10 points below, twice nearly alike
    found = experiments.differences(runs(**steady), [("ours", "plain"), ("ours", "steady")])
    ax = plots.intervals(found)
    assert [text.get_text() for text in ax.texts] == ["+20.0", "+10.0"]
    dots = [container.lines[0].get_markerfacecolor() for container in ax.containers]
    assert [face == "white" for face in dots] == [True, False]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["plain", "steady"]
    plt.close(ax.figure)
    two = pd.concat([found, found.assign(problem="q", reference=["a", "b"])])
    refused("`frame` holds 1 methods on 2 problems", lambda: plots.intervals(two))
