"""Tests of nlmeta.experiments.runner: it goes on, in parts, within a budget, and loses nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import small_experiments
import torch
from small_experiments import COUNTING, ENTRIES, of_one_entry, problem, table
from torch import nn

from nlmeta import data
from nlmeta.experiments import (
    Entry,
    Measurement,
    Record,
    Wanted,
    loading,
    over,
    run,
    runner,
    status,
    training_runs,
)
from nlmeta.experiments.forecast import forecast
from nlmeta.experiments.task import Place
from nlmeta.methods import MLC, CrossEntropy

SMALL = table()
QUIET = {"jobs": 1, "progress": False, "say": lambda text: None}
TIMES = ("seconds", "peak_memory", "environment")


def work(path, experiment=SMALL, wanted=None, **options):
    record = Record(path)
    return run(experiment, record, wanted, **{**QUIET, **options}), record


def numbers(record):
    """Every run but for times, memory and host, by its task."""
    found = {}
    for key, line in record.runs.items():
        history = {
            stage: {name: column for name, column in columns.items() if name != "seconds"}
            for stage, columns in line.get("history", {}).items()
        }
        kept = {name: value for name, value in line.items() if name not in TIMES}
        found[key] = kept | {"history": history}
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A record of the whole experiment; nothing in it may be changed."""
    done, record = work(tmp_path_factory.mktemp("whole") / "r.jsonl")
    assert done
    return Record(record.path)


def test_choices_come_first_and_then_the_table_seed_by_seed(whole):
    stages = [(whole.plans[plan]["stage"], seed) for plan, seed in whole.runs]
    # Of early stopping and the mean teacher two settings each, on the first problem alone; of
    # fine-tuning two settings on either.
    assert stages[: 2 * (2 + 2 + 4)] == [
        ("choice", seed) for _ in range(2 + 2 + 4) for seed in (100, 101)
    ]
    table_seeds = [seed for stage, seed in stages if stage == "table"]
    assert table_seeds == sorted(table_seeds)
    networks = {row["method"] for run in whole.runs.values() for row in run["rows"]}
    assert networks == {entry.name for entry in ENTRIES} | {"mean teacher, student"}


def test_a_choice_never_sees_the_test_part(whole):
    for (plan, seed), line in whole.runs.items():
        choice = whole.plans[plan]["stage"] == "choice"
        assert (seed in SMALL.tuning_seeds) == choice
        for row in line["rows"]:
            assert ("accuracy" in row) != choice
            assert ("memorised" in row) != choice
            assert 0 <= row["validation"] <= 1


def test_a_follower_has_the_choice_of_its_leader(whole):
    for where in SMALL.problems:
        chosen = SMALL.chosen(SMALL.entry("early stopping"), where, whole)["early stopping"]
        of_tuning = SMALL.chosen(SMALL.entry("fine-tuning"), where, whole)["fine-tuning"]
        assert of_tuning["early_epochs"] == chosen["early_epochs"]
        plans = [
            plan
            for plan in whole.plans.values()
            if (plan["stage"], plan["entry"], plan["problem"])
            == ("table", "fine-tuning", where.name)
        ]
        (plan,) = plans
        assert plan["start"]["epochs"] == chosen["early_epochs"]
        assert plan["training"]["lr"] == of_tuning["lr"] in (0.01, 0.02)
        assert (plan["setting"], plan["after"]) == (of_tuning, "early stopping")


def test_what_uses_no_clean_sample_chooses_once_for_both_problems(whole):
    first, second = SMALL.problems
    for name in ("early stopping", "mean teacher"):
        entry = SMALL.entry(name)
        assert SMALL.chosen(entry, first, whole) == SMALL.chosen(entry, second, whole)
    tuned = {p["problem"] for p in whole.plans.values() if p["stage"] == "choice"}
    by_entry = {
        p["entry"]
        for p in whole.plans.values()
        if (p["stage"], p["problem"]) == ("choice", second.name)
    }
    assert tuned == {first.name, second.name}
    assert by_entry == {"fine-tuning"}


def test_networks_of_one_run_that_chose_differently_are_recorded_each_at_its_own(whole):
    where = SMALL.problems[0]
    entry = SMALL.entry("mean teacher")
    chosen = SMALL.chosen(entry, where, whole)
    assert set(chosen) == {"mean teacher", "mean teacher, student"}
    for (plan, _), line in whole.runs.items():
        asked = whole.plans[plan]
        if (asked["entry"], asked["stage"]) == ("mean teacher", "table"):
            for row in line["rows"]:
                assert asked["setting"] == chosen[row["method"]]


