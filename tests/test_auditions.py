"""Tests of auditions: who judges, what a verdict is worth, and what a budget lets run."""

import json
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

import nlmeta
from nlmeta import data, experiments
from nlmeta.__main__ import main
from nlmeta.data import from_arrays
from nlmeta.experiments import auditions, builders, judging
from nlmeta.experiments.judging import deal, mcnemar, right_ones, wilson
from nlmeta.experiments.report import method_regrets
from nlmeta.experiments.shortlist import shortlist
from nlmeta.models import MLP, with_features

CLASSES, SAMPLES, CHECKED = 3, 150, 48
NEEDS_CHECKED = {"fine-tuning", "MLC", "MSLG", "label head"}
NEEDS_FEATURES = {"label head", "CLID-MU", "MLNT"}
ONE = MLP(CLASSES, CLASSES, seed=0)
QUIET = {"progress": False, "training": {"epochs": 2, "batch_size": 32}}


def own(clean=CHECKED, **options):
    """Points around three centres, a third of the labels moved by one class, some checked."""
    draw = torch.Generator().manual_seed(3)
    true = torch.randint(CLASSES, (SAMPLES,), generator=draw)
    x = one_hot(true, CLASSES).float() + 0.4 * torch.randn(SAMPLES, CLASSES, generator=draw)
    wrong = torch.rand(SAMPLES, generator=draw) < 1 / 3
    checked = torch.arange(SAMPLES) < clean
    labels = torch.where(wrong & ~checked, (true + 1) % CLASSES, true)
    given = {"clean": checked, "validation_size": clean} if clean else {}
    return from_arrays(x, labels, seed=0, **{**given, **options})


def network(seed):
    return MLP(CLASSES, CLASSES, (4,), seed=seed)


