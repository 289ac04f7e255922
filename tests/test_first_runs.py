"""Tests of nlmeta.experiments.first_runs: the whole queue, tiny and on the digits."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from nlmeta.experiments.first_runs import QUEUE, read, run, runner, table
from nlmeta.experiments.first_runs.runner import read_file, shortened
from nlmeta.methods import MLC, CrossEntropy
from nlmeta.models import SmallCNN

SHORTEN = 60.0  # the released 120 epochs are two then
DIGITS = {
    "symmetric60": {"name": "digits", "noise": "symmetric", "rate": 0.6},
    "one-target40": {"name": "digits", "noise": "one-target", "rate": 0.4},
    "symmetric50": {"name": "digits", "noise": "symmetric", "rate": 0.5},
    "worst": {"name": "digits", "noise": "pair", "rate": 0.4},  # in the place of people's labels
}


def small(split, seed):
    return SmallCNN(1, split.num_classes, width=4, hidden=8, seed=seed)


TINY = {
    entry.name: replace(entry, load=DIGITS[entry.problem], network=small, augmentation=None)
    for entry in QUEUE
}


def work(folder, *names, seeds=(0,), **options):
    entries = [TINY[name] for name in names]
    return run(folder, entries=entries, seeds=seeds, shorten=SHORTEN, device="cpu", **options)


def file_of(folder, name, seed=0):
    return read_file(folder / f"{name}-seed{seed}.jsonl")


def numbers(rows):
    """All but the seconds."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder after the whole queue; nothing in it may be changed."""
    folder = tmp_path_factory.mktemp("whole")
    assert work(folder, *TINY)
    return folder


@pytest.mark.parametrize("name", TINY)
def test_every_run_leaves_what_was_run_and_a_line_for_each_epoch(whole, name):
    header, rows = file_of(whole, name)
    entry = TINY[name]
    assert (header["name"], header["seed"], header["shorten"]) == (name, 0, SHORTEN)
    assert header["failed"] is None
    assert header["load"] == entry.load
    assert header["method"]["name"] in ("CrossEntropy", "EMA", "MSLG", "MLC", "MLNT", "CLIDMU")
    assert header["training"] == json.loads(json.dumps(shortened(entry.training, SHORTEN)))
    assert header["manifest"]["kind"] == entry.load["noise"]
    assert header["split_settings"]["rate"] == entry.load["rate"]
    assert header["parameters"] == sum(p.numel() for p in small_of_ten().parameters())
    for key in ("split", "trained_on", "nlmeta", "torch", "python", "device", "machine"):
        assert header[key]
    assert (header["precision"], header["device"]) == ("float32", "cpu")
    before = 0 if entry.start is None else header["start"]["epochs"]
    epochs = header["training"]["epochs"]
    stages = [("start", i + 1) for i in range(before)] + [("method", i + 1) for i in range(epochs)]
    assert [(row["stage"], row["epoch"]) for row in rows] == stages
    assert all(row["seconds"] > 0 and row["loss"] == row["loss"] for row in rows)
    assert 0 < rows[-1]["test_accuracy"] < 1


def small_of_ten():
    return SmallCNN(1, 10, width=4, hidden=8, seed=0)


def test_methods_come_first_and_every_problem_has_its_baselines():
    asked = [
        ("symmetric60-cross-entropy", "symmetric60-ema", "symmetric60-meta-alone"),
        ("symmetric60-mslg", "symmetric60-mslg-labels-stay"),
        ("one-target40-mlc-textbook", "one-target40-mlc-official"),
        ("symmetric50-mlnt", "symmetric50-mean-teacher"),
        ("symmetric60-clid-mu",),
        ("worst-cross-entropy",),
    ]
    names = [entry.name for entry in QUEUE]
    assert names[: sum(map(len, asked))] == [name for group in asked for name in group]
    assert len(set(names)) == len(names)
    for entry in QUEUE:
        assert {f"{entry.problem}-cross-entropy", f"{entry.problem}-ema"} < set(names)