class Pretended(dict):
    """A record of invented rows, by setting."""

    def rows(self, task):
        values = self.get(task.plan["setting"]["weight"])
        return [{"method": name, "validation": value} for name, value in values.items()]


def test_a_run_whose_networks_chose_different_settings_keeps_for_each_its_own():
    entry = Entry("two", "elr", grid=over("weight", 1.0, 2.0, 3.0))
    experiment = table(entries=(entry,), problems=(problem(),))
    record = Pretended({1.0: {"a": 0.9, "b": 0.1, "c": 0.9}, 2.0: {"a": 0.5, "b": 0.2, "c": 0.1}})
    record[3.0] = {"a": 0.1, "b": 0.1, "c": 0.1}
    tasks = [t for t in experiment.tasks(record) if t.plan["stage"] == "table" and t.seed == 0]
    kept = {t.plan["setting"]["weight"]: t.plan["networks"] for t in tasks}
    assert kept == {1.0: ["a", "c"], 2.0: ["b"]}


def test_a_record_is_what_the_plan_says_done_by_hand(whole):
    """Plain cross-entropy of the table again, by `fit` and `measure` alone."""
    from nlmeta import fit, models
    from nlmeta.training import measure

    where = SMALL.problems[0]
    split = data.load(**where.load, seed=1)
    network = models.MLP(64, 10, (16, 16), seed=1)
    fit(CrossEntropy(), network, split, seed=1, device="cpu", progress=False, **where.training)
    wanted = measure(network, split, parts=("train", "validation", "test"))
    (task,) = [
        t
        for t in SMALL.tasks(whole)
        if (t.plan["entry"], t.plan["problem"], t.seed) == ("cross-entropy", where.name, 1)
    ]
    (row,) = whole.rows(task)
    assert row == {"method": "cross-entropy"} | {k: round(v, 6) for k, v in wanted.items()}
    assert whole.runs[task.key]["split"] == split.digest[:12]
    assert whole.runs[task.key]["peak_memory"] > 2**20


def test_a_whole_record_is_left_alone(whole, monkeypatch):
    before = whole.path.read_bytes()
    monkeypatch.setattr(loading, "load", None)  # nothing is even loaded
    assert work(whole.path)[0]
    assert whole.path.read_bytes() == before
    assert str(status(SMALL, whole)) == f"{len(whole.runs)} done, 0 to do"


@pytest.mark.parametrize("lines", [0, 5, 31])
def test_a_record_that_was_cut_goes_on_to_the_same_numbers(whole, tmp_path, lines):
    path = tmp_path / "r.jsonl"
    text = whole.path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*text[:lines], text[lines][:25]]))
    assert work(path)[0]
    assert numbers(Record(path)) == numbers(whole)


def test_several_processes_make_the_record_of_one(whole, tmp_path):
    assert work(tmp_path / "r.jsonl", jobs=2)[0]
    found = Record(tmp_path / "r.jsonl")
    assert numbers(found) == numbers(whole)
    assert {e["processes"] for e in found.environments.values()} == {2}


def test_shards_wait_for_the_choices_of_others_and_together_are_the_whole(whole, tmp_path):
    paths = [tmp_path / f"{k}.jsonl" for k in (1, 2, 3)]
    for _ in range(3):  # choices, the follower's choices, the table
        for k, path in enumerate(paths, start=1):
            done, record = work(path, wanted=Wanted(shard=(k, 3)))
        for path in paths:
            merged = Record(path)
            merged.merge([Record(other) for other in paths if other != path])
    assert done
    assert numbers(Record(paths[0])) == numbers(whole)


def test_a_shard_alone_does_its_part_and_says_that_the_rest_waits(whole, tmp_path):
    done, record = work(tmp_path / "r.jsonl", wanted=Wanted(shard=(1, 2)))
    assert not done
    assert 0 < len(record.runs) < len(whole.runs)
    assert status(SMALL, record, Wanted(shard=(1, 2))).to_do == []
    assert status(SMALL, record, Wanted(shard=(1, 2))).waiting


@pytest.mark.parametrize("shard", [(3, 2), (0, 2), (-1, 1)])
def test_a_shard_that_is_none_is_refused(shard):
    with pytest.raises(ValueError, match=rf"`shard` is {shard[0]}/{shard[1]}; it must be k/n"):
        Wanted(shard=shard)