def rows_of(split, part):
    return set(split.indices[part].tolist())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An audition of everything, and its record."""
    path = tmp_path_factory.mktemp("whole") / "audition.jsonl"
    return nlmeta.audition(own(), network, "1h", record=path, **QUIET), path


# Who judges


def test_a_validation_part_alone_is_dealt_in_three_and_no_sample_twice():
    split = own()
    found, said = deal(split, seed=0)
    parts = [rows_of(found, part) for part in ("train", "meta", "validation", "test")]
    assert [len(part) for part in parts] == [SAMPLES - CHECKED, 12, 12, 24]
    assert len(set.union(*parts)) == SAMPLES
    assert set.union(*parts[1:]) == rows_of(split, "validation")
    assert said.startswith("Checked: 12 samples may be trained on, 12 choose settings, 24 judge")


def test_every_class_is_dealt_in_turn():
    """In order of the classes, hands differ by at most one sample of a class."""
    found, _ = deal(own(), seed=0)
    counts = [getattr(found, part).y.bincount(minlength=3) for part in ("meta", "validation")]
    judges = found.test.y.bincount(minlength=3)
    assert all((count > 0).all() for count in counts)
    assert (counts[0] - counts[1]).abs().max() <= 1
    assert (judges - counts[0] - counts[1]).abs().max() <= 2


def test_a_clean_meta_set_stays_what_it_is_beside_a_validation_part():
    split = own(meta_size=6, validation_size=30)
    found, _ = deal(split, seed=0)
    assert rows_of(found, "meta") == rows_of(split, "meta")
    assert len(found.validation) == len(found.test) == 15
    assert rows_of(found, "validation") | rows_of(found, "test") == rows_of(split, "validation")


def test_a_test_part_is_left_alone_unless_nothing_else_is_checked():
    split = own(validation_size=24, test_size=24)
    found, _ = deal(split, seed=0)
    assert not rows_of(split, "test") & set.union(
        *(rows_of(found, part) for part in ("train", "meta", "validation", "test"))
    )
    alone = own(validation_size=0, test_size=24)
    found, said = deal(alone, seed=0)
    assert rows_of(found, "test") < rows_of(alone, "test")
    assert "dealt from the test part" in said


def test_noisy_samples_judge_where_nothing_is_checked():
    found, said = deal(own(clean=0), seed=0)
    assert not found.meta_is_clean
    assert (len(found.train), len(found.validation), len(found.test)) == (120, 15, 15)
    parts = [rows_of(found, part) for part in ("train", "validation", "test")]
    assert len(set.union(*parts)) == SAMPLES
    assert said.startswith("No label is checked: of 150 noisy samples 15 choose")


def test_a_validation_part_that_nobody_checked_does_not_count_as_checked():
    split = own(clean=0, validation_size=40)
    assert not split.is_checked("validation")
    assert own().is_checked("validation")
    assert deal(split, seed=0)[1].startswith("No label is checked")


def test_copies_are_dealt_into_one_hand():
    x = torch.randn(60, 2, 2, generator=torch.Generator().manual_seed(0)).repeat(2, 1, 1)
    y = (x[:, 0, 0] > 0).long()
    split = from_arrays(x, y, true_labels=y, validation_size=80, seed=0)
    found, _ = deal(split, seed=0)
    groups = [set(getattr(found, part).groups.tolist()) for part in ("meta", "validation", "test")]
    assert sum(len(each) for each in groups) == len(set.union(*groups)) < 80


def test_another_seed_is_another_deal():
    assert rows_of(deal(own(), seed=0)[0], "test") != rows_of(deal(own(), seed=1)[0], "test")


def test_too_few_checked_samples_are_refused():
    with pytest.raises(ValueError, match="`split` has 19 checked samples in its validation part"):
        deal(own(clean=19), seed=0)


def test_no_network_is_trained_on_a_sample_that_chooses_or_judges():
    """Each input that a network sees in training mode, in all entries."""
    seen = []

    class Spy(MLP):
        def forward(self, x, return_features=False):
            if self.training:
                seen.append(x.detach().clone())
            return super().forward(x, return_features)

    def spying(seed):
        return Spy(CLASSES, CLASSES, (4,), seed=seed)

    found = nlmeta.audition(own(), spying, "1h", **QUIET)
    assert set(found.frame["method"]) >= NEEDS_CHECKED | NEEDS_FEATURES
    assert found.frame["not_run"].isna().all()
    there = {tuple(row) for x in seen for row in x.tolist()}

    def inputs(part):
        return {tuple(row) for row in getattr(found.dealt, part).x.tolist()}

    assert there == inputs("train") | inputs("meta")  # the spy has seen those that it should
    assert not there & (inputs("validation") | inputs("test"))


# What a verdict is worth


@pytest.mark.parametrize(("right", "n"), [(0, 7), (3, 7), (8, 10), (199, 200), (50, 50)])
def test_the_interval_is_that_of_wilson(right, n):
    """Its ends solve (share - end)^2 = z^2 end (1 - end) / n, a quadratic equation."""
    z, share = 1.959963984540054, right / n
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    known = [(share + z**2 / (2 * n) + side * half) / (1 + z**2 / n) for side in (-1, 1)]
    assert wilson(right, n) == pytest.approx(known, abs=1e-9)


@pytest.mark.parametrize(
    ("one", "other"), [(0, 0), (1, 0), (6, 1), (1, 6), (5, 5), (40, 20), (0, 9)]
)
def test_the_paired_test_is_that_of_mcnemar(one, other):
    first = "1" * one + "0" * other + "1100"
    second = "0" * one + "1" * other + "1100"
    tail = sum(math.comb(one + other, k) for k in range(min(one, other) + 1))
    known = min(1.0, 2 * tail / 2 ** (one + other))  # both tails of fair coins
    assert mcnemar(first, second) == pytest.approx(known, abs=1e-12)


def test_the_paired_test_refuses_other_samples():
    with pytest.raises(ValueError, match="`first`.*`second`|`second`.*`first`"):
        mcnemar("101", "10")


def test_what_is_predicted_right_is_written_sample_by_sample():
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    samples = data.Samples(x, torch.tensor([0, 1, 1]))
    assert right_ones(nn.Identity(), samples) == "110"


def test_the_table_says_what_the_judges_say(whole):
    """Each accuracy, interval and p by hand from the record's texts."""
    found, path = whole
    record = experiments.Record(path)
    rights = {
        row["method"]: row["right"]
        for (plan, _), run in record.runs.items()
        if record.plans[plan]["stage"] == "table"
        for row in run["rows"]
    }
    best = found.frame["method"].iloc[0]
    for row in found.frame.itertuples():
        right = rights[row.method]
        assert len(right) == len(found.dealt.test) == 24
        assert row.accuracy == right.count("1") / 24
        assert (row.low, row.high) == wilson(right.count("1"), 24)
        assert row.p == mcnemar(rights[best], right)
    assert found.frame["accuracy"].is_monotonic_decreasing
    near = found.frame[found.frame["p"] >= 0.32]
    assert found.winner == near.sort_values("in_full", kind="stable")["method"].iloc[0]


