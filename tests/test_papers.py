"""Tests of the papers' experiments: each plan runs at tiny scale, and steps are timed and told.

Data are random images in the shape of a dataset, so none has to be there. No time is asserted.
"""

import json
import math
import re
from functools import partial

import pandas as pd
import pytest
import torch
from helpers import cifar_batch, dump, register_cifar
from torchvision import datasets

from nlmeta import experiments, presets
from nlmeta.data.sources import cifar10
from nlmeta.experiments import (
    EXPERIMENTS,
    RECORDS,
    STUDIES,
    Entry,
    Problem,
    Study,
    overview,
    paper_steps,
)
from nlmeta.experiments.paper_steps import PAPER_STEPS, stand_in, take_steps, thin, tiny
from nlmeta.experiments.papers import PAPERS, SHAPES, TINY_NETWORKS
from nlmeta.experiments.study import hours
from nlmeta.experiments.task import Place, plan_id
from nlmeta.experiments.training_runs import train

PLANS = [
    PAPERS.plan(PAPERS.entry(name), problem, {})
    for problem in PAPERS.problems
    for name in problem.entries
]


def named(study):
    return next(one for one in STUDIES if one.name == study)


def plan_of(study, entry):
    return PAPERS.plan(PAPERS.entry(entry), named(study).problems[0], {})


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{plan['problem']}: {plan['entry']}")
def test_every_plan_is_built_and_takes_two_steps_at_tiny_scale(plan):
    """By the function that runs it at full size, with one epoch of two batches in each stage."""
    small = tiny(plan)
    load = partial(stand_in, samples=small["train_size"])
    outcome = train(small, 0, Place("cpu"), history=True, load=load)
    assert outcome["failed"] is None
    assert outcome["rows"][0]["method"] == plan["entry"]
    assert small["train_size"] == 2 * small["training"]["batch_size"]
    assert set(outcome["history"]) == {"training", *({"start"} & set(plan))}
    (loss,) = outcome["history"]["training"]["loss"]
    assert math.isfinite(loss)


@pytest.mark.parametrize(
    ("study", "entry"),
    [("MLNT, CIFAR-10 symmetric", "MLNT"), ("MSLG, CIFAR-10 symmetric", "MSLG")],
)
def test_a_tiny_plan_runs_on_files_in_the_publishers_layout(study, entry, monkeypatch, tmp_path):
    """As a reader would run it: only the checksums are those of generated files."""
    base = tmp_path / datasets.CIFAR10.base_folder
    files = [name for name, _ in (*datasets.CIFAR10.train_list, *datasets.CIFAR10.test_list)]
    for seed, name in enumerate(files):
        dump(base / name, cifar_batch(40, seed, labels=[i % 10 for i in range(40)]))
    dump(base / "batches.meta", {"label_names": [str(c) for c in range(10)]})
    register_cifar(monkeypatch, tmp_path, datasets.CIFAR10, cifar10)
    monkeypatch.setenv("NLMETA_DATA", str(tmp_path))
    outcome = train(tiny(plan_of(study, entry)), 7, Place("cpu"))
    assert outcome["failed"] is None
    assert [row["method"] for row in outcome["rows"]][0] == entry


def test_a_tiny_plan_is_no_plan_of_the_paper_and_says_so():
    ids = [plan_id(plan) for plan in PLANS]
    small = [tiny(plan) for plan in PLANS]
    assert {plan["scale"] for plan in PLANS} == {"paper"}
    assert {plan["scale"] for plan in small} == {"tiny"}
    assert len(set(ids)) == len(ids)
    assert not set(ids) & set(map(plan_id, small))
    assert json.loads(json.dumps(small)) == small