def test_some_entries_and_seeds_with_the_choices_that_they_wait_for(whole, tmp_path):
    where = SMALL.problems[0].name
    wanted = Wanted(only=[f"{where}: fine-tuning"], seeds=[1])
    done, record = work(tmp_path / "r.jsonl", wanted=wanted)
    assert done
    asked = [(record.plans[plan]["entry"], record.plans[plan]["stage"]) for plan, _ in record.runs]
    assert set(asked) == {
        ("early stopping", "choice"),
        ("fine-tuning", "choice"),
        ("fine-tuning", "table"),
    }
    assert asked.count(("fine-tuning", "table")) == 1
    found = numbers(record)
    assert found.items() <= numbers(whole).items()


def test_a_problem_alone_waits_for_the_choices_that_it_takes_over(whole):
    """They are made on another problem; without them its tasks would never be known."""
    first, second = SMALL.problems
    found = status(SMALL, Record(whole.path.with_name("none")), Wanted(only=[second.name]))
    assert found.waiting
    chosen = {(task.plan["problem"], task.plan["entry"]) for task in found.to_do}
    assert {(first.name, "early stopping"), (first.name, "mean teacher")} <= chosen
    assert str(status(SMALL, whole, Wanted(only=[second.name]))).endswith(" 0 to do")


def test_one_entry_on_one_problem_makes_no_choice_for_another(whole):
    first, second = SMALL.problems
    wanted = Wanted(only=[f"{second.name}: fine-tuning"])
    asked = [task.plan for task in status(SMALL, whole, wanted).done]
    tried = {(plan["problem"], plan["entry"]) for plan in asked if plan["stage"] == "choice"}
    assert tried == {(first.name, "early stopping"), (second.name, "fine-tuning")}


def test_an_unknown_seed_is_refused_with_those_there_are(whole):
    with pytest.raises(ValueError, match="`seeds` is 7; it must be one of 0, 1"):
        status(SMALL, whole, Wanted(seeds=[7]))


def test_an_unknown_entry_is_refused_with_those_there_are(whole):
    with pytest.raises(ValueError, match=r"`only` is 'MCL'.*'MLC'"):
        status(SMALL, whole, Wanted(only=["MCL"]))


def test_a_changed_setting_is_to_do_and_the_old_run_is_stale(whole, tmp_path):
    entries = [
        replace(e, options={**e.options, "transition_lr": 4.0}) if e.name == "MLC" else e
        for e in ENTRIES
    ]
    changed = table(entries=entries)
    found = status(changed, whole)
    assert {task.plan["entry"] for task in found.to_do} == {"MLC"}
    assert len(found.to_do) == 4
    assert {whole.plans[plan]["entry"] for plan in found.stale} == {"MLC"}
    assert "2 plans of the record are no longer run" in str(found)
    copy = tmp_path / "r.jsonl"
    copy.write_bytes(whole.path.read_bytes())
    record = Record(copy)
    assert record.prune({task.key[0] for task in changed.tasks(record)}) == 4
    assert status(changed, record).stale == set()


def test_what_waits_for_a_choice_is_not_stale(whole, tmp_path):
    """Without some runs of a choice nobody knows which plans the table asks for."""
    path = tmp_path / "r.jsonl"
    lines = [json.loads(line) for line in whole.path.read_text().splitlines()]
    tried = {
        line["id"]
        for line in lines
        if (line.get("stage"), line.get("entry")) == ("choice", "early stopping")
    }
    kept = [line for line in lines if line.get("plan") not in tried]
    path.write_text("".join(json.dumps(line) + "\n" for line in kept))
    found = status(SMALL, Record(path))
    assert found.waiting
    assert len(found.done) < len(kept) - len(tried)  # what early stopping and its follower ran
    assert found.stale == set()


