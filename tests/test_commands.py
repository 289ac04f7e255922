"""Tests of the experiments' command line: list, run, status, report, merge, prune."""

import json
import re

import pytest
from small_experiments import COUNTING, table

from nlmeta.__main__ import main
from nlmeta.experiments import EXPERIMENTS, RECORDS, Record, commands, overview
from nlmeta.experiments import status as status_of
from nlmeta.experiments.task import Task

SMALL = table(seeds=(0,))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The command line with two small experiments beside the real ones."""
    monkeypatch.setitem(EXPERIMENTS, "small", SMALL)
    monkeypatch.setitem(EXPERIMENTS, "counting", COUNTING)


def call(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return status, output.out, output.err


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A record of the small experiment by the command; nothing in it may be changed."""
    path = tmp_path_factory.mktemp("whole") / "r.jsonl"
    EXPERIMENTS["small"] = SMALL
    try:
        assert main(["run", "small", "--record", str(path), "--jobs", "1"]) == 0
    finally:
        del EXPERIMENTS["small"]
    return path


def test_the_list_says_what_there_is_and_how_far_it_is(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NLMETA_DATA", str(tmp_path))
    status, out, _ = call(capsys, "list")
    assert status == 0
    assert "digits: Do the four methods" in out
    digits = status_of(EXPERIMENTS["digits"], Record(RECORDS / "digits.jsonl"))
    assert len(digits.done) > 2000
    assert f"  {digits}\n" in out
    assert "cifar-10-batches-py" in out  # what is missing
    assert "unpack cifar-10-python.tar.gz" in out  # and how to get it


def test_the_list_of_one_experiment_has_its_entries(capsys):
    _, out, _ = call(capsys, "list", "digits")
    assert re.search(
        r"MLC, released form +yes +as the released code +4 problems, cores, 5 seeds", out
    )


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        ({"p": (0, 1, 2), "q": (0, 1, 2)}, "2 problems, cores, 3 seeds"),
        ({"p": (0, 1, 2), "q": (0,)}, "2 problems, cores, 1 to 3 of 3 seeds"),
        ({"p": (0, 1)}, "1 problem, cores, 2 of 3 seeds"),
        ({None: (0, 1, 2)}, "cores, 3 seeds"),
        ({}, "no"),
    ],
)
def test_seeds_that_are_missing_are_not_counted_as_recorded(seeds, text):
    tasks = []
    for name, of_problem in seeds.items():
        plan = {"entry": "a", "stage": "table", "scale": "cores"}
        plan |= {} if name is None else {"problem": name}
        tasks += [Task(plan, seed, None) for seed in of_problem]
    assert overview._recorded(tasks, 3) == text


def test_the_page_of_the_book_is_what_the_command_prints(capsys, root, monkeypatch):
    monkeypatch.delitem(EXPERIMENTS, "small")
    monkeypatch.delitem(EXPERIMENTS, "counting")
    _, out, _ = call(capsys, "list", "--page")
    assert out == (root / "book/recorded.md").read_text()


def test_the_list_of_what_was_published_has_certainty_rule_scale_and_ours(capsys):
    status, out, _ = call(capsys, "list", "--published")
    assert status == 0
    assert re.search(r"\| 73.47, rule unknown \| second-hand \| no \|", out)
    assert re.search(r"\| MLC, Twitter \| unknown \| cores \(`twitter`\) \| no plan", out)
    ours = r"on 6 problems \(`twitter`, cores, 5 seeds\)"
    assert re.search(rf"\| twitter, unknown \| MLC .*{ours}", out)
    assert "`list --published`" in call(capsys, "list")[1]


def test_status_counts_and_names_what_is_to_do(capsys, tmp_path, whole):
    assert call(capsys, "status", "small", "--record", whole)[1] == "26 done, 0 to do\n"
    _, out, _ = call(capsys, "status", "small", "--record", tmp_path / "new.jsonl")
    assert out.startswith("0 done, 12 to do, and what waits for a choice\n")
    assert "to do: symmetric, 100 clean, early stopping, early_epochs 1, seed 100" in out


def test_a_run_without_anything_to_do_says_so(capsys, whole):
    before = whole.read_bytes()
    status, out, _ = call(capsys, "run", "small", "--record", whole)
    assert (status, out) == (0, f"{whole}: 26 done, 0 to do\n")
    assert whole.read_bytes() == before


def test_a_dry_run_writes_nothing_and_tells_hours_and_memory(capsys, tmp_path):
    path = tmp_path / "r.jsonl"
    status, out, _ = call(capsys, "run", "small", "--record", path, "--dry-run")
    assert status == 0
    assert not path.exists()
    hours = [float(number) for number in re.findall(r"about ([\d.]+) hours", out)]
    assert len(hours) == 3  # two problems and the sum
    assert "unknown length" not in out
    assert re.search(r"memory of a task: [\d.]+ GiB", out)


def test_a_dry_run_judges_by_what_is_recorded(capsys, tmp_path, whole):
    """Half of the record is gone, and what is left took an hour each."""
    lines = [json.loads(line) for line in whole.read_text().splitlines()]
    for line in lines:
        if line["kind"] == "run":
            line["seconds"] = 3600.0
    runs = [i for i, line in enumerate(lines) if line["kind"] == "run"]
    gone = next(i for i in runs if lines[i]["seed"] == 101)
    path = tmp_path / "r.jsonl"
    kept = [line for i, line in enumerate(lines) if i != gone]
    path.write_text("".join(json.dumps(line) + "\n" for line in kept))
    _, out, _ = call(capsys, "run", "small", "--record", path, "--dry-run")
    assert "1 tasks, about 1.00 hours" in out