@pytest.mark.parametrize(
    ("methods", "cost", "winner", "text"),
    [
        (["a"], [1.0], "a", "Take a: with 200 checked labels each of the 2 others is told from it"),
        (["a", "b"], [1.0, 4.0], "a", "a and b cannot be told apart with 200 checked labels; a is"),
        (["a", "b"], [4.0, 1.0], "a", "a is ahead, and what is cheaper is more than a standard er"),
        (["a", "b"], [4.0, 1.0], "b", "b is 4 times cheaper than a, which is ahead: take it."),
    ],
)
def test_the_advice_names_what_cannot_be_told_apart_and_what_it_costs(methods, cost, winner, text):
    told = auditions.pd.DataFrame({"method": methods, "in_full": cost})
    assert text in auditions._advice(told, winner, 3, 200, True)


def test_a_judged_network_is_trained_again_and_the_winner_ranks_the_labels(whole):
    found, path = whole
    record = experiments.Record(path)
    for method, network in ((found.winner, found.network()), ("GCE", found.network("GCE"))):
        (row,) = record.rows(found._tasks[method])
        assert right_ones(network, found.dealt.test) == row["right"]
    with pytest.raises(ValueError, match="`method` is 'GLC'; it must be one of"):
        found.network("GLC")
    ranked = found.suspects()
    assert sorted(ranked["row"]) == list(range(len(found.split.train)))
    assert "Checked: 12 samples" in found.advice
    assert found.winner in str(found)


# What a budget lets run


def numbers(path):
    """Rows of all runs, without the seconds."""
    record = experiments.Record(path)
    return {key: run["rows"] for key, run in record.runs.items()}


def test_a_small_budget_runs_the_cheapest_and_says_what_was_not_run(tmp_path):
    found = nlmeta.audition(own(), network, 1e-6, record=tmp_path / "a.jsonl", **QUIET)
    judged = found.frame[found.frame["not_run"].isna()]
    assert judged["method"].tolist() == ["ridge regression"] == [found.winner]
    others = found.frame[found.frame["not_run"].notna()]
    assert set(others["method"]) > NEEDS_CHECKED | NEEDS_FEATURES
    assert (others["in_full"] > 0).all()
    assert "Not run: " in found.advice
    assert "MLNT (takes about" in found.advice


def test_an_audition_goes_on_to_what_an_uninterrupted_one_ends_at(whole, tmp_path):
    path = tmp_path / "a.jsonl"
    nlmeta.audition(own(), network, 1e-6, record=path, **QUIET)
    assert 0 < len(numbers(path)) < len(numbers(whole[1]))
    found = nlmeta.audition(own(), network, "1h", record=path, **QUIET)
    assert numbers(path) == numbers(whole[1])
    same = ["method", "accuracy", "low", "high", "p", "setting"]
    order = whole[0].frame.sort_values("method", ignore_index=True)[same]
    assert found.frame.sort_values("method", ignore_index=True)[same].equals(order)


def test_what_is_recorded_is_not_run_again(whole):
    found, path = whole
    before = path.read_bytes()
    again = nlmeta.audition(own(), network, 1e-6, record=path, **QUIET)
    assert path.read_bytes() == before
    assert again.frame.equals(found.frame)


def test_other_data_or_another_network_are_other_plans(whole):
    _, path = whole
    plan = next(iter(experiments.Record(path).plans.values()))
    json.dumps(plan)
    assert plan["load"] == {
        "name": "own data",
        "deal": 0,
        "digest": judging.digest_of(deal(own(), seed=0)[0], network)["split"],
    }
    wider = judging.digest_of(own(), lambda seed: MLP(CLASSES, CLASSES, (5,), seed=seed))
    mine = judging.digest_of(own(), network)
    assert wider["network"] != mine["network"]
    assert wider["split"] == mine["split"] != judging.digest_of(own(clean=45), network)["split"]
    moved = own()
    moved.train.x.add_(1.0)
    assert judging.digest_of(moved, network)["split"] != mine["split"]