def test_full_size_is_that_of_the_presets():
    """Network, batch and epochs, where a test of the tiny plans alone would not look."""
    mlnt = plan_of("MLNT, CIFAR-10 symmetric", "MLNT")
    assert mlnt["training"]["epochs"] == presets.MLNT_CIFAR10.training["epochs"] == 120
    assert (mlnt["training"]["batch_size"], mlnt["options"]["trials"]) == (128, 10)
    assert mlnt["network"]["depth"] == 32
    mlc = plan_of("MLC, CIFAR-10", "MLC, released form")
    assert (mlc["training"]["batch_size"], mlc["training"]["meta_batch_size"]) == (64, 500)
    assert mlc["load"]["meta_from"] == "test"
    mslg = plan_of("MSLG, CIFAR-10 feature-dependent", "MSLG")
    assert (mslg["training"]["epochs"], mslg["training"]["warmup_epochs"]) == (120, 44)
    assert mslg["load"]["predictions"] == "shipped"
    clid = plan_of("CLID-MU, CIFAR-10, weights", "CLID-MU, weights")
    assert (clid["network"]["depth"], clid["network"]["widen_factor"]) == (28, 10)
    assert clid["options"]["head_lr"] == 1e-5


def test_every_study_says_what_it_is():
    assert len({study.name for study in STUDIES}) == len(STUDIES)
    for study in STUDIES:
        assert study.paper in experiments.literature.TITLES
        assert set(study.cores) <= set(EXPERIMENTS)
        assert bool(study.problems) == bool(study.entries) == bool(study.images)
        assert study.problems or study.differs  # why there is no plan
        assert study.settings in ("published", "code", "port", "ours", "unknown")
        if study.problems:
            assert study.settings != "unknown"
            assert study.entries[-1].name == "cross-entropy"
            assert {problem.scale for problem in study.problems} == {"paper"}
            assert study.problems[0].network["name"] in TINY_NETWORKS
            assert study.problems[0].load["name"] in SHAPES


def test_studies_whose_steps_are_timed_once_have_the_same_steps():
    def steps(study):
        plans = [dict(PAPERS.plan(entry, study.problems[0], {})) for entry in study.entries]
        for plan in plans:
            del plan["problem"]
            for name in ("noise", "rate", "predictions"):
                plan["load"].pop(name, None)
        return plans

    twins = [study for study in STUDIES if study.steps_as is not None]
    assert len(twins) == 3
    for study in twins:
        assert steps(study) == steps(named(study.steps_as))
    timed = [study.name for study in STUDIES if study.problems and study not in twins]
    assert list(PAPER_STEPS.parts) == timed


@pytest.mark.parametrize("name", SHAPES)
def test_a_stand_in_has_the_shape_and_the_classes_of_its_dataset(name):
    classes, channels, side = SHAPES[name]
    whole = stand_in(name, seed=0, samples=classes)
    assert whole.num_classes == classes
    assert whole.train.x.shape == (classes, channels, side, side)
    parts = {"meta_size": classes, "test_size": classes, "size": 8}
    split, again = (stand_in(name, seed=0, samples=30, **parts) for _ in range(2))
    assert len(split.train) >= 30
    assert len(split.meta) == len(split.test) == classes
    assert split.train.x.shape[2:] == (8, 8)
    assert torch.equal(split.train.y, again.train.y)


def test_a_stand_in_for_what_has_no_shape_is_refused():
    with pytest.raises(ValueError, match="`name` is 'twitter'; it must be one of 'cifar10'"):
        stand_in("twitter", seed=0, samples=10)


def test_a_thin_plan_keeps_network_and_batches_and_needs_no_download():
    plan = plan_of("MSLG, Clothing1M", "MSLG, large images")
    short = thin(plan, 64)
    assert plan["network"]["weights"] == "IMAGENET1K_V1"
    assert short["network"] == {"name": "resnet50"}
    assert short["training"]["batch_size"] == plan["training"]["batch_size"] == 32
    assert (short["training"]["epochs"], short["training"]["warmup_epochs"]) == (1, 0)
    assert short["load"]["meta_size"] == 42  # a meta batch of 32, and each of 14 classes alike
    assert short["load"]["validation_size"] == 0  # as in the plan: all of it is the meta set


SMALL = [
    {**tiny(plan_of("MLNT, CIFAR-10 symmetric", name)), "scale": "paper"}
    for name in ("MLNT", "cross-entropy")
]


