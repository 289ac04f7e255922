"""Tests of nlmeta.experiments.record: whole lines, what a kill cuts off, merging, pruning."""

import json
import multiprocessing
import os
import re

import pytest
import torch

from nlmeta.experiments import machine, record
from nlmeta.experiments.record import Record
from nlmeta.experiments.task import Task, plan_id

WHERE = {"nlmeta": "0.1.0", "commit": "abc", "device": "cpu"}


def task(entry="a", seed=0, **further):
    plan = {"experiment": "e", "stage": "table", "entry": entry, **further}
    return Task(plan, seed, work=lambda *_: {})


def outcome(accuracy=0.5):
    return {"seconds": 1.0, "failed": None, "rows": [{"method": "a", "accuracy": accuracy}]}


def filled(path, *tasks):
    written = Record(path)
    for number, one in enumerate(tasks):
        written.add(one, outcome(number / 10), WHERE)
    return written


def kinds(path):
    return [json.loads(line)["kind"] for line in path.read_text().splitlines()]


def test_a_plan_is_named_by_its_content_alone():
    plan = {"a": 1, "b": {"c": [1, 2.5], "d": "x"}}
    assert plan_id(plan) == plan_id(json.loads(json.dumps({"b": plan["b"], "a": 1})))
    assert re.fullmatch("[0-9a-f]{12}", plan_id(plan))
    assert plan_id(plan) != plan_id({**plan, "a": 2})
    with pytest.raises(ValueError, match="JSON"):
        plan_id({"a": float("nan")})


def test_environments_and_plans_are_written_once_and_everything_is_read_again(tmp_path):
    path = tmp_path / "new" / "r.jsonl"
    filled(path, task(seed=0), task(seed=1), task("b"))
    assert kinds(path) == ["environment", "plan", "run", "run", "plan", "run"]
    again = Record(path)
    assert again.rows(task(seed=1)) == [{"method": "a", "accuracy": 0.1}]
    assert again.rows(task(seed=2)) is None
    assert len(again.environments) == 1
    plan = again.plans[task("b").key[0]]
    assert {k: plan[k] for k in ("experiment", "stage", "entry")} == task("b").plan


def test_another_environment_gets_a_line_of_its_own(tmp_path):
    written = filled(tmp_path / "r.jsonl", task())
    written.add(task(seed=1), outcome(), {**WHERE, "commit": "abd"})
    read = Record(written.path)
    used = [run["environment"] for run in read.runs.values()]
    assert [read.environments[name]["commit"] for name in used] == ["abc", "abd"]


@pytest.mark.parametrize("left", [1, 10, 40])
def test_a_line_that_a_kill_cut_is_no_line_and_the_next_writer_removes_it(tmp_path, left):
    path = tmp_path / "r.jsonl"
    filled(path, task(seed=0), task(seed=1))
    whole = path.read_bytes()
    path.write_bytes(whole[:-left])
    read = Record(path)
    assert (read.damaged, len(read.runs)) == ([], 1)
    with read.writing():
        read.add(task(seed=1), outcome(0.1), WHERE)
    assert path.read_bytes() == whole


def test_a_damaged_line_in_the_middle_is_named_and_the_others_count(tmp_path):
    path = tmp_path / "r.jsonl"
    filled(path, task(seed=0), task(seed=1), task(seed=2))
    lines = path.read_text().splitlines()
    lines[3] = lines[3][:30]  # two files put together where the first had a cut line
    path.write_text("\n".join(lines) + "\n")
    read = Record(path)
    assert read.damaged == [4]
    assert [seed for _, seed in read.runs] == [0, 2]


def test_a_line_of_a_later_version_is_left_alone(tmp_path):
    path = tmp_path / "r.jsonl"
    filled(path, task())
    with path.open("a") as file:
        file.write('{"kind": "remark", "text": "hello"}\n')
    read = Record(path)
    assert (read.unknown, read.damaged, len(read.runs)) == (1, [], 1)
    read.add(task(seed=1), outcome(), WHERE)
    assert "remark" in kinds(path)


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"is no record: none of its 2 lines"):
        Record(path)