def test_again_runs_once_more_and_the_later_run_counts(whole, tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(whole.path.read_bytes())
    assert work(path, wanted=Wanted(only=["cross-entropy"]), again=True)[0]
    found = Record(path)
    assert found.repeated == 4
    assert numbers(found) == numbers(whole)


def test_a_failure_is_an_outcome_and_the_others_run_all_the_same(tmp_path):
    wild = Entry("wild", "cross_entropy", training={"lr": 1e30})
    experiment = table(entries=(wild, ENTRIES[0]), problems=(problem(),), seeds=(0,))
    done, record = work(tmp_path / "r.jsonl", experiment)
    assert done
    found = status(experiment, record)
    ((task, why),) = found.failed
    assert task.plan["entry"] == "wild"
    assert "smaller learning rate" in why
    assert record.rows(task) == []
    assert len(found.done) == 2
    assert "1 of those done have failed" in str(found)


def test_an_entry_whose_choices_have_all_failed_stops_no_other(tmp_path):
    wild = Entry("wild", "cross_entropy", grid=over("lr", 1e30, 2e30))
    experiment = table(entries=(wild, ENTRIES[0]), problems=(problem(),), seeds=(0,))
    done, record = work(tmp_path / "r.jsonl", experiment)
    assert done
    found = status(experiment, record)
    assert len(found.failed) == 2 * 2 + 1  # the choice, and the table with the first setting
    assert found.failed[-1][0].plan["setting"] == {"lr": 1e30}
    assert len(found.done) - len(found.failed) == 1


def test_a_failed_run_has_no_rows(tmp_path, monkeypatch):
    """Not even of the network that was measured before the other's logits were not finite."""
    measured = []

    def second_fails(network, split, **options):
        measured.append(network)
        if len(measured) == 2:
            raise FloatingPointError("not finite")
        return {"validation": 0.5}

    monkeypatch.setattr(training_runs, "measure", second_fails)
    two = replace(ENTRIES[-1], grid=over("meta_weight", 1.0))
    experiment = table(entries=(two,), problems=(problem(),), seeds=(0,))
    _, record = work(tmp_path / "r.jsonl", experiment)
    ((_, line),) = record.runs.items()
    assert (line["failed"], line["rows"], len(measured)) == ("not finite", [], 2)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"entries": (*ENTRIES, ENTRIES[0])}, "'cross-entropy' names two entries or problems"),
        ({"entries": (ENTRIES[2], ENTRIES[1])}, "`after` is 'early stopping'; it must be one of"),
        ({"tuning_seeds": ()}, "`tuning_seeds` are none; early stopping has settings to try"),
        ({"problems": (problem(choices_of="theirs"),)}, "`choices_of` is 'theirs'"),
        ({"problems": (problem(entries=("MCL",)),)}, "`entries` is 'MCL'; it must be one of"),
        (
            {"problems": (problem(entries=("fine-tuning",)),)},
            "'early stopping' is not run on 'symmetric, 100 clean', where others wait",
        ),
        (
            {"problems": (replace(problem(), network={"name": "vgg"}),)},
            "`network` is 'vgg'; it must be one of 'mlp'",
        ),
    ],
)
def test_a_table_that_could_never_be_whole_is_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        replace(SMALL, **changes)


def test_an_entry_and_its_leader_cannot_choose_the_same_argument(whole):
    """One value would take the other's place, and all settings would be alike."""
    leader = Entry("leader", "cross_entropy", grid=over("lr", 0.02))
    follower = Entry("follower", "cross_entropy", grid=over("lr", 0.1, 0.2), after="leader")
    experiment = table(entries=(leader, follower), problems=(problem(),))
    with pytest.raises(TypeError, match="multiple values for keyword argument 'lr'"):
        list(experiment.tasks(whole))


def test_a_budget_too_short_for_the_next_task_begins_nothing_and_says_so(whole, tmp_path):
    path = tmp_path / "r.jsonl"
    lines = whole.path.read_text().splitlines()
    slow = [json.loads(line) for line in lines]
    for line in slow:
        if line["kind"] == "run":
            line["seconds"] = 1000.0
    path.write_text("".join(json.dumps(line) + "\n" for line in slow[:-1]))
    before = path.read_bytes()
    said = []
    done, _ = work(path, budget=60.0, say=said.append)
    assert not done
    assert path.read_bytes() == before
    assert (
        "takes about 1000 s, and 60 s are left of the budget of 60 s; the same command" in said[-1]
    )


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_a_budget_of_no_time_is_refused(tmp_path, budget):
    with pytest.raises(ValueError, match="`budget` is"):
        work(tmp_path / "r.jsonl", budget=budget)