def test_methods_and_their_controls_see_the_same_split(whole):
    headers = [file_of(whole, name)[0] for name in TINY]
    digests = {problem: set() for problem in DIGITS}
    for header in headers:
        digests[header["problem"]].add(header["split"])
    assert all(len(of_problem) == 1 for of_problem in digests.values())
    assert len(set.union(*digests.values())) == len(DIGITS)
    changed = {h["name"] for h in headers if h["trained_on"] != h["split"]}
    assert changed == {"symmetric60-meta-alone", "symmetric60-clid-mu"}


def test_the_meta_set_is_that_of_every_problem():
    """So that the meta set alone needs to be run once."""
    splits = [runner.load(**load, seed=0) for load in DIGITS.values()]
    assert len(splits[0].indices["meta"]) == 100
    for split in splits[1:]:
        assert torch.equal(split.indices["meta"], splits[0].indices["meta"])


@pytest.mark.parametrize(
    ("method", "control", "differ"),
    [
        ("symmetric60-mslg", "symmetric60-mslg-labels-stay", {"label_lr"}),
        ("symmetric50-mlnt", "symmetric50-mean-teacher", {"trial_lr", "trials"}),
    ],
)
def test_a_control_differs_from_its_method_in_the_meta_step_alone(whole, method, control, differ):
    a, b = file_of(whole, method)[0], file_of(whole, control)[0]
    assert {k for k in a["method"] if a["method"][k] != b["method"][k]} == differ
    assert b["method"][min(differ)] == 0  # label_lr, or the trial step
    for key in ("start", "training", "split", "parameters"):
        assert a[key] == b[key]


def test_a_weight_rises_over_fewer_steps_where_the_schedule_is_shorter(whole):
    assert file_of(whole, "symmetric50-mlnt")[0]["method"]["ramp_steps"] == round(20 * 352 / 60)


def test_the_two_forms_of_mlc_are_the_textbook_and_the_released_one(whole):
    textbook = file_of(whole, "one-target40-mlc-textbook")[0]
    official = file_of(whole, "one-target40-mlc-official")[0]
    forms = [
        tuple(header["method"][key] for key in ("space", "keep_transition", "reduction"))
        for header in (textbook, official)
    ]
    assert forms == [("probability", True, "mean"), ("logit", False, "sum")]
    # A step on a sum of 64 losses is one on their mean with 64 times the rate, and the decay of the
    # weights, which is the product of rate and `weight_decay`, stays.
    mean, total = textbook["training"], official["training"]
    assert mean["lr"] == pytest.approx(64 * total["lr"])
    assert mean["lr"] * mean["weight_decay"] == pytest.approx(total["lr"] * total["weight_decay"])


def test_a_finished_run_is_skipped_and_leaves_no_checkpoint(whole, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in whole.glob("*.jsonl")}
    assert len(before) == len(QUEUE)
    assert not list(whole.rglob("*.ckpt"))
    monkeypatch.setattr(runner, "load", None)  # nothing is even loaded
    assert work(whole, *TINY)
    assert {path: path.stat().st_mtime_ns for path in whole.glob("*.jsonl")} == before


def interrupted(monkeypatch, method, at):
    """Ctrl-C in a step of a method."""
    step, calls = method.step, []

    def counted(*arguments):
        calls.append(None)
        if len(calls) == at:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(method, "step", counted)