def test_a_file_of_one_line_without_its_end_is_no_record_and_is_not_emptied(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my only notes")
    with pytest.raises(ValueError, match=r"is no record: none of its 1 lines"):
        Record(path)
    path.write_text('{"ki')  # the first line of a record, cut by a kill
    assert Record(path).runs == {}


def test_a_run_whose_plan_was_damaged_is_to_do_again(tmp_path):
    """No frame could say what it was a run of."""
    path = tmp_path / "r.jsonl"
    filled(path, task(), task("b"), task("b", 1))
    lines = path.read_text().splitlines()
    assert '"plan"' in lines[3]
    lines[3] = lines[3][:30]
    path.write_text("\n".join(lines) + "\n")
    read = Record(path)
    assert read.damaged == [4]
    assert list(read.runs) == [task().key]
    read.add(task("b"), outcome(), WHERE)
    assert list(Record(path).runs) == [task().key, task("b").key, task("b", 1).key]


def test_line_ends_of_windows_are_read(tmp_path):
    path = tmp_path / "r.jsonl"
    filled(path, task(), task("b"))
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    read = Record(path)
    assert (read.damaged, len(read.runs)) == ([], 2)
    with read.writing():
        read.add(task("c"), outcome(), WHERE)
    assert (Record(path).damaged, len(Record(path).runs)) == ([], 3)


def test_of_two_runs_of_a_task_the_later_counts(tmp_path):
    written = filled(tmp_path / "r.jsonl", task(), task())
    read = Record(written.path)
    assert read.rows(task())[0]["accuracy"] == 0.1
    assert read.repeated == 1


def test_records_of_shards_are_put_together_once_whatever_they_share(tmp_path):
    first = filled(tmp_path / "1.jsonl", task(seed=0), task("b"))
    second = filled(tmp_path / "2.jsonl", task(seed=1), task("b"), task("c"))
    assert first.merge([second]) == 2
    read = Record(first.path)
    assert len(read.runs) == 4
    assert read.repeated == 0
    assert kinds(first.path).count("environment") == 1
    assert read.rows(task("b"))[0]["accuracy"] == 0.1  # that of the first
    assert Record(first.path).merge([second]) == 0


def test_runs_of_other_plans_are_pruned_and_the_rest_stays(tmp_path):
    written = filled(tmp_path / "r.jsonl", task(seed=0), task(seed=0), task("b"), task("c"))
    kept = task("c").key[0], task().key[0]
    assert written.prune(kept) == 2  # that of b, and the one that was run again
    read = Record(written.path)
    assert list(read.runs) == [task().key, task("c").key]
    assert read.rows(task())[0]["accuracy"] == 0.1
    assert set(read.plans) == set(kept)


def test_lines_of_a_later_version_are_not_pruned(tmp_path):
    written = filled(tmp_path / "r.jsonl", task(), task("b"))
    with written.path.open("a") as file:
        file.write('{"kind": "remark", "text": "hello"}\n')
    read = Record(written.path)
    assert read.prune({task().key[0]}) == 1
    assert kinds(written.path) == ["environment", "plan", "run", "remark"]
    assert read.unknown == 1


def test_a_full_disk_leaves_the_record_whole_and_says_what_to_do(tmp_path, monkeypatch):
    written = filled(tmp_path / "r.jsonl", task())
    before = written.path.read_bytes()

    def full(file, text):
        file.write(text[:20])
        file.flush()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record, "_write", full)
    with pytest.raises(OSError, match=r"It is whole, with 1 runs.*make\s+room and start the same"):
        written.add(task(seed=1), outcome(), WHERE)
    assert written.path.read_bytes() == before
    monkeypatch.undo()
    written.add(task(seed=1), outcome(), WHERE)
    assert len(Record(written.path).runs) == 2