def test_a_run_with_checkpoints_is_stopped_by_the_budget_and_goes_on(tmp_path, monkeypatch):
    """After the fourth epoch the time is up, by a clock that says so."""
    experiment = replace(of_one_entry(), seeds=(0,), entries=of_one_entry().entries[1:])
    path = tmp_path / "r.jsonl"
    _, through = work(tmp_path / "through.jsonl", experiment)
    said = []
    done, record = work(path, experiment, budget=1e-9, say=said.append)
    assert not done
    assert "budget" in said[-1]
    assert work(path, experiment, budget=1e9)[0]
    assert numbers(Record(path)) == numbers(through)
    assert not list((tmp_path / "r-checkpoints").glob("*"))


def interrupted(monkeypatch, method, at):
    """Ctrl-C in a step of a method."""
    step, calls = method.step, []

    def counted(*arguments):
        calls.append(None)
        if len(calls) == at:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(method, "step", counted)


@pytest.mark.parametrize(("method", "at"), [(CrossEntropy, 3), (MLC, 20)])
def test_ctrl_c_keeps_what_has_ended_and_the_same_call_goes_on(tmp_path, monkeypatch, method, at):
    experiment = of_one_entry()
    _, through = work(tmp_path / "through.jsonl", experiment)
    path = tmp_path / "r.jsonl"
    with monkeypatch.context() as patch:
        interrupted(patch, method, at)
        with pytest.raises(KeyboardInterrupt):
            work(path, experiment)
    ended = len(Record(path).runs)
    assert ended == (
        0 if method is CrossEntropy else 5
    )  # four runs of the choice, one of the table
    # Where an epoch was whole, the run goes on from there.
    kept = list((tmp_path / "r-checkpoints").glob("*"))
    assert len(kept) == (0 if method is CrossEntropy else 1)
    assert work(path, experiment)[0]
    assert numbers(Record(path)) == numbers(through)


def test_the_seconds_of_a_run_are_those_of_all_its_parts(tmp_path, monkeypatch):
    """Those of the epochs before Ctrl-C stand in the checkpoint."""
    experiment = replace(of_one_entry(), seeds=(0,), entries=of_one_entry().entries[1:])
    path = tmp_path / "r.jsonl"
    with monkeypatch.context() as patch:
        interrupted(patch, MLC, 20)
        with pytest.raises(KeyboardInterrupt):
            work(path, experiment)
    _, record = work(path, experiment)
    ((_, line),) = record.runs.items()
    (history,) = line["history"].values()
    assert len(history["seconds"]) == 2
    assert line["seconds"] == pytest.approx(sum(history["seconds"]), abs=0.01)


def test_a_checkpoint_that_outlived_its_run_is_removed(tmp_path, monkeypatch):
    """As after a kill between the two; `again` would go on from its end, and train nothing."""
    experiment = replace(of_one_entry(), seeds=(0,), entries=of_one_entry().entries[1:])
    path = tmp_path / "r.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(runner, "_forget", lambda folder, tasks: None)
        work(path, experiment)
    (left,) = (tmp_path / "r-checkpoints").glob("*")
    trained = []
    step = MLC.step
    monkeypatch.setattr(MLC, "step", lambda *given: (trained.append(None), step(*given))[1])
    work(path, experiment, again=True)
    assert not left.exists()
    assert trained
    assert len(Record(path).runs) == Record(path).repeated == 1