@pytest.mark.parametrize(("stage", "at", "lines"), [(CrossEntropy, 5, None), (MLC, 5, 1)])
def test_a_stopped_run_goes_on_to_the_same_numbers(
    whole, tmp_path, monkeypatch, stage, at, lines, capsys
):
    """Stopped in the stage before, or in the method's second epoch of `shorten` 30."""
    entry = TINY["one-target40-mlc-textbook"]
    options = {"entries": [entry], "seeds": (0,), "shorten": 30.0, "device": "cpu"}
    run(tmp_path / "through", **options)
    header, wanted = file_of(tmp_path / "through", entry.name)
    assert [row["stage"] for row in wanted] == ["start", "method", "method"]
    at += 0 if lines is None else header["steps_per_epoch"]
    with monkeypatch.context() as patch:
        interrupted(patch, stage, at)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped", **options)
    path = tmp_path / "stopped" / f"{entry.name}-seed0.jsonl"
    if lines is None:
        assert not path.exists()
    else:
        assert numbers(read_file(path)[1]) == numbers(wanted[:2])
        assert read(tmp_path / "stopped").empty
    assert run(tmp_path / "stopped", **options)
    again, rows = read_file(path)
    assert numbers(rows) == numbers(wanted)
    assert again == header
    capsys.readouterr()


def test_seeds_differ_in_split_and_numbers_and_the_first_is_done_first(whole, tmp_path, capsys):
    names = ("symmetric60-cross-entropy", "worst-cross-entropy")
    assert work(tmp_path, *names, seeds=(0, 1))
    done = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert done == [f"{name}-seed{seed}" for seed in (0, 1) for name in names]
    for name in names:
        first, second = file_of(tmp_path, name), file_of(tmp_path, name, seed=1)
        assert first[0]["split"] != second[0]["split"]
        assert first[1][-1]["loss"] != second[1][-1]["loss"]
        assert numbers(first[1]) == numbers(file_of(whole, name)[1])  # and seeds repeat


def test_another_run_under_the_same_name_is_refused(whole, tmp_path):
    name = "worst-ema"
    shutil.copy(whole / f"{name}-seed0.jsonl", tmp_path)
    with pytest.raises(ValueError, match=r"`shorten` is 60\.0, here 120\.0; name another folder"):
        run(tmp_path, entries=[TINY[name]], seeds=(0,), shorten=120.0, device="cpu")
    with pytest.raises(ValueError, match=r"`shorten` is 0; it must be a finite number above 0"):
        run(tmp_path, shorten=0)
    with pytest.raises(ValueError, match=r"`budget` is -1"):
        run(tmp_path, budget=-1)


def test_a_budget_stops_before_a_run_that_will_not_end_within_it(whole, tmp_path, capsys):
    """Judged by the runs there are; the first is begun whatever they say."""
    names = ("worst-cross-entropy", "worst-ema", "symmetric50-ema")
    header, rows = file_of(whole, names[0])
    for row in rows:
        row["seconds"] = 1e6
    runner._write(tmp_path / f"{names[0]}-seed0.jsonl", [header, *rows])
    assert work(tmp_path, *names, budget=1e5) is False
    assert (tmp_path / f"{names[1]}-seed0.jsonl").exists()
    assert not (tmp_path / f"{names[2]}-seed0.jsonl").exists()
    assert "stopped: symmetric50-ema-seed0 needs about 10" in capsys.readouterr().out
    assert work(tmp_path, *names, budget=1e8)


def test_a_run_whose_loss_is_not_finite_is_recorded_and_the_others_go_on(tmp_path, capsys):
    plain = TINY["symmetric60-cross-entropy"]
    wild = replace(plain, name="wild", training={**plain.training, "lr": 1e30})
    assert run(tmp_path, entries=[wild, plain], seeds=(0,), shorten=SHORTEN, device="cpu")
    header, rows = file_of(tmp_path, "wild")
    assert "CrossEntropy: `loss` is" in header["failed"]
    assert rows == []
    assert runner.finished(tmp_path, wild, 0, SHORTEN)
    got = table(read(tmp_path)).droplevel("problem")
    assert got["failed"].to_dict() == {plain.name: 0, "wild": 1}
    assert got["accuracy"].isna().to_dict() == {plain.name: False, "wild": True}
    assert "wild-seed0: CrossEntropy: `loss`" in capsys.readouterr().out