# What is tried


def test_a_network_without_features_is_spared_what_looks_at_them():
    found = nlmeta.audition(own(), seeded_linear, 1e-6, **QUIET)
    assert not set(found.frame["method"]) & NEEDS_FEATURES
    assert set(found.frame["method"]) > NEEDS_CHECKED - NEEDS_FEATURES


def seeded_linear(seed):
    with nlmeta.seeding.seeded(seed, "weights"):
        return nn.Sequential(nn.Linear(CLASSES, CLASSES))


def test_every_method_has_three_settings_but_plain_training():
    options = {"epochs": 30, "lr": 0.05, "steps": 10, "samples": 640, "meta": 20}
    entries = shortlist(**options, features=True, vectors=True)
    assert {e.name: len(e.grid) for e in entries if len(e.grid) != 3} == {"cross-entropy": 1}


def test_the_label_head_begins_near_the_given_labels():
    """So that with a step that is too small it is harmless, and not a network without a teacher."""
    options = {"epochs": 30, "lr": 0.05, "steps": 10, "samples": 640, "meta": 20}
    entries = shortlist(**options, features=True, vectors=False)
    (entry,) = [entry for entry in entries if entry.build == "label_head"]
    split, model = own(), network(0)
    given = builders.Given(split, model, None, network, 4, 0)
    method = builders.BUILDERS["label_head"](given, **entry.options)
    _, features = with_features(model, split.train.x)
    labels = method.soft_labels(features, split.train.y)
    assert (labels.argmax(1) == split.train.y).double().mean() > 0.9


def test_a_method_that_fails_leaves_the_others_to_run(monkeypatch):
    def refuses(given, **options):
        raise ValueError("`network` is not for this one")

    monkeypatch.setitem(experiments.training_runs.builders.BUILDERS, "gce", refuses)
    found = nlmeta.audition(own(), network, "1h", **QUIET)
    reasons = found.frame.set_index("method")["not_run"].dropna()
    assert list(reasons.index) == ["GCE"]
    assert "`network` is not for this one" in reasons["GCE"]


def test_without_checked_labels_noisy_ones_rank_and_nobody_is_deceived():
    found = nlmeta.audition(own(clean=0), network, 1e-6, **QUIET)
    assert "noisy_accuracy" in found.frame
    assert "accuracy" not in found.frame
    assert not set(found.frame["method"]) & NEEDS_CHECKED
    assert "On the recorded datasets the method that is best by noisy labels was" in found.advice
    assert len(found.suspects()) == SAMPLES  # the judges' labels too


def evidence(folder, monkeypatch):
    monkeypatch.setattr(auditions, "RECORDS", folder)
    return auditions._evidence()


def test_the_evidence_on_noisy_labels_is_counted_from_the_records(tmp_path, monkeypatch):
    """Two methods of one race, and a third alone. Of the first the last epochs are 0.5 and 0.9."""
    history = {
        "epoch": [1, 2, 3],
        "changed": [1.0, 0.2, 0.1],
        "entropy": [1.0, 1.0, 1.0],
        "divergence": [1.0, 1.0, 1.0],
        "one_hot_divergence": [1.0, 1.0, 1.0],
    }
    lines = [{"kind": "environment", "id": "e"}]
    for method, seed, noisy, clean in (
        ("a", 0, [0.5, 0.6, 0.4], [0.7, 0.9, 0.5]),  # the epoch that it chooses is the best
        ("b", 0, [0.5, 0.3, 0.3], [0.7, 0.89, 0.9]),  # by 0.2 not, and the better method
        ("c", 1, [0.1, 0.2, 0.1], [0.8, 0.79, 0.8]),  # by a point, which counts as near
    ):
        plan = {"kind": "plan", "id": method, "stage": "table", "entry": method}
        lines.append({**plan, "problem": "y", "load": {"name": "z"}})
        training = {**history, "noisy_validation": noisy, "test_accuracy": clean}
        run = {"kind": "run", "plan": method, "seed": seed, "environment": "e", "rows": []}
        lines.append({**run, "history": {"training": training}})
    path = tmp_path / "scored.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (race,) = method_regrets(path).to_dict("records")
    assert (race["problem"], race["seed"], race["methods"], race["method"]) == ("y", 0, 2, "a")
    assert (race["regret"], race["worst"]) == (pytest.approx(0.4), pytest.approx(0.4))
    said = evidence(tmp_path, monkeypatch)
    assert "within a point of the best one in 0 of 1 choices; it lost 40.0 points on av" in said
    assert "of the best one in 2 of 3 runs; it lost 7.0 points on average and 20.0 at most" in said


