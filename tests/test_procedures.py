"""Tests of nlmeta.procedures: baselines on the meta set, comparisons over seeds."""

import copy
import dataclasses

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from helpers import digits, refused, weights
from pandas.testing import assert_frame_equal, assert_series_equal
from torch.testing import assert_close

from nlmeta import CrossEntropy, data, fit, metrics
from nlmeta.data import Samples
from nlmeta.models import MLP
from nlmeta.procedures import compare, fine_tune, paired_difference, train_on_meta_set

QUIET = {"progress": False}
HERE = {"jobs": 1, **QUIET}  # in this process, where the test can watch


def network(seed=1):
    return MLP(64, 10, (8,), seed=seed)


def garbage(clean):
    """The same split with nonsense in place of the noisy part."""
    train = Samples(torch.full_like(clean.train.x, 1e6), (clean.train.y + 3) % 10)
    return dataclasses.replace(clean, train=train, true_labels=clean.true_labels.flip(0))


def test_training_on_the_meta_set_never_sees_a_noisy_sample():
    """Whatever the noisy part holds, the network is the same, bit for bit."""
    trained = [
        train_on_meta_set(network(), s, epochs=5, seed=0, **QUIET)
        for s in (digits(), garbage(digits()))
    ]
    one, two = (weights(result.model) for result in trained)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["classifier.bias"], network().classifier.bias)
    histories = [result.history.drop(columns="seconds") for result in trained]
    assert_frame_equal(*histories, check_exact=True)


def test_training_on_the_meta_set_is_cross_entropy_on_it():
    """Against `fit` on a split whose training part is the meta set."""
    got = train_on_meta_set(network(), digits(), epochs=4, seed=0, **QUIET)
    alone = dataclasses.replace(digits(), train=digits().meta, true_labels=digits().meta.y)
    want = fit(CrossEntropy(), network(), alone, epochs=4, seed=0, batch_size=20, **QUIET)
    one, two = weights(got.model), weights(want.model)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert got.accuracy == want.accuracy


def test_a_pass_over_the_meta_set_is_one_step_and_is_evaluated_at_the_end_alone():
    result = train_on_meta_set(network(), digits(), epochs=4, seed=0, **QUIET)
    history = result.history
    assert history["test_accuracy"].isna().tolist() == [True, True, True, False]
    assert history["memorised"].isna().all()  # nothing in the meta set is wrong
    want = metrics.evaluate(result.model, digits().test.x, digits().test.y, batch_size=512)
    assert result.accuracy == want


def test_the_meta_set_is_learned():
    result = train_on_meta_set(network(), digits(), epochs=60, seed=0, **QUIET)
    assert result.history["train_accuracy"].iloc[-1] == 1.0
    assert result.accuracy > 0.4  # of ten classes; guessing gives 0.1


def test_options_reach_the_training_loop():
    options = {"epochs": 2, "evaluate_every": 1, "lr": 0.5, "schedule": "constant"}
    result = train_on_meta_set(network(), digits(), seed=0, **options, **QUIET)
    assert result.history["test_accuracy"].notna().all()
    assert result.history["lr"].tolist() == [0.5, 0.5]
    refused("`lr` is -1", lambda: train_on_meta_set(network(), digits(), seed=0, lr=-1, **QUIET))


def test_refuses_to_train_on_an_empty_meta_set():
    empty = digits(meta_size=0)
    refused("empty", lambda: train_on_meta_set(network(), empty, epochs=2, seed=0, **QUIET))


def test_fine_tuning_starts_from_the_weights_it_is_given():
    """One step by hand: w - lr (gradient on the meta set + decay w)."""
    model = network().double()
    clean = digits().to("cpu", torch.float64)
    start = copy.deepcopy(model)
    loss = F.cross_entropy(start(clean.meta.x), clean.meta.y)
    loss.backward()
    options = {"precision": "float64", "weight_decay": 0.1, **QUIET}
    fine_tune(model, digits(), epochs=1, lr=0.2, seed=0, **options)
    for before, after in zip(start.parameters(), model.parameters(), strict=True):
        want = before.detach() - 0.2 * (before.grad + 0.1 * before.detach())
        assert (want - before.detach()).abs().max() > 1e-3
        # The batch comes in another order: round-off of a mean over 20 samples.
        assert_close(after.detach(), want, rtol=0, atol=1e-13)


