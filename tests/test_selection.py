"""Checkpoints chosen without labels: the score, what is kept, and what it becomes."""

import copy
import functools
import math

import pytest
import torch
from helpers import assert_same, cnn, digits, mlp, refused, weights
from torch import nn
from torch.testing import assert_close

from nlmeta import EMA, CrossEntropy, fit, losses, metrics
from nlmeta.models import MLP
from nlmeta.procedures import Ensemble, KeepEpochs, divergence_score
from nlmeta.seeding import generator


def inputs(n=25):
    return digits().test.x[:n]


# the score


@pytest.mark.parametrize("options", [{}, {"temperature": 0.2}, {"one_hot": True}])
def test_the_score_is_the_mean_divergence_of_whole_batches(options):
    """25 inputs are two batches of 10; five are left out, since values depend on the size."""
    model, x = cnn(), inputs()
    order = torch.randperm(25, generator=generator(4, "divergence"))
    model.eval()
    want = []
    for rows in (order[:10], order[10:20]):
        logits, features = model(x[rows], return_features=True)
        want.append(losses.cross_layer_divergence(features, logits, **options).item())
    got = divergence_score(model, x, batch_size=10, seed=4, **options)
    assert got == pytest.approx(sum(want) / 2, rel=1e-6)  # float32
    assert want[0] != want[1]


def test_the_score_leaves_the_network_and_all_modes_as_they_were():
    model = cnn().train()
    model.body[1].eval()
    modes, before = [m.training for m in model.modules()], weights(model)
    divergence_score(model, inputs(), batch_size=10, seed=0)
    assert [m.training for m in model.modules()] == modes
    assert_same(weights(model), before)


def test_the_score_follows_its_seed_and_not_the_global_generator():
    scores = []
    for outside, seed in ((1, 0), (2, 0), (2, 1)):
        torch.manual_seed(outside)
        before = torch.get_rng_state()
        scores.append(divergence_score(cnn(), inputs(), batch_size=10, seed=seed))
        assert torch.equal(torch.get_rng_state(), before)
    assert scores[0] == scores[1] != scores[2]


def test_one_batch_of_everything_does_not_depend_on_the_seed():
    scores = [divergence_score(cnn().double(), inputs(), batch_size=25, seed=s) for s in (0, 1)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-12)


def test_a_score_of_a_batch_size_of_a_hundred_and_a_temperature_of_a_half_is_the_default():
    model, x = cnn(), digits().test.x[:300]
    want = divergence_score(model, x, batch_size=100, temperature=0.5, one_hot=False, seed=0)
    assert divergence_score(model, x, seed=0) == want


def test_a_network_that_knows_nothing_has_a_score_of_about_log_b():
    """An untrained network's predictions are near uniform: log 100 = 4.605."""
    score = divergence_score(MLP(64, 10, seed=0), digits().test.x, seed=0)
    assert score == pytest.approx(math.log(100), abs=0.1)


def test_refuses_a_score_of_less_than_one_batch():
    text = "`x` holds 25 samples; it must hold at least `batch_size` 26"
    refused(text, lambda: divergence_score(mlp(), inputs(), batch_size=26, seed=0))
    refused("`batch_size` is 0", lambda: divergence_score(mlp(), inputs(), batch_size=0, seed=0))
    text = "`temperature` is 0; it must be above 0"
    call = functools.partial(divergence_score, mlp(), inputs(), batch_size=5, seed=0)
    refused(text, lambda: call(temperature=0))


# the ensemble


def test_an_ensemble_adds_up_logits():
    members, x = [mlp(1), mlp(2), cnn(3).eval()], inputs()
    got = metrics.predict(Ensemble(members), x, batch_size=25)
    assert_close(got, sum(member(x) for member in members), rtol=1e-5, atol=1e-6)


def test_an_ensemble_of_one_is_that_network():
    model, x = cnn(), inputs()
    want = metrics.predict(model, x, batch_size=25)
    assert torch.equal(metrics.predict(Ensemble([model]), x, batch_size=25), want)


def test_an_ensemble_of_nothing_is_refused():
    refused("`members` is empty", lambda: Ensemble([]))


# what is kept


def given(values):
    """A score that says what the epoch is told to be worth."""
    values = iter(values)
    return lambda network: next(values)