def test_steps_are_counted_as_they_are_taken(monkeypatch):
    """With a clock by hand: a step takes three seconds, the first five."""
    ticks = iter([5.0, 3.0, 3.0, 3.0, 3.0, 5.0, 3.0, 3.0, 3.0, 3.0])

    def clock(work, device):
        work()
        return next(ticks)

    monkeypatch.setattr(paper_steps, "seconds_of", clock)
    rows = take_steps(SMALL, most=4, budget=100.0, seed=0, device="cpu")
    assert [row["method"] for row in rows] == ["MLNT", "cross-entropy"]
    for row in rows:
        assert (row["steps"], row["seconds"], row["warmed_up"]) == (4, 3.0, True)
        assert (row["batch"], row["meta_batch"], row["shape"]) == (12, None, [3, 32, 32])
    ticks = iter([5.0, 3.0, 4.0, 3.0])
    (row,) = take_steps(SMALL[:1], most=20, budget=10.0, seed=0, device="cpu")
    assert (row["steps"], row["seconds"]) == (2, 3.5)  # 5 + 3 are below 10, and 5 + 3 + 4 are not
    ticks = iter([50.0])
    (row,) = take_steps(SMALL[:1], most=20, budget=10.0, seed=0, device="cpu")
    assert (row["steps"], row["seconds"], row["warmed_up"]) == (1, 50.0, False)


def test_a_method_with_a_meta_set_takes_its_steps_with_one():
    plan = tiny(plan_of("CLID-MU, CIFAR-100, multipliers", "CLID-MU, multipliers"))
    (row,) = take_steps([plan], most=1, budget=1e9, seed=0, device="cpu")
    assert row["meta_batch"] == 12
    assert row["seconds"] > 0
    assert row["parameters"] > 0


def test_hours_are_steps_times_seconds_by_hand():
    """1,000 images: a start of 2 epochs in batches of 50, 1 of warm-up, 3 of the method."""
    training = {"epochs": 4, "warmup_epochs": 1, "batch_size": 100}
    problem = Problem("p", {"name": "cifar10"}, {"name": "mlp"}, training, scale="paper")
    entry = Entry("method", "mlc", start={"epochs": 2, "batch_size": 50})
    study = Study("s", "mlc", "code", [problem], (entry, Entry("plain", "cross_entropy")), 1000)
    plan = {
        "entry": "method",
        "start": {"epochs": 2, "batch_size": 50},
        "training": {"epochs": 4, "warmup_epochs": 1, "batch_size": 100},
    }
    seconds = {"method": 7.0, "plain": 2.0}
    assert hours(study, plan, seconds) == pytest.approx((2 * 20 * 2 + 10 * 2 + 30 * 7) / 3600)
    assert hours(study, plan, {"method": 7.0}) is None
    assert hours(study, plan, {"plain": 2.0}) is None


def test_ours_stand_beside_a_figure_only_where_data_noise_rate_and_method_agree():
    """With their seeds, and with the difference where both are of the last epoch."""
    common = {"experiment": "e", "scale": "cores", "method": "MLC", "dataset": "cifar10"}
    common |= {"noise": "one-target", "rate": 0.4, "problem": "p"}
    accuracies = enumerate((0.5, 0.7))
    runs = pd.DataFrame([{**common, "seed": seed, "accuracy": a} for seed, a in accuracies])
    figure = {"dataset": "cifar10", "method": "MLC", "noise": "one-target", "rate": 0.4}
    figure = pd.Series({**figure, "setting": "", "value": 62.5, "rule": "last epoch"})
    assert overview._ours(figure, runs) == "60, -2.5 (`e`, cores, 2 seeds)"
    other_epoch = replace_value(figure, "rule", "best on test")
    assert overview._ours(other_epoch, runs) == "60 (`e`, cores, 2 seeds)"
    figure["value"] = float("nan")
    assert overview._ours(figure, runs) == "60 (`e`, cores, 2 seeds)"
    both = pd.concat([runs, runs[:1].assign(scale="paper", accuracy=0.9)])
    assert overview._ours(figure, both) == "60 (`e`, cores, 2 seeds); 90 (`e`, paper, 1 seed)"
    for name, other in (
        *(("rate", 0.3), ("noise", "symmetric"), ("dataset", "mnist"), ("method", "MLNT")),
        ("noise", "human"),
    ):
        assert overview._ours(replace_value(figure, name, other), runs) == "no"
    several = pd.concat([runs, runs.assign(problem="other", accuracy=0.9)])
    figure["value"] = 70.0
    assert overview._ours(replace_value(figure, "noise", "unknown"), several) == (
        "60 to 90, -10 to +20 on 2 problems (`e`, cores, 2 seeds)"
    )