def test_fine_tuning_is_gentle_unless_asked_otherwise():
    result = fine_tune(network(), digits(), epochs=3, seed=0, schedule="constant", **QUIET)
    assert result.history["lr"].tolist() == [0.01] * 3


def test_fine_tuning_never_sees_a_noisy_sample():
    one, two = network(), network()
    fine_tune(one, digits(), epochs=3, seed=0, **QUIET)
    fine_tune(two, garbage(digits()), epochs=3, seed=0, **QUIET)
    assert torch.equal(one.classifier.weight, two.classifier.weight)
    assert not torch.equal(one.classifier.weight, network().classifier.weight)


def test_the_default_lengths_are_the_documented_ones():
    few = {"test_size": 1750, "validation_size": 0, "meta_size": 10}
    small = data.load("digits", rate=0.5, seed=3, **few)
    assert len(train_on_meta_set(network(), small, seed=0, **QUIET).history) == 200
    assert len(fine_tune(network(), small, seed=0, **QUIET).history) == 100


# comparison


def untrained(name):
    return lambda _, seed: {name: network(seed)}


def test_a_comparison_has_a_row_for_each_network_and_seed():
    table = compare([untrained("a"), untrained("b")], digits, [3, 4, 5], **HERE)
    assert list(table.columns) == ["method", "seed", "accuracy", "memorised"]
    assert list(zip(table["method"], table["seed"], strict=True)) == [
        (name, seed) for seed in (3, 4, 5) for name in "ab"
    ]
    assert table["accuracy"].between(0, 1).all()


def test_all_recipes_of_a_seed_see_the_same_split_and_that_seed():
    seen, loaded = [], []

    def load_split(seed):
        loaded.append(seed)
        return digits(seed)

    def spy(name):
        def recipe(given, seed):
            seen.append((name, seed, given))
            return {name: network()}

        return recipe

    compare([spy("a"), spy("b")], load_split, [3, 4], **HERE)
    assert loaded == [3, 4]  # once a seed
    assert [(name, seed) for name, seed, _ in seen] == [("a", 3), ("b", 3), ("a", 4), ("b", 4)]
    assert all(given is digits(seed) for _, seed, given in seen)


def test_a_recipe_may_return_several_networks_of_one_run():
    def recipe(_, seed):
        return {"plain": network(seed), "average": network(seed + 10)}

    table = compare([recipe], digits, [3, 4], **HERE)
    assert table["method"].tolist() == ["plain", "average"] * 2


def test_the_numbers_of_a_comparison_are_those_of_the_metrics():
    model = fit(CrossEntropy(), network(), digits(), epochs=8, seed=0, **QUIET).model
    row = compare([lambda *_: {"a": model}], digits, [3], **HERE).iloc[0]
    clean = digits()
    want = metrics.evaluate(model, clean.test.x, clean.test.y, batch_size=512)
    assert row["accuracy"] == want > 0.2
    logits = metrics.predict(model, clean.train.x, batch_size=512)
    remembered = metrics.memorised(logits, clean.train.y, clean.true_labels)
    assert row["memorised"] == remembered > 0


def test_networks_of_another_precision_can_be_compared():
    table = compare([lambda *_: {"a": network().double(), "b": network()}], digits, [3], **HERE)
    accuracy = table.set_index("method")["accuracy"]
    assert accuracy["a"] == pytest.approx(accuracy["b"], abs=2 / 1600)  # a tie or two may differ


def test_recipes_and_seeds_may_be_generators():
    recipes = (untrained(name) for name in "ab")
    assert len(compare(recipes, digits, iter([3, 4]), **HERE)) == 4


def test_numbers_that_come_with_a_network_join_its_row():
    def recipe(_, seed):
        return {"a": (network(), {"error of T": seed / 10}), "b": network()}

    table = compare([recipe], digits, [3, 4], **HERE)
    assert list(table.columns) == ["method", "seed", "accuracy", "memorised", "error of T"]
    assert table.query("method == 'a'")["error of T"].tolist() == [0.3, 0.4]
    assert table.query("method == 'b'")["error of T"].isna().all()