def test_the_report_has_the_numbers_of_the_last_epochs(whole):
    runs = read(whole).set_index("name")
    assert len(runs) == len(QUEUE)
    for name in TINY:
        last = file_of(whole, name)[1][-1]
        assert runs.loc[name, "accuracy"] == last["test_accuracy"]
        if name != "symmetric60-meta-alone":  # whose training labels are all right
            assert runs.loc[name, "memorised"] == last["memorised"]
    assert runs["memorised"].isna().sum() == 1


def written(folder, name, seed, accuracies, seconds, whole):
    """A run of four epochs, the second and fourth evaluated, made from one on the digits."""
    header, _ = file_of(whole, "symmetric60-cross-entropy")
    header |= {"name": name, "seed": seed, "steps_per_epoch": 10}
    header["training"] |= {"epochs": 4, "warmup_epochs": 0}
    if name != "plain":
        header["method"] = {"name": "MSLG"}
        header["training"]["warmup_epochs"] = 2
    rows = [{"stage": "method", "epoch": i + 1, "seconds": s} for i, s in enumerate(seconds)]
    for row, accuracy in zip(rows[1::2], accuracies, strict=True):
        row |= {"test_accuracy": accuracy, "memorised": accuracy / 2}
    runner._write(folder / f"{name}-seed{seed}.jsonl", [header, *rows])


def test_the_table_has_means_spreads_and_seconds_of_epochs_that_only_train(whole, tmp_path):
    """The last epoch counts, not the best. Warm-up and evaluation are not in a step's seconds."""
    written(tmp_path, "plain", 0, (0.9, 0.5), (2.0, 90, 2.0, 90), whole)
    written(tmp_path, "plain", 1, (0.2, 0.7), (4.0, 90, 4.0, 90), whole)
    written(tmp_path, "method", 0, (0.2, 0.4), (1.0, 1.0, 12.0, 90), whole)
    got = table(read(tmp_path)).droplevel("problem")
    plain, method = got.loc["plain"], got.loc["method"]
    assert (plain["runs"], method["runs"]) == (2, 1)
    assert plain["accuracy"] == pytest.approx(60)
    assert plain["accuracy_sd"] == pytest.approx(20 / 2**0.5)  # of 50 and 70
    assert plain["memorised"] == pytest.approx(30)
    assert method["accuracy"] == pytest.approx(40)
    assert method[["accuracy_sd", "memorised_sd"]].isna().all()
    assert (plain["step_ms"], method["step_ms"]) == pytest.approx((300, 1200))
    assert (plain["step_ratio"], method["step_ratio"]) == pytest.approx((1, 4))


def test_runs_that_cannot_be_compared_make_no_table(whole, tmp_path):
    runs = read(whole)
    runs.loc[0, "shorten"] = 2.0
    with pytest.raises(ValueError, match=r"shortened by \[2\.0, 60\.0\]"):
        table(runs)
    with pytest.raises(ValueError, match="there is no finished run"):
        table(read(tmp_path))


def test_one_factor_shortens_epochs_warm_up_and_milestones():
    full = {"epochs": 120, "warmup_epochs": 44, "schedule": (42, 82), "lr": 0.1}
    short = {"epochs": 12, "warmup_epochs": 4, "schedule": [4, 8], "lr": 0.1, "evaluate_every": 4}
    assert shortened(full, 10.0) == short
    assert shortened({**full, "warmup_epochs": 0, "schedule": "cosine"}, 1000) == {
        "epochs": 1,
        "warmup_epochs": 0,
        "schedule": "cosine",
        "lr": 0.1,
        "evaluate_every": 1,
    }


def test_the_command_lists_the_queue_and_prints_the_table(tmp_path):
    command = [sys.executable, "-m", "nlmeta.experiments.first_runs", "--folder", tmp_path]
    names = [entry.name for entry in QUEUE]
    done = subprocess.run(
        [*command, "--list", "--seeds", "0", "7"], check=True, capture_output=True, text=True
    )
    wanted = [f"{name}-seed{seed}: to do" for seed in (0, 7) for name in names]
    assert done.stdout.splitlines() == wanted
    assert not list(tmp_path.iterdir())