def test_a_run_killed_at_ten_moments_is_the_run_that_nobody_killed(tmp_path):
    """SIGKILL, which nothing can catch; a run's lines, its checkpoints or neither may be cut."""
    script = Path(__file__).with_name("small_experiments.py")
    path = tmp_path / "r.jsonl"
    command = [sys.executable, str(script), str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    moments = random.Random(7)
    killed, whole = 0, False
    while not whole:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout.readline() == "begun\n"
        if killed < 10:
            time.sleep(moments.uniform(0.02, 0.6))
            process.send_signal(signal.SIGKILL)
            killed += 1
        output, _ = process.communicate(timeout=300)
        whole = "whole" in output
        assert whole or process.returncode == -signal.SIGKILL
    _, through = work(tmp_path / "through.jsonl", of_one_entry())
    assert numbers(Record(path)) == numbers(through)
    assert Record(path).repeated == 0


def test_an_experiment_that_measures_runs_one_task_at_a_time(tmp_path):
    experiment = replace(COUNTING, at_once=False)
    with pytest.raises(ValueError, match="`jobs` is 2; counting measures time"):
        work(tmp_path / "r.jsonl", experiment, jobs=2)
    done, record = work(tmp_path / "r.jsonl", experiment, device="cpu")
    assert done
    ((key, line),) = record.runs.items()
    assert line["rows"] == [{"number": k, "square": k * k} for k in range(3)]
    assert record.plans[key[0]]["options"] == {"upto": 3}


def test_a_process_that_is_killed_is_said_and_loses_nothing_that_has_ended(tmp_path):
    parts = {
        "first": Measurement(small_experiments.count, {"upto": 3}),
        "second": Measurement(small_experiments.killed),
    }
    experiment = replace(COUNTING, parts=parts)
    path = tmp_path / "r.jsonl"
    work(path, experiment, Wanted(only=["first"]))
    with pytest.raises(OSError, match="was ended from outside.*memory is short.*fewer `jobs`"):
        work(path, experiment, jobs=2)
    assert len(Record(path).runs) == 1


def test_an_error_in_a_task_names_the_task(tmp_path):
    unknown = Entry("forward, true T", "forward", meta="noisy", meta_size=10_000)
    experiment = table(entries=(unknown,), problems=(problem(),), seeds=(1,))
    text = "symmetric, 100 clean, forward, true T, seed 1: `size` is 10000"
    with pytest.raises(ValueError, match=text):
        work(tmp_path / "r.jsonl", experiment)
    unheard = table(entries=(Entry("new", "unheard"),), problems=(problem(),), seeds=(1,))
    with pytest.raises(ValueError, match="new, seed 1: `build` is 'unheard'; it must be one of"):
        work(tmp_path / "r.jsonl", unheard)


def test_an_estimate_is_made_while_another_thread_adds_runs(whole):
    """With a budget tasks are judged in the thread that hands them out."""
    record = Record(whole.path)
    (task,) = status(SMALL, record, Wanted(only=["MLC"], seeds=[0])).done[:1]

    class Run(dict):
        def get(self, *names):
            record.runs["another", len(record.runs)] = {}
            return super().get(*names)

    record.runs = {key: Run(line) for key, line in record.runs.items()}
    assert runner.estimate(task, record) == runner.estimate(task, whole)
    assert ("another", len(whole.runs)) in record.runs


@pytest.mark.parametrize(("name", "count"), [("jobs", 0), ("threads", 0)])
def test_no_process_and_no_thread_are_refused(tmp_path, name, count):
    with pytest.raises(ValueError, match=f"`{name}` is 0; it must be at least 1"):
        work(tmp_path / "r.jsonl", COUNTING, **{name: count})


def test_threads_are_those_that_are_asked_for_and_put_back(tmp_path):
    before = torch.get_num_threads()
    _, record = work(tmp_path / "r.jsonl", COUNTING, threads=before + 2)
    assert torch.get_num_threads() == before
    assert [found["threads"] for found in record.environments.values()] == [before + 2]


def test_the_forecast_times_what_was_never_run_and_takes_the_record_for_the_rest(whole, tmp_path):
    nothing = Record(tmp_path / "r.jsonl")
    (first, second, together, memory) = forecast(SMALL, nothing).splitlines()
    assert first.startswith(f"{SMALL.problems[0].name}: 12 tasks, about 0.0")
    assert second.startswith(f"{SMALL.problems[1].name}: 4 tasks, about 0.0")
    assert "0 done, 16 to do, and what waits for a choice" in together
    assert "unknown" not in together
    assert "of this process" in memory
    after = forecast(SMALL, whole).splitlines()
    assert after[0].endswith("0 to do: about 0.00 hours of one process")
    assert "(the most so far)" in after[1]


def test_what_cannot_be_timed_is_of_unknown_length(tmp_path):
    (line, *_) = forecast(COUNTING, Record(tmp_path / "r.jsonl")).splitlines()
    assert line == "few: 1 tasks, 1 of unknown length"


def test_the_estimate_is_the_mean_of_the_same_plan_or_scaled_by_epochs(whole):
    first = SMALL.problems[0]
    (task,) = [
        t
        for t in SMALL.tasks(whole)
        if (t.plan["entry"], t.plan["problem"], t.seed) == ("cross-entropy", first.name, 0)
    ]
    own = [line["seconds"] for (plan, _), line in whole.runs.items() if plan == task.key[0]]
    assert runner.estimate(task, whole) == pytest.approx(sum(own) / len(own))
    training = {**task.plan["training"], "epochs": 20}
    longer = replace(task, plan={**task.plan, "training": training})
    every = [
        line["seconds"]
        for (plan, _), line in whole.runs.items()
        if whole.plans[plan]["entry"] == "cross-entropy"
    ]
    assert runner.estimate(longer, whole) == pytest.approx(10 * sum(every) / len(every))
    unlike = replace(task, plan={**task.plan, "entry": "new"})
    assert runner.estimate(unlike, whole) is None


def outcome_of(entry, where, *, seed=0):
    """The work of one task of a table, outside of any runner."""
    experiment = table(entries=(entry,), problems=(where,))
    (task,) = [t for t in experiment.tasks(Pretended()) if t.seed == seed]
    return task, task.work(task.plan, task.seed, Place("cpu"))


def test_a_closed_form_is_an_entry_like_any_other():
    """A ridge regression on the pixels, against its function."""
    from nlmeta.procedures import ridge
    from nlmeta.training import measure

    task, outcome = outcome_of(Entry("ridge", "ridge", {"penalty": 2.0}), problem())
    split = data.load(**problem().load, seed=0)
    layer = ridge(split.train.x.flatten(1), split.train.y, 10, penalty=2.0)
    wanted = measure(nn.Sequential(nn.Flatten(), layer), split, parts=("test",))
    (row,) = outcome["rows"]
    assert (row["method"], row["accuracy"]) == ("ridge", round(wanted["accuracy"], 6))
    assert row["accuracy"] > 0.7
    assert outcome["failed"] is None


def test_some_of_the_training_samples_are_drawn_by_the_seed():
    small = replace(problem(), train_size=100)
    (first, one), (_, again), (_, other) = (
        outcome_of(Entry("cross-entropy", "cross_entropy"), small, seed=seed) for seed in (0, 0, 1)
    )
    assert first.plan["train_size"] == 100
    whole = data.load(**small.load, seed=0)
    assert one["split"] != whole.digest[:12]
    assert one["split"] == again["split"] != other["split"]
    assert one["rows"] == again["rows"]


def test_images_are_replaced_by_features_of_a_backbone(monkeypatch):
    """Once for a split, by its name in the plan; the head sees features alone."""
    asked, widths = [], []

    def pretended(split, backbone, *, progress):
        asked.append(backbone)
        parts = {}
        for name in ("train", "meta", "validation", "test"):
            part = getattr(split, name)
            parts[name] = replace(part, x=part.x.flatten(1)[:, 20:25])
        widths.append(parts["train"].x.shape[1])
        return replace(split, **parts)

    monkeypatch.setattr(loading.data, "features", pretended)
    monkeypatch.setattr(loading.data, "backbone", lambda name: f"the {name}")
    loading._backbone.cache_clear()
    where = replace(problem(rate=0.31), features="efficientnet-lite0")
    task, outcome = outcome_of(Entry("cross-entropy", "cross_entropy"), where)
    assert task.plan["features"] == "efficientnet-lite0"
    assert (asked, widths) == (["the efficientnet-lite0"], [5])
    assert outcome["rows"][0]["accuracy"] > 0.1
    loading._backbone.cache_clear()


def test_noisy_samples_are_set_apart_and_the_history_has_the_scores_of_every_epoch():
    """They leave the training part, and the scores are those of the final network."""
    where = replace(problem(), held_out=60, training={**problem().training, "evaluate_every": 1})
    experiment = table(entries=ENTRIES[:1], problems=(where,), history=True)
    (task,) = [t for t in experiment.tasks(Pretended()) if t.seed == 0]
    outcome = task.work(task.plan, 0, Place("cpu"))
    split, held_out = loading.loaded_by({"load": where.load, "held_out": 60}, 0, loading.load_named)
    whole = data.load(**where.load, seed=0)
    assert (len(held_out), len(split.train)) == (60, len(whole.train) - 60)
    inputs = {tuple(row.tolist()) for row in held_out.x.flatten(1)}
    assert inputs.isdisjoint(tuple(row.tolist()) for row in split.train.x.flatten(1))
    history = outcome["history"]["training"]
    names = ("changed", "entropy", "divergence", "one_hot_divergence", "noisy_validation")
    for name in names:
        assert len(history[name]) == 2
        assert all(value is not None for value in history[name])
    assert 0 < history["noisy_validation"][-1] < 1
    without = outcome_of(ENTRIES[0], replace(where, held_out=None))[1]
    assert without["split"] != outcome["split"]