def test_seeds_in_processes_of_their_own_give_the_same_table():
    """Functions defined inside another, as in a notebook, can be sent there."""
    few = {"test_size": 1600, "validation_size": 0, "meta_size": 10}

    def load_split(seed):
        return data.load("digits", rate=0.5, seed=seed, **few)

    def recipe(given, seed):
        model = MLP(64, 10, (8,), seed=seed)
        options = {"epochs": 2, "seed": seed, "device": "cpu", "progress": False}
        return {"a": fit(CrossEntropy(), model, given, **options).model}

    together = compare([recipe], load_split, [3, 4], jobs=2, progress=False)
    one_by_one = compare([recipe], load_split, [3, 4], **HERE)
    # Processes may use another number of threads, so sums another order: a tie or two may differ.
    assert together["seed"].tolist() == one_by_one["seed"].tolist() == [3, 4]
    for column in ("accuracy", "memorised"):
        assert together[column].tolist() == pytest.approx(one_by_one[column].tolist(), abs=0.02)
    assert one_by_one["accuracy"].nunique() == 2


def test_refuses_to_work_with_no_process():
    refused("`jobs` is 0; it must be at least 1", lambda: compare([], digits, [3], jobs=0, **QUIET))


def test_a_comparison_shows_its_progress_when_asked(capsys):
    compare([untrained("a")], digits, [3], jobs=1, progress=True)
    assert "run" in capsys.readouterr().err
    compare([untrained("a")], digits, [3], jobs=1, progress=False)
    assert capsys.readouterr().err == ""


def scores(rows):
    return pd.DataFrame(rows, columns=["method", "seed", "accuracy"])


def test_differences_are_taken_pair_by_pair():
    """By hand, with the rows in disorder and a third method that does not matter."""
    table = scores(
        [("b", 4, 0.5), ("a", 3, 0.75), ("c", 9, 0.1), ("a", 4, 0.25), ("b", 3, 0.625)]
    ).query("method != 'c'")
    got = paired_difference(table, "a", "b")
    want = pd.Series([0.125, -0.25], index=pd.Index([3, 4], name="seed"), name="a - b")
    assert_series_equal(got, want, check_exact=True)
    assert_series_equal(paired_difference(table, "b", "a"), -want, check_names=False)


def test_a_method_does_not_differ_from_itself():
    table = scores([("a", 3, 0.75), ("a", 4, 0.25)])
    assert paired_difference(table, "a", "a").tolist() == [0, 0]


def test_differences_vary_less_than_accuracies_when_seeds_are_hard_or_easy():
    """Why pairs: what a seed does to both methods cancels."""
    easy = {3: 0.5, 4: 0.7, 5: 0.9}
    rows = [
        (m, s, level + gain) for s, level in easy.items() for m, gain in (("a", 0.05), ("b", 0))
    ]
    table = scores(rows)
    assert table.query("method == 'a'")["accuracy"].std() > 0.1
    assert paired_difference(table, "a", "b").std() < 1e-12


def test_refuses_a_method_that_is_not_in_the_table():
    table = scores([("a", 3, 0.75), ("b", 3, 0.25)])
    refused(
        "`method` is 'MLC'; it must be one of ['a', 'b']",
        lambda: paired_difference(table, "MLC", "a"),
    )
    refused("`reference` is 'CE'; it must be one of", lambda: paired_difference(table, "a", "CE"))


def test_refuses_methods_that_were_not_run_on_the_same_seeds():
    table = scores([("a", 3, 0.75), ("a", 4, 0.5), ("a", 5, 0.5), ("b", 3, 0.25)])
    text = "`table` lacks a run of 'a' or 'b' for seeds [4, 5]"
    refused(text, lambda: paired_difference(table, "a", "b"))


def test_refuses_a_table_with_two_runs_of_one_method_and_seed():
    table = scores([("a", 3, 0.75), ("a", 3, 0.5), ("b", 3, 0.25)])
    refused("`table` holds 'a' twice for seed 3", lambda: paired_difference(table, "a", "b"))