def test_labels_of_people_agree_by_the_first_word_of_the_setting():
    runs = {"experiment": "e", "scale": "cores", "method": "ELR", "dataset": "cifar10n"}
    runs = pd.DataFrame([{**runs, "labels": "worst", "problem": "p", "seed": 0, "accuracy": 0.8}])
    figure = {"dataset": "cifar10n", "method": "ELR", "noise": "human", "rate": float("nan")}
    figure = pd.Series({**figure, "value": 87.8, "rule": "last epoch", "setting": "worst, long"})
    assert overview._ours(figure, runs) == "80, -7.8 (`e`, cores, 1 seed)"
    assert overview._ours(replace_value(figure, "setting", "aggregate"), runs) == "no"


def replace_value(row, name, value):
    return pd.Series({**row.to_dict(), name: value})


def test_the_section_of_the_page_labels_every_figure_with_its_certainty():
    for paper in experiments.literature.TITLES:
        shown = overview.figures(paper, EXPERIMENTS.values())
        assert len(shown)
        known = set(experiments.literature.CERTAINTIES)
        assert set(shown["certainty"]) <= known
        assert ((shown["published"] == "unknown") == (shown["certainty"] == "unknown")).all()
    text = overview.section(list(EXPERIMENTS.values()), STUDIES)
    line = next(line for line in text.splitlines() if "symmetric-inclusive 90 %" in line)
    assert "| 59.1, rule unknown | from memory | no |" in line


def test_figures_of_other_works_are_shown_where_ours_were_run():
    """None of them beside a record that is not there."""
    text = overview.section(list(EXPERIMENTS.values()), STUDIES)
    _, _, beside = text.partition("### Other works, where ours were run")
    lines = [line.split(" | ") for line in beside.splitlines() if line.startswith("| ")][2:]
    assert any("68.26 ± 0.88, last epoch" in line for line in lines)
    for *_, ours in lines:
        names = re.findall(r"\(`(\w+)`, (?:tiny|cores|paper), \d+ seeds?\)", ours)
        assert names
        assert all((RECORDS / f"{name}.jsonl").exists() for name in names)


def test_every_study_of_a_paper_is_in_its_table():
    found = [
        name
        for paper in experiments.literature.TITLES
        for name in overview.studies_of(paper, STUDIES, EXPERIMENTS.values())["experiment"]
    ]
    assert sorted(found) == sorted(study.name for study in STUDIES)


def test_hours_stand_in_the_table_with_the_steps_they_are_judged_by(monkeypatch):
    rows = pd.DataFrame(
        {
            "method": ["MSLG", "cross-entropy"],
            "seconds": [7.0, 2.0],
            "steps": [1, 20],
            "device": ["cpu", "cpu"],
            "warmed_up": [False, True],
        }
    )
    monkeypatch.setattr(overview, "_frame", lambda experiment, stage: rows)
    said = overview._length(named("MSLG, CIFAR-10 feature-dependent"), [PAPERS, PAPER_STEPS])
    steps = math.ceil(50_000 / 128)
    method = steps * (44 * 2 + 76 * 7) / 3600
    assert f"MSLG: {method:,.0f} core-hours (the first step of 7 s)" in said
    assert f"cross-entropy: {steps * 120 * 2 / 3600:,.0f} core-hours (20 steps of 2 s)" in said
    monkeypatch.setattr(overview, "_frame", lambda experiment, stage: rows.assign(device="cuda"))
    assert "card-hours" in overview._length(named("MSLG, CIFAR-10 symmetric"), [PAPER_STEPS])
    monkeypatch.setattr(overview, "_frame", lambda experiment, stage: None)
    assert overview._length(named("MSLG, Clothing1M"), [PAPER_STEPS]) == "no step was timed"
    assert overview._length(named("MLC, MNIST"), [PAPER_STEPS]) == "no plan"
