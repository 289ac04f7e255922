"""More tests of the experiments' command line: shards, stops, damage, what is refused."""

import json

import pytest
from small_experiments import COUNTING, ENTRIES, problem, table

from nlmeta.__main__ import main
from nlmeta.experiments import Record, commands, forecast

SMALL = table(entries=ENTRIES[:2], problems=(problem(),))


@pytest.fixture
def record(tmp_path, monkeypatch):
    """The path of a record of the small experiment, which alone there is."""
    monkeypatch.setattr(commands, "EXPERIMENTS", {"small": SMALL, "counting": COUNTING})
    monkeypatch.setenv("NLMETA_PROGRESS", "0")
    return tmp_path / "r.jsonl"


def test_run_status_and_report_say_what_is_done(record, capsys):
    assert main(["run", "small", "--jobs", "1", "--record", str(record)]) == 0
    assert f"{record}: 8 done, 0 to do" in capsys.readouterr().out
    assert main(["status", "small", "--record", str(record)]) == 0
    assert capsys.readouterr().out == "8 done, 0 to do\n"
    assert main(["report", "small", "--record", str(record)]) == 0
    printed = capsys.readouterr()
    assert "symmetric, 100 clean\nscale cores, 2 to 2 seeds" in printed.out
    assert printed.err == ""


def test_shards_are_merged_by_the_commands(record, capsys):
    parts = [str(record.with_name(f"{k}.jsonl")) for k in (1, 2)]
    for _ in range(2):
        for k, part in enumerate(parts, start=1):
            run = ["run", "small", "--jobs", "1", "--record", part, "--shard", f"{k}/2"]
            assert main(run) == 0
        assert main(["merge", "small", "--record", str(record), *parts]) == 0
        for part in parts:
            assert main(["merge", "small", "--record", part, str(record)]) == 0
    said = capsys.readouterr().out
    assert "The rest waits for choices of other parts: merge the records" in said
    assert main(["status", "small", "--record", str(record)]) == 0
    assert capsys.readouterr().out == "8 done, 0 to do\n"


def test_a_stop_by_the_budget_is_not_taken_for_a_wait(record, capsys):
    command = ["run", "small", "--jobs", "1", "--record", str(record), "--shard", "1/1"]
    assert main([*command, "--budget", "0.001s"]) == 0
    said = capsys.readouterr().out
    assert "the budget is used up; the same command goes on" in said
    assert "merge" not in said


def test_ctrl_c_ends_with_130_and_says_what_the_same_command_does(record, capsys, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands.runner, "run", stopped)
    assert main(["run", "small", "--record", str(record)]) == 130
    assert "and the same command goes on" in capsys.readouterr().out
    assert main(["run", "small", "--record", str(record), "--again"]) == 130
    assert "and the same command begins again" in capsys.readouterr().out


def test_missing_data_are_said_once_and_only_if_a_task_reads_them(record, capsys, monkeypatch):
    twice = table(entries=ENTRIES[:1], problems=(problem(), problem(meta_size=20)))
    monkeypatch.setattr(commands, "EXPERIMENTS", {"small": twice})
    run = ["run", "small", "--jobs", "1", "--record", str(record)]
    with monkeypatch.context() as patch:
        for module in (commands, forecast):
            patch.setattr(module, "at_hand", lambda name: "get the digits there")
        assert main(run) == 1
        assert capsys.readouterr().err == "get the digits there\n"
        assert main([*run, "--dry-run"]) == 0
        assert "together: 0 done, 4 to do: 4 of unknown length" in capsys.readouterr().out
    assert main(run) == 0
    monkeypatch.setattr(commands, "at_hand", lambda name: "get the digits there")
    assert main(run) == 0  # nothing is to do, so nothing is read


def test_a_report_of_what_is_not_there_is_refused(record, capsys):
    assert main(["report", "small", "--record", str(record)]) == 1
    assert "r.jsonl holds runs of none" in capsys.readouterr().err
    main(["run", "small", "--jobs", "1", "--record", str(record)])
    assert main(["report", "small", "--record", str(record), "--problem", "theirs"]) == 1
    assert "`problem` is 'theirs'; it must be one of 'symmetric, 100" in capsys.readouterr().err


def test_a_report_says_if_plans_have_changed_since(record, capsys, monkeypatch):
    main(["run", "small", "--jobs", "1", "--record", str(record)])
    changed = table(entries=ENTRIES[1:2], problems=(problem(),))
    monkeypatch.setattr(commands, "EXPERIMENTS", {"small": changed})
    capsys.readouterr()
    assert main(["report", "small", "--record", str(record)]) == 0
    assert "1 plans of the record are no longer run" in capsys.readouterr().err
    assert main(["prune", "small", "--record", str(record)]) == 0
    assert f"{record}: 2 runs removed" in capsys.readouterr().out
    assert len(Record(record).runs) == 6


def test_pruning_a_part_leaves_what_other_parts_have_chosen(record, capsys):
    """The table of early stopping is asked for by choices that this record does not hold."""
    main(["run", "small", "--jobs", "1", "--record", str(record)])
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    tried = {line["id"] for line in lines if line.get("stage") == "choice"}
    kept = [line for line in lines if line.get("plan") not in tried]
    record.write_text("".join(json.dumps(line) + "\n" for line in kept))
    capsys.readouterr()
    assert main(["prune", "small", "--record", str(record)]) == 0
    assert f"{record}: 0 runs removed" in capsys.readouterr().out
    assert len(Record(record).runs) == 4


def test_a_record_of_another_experiment_is_refused(record, capsys):
    assert main(["run", "counting", "--jobs", "1", "--record", str(record)]) == 0
    assert main(["run", "small", "--record", str(record)]) == 1
    said = f"{record} is a record of counting, and not of small"
    assert said in capsys.readouterr().err
    assert main(["merge", "small", "--record", f"{record}.new", str(record)]) == 1
    assert said in capsys.readouterr().err


def test_a_damaged_record_is_said_where_it_is_merged(record, capsys):
    main(["run", "counting", "--jobs", "1", "--record", str(record)])
    with record.open("a") as file:
        file.write("half a li\n")
    assert main(["merge", "counting", "--record", f"{record}.new", str(record)]) == 0
    assert f"{record}: line 4 cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--shard", "4"], "'4' is no part; it must be K/N"),
        (["--budget", "0s"], "'0s' is no time; it must be as 90s"),
        (["--budget", "soon"], "'soon' is no time"),
    ],
)
def test_options_that_are_none_are_refused(record, capsys, options, text):
    with pytest.raises(SystemExit):
        main(["run", "small", "--record", str(record), *options])
    assert text in capsys.readouterr().err