def _hold(path, entered, leave):
    with Record(path).writing():
        entered.set()
        leave.wait(30)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only Unix limits the size of a file")
def test_what_a_real_disk_has_taken_of_a_line_is_cut_off_again(tmp_path):
    """The system takes ten bytes and then refuses; nothing may follow when the file is closed."""
    import resource

    written = filled(tmp_path / "r.jsonl", task())
    before = written.path.read_bytes()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, old[1]))
    try:
        with pytest.raises(OSError, match="could not be written"):
            written.add(task(seed=1), outcome(), WHERE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert written.path.read_bytes() == before


def test_a_record_that_may_not_be_written_is_refused_before_anything_is_run(tmp_path, monkeypatch):
    written = filled(tmp_path / "r.jsonl", task())

    def refused(path, mode="r", *rest):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(written.path), "open", refused)
    with (
        pytest.raises(OSError, match=r"cannot be written .*Permission denied.*`--record`"),
        written.writing(),
    ):
        pass
    monkeypatch.undo()
    with written.writing():  # and the lock is free
        pass


def test_a_writer_reads_what_another_has_written_meanwhile(tmp_path):
    early, late = Record(tmp_path / "r.jsonl"), Record(tmp_path / "r.jsonl")
    with late.writing():
        late.add(task(), outcome(), WHERE)
    with early.writing():
        assert early.rows(task()) is not None
        early.prune({task().key[0]})
    assert len(Record(early.path).runs) == 1


def test_two_names_of_one_record_have_one_lock(tmp_path):
    written = filled(tmp_path / "r.jsonl", task())
    other = tmp_path / "other.jsonl"
    try:
        other.symlink_to(written.path)
    except OSError:
        pytest.skip("this system makes no links")
    refused = pytest.raises(ValueError, match="is being written by another process")
    with written.writing(), refused, Record(other).writing():
        pass


def test_two_processes_do_not_write_one_record(tmp_path):
    path = tmp_path / "r.jsonl"
    context = multiprocessing.get_context("spawn")
    entered, leave = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(path, entered, leave))
    other.start()
    try:
        assert entered.wait(60)
        refused = pytest.raises(ValueError, match="is being written by another process")
        with refused, Record(path).writing():
            pass
    finally:
        leave.set()
        other.join(30)
    with Record(path).writing():
        pass


def test_the_environment_says_what_a_number_may_depend_on():
    found = machine.environment("cpu", processes=3)
    assert found["device"] == "cpu"
    assert found["processes"] == 3
    assert found["nlmeta"] == "0.1.0"
    assert f"{os.cpu_count()} processors" in found["machine"]
    if found["commit"] is not None:
        assert re.fullmatch(r"[0-9a-f]{12}\+?", found["commit"])
    assert json.loads(json.dumps(found)) == found


@pytest.mark.gpu
def test_the_peak_of_a_gpu_is_counted_anew_for_each_task():
    machine.forget_peak("cuda")
    before = machine.peak_memory("cuda")
    torch.empty(2**28, dtype=torch.uint8, device="cuda")
    assert machine.peak_memory("cuda") >= before + 2**28
    machine.forget_peak("cuda")
    assert machine.peak_memory("cuda") < before + 2**28


def test_the_commit_is_that_of_the_clone_and_says_where_files_differ(tmp_path):
    def git(*arguments):
        options = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        os.system(" ".join(["git", "-C", str(tmp_path), *options, *arguments, ">/dev/null 2>&1"]))

    assert machine._commit(tmp_path) is None
    git("init", "-q")
    (tmp_path / "code.py").write_text("a = 1\n")
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "r.jsonl").write_text("")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    clean = machine._commit(tmp_path)
    assert re.fullmatch("[0-9a-f]{12}", clean)
    (tmp_path / "records" / "r.jsonl").write_text("a record grows\n")
    assert machine._commit(tmp_path) == clean
    (tmp_path / "code.py").write_text("a = 2\n")
    assert machine._commit(tmp_path) == clean + "+"