def test_the_report_prints_a_table_for_each_problem(capsys, whole):
    status, out, _ = call(capsys, "report", "small", "--record", whole)
    assert status == 0
    assert "symmetric, 100 clean\nscale cores, 1 to 1 seeds" in out
    assert "mean teacher, student" in out
    assert "minus cross-entropy" in out
    _, out, _ = call(
        capsys, "report", "small", "--record", whole, "--problem", SMALL.problems[1].name
    )
    assert "100 clean\n" not in out


def test_the_report_of_networks_that_a_measurement_trained_is_a_table(capsys):
    """Which has no problem; its name is that of the stage."""
    status, out, _ = call(capsys, "report", "own_folder")
    assert status == 0
    assert re.search(r"\n100 checked\nscale cores, 5 to 5 seeds; per cent, mean ± sd", out)
    assert re.search(r"\nfine-tuning +\d+\.\d ± ", out)


def test_the_report_of_what_was_measured_prints_its_rows(capsys, tmp_path):
    path = tmp_path / "r.jsonl"
    assert call(capsys, "run", "counting", "--record", path, "--jobs", 1)[0] == 0
    _, out, _ = call(capsys, "report", "counting", "--record", path)
    assert re.search(r"^few\n.*square", out, flags=re.M)


def test_records_are_merged_and_pruned(capsys, tmp_path, whole):
    halves = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    lines = whole.read_text().splitlines(keepends=True)
    halves[0].write_text("".join(lines[:20]))
    halves[1].write_text("".join(lines))
    status, out, _ = call(capsys, "merge", "small", halves[1], "--record", halves[0])
    assert status == 0
    assert re.search(r"1.jsonl: \d+ runs added", out)
    assert len(Record(halves[0]).runs) == 26
    with halves[0].open("a") as file:
        plan = {"kind": "plan", "id": "0" * 12, "experiment": "small", "stage": "table"}
        run = {"kind": "run", "plan": "0" * 12, "seed": 0, "environment": "e", "rows": []}
        file.write(json.dumps(plan) + "\n" + json.dumps(run) + "\n")
    assert (
        "1 plans of the record are no longer run"
        in call(capsys, "status", "small", "--record", halves[0])[1]
    )
    assert "1 runs removed" in call(capsys, "prune", "small", "--record", halves[0])[1]
    assert len(Record(halves[0]).runs) == 26


def test_damage_and_lines_of_other_versions_are_told(capsys, tmp_path, whole):
    path = tmp_path / "r.jsonl"
    lines = whole.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], lines[4][:9], *lines[5:], '{"kind": "note"}']) + "\n")
    _, _, err = call(capsys, "status", "small", "--record", path)
    assert f"{path}: line 5 cannot be read; what stood there is to do again" in err
    assert f"{path}: 1 lines are of another version and are left alone" in err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--record", "nowhere.csv", "--only", "MCL"], "`only` is 'MCL'"),
        (["--jobs", "0", "--record", "r.jsonl"], "`jobs` is 0"),
        (["--device", "tpu", "--record", "r.jsonl"], "`device` is 'tpu'"),
    ],
)
def test_a_wrong_argument_is_an_error_of_one_line(capsys, tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    status, _, err = call(capsys, "run", "small", *arguments)
    assert status == 1
    assert text in err
    assert not list(tmp_path.glob("*.jsonl"))


@pytest.mark.parametrize("shard", ["1", "a/b"])
def test_a_shard_that_is_none_is_refused(capsys, shard):
    with pytest.raises(SystemExit):
        main(["run", "small", "--shard", shard])
    assert f"'{shard}'" in capsys.readouterr().err


@pytest.mark.parametrize("shard", ["3/2", "0/2"])
def test_a_part_that_there_is_not_is_refused(capsys, shard):
    status, _, err = call(capsys, "run", "small", "--shard", shard)
    assert status == 1
    assert f"`shard` is {shard}; it must be k/n, the k-th of n parts, with k in 1 to n" in err


@pytest.mark.parametrize("time", ["0s", "fast", "-1m", "1d"])
def test_a_budget_that_is_no_time_is_refused(capsys, time):
    with pytest.raises(SystemExit):
        main(["run", "small", f"--budget={time}"])
    assert f"'{time}' is no time; it must be as 90s, 30m or 2h" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("90", 90), ("1.5m", 90), ("2h", 7200)])
def test_times_have_units(text, seconds):
    assert commands._seconds(text) == seconds


def test_data_that_are_not_at_hand_are_named_with_the_way_to_get_them(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.delenv("NLMETA_DATA", raising=False)
    record = tmp_path / "r.jsonl"
    status, _, err = call(capsys, "run", "human_noise", "--record", record, "--data", tmp_path)
    assert status == 1
    assert "cifar-10-batches-py" in err
    assert "cifar-100-python" in err
    assert not record.exists()


def test_a_record_that_is_not_there_cannot_be_merged(capsys, tmp_path):
    status, _, err = call(
        capsys, "merge", "small", tmp_path / "no.jsonl", "--record", tmp_path / "r.jsonl"
    )
    assert status == 1
    assert "there is no record" in err


def test_ctrl_c_says_that_the_same_command_goes_on(capsys, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands.runner, "run", interrupted)
    status, out, _ = call(capsys, "run", "small", "--record", tmp_path / "r.jsonl")
    assert status == 130
    assert "holds all that has ended, and the same command goes on" in out