def test_rows_with_noisy_labels_are_evidence_too_and_choices_are_none(tmp_path, monkeypatch):
    rows = [
        {"method": name, "noisy_validation": noisy, "accuracy": clean}
        for name, noisy, clean in (("a", 0.6, 0.9), ("b", 0.7, 0.895), ("c", 0.2, 0.4))
    ]
    lines = [{"kind": "environment", "id": "e"}]
    for number, stage in enumerate(("nothing checked", "choice")):
        lines.append({"kind": "plan", "id": f"p{number}", "stage": stage, "entry": stage})
        run = {"kind": "run", "plan": f"p{number}", "seed": 0, "environment": "e", "rows": rows}
        lines.append(run)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (race,) = method_regrets(path).to_dict("records")
    assert race["method"] == "b"
    assert race["regret"] == pytest.approx(0.005)
    assert race["worst"] == pytest.approx(0.5)
    said = evidence(tmp_path, monkeypatch)
    assert "in 1 of 1 choices; it lost 0.5 points on average" in said
    assert "An epoch" not in said


def test_without_records_nothing_is_said_of_noisy_labels(tmp_path, monkeypatch):
    (tmp_path / "empty.jsonl").write_text("")
    assert evidence(tmp_path, monkeypatch).startswith("Nobody can say from here how often")


# Refusals


@pytest.mark.parametrize(
    ("made", "error", "text"),
    [
        (lambda seed: nn.Linear(CLASSES, CLASSES), ValueError, "other weights at each call"),
        (lambda seed: ONE, ValueError, "the same object at each call"),
        (lambda seed: "MLP", TypeError, r"`network\(0\)` is a str; it must be a new nn.Module"),
    ],
)
def test_a_network_that_is_not_made_anew_from_its_seed_is_refused(made, error, text):
    with pytest.raises(error, match=text):
        nlmeta.audition(own(), made, "1s", **QUIET)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"budget": "soon"}, "`budget` 'soon' is no time; it must be as 90s, 30m or 2h"),
        ({"budget": 0}, "`budget` is 0.0; it must be a finite number above 0"),
        ({"training": {"optimizer": None}}, "`training` is 'optimizer'"),
        ({"training": {"batch_size": "all"}}, "`batch_size` is"),
        ({"seed": -1}, "`seed` is -1"),
        ({"record": experiments.RECORDS / "cost.jsonl"}, "`record` is a record of cost, and"),
    ],
)
def test_wrong_arguments_are_refused(options, text):
    with pytest.raises((TypeError, ValueError), match=text):
        nlmeta.audition(own(), network, **{"budget": "1s", **QUIET, **options})


# The command


def test_the_command_writes_the_suspects_of_the_winner(tmp_path, capsys):
    draw = torch.Generator().manual_seed(0)
    for folder, count in (("photos", 40), ("checked", 12)):
        for name, level in (("dark", 40), ("light", 200)):
            (tmp_path / folder / name).mkdir(parents=True)
            for number in range(count):
                pixels = level + torch.randint(-30, 30, (8, 8, 3), generator=draw)
                picture = data.pictures.Image.fromarray(pixels.to(torch.uint8).numpy())
                picture.save(tmp_path / folder / name / f"{number}.png")
    csv, record = tmp_path / "s.csv", tmp_path / "r.jsonl"
    command = ["audition", tmp_path / "photos", "--clean", tmp_path / "checked", "--size", "8"]
    command += ["--budget", "0.001s", "--epochs", "2", "--suspects", csv]
    assert main([str(word) for word in [*command, "--record", record]]) == 0
    out = capsys.readouterr().out
    assert "Nothing but early stopping was run within the budget" in out
    assert "Checked: 6 samples may be trained on, 6 choose settings, 12 judge" in out
    assert f"{csv}: the training samples, the most suspect to early stopping first" in out
    assert len(csv.read_text().splitlines()) == 1 + 80
    assert experiments.Record(record).runs
