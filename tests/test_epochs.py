"""Tests of nlmeta.procedures.epochs: Label Wave and its rivals, one pass an epoch, regret."""

import math

import pandas as pd
import pytest
import torch
from helpers import refused
from torch import nn

from nlmeta import CrossEntropy, data, fit, losses, metrics
from nlmeta.models import MLP, with_features
from nlmeta.procedures import (
    SELECTORS,
    EpochScores,
    KeepEpochs,
    PredictionChanges,
    chosen_epoch,
    regret,
)
from nlmeta.seeding import generator


class Says(nn.Module):
    """Predicts the classes that it is told, for samples numbered by their input."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.classes = torch.zeros(4, dtype=torch.int64)

    def forward(self, x):
        return self.scale * nn.functional.one_hot(self.classes[x[:, 0].long()], 3).float()


NUMBERS = torch.arange(4.0)[:, None]


def course(*rounds, window=1):
    """The scores of networks that predict these classes one after the other."""
    network, score = Says(), PredictionChanges(NUMBERS, window=window)
    found = []
    for classes in rounds:
        network.classes = torch.tensor(classes)
        found.append(score(network))
    return found


def test_the_score_is_the_share_of_predictions_that_changed_since_the_last_epoch():
    got = course([0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 2], [0, 1, 1, 2])
    assert got == [1.0, 0.75, 0.25, 0.0]


def test_once_the_course_has_risen_the_first_local_minimum_is_passed():
    """The fourth epoch changes more than the third; the fifth changes nothing, too late."""
    got = course([0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 2], [1, 1, 1, 1], [1, 1, 1, 1])
    assert got == [1.0, 0.75, 0.25, 1.5, 1.0]
    assert got.index(min(got)) == 2


def test_the_course_is_smoothed_over_a_window():
    got = course([0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 2], [0, 1, 1, 2], window=3)
    assert got == pytest.approx([1.0, 1.75 / 2, 2 / 3, 1 / 3])


def test_a_score_goes_on_from_its_state():
    network, through = Says(), PredictionChanges(NUMBERS)
    rounds = [[0, 0, 0, 0], [0, 1, 1, 1], [2, 1, 1, 1], [2, 2, 2, 2], [2, 2, 2, 1]]
    want, got = [], []
    stopped = PredictionChanges(NUMBERS)
    for number, classes in enumerate(rounds):
        network.classes = torch.tensor(classes)
        want.append(through(network))
        if number == 3:
            state = stopped.state_dict()
            stopped = PredictionChanges(NUMBERS)
            stopped.load_state_dict(state)
        got.append(stopped(network))
    assert got == want


def digits():
    return data.load("digits", noise="symmetric", rate=0.5, meta_size=20, seed=0)


def run(on_epoch, *, epochs=4, network=None, **options):
    model = MLP(64, 10, (32,), seed=0) if network is None else network
    given = {"epochs": epochs, "seed": 0, "device": "cpu", "progress": False, **options}
    return fit(CrossEntropy(), model, digits(), on_epoch=on_epoch, **given)


def test_a_checkpoint_keeps_what_a_score_remembers(tmp_path):
    split = digits()

    def kept():
        model = MLP(64, 10, (32,), seed=0)
        return KeepEpochs(model, {"wave": PredictionChanges(split.train.x)}, keep=2)

    whole, through = kept(), None
    through = run(whole)
    path = tmp_path / "c.pt"
    for seconds in (1e-9, 1e-9, 1e9):
        stopped = kept()
        result = run(stopped, checkpoint=path, resume=True, stop_after=seconds)
    assert result.history["wave"].tolist() == through.history["wave"].tolist()
    assert stopped.epochs("wave") == whole.epochs("wave")


def test_all_scores_come_from_one_pass_and_are_what_they_are_called():
    """Against definitions, sample by sample and batch by batch."""
    split = digits()
    noisy = split.with_noisy_meta(100, seed=1, held_out=True)
    scores = EpochScores(noisy.train.x, held_out=noisy.meta, batch_size=50, seed=3)
    model, method = MLP(64, 10, (32,), seed=0).double(), CrossEntropy()
    x = noisy.train.x.double()
    order = torch.randperm(len(x), generator=generator(3, "epoch scores"))[: len(x) // 50 * 50]
    model.eval()
    first = scores(1, model, method)
    with torch.no_grad():
        logits, features = with_features(model, x[order])
        p = logits.softmax(1)
        assert first["entropy"] == pytest.approx(-(p * p.log()).sum(1).mean().item())
        for name, one_hot in (("divergence", False), ("one_hot_divergence", True)):
            parts = zip(features.split(50), logits.split(50), strict=True)
            values = [losses.cross_layer_divergence(h, z, one_hot=one_hot) for h, z in parts]
            assert first[name] == pytest.approx(torch.stack(values).mean().item())
    assert first["changed"] == 1.0
    held_out = metrics.predict(model, noisy.meta.x)
    assert first["noisy_validation"] == metrics.accuracy(held_out, noisy.meta.y)
    before = logits.argmax(1)
    with torch.no_grad():
        model.classifier.weight.neg_()
        after = with_features(model, x[order])[0].argmax(1)
    second = scores(2, model, method)
    assert second["changed"] == (before != after).double().mean().item() > 0


def test_the_network_goes_over_each_sample_once():
    calls = []
    model = MLP(64, 10, (32,), seed=0)
    model.body.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    EpochScores(digits().train.x, seed=0)(1, model, CrossEntropy())
    assert calls == [100] * (len(digits().train) // 100)


def test_scores_join_the_history_and_go_on_after_a_stop(tmp_path):
    whole = run(EpochScores(digits().train.x, seed=0))
    path = tmp_path / "c.pt"
    for seconds in (1e-9, 1e9):
        scores = EpochScores(digits().train.x, seed=0)
        result = run(scores, checkpoint=path, resume=True, stop_after=seconds)
    columns = ["changed", "entropy", "divergence", "one_hot_divergence"]
    pd.testing.assert_frame_equal(result.history[columns], whole.history[columns])
    assert whole.history["changed"].iloc[0] == 1.0
    assert (whole.history["changed"].iloc[1:] < 1.0).all()


HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3, 4, 5, 6],
        "changed": [1.0, 0.4, 0.2, 0.1, 0.6, 0.3],
        "noisy_validation": [0.2, 0.3, 0.5, 0.4, 0.5, 0.1],
        "entropy": [2.0, 1.5, 1.0, 0.9, 0.8, 0.7],
        "divergence": [4.0, 3.0, 3.5, 3.6, 3.7, 3.8],
        "one_hot_divergence": [4.0, 3.9, 3.8, 3.9, 4.1, 4.2],
        "test_accuracy": [0.5, 0.8, 0.9, 0.85, 0.7, 0.6],
    }
)


@pytest.mark.parametrize(
    ("selector", "epoch"),
    [
        ("last epoch", 6),
        # Averages of three: 1, 0.7, 0.53, 0.23, 0.3, 0.33; the fourth is the first minimum.
        ("Label Wave", 4),
        ("noisy validation", 3),  # of equal ones the first
        ("entropy", 6),
        ("divergence", 2),
        ("one-hot divergence", 3),
    ],
)
def test_a_rule_chooses_an_epoch_and_gives_away_what_the_best_has_more(selector, epoch):
    assert chosen_epoch(HISTORY, selector) == epoch
    accuracy = HISTORY.set_index("epoch")["test_accuracy"]
    assert regret(HISTORY, selector) == pytest.approx(0.9 - accuracy[epoch])


def test_every_rule_is_tested_above():
    marks = test_a_rule_chooses_an_epoch_and_gives_away_what_the_best_has_more.pytestmark
    assert {selector for selector, _ in marks[0].args[1]} == set(SELECTORS)


def test_a_course_that_never_rises_ends_with_its_last_epoch():
    falling = HISTORY.assign(changed=[1.0, 0.5, 0.25, 0.2, 0.1, 0.05])
    assert chosen_epoch(falling, "Label Wave") == 6


def test_what_is_missing_or_unknown_is_refused():
    refused("`selector` is 'best'", lambda: chosen_epoch(HISTORY, "best"))
    refused(
        "`history` has no column 'entropy'",
        lambda: chosen_epoch(HISTORY.drop(columns="entropy"), "entropy"),
    )
    sparse = HISTORY.assign(test_accuracy=[math.nan, 0.8, 0.9, 0.85, 0.7, 0.6])
    refused("train with `evaluate_every=1`", lambda: regret(sparse, "last epoch"))
    refused(
        "`x` holds 4 samples; it must hold at least one batch of 100",
        lambda: EpochScores(NUMBERS, seed=0),
    )
    refused("`window` is 0", lambda: PredictionChanges(NUMBERS, window=0))