def kept_of(values, model=None, *, keep=3, last=2, epochs=None, method=None):
    """A run of plain training under a made-up score, and the weights after each epoch."""
    model = mlp() if model is None else model
    method = CrossEntropy() if method is None else method
    keeper = KeepEpochs(model, {"worth": given(values)}, keep=keep, last=last)
    after = {}

    def on_epoch(epoch, network, method):
        after[epoch] = weights(method.predictor(network))
        return keeper(epoch, network, method)

    options = {"progress": False, "device": "cpu", "on_epoch": on_epoch}
    result = fit(method, model, digits(), epochs=epochs or len(values), seed=0, **options)
    return keeper, after, result


WORTH = [3.0, 1.0, 5.0, 2.0, 4.0, 2.0]


@pytest.mark.parametrize("make", [mlp, cnn])
def test_the_networks_of_the_lowest_epochs_are_kept_best_first(make):
    """Of two with the same score, 4 and 6, the earlier comes first."""
    keeper, after, _ = kept_of(WORTH, make())
    assert keeper.epochs("worth") == [2, 4, 6]
    assert_same(weights(keeper.best("worth")), after[2])
    members = keeper.ensemble("worth").members
    for member, epoch in zip(members, (2, 4, 6), strict=True):
        assert_same(weights(member), after[epoch])
    assert not torch.equal(after[2]["classifier.bias"], after[4]["classifier.bias"])


def test_the_last_networks_are_kept_whatever_their_scores():
    keeper, after, result = kept_of(WORTH)
    members = keeper.last_ensemble().members
    for member, epoch in zip(members, (5, 6), strict=True):
        assert_same(weights(member), after[epoch])
    assert_same(weights(members[1]), weights(result.model))


def test_scores_join_the_history_under_their_names():
    _, _, result = kept_of(WORTH)
    assert result.history["worth"].tolist() == WORTH


def test_several_scores_are_kept_apart():
    model = mlp()
    scores = {"up": given([1, 2, 3, 4]), "down": given([4, 3, 2, 1])}
    keeper = KeepEpochs(model, scores, keep=1, last=1)
    run = {"epochs": 4, "seed": 0, "progress": False, "on_epoch": keeper}
    history = fit(CrossEntropy(), model, digits(), **run).history
    assert (keeper.epochs("up"), keeper.epochs("down")) == ([1], [4])
    assert history[["up", "down"]].values.tolist() == [[1, 4], [2, 3], [3, 2], [4, 1]]
    assert sorted(keeper.state_dict()["states"]) == [1, 4]  # nothing else takes up memory


def test_a_score_is_of_the_network_that_the_method_predicts_with():
    model = mlp()
    method = EMA(CrossEntropy(), model, decay=0.9)
    keeper, after, result = kept_of([2.0, 1.0], model, method=method)
    assert_same(weights(keeper.best("worth")), weights(result.predictor))
    assert not torch.equal(after[2]["classifier.bias"], model.classifier.bias)


def test_what_is_handed_out_is_a_copy():
    keeper, after, _ = kept_of(WORTH)
    with torch.no_grad():
        for p in keeper.best("worth").parameters():
            p.zero_()
    assert_same(weights(keeper.best("worth")), after[2])


def test_what_is_handed_out_can_be_trained_on():
    keeper, after, _ = kept_of(WORTH)
    model = keeper.best("worth")
    fit(CrossEntropy(), model, digits(), epochs=1, seed=0, progress=False)
    assert not torch.equal(model.classifier.bias, after[2]["classifier.bias"])


def test_networks_in_float64_come_back_in_float64():
    model = cnn()
    keeper = KeepEpochs(model, {"worth": given([2, 1])})
    options = {"precision": "float64", "on_epoch": keeper, "progress": False}
    fit(CrossEntropy(), model, digits(), epochs=2, seed=0, **options)
    assert_same(weights(keeper.best("worth")), weights(model))
    assert keeper.best("worth").classifier.weight.dtype == torch.float64


def test_keeping_epochs_does_not_change_the_training():
    plain, watched = cnn(), cnn()
    options = {"epochs": 3, "seed": 0, "progress": False}
    fit(CrossEntropy(), plain, digits(), **options)
    score = functools.partial(divergence_score, x=digits().train.x, batch_size=50, seed=0)
    keeper = KeepEpochs(watched, {"clid": lambda network: score(network)})
    fit(CrossEntropy(), watched, digits(), on_epoch=keeper, **options)
    assert_same(weights(plain), weights(watched))


