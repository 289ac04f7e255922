"""Tests of nlmeta.experiments.choice: the rule, and what it is told."""

import pytest

from nlmeta.experiments.choice import choose, highest_mean_validation

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
