"""Tests of nlmeta.metrics against counts made by hand."""

import math

import pytest
import torch
from helpers import refused
from torch import nn

from nlmeta import metrics, noise

TRUE = torch.tensor([0, 0, 1, 1, 2, 2, 2])
GIVEN = torch.tensor([0, 1, 1, 2, 2, 0, 1])  # wrong at positions 1, 3, 5, 6
PREDICTED = torch.tensor([0, 1, 0, 1, 2, 0, 0])
# Of the four wrong: 1 and 5 follow the given label, 3 is the truth, 6 is neither.
# Of the three right: 0 and 4 stay right, 2 becomes wrong.


class FirstColumns(nn.Module):
    """Logits are the input's columns; remembers the sizes and the mode it was called in."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.dropout = nn.Dropout()
        self.calls = []

    def forward(self, x):
        self.calls.append((len(x), self.training, torch.is_grad_enabled()))
        return self.dropout(self.norm(x))


def one_hot(classes):
    return nn.functional.one_hot(classes, 3).float()


def test_accuracy_counts_hits():
    assert metrics.accuracy(PREDICTED, TRUE) == 3 / 7
    assert metrics.accuracy(PREDICTED, GIVEN) == 4 / 7


def test_logits_count_by_their_largest_entry():
    logits = one_hot(PREDICTED) - 5
    assert metrics.accuracy(logits, TRUE) == metrics.accuracy(PREDICTED, TRUE)
    assert metrics.memorised(logits, GIVEN, TRUE) == metrics.memorised(PREDICTED, GIVEN, TRUE)
    recovery = metrics.label_recovery(logits, GIVEN, TRUE)
    assert recovery == metrics.label_recovery(PREDICTED, GIVEN, TRUE)


def test_a_short_last_batch_weighs_no_more_than_its_samples():
    """The mean of batch means would be (2/3 + 1/3 + 0/1) / 3 here."""
    model = FirstColumns()
    assert metrics.evaluate(model, one_hot(PREDICTED), TRUE, batch_size=3) == 3 / 7
    assert [size for size, *_ in model.calls] == [3, 3, 1]


def test_evaluation_runs_in_evaluation_mode_and_without_gradients():
    model = FirstColumns()
    statistics = model.norm.running_mean.clone()
    logits = metrics.predict(model, one_hot(PREDICTED), batch_size=4)
    assert model.calls == [(4, False, False), (3, False, False)]
    assert not logits.requires_grad
    assert torch.equal(model.norm.running_mean, statistics)


def test_every_module_returns_to_the_mode_it_came_in():
    model = FirstColumns()
    model.train()
    model.norm.eval()  # frozen by the caller
    metrics.predict(model, one_hot(PREDICTED), batch_size=4)
    assert (model.training, model.dropout.training, model.norm.training) == (True, True, False)


def test_the_modes_return_also_when_the_model_raises():
    model = FirstColumns()
    with pytest.raises(ValueError, match="expected"):
        metrics.predict(model, torch.zeros(4, 3, 2, 2), batch_size=4)
    assert model.dropout.training


def test_memorised_is_the_share_of_wrong_labels_that_are_predicted():
    assert metrics.memorised(PREDICTED, GIVEN, TRUE) == 2 / 4


def test_a_network_that_fits_every_given_label_memorises_all():
    assert metrics.memorised(GIVEN, GIVEN, TRUE) == 1.0
    assert metrics.memorised(TRUE, GIVEN, TRUE) == 0.0


def test_label_recovery_counts_recovered_and_destroyed_labels():
    recovery = metrics.label_recovery(PREDICTED, GIVEN, TRUE)
    assert recovery == {"recovered": 1 / 4, "destroyed": 1 / 3}


def test_a_share_of_no_samples_is_nan():
    assert math.isnan(metrics.memorised(PREDICTED, TRUE, TRUE))
    recovery = metrics.label_recovery(PREDICTED, TRUE, TRUE)
    assert math.isnan(recovery["recovered"])
    assert recovery["destroyed"] == 4 / 7
    all_wrong = metrics.label_recovery(PREDICTED, (TRUE + 1) % 3, TRUE)
    assert math.isnan(all_wrong["destroyed"])
    none = torch.empty(0, dtype=torch.int64)
    assert math.isnan(metrics.accuracy(none, none))
    assert math.isnan(metrics.calibration_error(torch.empty(0, 3), none))


def test_the_identity_is_half_away_from_half_symmetric_noise():
    error = metrics.transition_error(torch.eye(10), noise.symmetric(10, 0.5))
    assert error == pytest.approx(0.5, abs=1e-12)


def test_transition_error_averages_the_rows():
    truth = torch.eye(3, dtype=torch.float64)
    estimate = torch.tensor([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.5, 0.1, 0.4]])
    assert metrics.transition_error(truth, truth) == 0.0
    error = metrics.transition_error(estimate, truth)
    assert error == pytest.approx((0.3 + 0.0 + 0.6) / 3, abs=1e-7)  # the estimate is float32
    assert error == metrics.transition_error(truth, estimate)


def test_transition_error_takes_an_estimate_that_still_has_a_gradient():
    estimate = torch.eye(3, requires_grad=True)
    assert metrics.transition_error(estimate, noise.pair(3, 0.4)) == pytest.approx(0.4, abs=1e-12)


def test_transition_error_is_nan_when_a_class_was_never_seen():
    counted = noise.empirical_transition(torch.tensor([0]), torch.tensor([0]), 2)
    assert math.isnan(metrics.transition_error(counted, torch.eye(2)))


COLUMN = torch.tensor([[0], [1]])


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("labels", lambda: metrics.accuracy(torch.tensor([0, 1]), COLUMN)),
        ("predictions", lambda: metrics.accuracy(COLUMN[..., None], torch.tensor([0, 1]))),
        ("given", lambda: metrics.memorised(torch.tensor([0, 1]), COLUMN, torch.tensor([1, 1]))),
        ("true", lambda: metrics.label_recovery(*torch.tensor([[0, 1], [1, 1]]), COLUMN)),
        ("labels", lambda: metrics.calibration_error(torch.eye(2), COLUMN)),
    ],
)
def test_refuses_labels_in_a_column(name, call):
    """They would be compared with every prediction, not with their own."""
    with pytest.raises(ValueError, match=rf"`{name}` has shape \(2, 1.*; it must be \(N,\)"):
        call()


def two_classes(*first):
    return torch.tensor([[p, 1 - p] for p in first], dtype=torch.float64)


def test_calibration_error_by_hand():
    """Two samples at 0.8, one of them right, and one right at 0.6: (|1.6 - 1| + |0.6 - 1|) / 3."""
    probabilities, labels = two_classes(0.8, 0.8, 0.6), torch.tensor([0, 1, 0])
    error = metrics.calibration_error(probabilities, labels)
    assert error == pytest.approx(1.0 / 3, abs=1e-12)
    one_bin = metrics.calibration_error(probabilities, labels, bins=1)
    assert one_bin == pytest.approx(0.2 / 3, abs=1e-12)


def test_confidence_that_matches_accuracy_has_no_calibration_error():
    probabilities = two_classes(0.75, 0.75, 0.75, 0.75, 1.0)
    labels = torch.tensor([0, 0, 0, 1, 0])
    assert metrics.calibration_error(probabilities, labels) == pytest.approx(0, abs=1e-12)


def test_a_confidence_on_the_edge_belongs_to_the_bin_below():
    """With 2 bins 0.5 is apart from 0.6 and 0.9; in one bin the surpluses would cancel."""
    probabilities, labels = two_classes(0.5, 0.6, 0.9), torch.tensor([1, 0, 0])
    error = metrics.calibration_error(probabilities, labels, bins=2)
    assert error == pytest.approx((0.5 + 0.5) / 3, abs=1e-12)


def test_refuses_logits_where_probabilities_are_needed():
    refused(
        "`probabilities` has row 1 summing to 3; every row must sum to 1 within 0.001",
        lambda: metrics.calibration_error(torch.tensor([[1.0, 0.0], [2.0, 1.0]]), TRUE[:2]),
    )


def test_refuses_tensors_that_do_not_speak_of_the_same_samples():
    text = "`predictions` holds 7 samples and `{}` {}; they must be the same ones"
    refused(text.format("labels", 6), lambda: metrics.accuracy(PREDICTED, TRUE[:6]))
    refused(text.format("given", 5), lambda: metrics.memorised(PREDICTED, GIVEN[:5], TRUE))
    refused(
        "`given` holds 7 samples and `true` 1",
        lambda: metrics.label_recovery(PREDICTED, GIVEN, TRUE[:1]),
    )
    refused(
        "`x` holds 7 samples and `labels` 2",
        lambda: metrics.evaluate(FirstColumns(), one_hot(PREDICTED), TRUE[:2], batch_size=4),
    )


def test_refuses_matrices_of_different_shapes():
    refused(
        "`estimate` has shape (2, 2) and `truth` (3, 3); both must have the same shape (C, C)",
        lambda: metrics.transition_error(torch.eye(2), torch.eye(3)),
    )
    refused(
        "`estimate` has shape (2, 3) and `truth` (2, 3)",
        lambda: metrics.transition_error(torch.ones(2, 3), torch.ones(2, 3)),
    )


def test_refuses_a_batch_size_or_number_of_bins_below_one():
    refused(
        "`batch_size` is 0; it must be at least 1",
        lambda: metrics.predict(FirstColumns(), one_hot(TRUE), batch_size=0),
    )
    refused(
        "`bins` is 0; it must be at least 1",
        lambda: metrics.calibration_error(one_hot(TRUE), TRUE, bins=0),
    )


@pytest.mark.parametrize(
    ("shape", "largest"), [((3, 32, 32), 128), ((3, 256, 256), 2), ((5,), 1024), ((1, 8, 8), 1024)]
)
def test_large_inputs_are_predicted_in_smaller_passes(shape, largest):
    seen = []

    class Counting(torch.nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return x.flatten(1)[:, :2]

    n = largest + 1
    x = torch.zeros(1).expand(n, *shape)
    assert len(metrics.predict(Counting(), x)) == n
    assert seen == [largest, 1]