def test_divergence_in_a_run_is_that_of_the_network_afterwards():
    model = cnn()
    score = functools.partial(divergence_score, x=digits().train.x, batch_size=50, seed=0)
    keeper = KeepEpochs(model, {"clid": lambda network: score(network)})
    options = {"epochs": 3, "seed": 0, "progress": False, "on_epoch": keeper}
    history = fit(CrossEntropy(), model, digits(), **options).history
    assert score(model) == history["clid"].iloc[-1]
    assert score(keeper.best("clid")) == history["clid"].min()


# checkpoints


class Stopping(KeepEpochs):
    """Breaks a run off after the steps of an epoch, before it is recorded."""

    stop_at = None

    def __call__(self, epoch, model, method):
        if epoch == self.stop_at:
            raise KeyboardInterrupt
        return super().__call__(epoch, model, method)


def scored(path, *, model=None, stop_at=None, resume=False):
    """A run that is scored by something that a network alone decides."""
    model = cnn() if model is None else model
    keeper = Stopping(model, {"size": lambda n: n.classifier.bias.sum().item()}, keep=2, last=2)
    keeper.stop_at = stop_at
    options = {"checkpoint": path, "resume": resume, "on_epoch": keeper, "progress": False}
    return keeper, fit(CrossEntropy(), model, digits(), epochs=5, seed=0, **options)


@pytest.mark.parametrize("stop_at", [2, 4, 5])
def test_a_resumed_run_keeps_what_an_uninterrupted_one_keeps(stop_at, tmp_path):
    whole, _ = scored(tmp_path / "whole.pt")
    _, first = scored(tmp_path / "run.pt", stop_at=stop_at)
    assert not first.finished
    again, _ = scored(tmp_path / "run.pt", model=cnn(seed=2), resume=True)
    assert again.epochs("size") == whole.epochs("size")
    assert_same(weights(again.ensemble("size")), weights(whole.ensemble("size")))
    assert_same(weights(again.last_ensemble()), weights(whole.last_ensemble()))
    assert again.values == whole.values


def test_a_finished_run_that_is_resumed_still_hands_out_its_networks(tmp_path):
    """No epoch is left to run, so all comes from the checkpoint."""
    path = tmp_path / "run.pt"
    first, _ = scored(path)
    again, _ = scored(path, model=cnn(seed=2), resume=True)
    assert_same(weights(again.best("size")), weights(first.best("size")))


def test_refuses_the_state_of_other_scores_or_sizes():
    state = KeepEpochs(mlp(), {"a": given([])}).state_dict()
    for other in (
        KeepEpochs(mlp(), {"b": given([])}),
        KeepEpochs(mlp(), {"a": given([])}, keep=6),
        KeepEpochs(mlp(), {"a": given([])}, last=1),
    ):
        refused("`state` has scores, `keep` and `last`", lambda o=other: o.load_state_dict(state))
    KeepEpochs(mlp(), {"a": given([])}).load_state_dict(copy.deepcopy(state))


# refusals


def test_refuses_a_name_that_is_no_score_and_asks_for_a_run_first():
    keeper = KeepEpochs(mlp(), {"clid": given([])})
    refused("`name` is 'loss'; it must be one of ['clid']", lambda: keeper.best("loss"))
    refused("no epoch was scored yet", lambda: keeper.best("clid"))
    refused("no epoch was scored yet", keeper.last_ensemble)


def test_refuses_to_serve_two_runs():
    keeper, _, _ = kept_of(WORTH)
    text = "`epoch` is 1 after 6; make a new KeepEpochs for each run"
    refused(text, lambda: keeper(1, mlp(), CrossEntropy()))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_refuses_a_score_that_is_no_number(value):
    text = f"the score 'worth' is {value} after epoch 2"
    refused(text, lambda: kept_of([1.0, value, 2.0]), FloatingPointError)


@pytest.mark.parametrize("options", [{"keep": 0}, {"last": 0}])
def test_refuses_to_keep_nothing(options):
    refused("is 0; it must be at least 1", lambda: KeepEpochs(nn.Linear(1, 1), {}, **options))
