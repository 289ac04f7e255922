"""Tests of nlmeta.experiments.choice: the rule, and what it is told."""

import pytest
import torch

from nlmeta.experiments.choice import choose, highest_mean_validation, stopped_row
from nlmeta.experiments.loading import load_named
from nlmeta.experiments.task import Entry, Place, Problem
from nlmeta.experiments.training_runs import TrainingTable

SETTINGS = [{"lr": 0.3}, {"lr": 0.1}, {"lr": 0.2}]


def tried(means, *, network="a"):
    """For each setting two runs around a mean."""
    return [
        (setting, [[{"method": network, "validation": mean + off}] for off in (0.1, -0.1)])
        for setting, mean in zip(SETTINGS, means, strict=True)
    ]


def test_the_setting_with_the_highest_mean_validation_accuracy_is_chosen():
    assert choose(tried([0.5, 0.6, 0.9])) == {"a": {"lr": 0.2}}


def test_of_equal_settings_the_first_is_chosen():
    assert choose(tried([0.5, 0.75, 0.75])) == {"a": {"lr": 0.1}}


def test_networks_of_one_entry_choose_each_for_itself():
    both = [
        (setting, [[*one, *other] for one, other in zip(a, b, strict=True)])
        for (setting, a), (_, b) in zip(
            tried([0.5, 0.6, 0.9]), tried([0.9, 0.6, 0.5], network="b"), strict=True
        )
    ]
    assert choose(both) == {"a": {"lr": 0.2}, "b": {"lr": 0.3}}


def test_a_setting_with_a_failed_run_is_chosen_last():
    runs = tried([0.9, 0.2, 0.1])
    runs[0][1][1] = []  # the second run of the best one has failed
    assert choose(runs) == {"a": {"lr": 0.1}}


def test_the_rule_is_handed_in():
    def lowest(rows):
        return -highest_mean_validation(rows)

    assert choose(tried([0.5, 0.6, 0.9]), lowest) == {"a": {"lr": 0.3}}


def test_a_choice_of_failures_alone_is_refused():
    with pytest.raises(ValueError, match="none of the 2 settings has a run that ended"):
        choose([({"lr": 1.0}, [[], []]), ({"lr": 2.0}, [[]])])


def test_early_stopping_is_the_accuracy_of_the_chosen_epoch():
    history = {"epoch": [1, 2, 3], "test_accuracy": [0.7, 0.9, 0.5]}
    by_noisy = {**history, "noisy_validation": [0.4, 0.3, 0.2]}
    assert stopped_row(by_noisy, "noisy validation")["accuracy"] == 0.7
    assert stopped_row(history, "last epoch")["accuracy"] == 0.5
    with pytest.raises(ValueError, match="`history` has no column 'noisy_validation'"):
        stopped_row(history, "noisy validation")


def test_a_run_that_stops_early_has_a_row_for_it_beside_its_own():
    problem = Problem(
        name="p",
        load={"name": "digits", "noise": "symmetric", "rate": 0.5, "meta_size": 10},
        network={"name": "mlp", "hidden": [8]},
        training={"epochs": 2, "evaluate_every": 1},
        held_out=100,
    )
    entries = [Entry("a", "cross_entropy", stop="noisy validation"), Entry("b", "cross_entropy")]
    table = TrainingTable("t", "?", problems=[problem], entries=entries, history=True)
    first, second = table.tasks(None)
    assert "stop" not in second.plan  # plans of old records stay what they were
    outcome = first.work(first.plan, 0, Place())
    own, stopped = outcome["rows"]
    history = outcome["history"]["training"]
    assert own["method"] == "a"
    assert stopped == stopped_row(history, "noisy validation")
    assert stopped["accuracy"] in history["test_accuracy"]


def test_labels_by_looks_go_to_the_class_whose_mean_is_next():
    """Those that are wrong lie nearer to the mean of the given class than others do."""
    load = {"noise": "feature-dependent", "rate": 0.2, "predictions": "class means", "seed": 0}
    split = load_named("digits", **load)
    true, x = split.true_labels, split.train.x.flatten(1)
    wrong = true != split.train.y
    assert wrong.float().mean() == pytest.approx(0.2, abs=1e-3)
    means = torch.stack([x[true == c].mean(0) for c in range(10)])
    apart = torch.cdist(x, means).argsort(1)
    second = torch.where(apart[:, 0] == true, apart[:, 1], apart[:, 0])
    assert (split.train.y[wrong] == second[wrong]).float().mean() > 0.9
    with pytest.raises(ValueError, match="`predictions` is 'mine'; it must be one of"):
        load_named("digits", **{**load, "predictions": "mine"})
