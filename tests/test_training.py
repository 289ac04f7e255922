"""Tests of nlmeta.training: history, seeds, schedule, warm-up, checkpoints, stops, refusals."""

import ast
import contextlib
import dataclasses
import errno
import functools
import inspect
import io
import math
import os
import pickle
import random
import re
import tokenize
from pathlib import Path

import methods
import numpy as np
import pandas as pd
import properties
import pytest
import torch
import torch.nn.functional as F
from helpers import assert_same as assert_same_weights
from helpers import assert_same_run, cnn, mlp, refused, stop_at
from helpers import digits as split
from methods import BY_NAME, problem_of
from pandas.testing import assert_frame_equal
from torch import nn
from tqdm import tqdm

from nlmeta import EMA, MSLG, CrossEntropy, Method, choose_device, data, fit, metrics, presets
from nlmeta.methods import CLIDMU, LabelCrossEntropy, WeightNet
from nlmeta.models import MLP, TextMLP
from nlmeta.training import progress_wanted

STEPS = 3  # a pass over the 177 training samples of `split`: 64, 64 and 49


PROBLEM = problem_of(split(), mlp)
mlc = functools.partial(methods.mlc, PROBLEM)


class Dropping(nn.Module):
    """With dropout, which draws from PyTorch's global generator."""

    def __init__(self, seed=1):
        super().__init__()
        self.first, self.drop = mlp(seed).body, nn.Dropout(0.5)
        self.last = MLP(8, 10, (8,), seed=seed)

    def forward(self, x):
        return self.last(self.drop(self.first(x)))


def run(method=None, model=None, **options):
    method = CrossEntropy() if method is None else method
    model = mlp() if model is None else model
    defaults = {"epochs": 4, "seed": 0, "progress": False, "device": "cpu"}
    return fit(method, model, options.pop("split", split()), **{**defaults, **options})


class Spy(CrossEntropy):
    """Plain training that writes down what it is handed."""

    def __init__(self, needs_meta=False):
        super().__init__()
        self.needs_meta = needs_meta
        self._seen = []

    def step(self, model, optimizer, train, meta=None):
        settings = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
        self._seen.append((settings, train, meta))
        return super().step(model, optimizer, train, meta)

    @property
    def rates(self):
        return [settings["lr"] for settings, _, _ in self._seen]

    @property
    def orders(self):
        """The ids of each pass."""
        ids = [train.ids.tolist() for _, train, _ in self._seen]
        return [sum(ids[i : i + STEPS], []) for i in range(0, len(ids), STEPS)]


# what plain training does


@pytest.mark.parametrize("seed", [0, 1])
def test_plain_training_memorises_80_percent_of_the_wrong_labels_by_the_last_epoch(seed):
    """A benchmark on which plain training does not memorise shows nothing."""
    noisy = data.load("digits", noise="symmetric", rate=0.5, seed=seed)
    # 1,097 samples: the share of wrong labels is within five standard errors of a half.
    assert abs(noisy.wrong.double().mean().item() - 0.5) < 5 * math.sqrt(0.25 / len(noisy.train))
    model = MLP(64, 10, seed=seed)
    options = {"epochs": 60, "seed": seed, "evaluate_every": 60, **presets.DIGITS.training}
    last = run(CrossEntropy(), model, split=noisy, **options).history.iloc[-1]
    assert last["epoch"] == 60
    assert last["memorised"] >= 0.8
    assert last["train_accuracy"] >= 0.8
    before = metrics.predict(MLP(64, 10, seed=seed), noisy.train.x, batch_size=1024)
    assert metrics.memorised(before, noisy.train.y, noisy.true_labels) < 0.2


# history


def test_the_history_has_a_row_an_epoch_and_the_documented_columns():
    history = run(epochs=3).history
    assert history.dtypes.astype(str).to_dict() == {
        "epoch": "int64",
        "lr": "float64",
        "loss": "float64",
        "test_accuracy": "float64",
        "train_accuracy": "float64",
        "memorised": "float64",
        "seconds": "float64",
    }
    assert history["epoch"].tolist() == [1, 2, 3]
    assert (history["seconds"] > 0).all()
    assert history.notna().all(axis=None)


def test_the_history_holds_the_diagnostics_of_the_method_where_it_was_at_work():
    history = run(mlc(), epochs=3, warmup_epochs=2).history
    assert history["meta_loss"].isna().tolist() == [True, True, False]
    assert history["loss"].notna().all()


def test_the_last_row_is_that_of_the_final_network():
    result = run()
    last, noisy = result.history.iloc[-1], split()
    logits = metrics.predict(result.model, noisy.train.x, batch_size=512)
    assert last["train_accuracy"] == metrics.accuracy(logits, noisy.train.y)
    assert last["memorised"] == metrics.memorised(logits, noisy.train.y, noisy.true_labels)
    test = metrics.evaluate(result.model, noisy.test.x, noisy.test.y, batch_size=512)
    assert result.accuracy == last["test_accuracy"] == test
    assert len({last["train_accuracy"], last["memorised"], test}) == 3


def test_the_accuracy_of_a_result_is_that_of_the_last_epoch_and_not_of_the_best():
    history = pd.DataFrame({"test_accuracy": [0.5, 0.9, 0.7]})
    result = dataclasses.replace(run(epochs=1), history=history)
    assert result.accuracy == 0.7
    stopped = dataclasses.replace(result, history=history[:0].drop(columns="test_accuracy"))
    refused("the run was stopped before its first evaluation", lambda: stopped.accuracy)


def test_the_loss_of_an_epoch_is_the_mean_over_its_steps():
    class Counting(Method):
        def step(self, model, optimizer, train, meta=None):
            return {"loss": torch.tensor(float(len(train.y)))}

    assert run(Counting(), epochs=1).history["loss"].tolist() == [(64 + 64 + 49) / 3]


def test_evaluation_is_of_the_network_that_the_method_predicts_with():
    model = mlp()
    result = run(EMA(CrossEntropy(), model, decay=0.95), model, lr=0.5)
    assert result.predictor is result.method.average.module
    test = split().test
    want = metrics.evaluate(result.predictor, test.x, test.y, batch_size=512)
    assert result.accuracy == want
    assert want != metrics.evaluate(result.model, test.x, test.y, batch_size=512)


def test_epochs_that_are_not_evaluated_hold_no_number_and_the_last_always_does():
    history = run(epochs=5, evaluate_every=2).history
    for column in ("test_accuracy", "train_accuracy", "memorised"):
        assert history[column].isna().tolist() == [True, False, True, False, False]
    assert history["loss"].notna().all()


@pytest.mark.parametrize("make", [mlp, cnn, Dropping])
def test_how_often_is_evaluated_does_not_change_the_training(make):
    assert_same_weights(run(model=make()).model, run(model=make(), evaluate_every=3).model)


def test_what_on_epoch_returns_joins_the_history():
    seen = []

    def on_epoch(epoch, model, method):
        seen.append((epoch, type(model), type(method)))
        return {"twice": 2 * epoch, "tensor": torch.tensor(0.5)}

    history = run(epochs=2, on_epoch=on_epoch).history
    assert seen == [(1, MLP, CrossEntropy), (2, MLP, CrossEntropy)]
    assert history["twice"].tolist() == [2.0, 4.0]
    assert history["tensor"].tolist() == [0.5, 0.5]


def test_on_epoch_may_return_nothing():
    """A callback that draws or prints has nothing to add."""
    assert run(epochs=1, on_epoch=lambda *_: None).finished


def test_a_test_part_may_be_empty():
    """Then there is no test accuracy, rather than one of 0."""
    few = data.load("digits", rate=0.5, seed=3, meta_size=20, validation_size=1600, test_size=0)
    for make in (mlp, cnn):
        history = run(model=make(), split=few, epochs=1).history
        assert history["test_accuracy"].isna().all()
        assert history["memorised"].notna().all()


def test_the_loop_fits_on_two_screens():
    """Below 100 lines of code: neither docstring nor comments, nor lines that are empty."""
    source = inspect.getsource(fit)
    docstring = ast.parse(source).body[0].body[0]
    assert ast.get_docstring(ast.parse(source).body[0])
    blank = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {
        line
        for token in tokens
        if token.type not in blank | {tokenize.ENDMARKER}
        for line in range(token.start[0], token.end[0] + 1)
    }
    code = lines - set(range(docstring.lineno, docstring.end_lineno + 1))
    assert 50 < len(code) < 100


# seeds


@pytest.mark.parametrize("make", [mlp, cnn, Dropping])
def test_one_seed_gives_one_history_and_another_seed_another(make):
    first, again, other = (run(model=make(), seed=seed) for seed in (0, 0, 1))
    assert_same_run(first, again)
    assert first.history["loss"].tolist() != other.history["loss"].tolist()


def test_dropout_follows_the_seed_and_not_the_global_generator():
    results = []
    for outside in (1, 2):
        torch.manual_seed(outside)
        results.append(run(model=Dropping(), epochs=2))
    assert_same_run(*results)


@pytest.mark.parametrize("method", [CrossEntropy, mlc], ids=["cross-entropy", "mlc"])
def test_training_leaves_all_global_random_states_as_they_were(method, tmp_path):
    def state():
        numpy_state = np.random.get_state()  # noqa: NPY002  the state of others must not move
        return torch.get_rng_state().tolist(), random.getstate(), str(numpy_state)

    before = state()
    options = {"epochs": 2, "checkpoint": tmp_path / "run.pt", "meta_batch_size": 5}
    run(method(), Dropping(), **options)
    assert state() == before
    run(method(), Dropping(), resume=True, **options)
    assert state() == before


def test_the_global_random_state_comes_back_after_an_interruption_and_an_error():
    for error in (KeyboardInterrupt, ZeroDivisionError):
        before = torch.get_rng_state()
        with contextlib.suppress(ZeroDivisionError):
            run(model=Dropping(), on_epoch=stop_at(2, error))
        assert torch.equal(torch.get_rng_state(), before)


def test_batches_follow_the_seed_and_are_new_in_each_epoch():
    spies = [Spy(), Spy(), Spy()]
    for spy, seed in zip(spies, (0, 0, 1), strict=True):
        run(spy, epochs=2, seed=seed)
    orders = [spy.orders for spy in spies]
    assert sorted(orders[0][0]) == sorted(orders[0][1]) == list(range(177))
    assert orders[0][0] != orders[0][1]
    assert orders[0] == orders[1]
    assert orders[0][0] != orders[2][0]


def test_methods_of_one_seed_see_the_same_batches():
    """So that a comparison is one of methods: what the meta set draws is a stream of its own."""
    plain, with_meta = Spy(), Spy(needs_meta=True)
    run(plain, epochs=2)
    run(with_meta, Dropping(), epochs=2, meta_batch_size=5)
    assert plain.orders == with_meta.orders


def test_batch_size_reaches_the_batches():
    spy = Spy()
    run(spy, epochs=1, batch_size=50)
    assert [len(train.y) for _, train, _ in spy._seen] == [50, 50, 50, 27]


def test_the_whole_meta_set_comes_each_step_unless_a_size_is_given():
    spy = Spy(needs_meta=True)
    run(spy, epochs=1)
    assert all(torch.equal(meta.x, split().meta.x) for _, _, meta in spy._seen)
    spy = Spy(needs_meta=True)
    run(spy, epochs=2, meta_batch_size=5)
    drawn = [meta.ids.tolist() for _, _, meta in spy._seen]
    assert all(len(set(ids)) == 5 for ids in drawn)
    assert len({tuple(ids) for ids in drawn}) == len(drawn)
    for _, _, meta in spy._seen:
        assert torch.equal(meta.y, split().meta.y[meta.ids])


def test_a_method_that_needs_no_clean_samples_gets_none():
    spy = Spy()
    run(spy, epochs=1)
    assert all(meta is None for _, _, meta in spy._seen)


# optimiser and schedule


def test_the_cosine_schedule_starts_at_the_rate_and_ends_next_to_zero():
    spy, steps = Spy(), 4 * STEPS
    history = run(spy, lr=0.3).history
    want = [0.15 * (1 + math.cos(math.pi * k / steps)) for k in range(steps)]
    assert spy.rates == pytest.approx(want, rel=1e-12)
    assert spy.rates[0] == 0.3
    assert spy.rates[steps // 2] == pytest.approx(0.15, rel=1e-12)
    assert 0 < spy.rates[-1] < 0.02 * 0.3
    assert history["lr"].tolist() == spy.rates[STEPS - 1 :: STEPS]  # that of an epoch's last step


def test_the_constant_schedule_stays():
    spy = Spy()
    run(spy, lr=0.3, schedule="constant")
    assert spy.rates == [0.3] * 4 * STEPS


def test_the_rate_falls_to_a_tenth_from_each_of_the_epochs_named_on():
    spy = Spy()
    run(spy, lr=0.3, schedule=(2, 4))
    wanted = [0.3] * STEPS + [0.03] * 2 * STEPS + [0.003] * STEPS
    assert spy.rates == pytest.approx(wanted, rel=1e-12)


def test_epochs_of_a_schedule_that_are_none_are_refused():
    refused("`schedule` is 0; it must be at least 1", lambda: run(schedule=(0, 2)))
    refused("`schedule` is 2.5; it must be an integer", lambda: run(schedule=(2.5,)), TypeError)


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: EMA(m, mlp(), decay=0.5)])
def test_soft_labels_for_another_number_of_samples_are_refused(wrap):
    labels = split().train.y[:-1]
    method = wrap(MSLG(labels, 10, virtual_lr=0.1, label_lr=1.0))
    text = "`method` is made for 176 training samples, and the training part has 177"
    refused(text, lambda: run(method))


def test_a_last_batch_too_small_for_the_method_is_left_out_of_a_pass():
    """177 samples: 64, 64 and 49; the others are in the next pass."""
    for smallest, batches in ((49, 3), (50, 2)):
        spy = Spy()
        spy.smallest_batch = smallest
        run(spy, epochs=1)
        assert len(spy._seen) == batches
    assert EMA(spy, mlp(), decay=0.5).smallest_batch == 50


def test_warm_up_does_not_shift_the_schedule():
    spy, late = Spy(), Spy()
    run(spy)
    run(late, warmup_epochs=2)
    assert late.rates == spy.rates[2 * STEPS :]


def test_momentum_and_weight_decay_reach_the_optimiser():
    spy = Spy()
    run(spy, epochs=1, momentum=0.7, weight_decay=0.03)
    settings = spy._seen[0][0]
    assert (settings["momentum"], settings["weight_decay"]) == (0.7, 0.03)
    assert not settings["nesterov"]


def test_fit_takes_the_steps_of_a_plain_loop():
    """One epoch against SGD on the same batches, in lines of one's own."""
    spy = Spy()
    got = run(spy, epochs=1, schedule="constant", lr=0.1).model
    model = mlp()
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
    optimizer = torch.optim.SGD(model.parameters(), **options)
    for _, train, _ in spy._seen:
        optimizer.zero_grad()
        F.cross_entropy(model(split().train.x[train.ids]), split().train.y[train.ids]).backward()
        optimizer.step()
    assert_same_weights(got, model)


# warm-up


@pytest.mark.parametrize("make", [mlp, cnn, Dropping])
def test_warm_up_to_the_end_is_cross_entropy_bit_for_bit(make):
    plain = run(CrossEntropy(), make())
    warm = run(mlc(), make(), warmup_epochs=4)
    assert_same_weights(plain.model, warm.model)
    histories = [result.history.drop(columns="seconds") for result in (plain, warm)]
    assert_frame_equal(*histories, check_exact=True)
    assert torch.equal(warm.method.transition.detach(), torch.eye(10))


def test_the_method_begins_right_after_warm_up():
    plain, late = run(CrossEntropy()).history, run(mlc(), warmup_epochs=2).history
    assert late["loss"].tolist()[:2] == plain["loss"].tolist()[:2]
    assert late["loss"].tolist()[2] != plain["loss"].tolist()[2]


# the truth stays aside


@pytest.mark.parametrize("make", [CrossEntropy, mlc], ids=["cross-entropy", "mlc"])
def test_training_does_not_depend_on_the_true_labels(make):
    """Replaced by garbage they change what is evaluated against them, and nothing else."""
    honest = split()
    garbage = dataclasses.replace(honest, true_labels=(honest.true_labels + 3) % 10)
    one, two = run(make(), cnn()), run(make(), cnn(), split=garbage)
    assert_same_weights(one.model, two.model)
    assert_same_weights(one.method, two.method)
    dropped = ["seconds", "memorised"]
    histories = [result.history.drop(columns=dropped) for result in (one, two)]
    assert_frame_equal(*histories, check_exact=True)
    assert one.history["memorised"].tolist() != two.history["memorised"].tolist()


def test_a_method_is_handed_given_labels_only():
    class Nosy(Spy):
        def warmup_step(self, model, optimizer, train):
            self._handed.append(train)
            return super().warmup_step(model, optimizer, train)

        _handed = []

    spy, noisy = Nosy(needs_meta=True), split()
    run(spy, epochs=2, warmup_epochs=1, meta_batch_size=5)
    batches = [train for _, train, _ in spy._seen] + spy._handed
    assert len(batches) == 3 * STEPS  # a step of the spy is a warm-up step too
    for batch in batches:
        x, y, ids = batch  # three tensors and no more
        assert torch.equal(x, noisy.train.x[ids])
        assert torch.equal(y, noisy.train.y[ids])
        wrong = noisy.wrong[ids]
        assert wrong.any()
        assert (y[wrong] != noisy.true_labels[ids][wrong]).all()


# BatchNorm


@pytest.mark.parametrize("mode", ["jvp", "fd", "exact"])
def test_running_statistics_move_once_a_step_in_every_mode(mode):
    model = cnn()
    run(mlc(mode=mode), model, epochs=2)
    counts = [
        m.num_batches_tracked.item() for m in model.modules() if isinstance(m, nn.BatchNorm2d)
    ]
    assert counts == [2 * STEPS] * 3


def test_running_statistics_of_mlc_are_those_of_the_ordinary_forward_passes():
    """With rates of zero for T, MLC at the identity is cross-entropy, and so are its statistics."""
    plain, corrected = cnn(), cnn()
    run(CrossEntropy(), plain, epochs=2)
    run(mlc(transition_lr=0.0), corrected, epochs=2)
    for name, buffer in plain.named_buffers():
        # The two losses agree to rounding, which some steps of training carry on.
        torch.testing.assert_close(dict(corrected.named_buffers())[name], buffer)


# checkpoint and resume


RUNS = {
    "cross-entropy": ("cross-entropy", mlp, {}),
    "average": ("EMA", cnn, {}),
    "mlc on part of the meta set": ("MLC", mlp, {"meta_batch_size": 7}),
    "mlc after warm-up": ("MLC", cnn, {"warmup_epochs": 2}),
    "average of mlc": ("EMA of MLC", mlp, {"meta_batch_size": 7, "warmup_epochs": 1}),
    "weights by adam": ("CLID-MU, weights by Adam", mlp, {"meta_batch_size": 7}),
    "multipliers by sgd": ("CLID-MU, multipliers", mlp, {"meta_batch_size": 7}),
    "average of multipliers": ("EMA of multipliers", mlp, {"meta_batch_size": 7}),
    "multipliers in bfloat16": ("CLID-MU, multipliers by Adam", mlp, {"precision": "bfloat16"}),
    "fixmatch with weights": ("FixMatch with CLID-MU", cnn, {"meta_batch_size": 7}),
    "dropout": ("cross-entropy", Dropping, {}),
    "mlc with dropout": ("MLC", Dropping, {"meta_batch_size": 7}),
    "batch norm in float64": ("cross-entropy", cnn, {"precision": "float64"}),
    "bfloat16": ("MLC", mlp, {"precision": "bfloat16"}),
}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("case", RUNS)
def test_a_resumed_run_ends_at_the_numbers_of_an_uninterrupted_one(case, error, tmp_path):
    """On several networks, in all precisions; for each method see `test_every_method.py`."""
    name, make, options = RUNS[case]

    def train(seed, **given):
        model = make(seed)
        method = BY_NAME[name].build(PROBLEM, model)
        return run(method, model, epochs=5, **{**options, **given})

    properties.resumes_bit_for_bit(train, tmp_path / "run.pt", stop=4, error=error)


class Counting:
    """An `on_epoch` that remembers: the epochs it has seen, and a tensor."""

    def __init__(self, stop=None):
        self.stop, self.seen, self.bias = stop, [], torch.zeros(10)

    def __call__(self, epoch, model, method):
        if epoch == self.stop:
            raise KeyboardInterrupt
        self.seen.append(epoch)
        self.bias += model.classifier.bias.detach()
        return {"seen": len(self.seen)}

    def state_dict(self):
        return {"seen": self.seen, "bias": self.bias}

    def load_state_dict(self, state):
        self.seen, self.bias = list(state["seen"]), state["bias"]


@pytest.mark.parametrize("stop", [2, 4])
def test_what_on_epoch_remembers_is_in_the_checkpoint(stop, tmp_path):
    whole, first, second = Counting(), Counting(stop), Counting()
    want, path = run(on_epoch=whole), tmp_path / "run.pt"
    run(checkpoint=path, on_epoch=first)
    assert torch.load(path, weights_only=True)["on_epoch"]["seen"] == list(range(1, stop))
    got = run(model=mlp(2), checkpoint=path, resume=True, on_epoch=second)
    assert_same_run(want, got)
    assert second.seen == whole.seen == [1, 2, 3, 4]
    assert torch.equal(second.bias, whole.bias)


def test_refuses_a_checkpoint_without_what_on_epoch_remembers(tmp_path):
    path = tmp_path / "run.pt"
    run(checkpoint=path, on_epoch=stop_at(3, KeyboardInterrupt))
    text = f"`checkpoint` {str(path)!r} holds no state of `on_epoch`; it was written by"
    assert_refused_and_untouched(path, text, resume=True, on_epoch=Counting())
    assert run(checkpoint=path, resume=True).finished


def test_a_run_stopped_inside_an_epoch_goes_on_from_its_beginning(tmp_path):
    """The batches already drawn in that epoch are drawn again."""
    calls = []

    def stop_at_step(_, given):
        calls.append(len(given[0]))
        if len([n for n in calls if n <= 64]) == 2 * STEPS + 2:  # evaluation has larger batches
            raise KeyboardInterrupt

    model, path = mlp(), tmp_path / "run.pt"
    handle = model.register_forward_pre_hook(stop_at_step)
    stopped = run(model=model, checkpoint=path)
    handle.remove()
    assert not stopped.finished
    assert len(stopped.history) == 2
    second = run(model=model, checkpoint=path, resume=True)
    assert_same_run(run(), second)


def test_a_run_can_be_stopped_again_and_again(tmp_path):
    path = tmp_path / "run.pt"
    for epoch in (2, 3, 4):
        run(mlc(), checkpoint=path, resume=True, on_epoch=stop_at(epoch, KeyboardInterrupt))
    last = run(mlc(), checkpoint=path, resume=True)
    assert_same_run(run(mlc()), last)


def test_resuming_a_finished_run_gives_its_result_again(tmp_path):
    path = tmp_path / "run.pt"
    first = run(mlc(), checkpoint=path)
    written = path.read_bytes()
    again = run(mlc(), mlp(seed=2), checkpoint=path, resume=True)
    assert again.finished
    assert_same_run(first, again)
    assert path.read_bytes() == written


def test_resuming_where_no_checkpoint_is_starts_from_the_beginning(tmp_path):
    path = tmp_path / "new folder" / "run.pt"
    assert_same_run(run(), run(checkpoint=path, resume=True))
    assert path.exists()


def test_writing_checkpoints_does_not_change_the_training(tmp_path):
    assert_same_run(run(mlc(), Dropping()), run(mlc(), Dropping(), checkpoint=tmp_path / "run.pt"))


def test_a_checkpoint_may_be_named_by_a_string(tmp_path):
    path = os.fspath(tmp_path / "run.pt")
    run(checkpoint=path, epochs=1)
    assert os.listdir(tmp_path) == ["run.pt"]  # and no half-written file stays


def test_a_run_with_numbers_of_numpy_can_be_resumed(tmp_path):
    """Seeds come from `np.arange`, rates from `np.geomspace`."""
    options = {"seed": np.int64(3), "lr": np.float64(0.05), "checkpoint": tmp_path / "run.pt"}
    options |= {"momentum": np.float64(0.8), "weight_decay": np.float64(1e-3)}
    options |= {"schedule": np.array([2, 3]), "batch_size": np.int64(32)}
    first = run(**options)
    assert_same_run(first, run(model=mlp(2), resume=True, **options))


# stops


def test_ctrl_c_keeps_what_was_done(tmp_path, capsys):
    path = tmp_path / "run.pt"
    result = run(checkpoint=path, on_epoch=stop_at(3, KeyboardInterrupt))
    assert not result.finished
    assert result.history["epoch"].tolist() == [1, 2]
    want = run().history.iloc[:2].drop(columns="seconds")
    assert_frame_equal(result.history.drop(columns="seconds"), want, check_exact=True)
    assert result.accuracy == want["test_accuracy"].iloc[-1]
    said = capsys.readouterr().out
    assert f"stopped after 2 of 4 epochs; resume=True continues from {str(path)!r}" in said
    state = torch.load(path, weights_only=True)
    assert len(state["rows"]) == 2


def test_ctrl_c_without_a_checkpoint_does_not_promise_one(capsys):
    result = run(on_epoch=stop_at(2, KeyboardInterrupt))
    assert not result.finished
    assert "stopped after 1 of 4 epochs\n" in capsys.readouterr().out


def test_a_whole_run_is_finished():
    assert run(epochs=1).finished


class Breaking(CrossEntropy):
    """A diagnostic that stops being finite at one step."""

    def __init__(self, at, value, name="meta_loss"):
        super().__init__()
        self._at, self._value, self._name, self._taken = at, value, name, 0

    def step(self, model, optimizer, train, meta=None):
        self._taken += 1
        value = self._value if self._taken == self._at else 1.0
        return {**super().step(model, optimizer, train), self._name: torch.tensor(value)}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_ends_the_run_and_says_where(value, tmp_path):
    path = tmp_path / "run.pt"
    text = f"Breaking: `meta_loss` is {value} at step 2 of epoch 3"
    method = Breaking(at=2 * STEPS + 2, value=value)
    refused(text, lambda: run(method, checkpoint=path), FloatingPointError)
    assert len(torch.load(path, weights_only=True)["rows"]) == 2
    resumed = run(Breaking(at=0, value=0.0), checkpoint=path, resume=True)
    assert_same_weights(resumed.model, run().model)


def test_a_learning_rate_that_is_too_large_ends_the_run_with_advice():
    text = re.escape("CrossEntropy: `loss` is ") + r"(nan|inf) at step \d+ of epoch 1; a smaller"
    with pytest.raises(FloatingPointError, match=text):
        run(lr=1e30)


def test_a_network_that_the_last_step_broke_is_no_result():
    """Its logits are not numbers, and the largest of those is said to be class 0."""
    with pytest.raises(FloatingPointError):
        run(lr=1e38, schedule="constant", epochs=1, batch_size=177)


# files that are no checkpoint of this run


def assert_refused_and_untouched(path, text, **options):
    before, neighbours = path.read_bytes(), sorted(os.listdir(path.parent))
    model = options.pop("model", None) or mlp()
    refused(text, lambda: run(model=model, checkpoint=path, **options))
    assert path.read_bytes() == before
    assert sorted(os.listdir(path.parent)) == neighbours


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_refuses_a_truncated_checkpoint_and_leaves_it(share, tmp_path):
    path = tmp_path / "run.pt"
    run(checkpoint=path, epochs=1)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    text = f"`checkpoint` {str(path)!r} cannot be read as a checkpoint; it is truncated, or was"
    assert_refused_and_untouched(path, text, resume=True)


@pytest.mark.parametrize(
    "content", [{"model": {}}, {"format": 0}, [1, 2], torch.zeros(3)], ids=["a", "b", "c", "d"]
)
def test_refuses_a_foreign_torch_file_and_leaves_it(content, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    text = f"`checkpoint` {str(path)!r} is not a checkpoint of this version of `nlmeta.fit`"
    assert_refused_and_untouched(path, text, resume=True)


def test_refuses_a_file_that_is_no_torch_file(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("nothing of torch", encoding="utf-8")
    text = f"`checkpoint` {str(path)!r} cannot be read as a checkpoint"
    assert_refused_and_untouched(path, text, resume=True)


class Code:
    """Unpickling this would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("write", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
def test_refuses_a_pickle_with_code_and_does_not_run_it(write, tmp_path):
    path, trap = tmp_path / "run.pt", tmp_path / "trap"
    write({"format": 1, "settings": Code(os.fspath(trap))}, path)
    text = f"`checkpoint` {str(path)!r} cannot be read as a checkpoint"
    assert_refused_and_untouched(path, text, resume=True)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("seed", {"seed": 1}),
        ("epochs", {"epochs": 5}),
        ("lr", {"lr": 0.06}),
        ("batch_size", {"batch_size": 32}),
        ("meta_batch_size", {"meta_batch_size": 5}),
        ("momentum", {"momentum": 0.8}),
        ("weight_decay", {"weight_decay": 0.0}),
        ("schedule", {"schedule": "constant"}),
        ("warmup_epochs", {"warmup_epochs": 1}),
        ("precision", {"precision": "bfloat16"}),
        ("split", {"split": split(seed=4)}),
        ("method.q_floor", {"method": mlc(q_floor=0.5)}),
        ("method.name", {"method": CrossEntropy()}),
    ],
)
def test_refuses_the_checkpoint_of_another_run_and_names_the_setting(name, other, tmp_path):
    path = tmp_path / "run.pt"
    run(mlc(), checkpoint=path, epochs=4, on_epoch=stop_at(2, KeyboardInterrupt))
    model = mlp()
    text = f"`checkpoint` {str(path)!r} belongs to another run: there `{name}` is "
    assert_refused_and_untouched(path, text, model=model, resume=True, **{"method": mlc(), **other})
    if name != "precision":
        assert_same_weights(model, mlp())


def test_a_matrix_stands_in_a_checkpoint_as_a_digest(tmp_path):
    """As text, one of 100 classes would take 200 kB in each message and in each file."""
    path, options = tmp_path / "run.pt", {"epochs": 1, "checkpoint": tmp_path / "run.pt"}
    run(mlc(initial=torch.full((10, 10), 0.1)), **options)
    settings = torch.load(path, weights_only=True)["settings"]["method"]
    assert re.fullmatch(r"\(10, 10\), SHA-256 [0-9a-f]{64}", settings["initial"])
    other = mlc(initial=torch.eye(10).roll(1, 0))
    text = f"`checkpoint` {str(path)!r} belongs to another run: "
    text += "there `method.initial` is '(10, 10), SHA"
    assert_refused_and_untouched(path, text, method=other, resume=True, epochs=1)


def test_refuses_the_checkpoint_of_another_network(tmp_path):
    path = tmp_path / "run.pt"
    run(checkpoint=path)
    text = f"`checkpoint` {str(path)!r} belongs to another run: there `network` is 'MLP, "
    assert_refused_and_untouched(path, text, model=MLP(64, 10, (9,), seed=1), resume=True)
    assert_refused_and_untouched(path, text, model=cnn(), resume=True)


def test_refuses_the_checkpoint_of_a_network_of_the_same_size_and_other_layers(tmp_path):
    """As many parameters, so only the layers themselves can tell."""
    path = tmp_path / "run.pt"
    run(model=nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Identity()), checkpoint=path)
    text = f"`checkpoint` {str(path)!r} belongs to another run: there `layers.1` is 'Linear("
    model = nn.Sequential(nn.Flatten(), nn.Identity(), nn.Linear(64, 10))
    assert_refused_and_untouched(path, text, model=model, resume=True)


def test_refuses_to_write_over_a_file_that_is_there(tmp_path):
    path, model = tmp_path / "run.pt", mlp()
    path.write_text("precious", encoding="utf-8")
    text = f"`checkpoint` {str(path)!r} exists; pass resume=True to continue that run, or name"
    assert_refused_and_untouched(path, text, model=model)
    assert_same_weights(model, mlp())


def broken_at(rows, error):
    """`torch.save`, which breaks off in the middle of the file at the given number of epochs."""
    whole = torch.save

    def save(state, file):
        if len(state["rows"]) == rows:
            file.write(b"half a file")
            raise error
        whole(state, file)

    return save


def assert_whole_and_continued(path, rows):
    """The checkpoint holds so many epochs, and the run goes on from there to its own numbers."""
    assert len(torch.load(path, weights_only=True)["rows"]) == rows
    assert_same_run(run(), run(checkpoint=path, resume=True))
    assert os.listdir(path.parent) == [path.name]


def test_a_crash_while_writing_leaves_the_last_whole_checkpoint(tmp_path, monkeypatch):
    path, full = tmp_path / "run.pt", OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(torch, "save", broken_at(3, full))
    text = (
        f"No space left on device: `checkpoint` {str(path)!r} could not be written after epoch 3; "
        "it still holds epoch 2, and resume=True continues from there"
    )
    with pytest.raises(OSError, match=re.escape(text)) as raised:
        run(checkpoint=path)
    assert raised.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["run.pt"]
    assert_whole_and_continued(path, 2)


@pytest.mark.parametrize("error", [OSError("no space left"), PermissionError(errno.EACCES, "no")])
def test_the_first_checkpoint_that_cannot_be_written_leaves_nothing(error, tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    monkeypatch.setattr(torch, "save", broken_at(1, error))
    text = f"`checkpoint` {str(path)!r} could not be written after epoch 1; there was none before"
    refused(text, lambda: run(checkpoint=path), type(error))
    assert os.listdir(tmp_path) == []


def test_a_resumed_run_that_cannot_write_says_what_the_checkpoint_holds(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    run(checkpoint=path, on_epoch=stop_at(3, KeyboardInterrupt))
    monkeypatch.setattr(torch, "save", broken_at(3, OSError("no space left")))
    refused("it still holds epoch 2", lambda: run(checkpoint=path, resume=True), OSError)
    monkeypatch.undo()
    assert_whole_and_continued(path, 2)


def test_a_file_that_the_system_cuts_off_is_told_by_its_reason(tmp_path):
    """PyTorch's own error, of positions in a file, would hide it."""
    resource = pytest.importorskip("resource")
    before, path = resource.getrlimit(resource.RLIMIT_FSIZE), tmp_path / "run.pt"

    def on_epoch(epoch, model, method):
        if epoch == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 2, before[1]))
        return {}

    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)) as raised:
            run(checkpoint=path, on_epoch=on_epoch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.errno == errno.EFBIG
    assert_whole_and_continued(path, 2)


def hidden(error):
    """`torch.save`, which ends a file that was broken off with an error of its own."""

    def save(state, file):
        try:
            raise error
        finally:
            raise RuntimeError("unexpected pos 704 vs 598")

    return save


def test_what_broke_a_file_off_is_told_and_not_how_pytorch_ended_it(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "save", hidden(OSError(errno.ENOSPC, "No space left on device")))
    refused("No space left on device", lambda: run(checkpoint=tmp_path / "run.pt"), OSError)
    monkeypatch.setattr(torch, "save", hidden(KeyboardInterrupt()))
    assert not run(checkpoint=tmp_path / "run.pt").finished


def test_an_error_that_is_none_of_the_disk_stays_what_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "save", broken_at(1, RuntimeError("no such storage")))
    refused("no such storage", lambda: run(checkpoint=tmp_path / "run.pt"), RuntimeError)


@pytest.mark.parametrize("twice", [False, True])
def test_ctrl_c_while_a_checkpoint_is_written_leaves_the_last_whole_one(
    twice, tmp_path, monkeypatch, capsys
):
    """The second one comes while what was written of the new file is removed."""
    path = tmp_path / "run.pt"
    monkeypatch.setattr(torch, "save", broken_at(3, KeyboardInterrupt()))
    if twice:
        monkeypatch.setattr(Path, "unlink", lambda *_, **__: broken_off())
    result = run(checkpoint=path)
    assert not result.finished
    assert result.history["epoch"].tolist() == [1, 2, 3]
    said = f"stopped after 3 of 4 epochs; resume=True continues from {str(path)!r}, after epoch 2"
    assert said in capsys.readouterr().out
    monkeypatch.undo()
    left = ["run.pt", "run.pt.part"] if twice else ["run.pt"]
    assert sorted(os.listdir(tmp_path)) == left
    assert_whole_and_continued(path, 2)


def broken_off():
    raise KeyboardInterrupt


def test_ctrl_c_a_second_time_before_the_first_is_told_leaves_the_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    monkeypatch.setattr(tqdm, "write", lambda *_: broken_off())
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=path, on_epoch=stop_at(3, KeyboardInterrupt))
    assert_whole_and_continued(path, 2)


# precision and device


@pytest.mark.parametrize("make", [CrossEntropy, mlc], ids=["cross-entropy", "mlc"])
def test_float64_reaches_network_and_method_and_agrees_with_float32(make):
    single, double = run(make()), run(make(), precision="float64")
    assert double.model.classifier.weight.dtype == torch.float64
    assert all(p.dtype == torch.float64 for p in double.method.parameters())
    losses = single.history["loss"], double.history["loss"]
    assert losses[0].tolist() != losses[1].tolist()
    # Twelve steps at a loss of about 2.3: rounding of float32 is carried on, not blown up.
    assert losses[0].tolist() == pytest.approx(losses[1].tolist(), rel=1e-4)


@pytest.mark.parametrize("make", [CrossEntropy, mlc], ids=["cross-entropy", "mlc"])
def test_bfloat16_is_autocast_and_leaves_the_weights_in_float32(make):
    seen = []
    model = mlp()
    model.classifier.register_forward_hook(lambda *a: seen.append((model.training, a[-1].dtype)))
    half, single = run(make(), model, precision="bfloat16"), run(make())
    assert model.classifier.weight.dtype == torch.float32
    assert set(seen) == {(True, torch.bfloat16), (False, torch.bfloat16)}  # and evaluated so
    losses = half.history["loss"].tolist(), single.history["loss"].tolist()
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)  # 8 bits: 2^-8 is 0.4 %, a few of them


def test_finite_differences_are_refused_under_autocast():
    call = functools.partial(run, mlc(mode="fd"), precision="bfloat16")
    refused("mode='fd' under autocast would return rounding errors", call, RuntimeError)


def test_the_network_and_the_split_of_the_caller_keep_their_place():
    """The network is trained in place; the split is copied to where it is needed."""
    noisy, model = split(), mlp()
    x, y = noisy.train.x.clone(), noisy.train.y.clone()
    result = run(model=model, precision="float64")
    assert result.model is model
    assert noisy.train.x.dtype == torch.float32
    assert torch.equal(noisy.train.x, x)
    assert torch.equal(noisy.train.y, y)


def test_the_cpu_can_be_named_and_is_taken_where_nothing_faster_is(monkeypatch):
    assert choose_device("cpu") == choose_device(torch.device("cpu")) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device() == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device() == torch.device("mps")


def test_cuda_comes_first_and_gets_its_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert choose_device() == choose_device("cuda") == torch.device("cuda", 1)
    assert choose_device("cuda:0") == torch.device("cuda", 0)
    refused(
        "`device` is 'cuda:2'; this machine has no such device", lambda: choose_device("cuda:2")
    )


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "mps"])
def test_refuses_a_device_that_this_machine_lacks(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    text = f"`device` is {device!r}; this machine has no such device"
    refused(text, lambda: choose_device(device))
    refused(text, lambda: run(device=device))


@pytest.mark.parametrize("device", ["gpu", "cpu:x", "", "meta", "cuda:-1"])
def test_refuses_a_device_that_is_unknown(device):
    text = f"`device` is {device!r}; it must be 'cpu', 'mps', 'cuda' or, with a number"
    refused(text, lambda: choose_device(device))
    refused(text, lambda: run(device=device))


# arguments


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"epochs": 0}, "`epochs` is 0; it must be at least 1"),
        ({"batch_size": 0}, "`batch_size` is 0; it must be at least 1"),
        ({"evaluate_every": 0}, "`evaluate_every` is 0; it must be at least 1"),
        ({"lr": 0}, "`lr` is 0; it must be a finite number above 0"),
        ({"lr": math.inf}, "`lr` is inf; it must be a finite number above 0"),
        ({"momentum": 1.5}, "`momentum` is 1.5; it must lie in [0, 1]"),
        ({"weight_decay": -1}, "`weight_decay` is -1; it must be a finite number, not negative"),
        ({"schedule": "step"}, "`schedule` is 'step'; it must be one of 'cosine', 'constant'"),
        ({"precision": "half"}, "`precision` is 'half'; it must be one of 'float32', 'float64'"),
        ({"warmup_epochs": 5}, "`warmup_epochs` is 5; it must lie in 0 to 4"),
        ({"warmup_epochs": -1}, "`warmup_epochs` is -1; it must"),
        ({"seed": -1}, "`seed` is -1; it must be at least 0"),
    ],
)
def test_refuses_arguments_outside_their_range_and_trains_nothing(options, text):
    model = mlp()
    refused(text, lambda: run(model=model, **options))
    assert_same_weights(model, mlp())


def test_refuses_numbers_that_are_no_integers():
    refused("`epochs` is 2.0; it must be an integer", lambda: run(epochs=2.0), TypeError)
    refused("`seed` is None; it must be an integer", lambda: run(seed=None), TypeError)


def test_refuses_a_method_that_needs_clean_samples_where_there_are_none():
    sizes = {"meta_size": 0, "validation_size": 0, "test_size": 1600}
    bare = data.load("digits", rate=0.5, seed=3, **sizes)
    text = "`split` has an empty meta set; MLC needs meta samples"
    refused(text, lambda: run(mlc(), split=bare))
    model = mlp()
    refused("empty meta set; EMA", lambda: run(EMA(mlc(), model, decay=0.5), model, split=bare))
    assert run(split=bare, epochs=1).finished


def without_class(c):
    whole = split()
    stays = whole.meta.y != c
    meta = dataclasses.replace(whole.meta, x=whole.meta.x[stays], y=whole.meta.y[stays])
    return dataclasses.replace(whole, meta=meta)


def test_refuses_a_meta_set_without_a_class_where_its_labels_are_looked_at():
    text = "`split` has a meta set without class 4; MLC learns from the meta labels"
    refused(text, lambda: run(mlc(), split=without_class(4)))
    judged_by_labels = CLIDMU(WeightNet(6, seed=1), head_lr=0.1, objective=LabelCrossEntropy())
    text = "`split` has a meta set without class 0; CLIDMU learns from the meta labels"
    refused(text, lambda: run(judged_by_labels, split=without_class(0)))
    model = mlp()
    text = "`split` has a meta set without class 9; EMA learns from the meta labels"
    refused(text, lambda: run(EMA(mlc(), model, decay=0.5), model, split=without_class(9)))


def test_a_class_may_be_missing_where_no_meta_label_is_looked_at():
    for method in (methods.clid_mu(PROBLEM), CrossEntropy()):
        assert run(method, split=without_class(4), epochs=1).finished


def test_refuses_a_meta_batch_of_no_samples_by_the_name_of_the_argument():
    text = "`meta_batch_size` is 0; it must be at least 1"
    refused(text, lambda: run(mlc(), meta_batch_size=0))


def test_refuses_a_warm_up_of_a_fraction_of_an_epoch():
    text = "`warmup_epochs` is 1.5; it must be an integer"
    refused(text, lambda: run(warmup_epochs=1.5), TypeError)


def test_refuses_to_resume_from_nowhere():
    refused("`resume` is True", lambda: run(resume=True, epochs=1))


# progress


def test_progress_follows_the_environment_unless_it_is_asked_for(monkeypatch):
    monkeypatch.delenv("NLMETA_PROGRESS", raising=False)
    assert progress_wanted()
    monkeypatch.setenv("NLMETA_PROGRESS", "0")
    assert not progress_wanted()
    assert progress_wanted(True)
    monkeypatch.setenv("NLMETA_PROGRESS", "1")
    assert progress_wanted()
    assert not progress_wanted(False)


@pytest.mark.parametrize(("environment", "asked"), [("1", None), ("0", True)])
def test_a_bar_shows_method_epochs_loss_and_accuracy(environment, asked, monkeypatch, capsys):
    monkeypatch.setenv("NLMETA_PROGRESS", environment)
    run(epochs=2, progress=asked)
    shown = capsys.readouterr().err
    for text in ("CrossEntropy", "/2 ", "loss=", "test_accuracy="):
        assert text in shown


@pytest.mark.parametrize(("environment", "asked"), [("0", None), ("1", False)])
def test_no_bar_is_shown_when_none_is_wanted(environment, asked, monkeypatch, capsys):
    monkeypatch.setenv("NLMETA_PROGRESS", environment)
    run(epochs=1, progress=asked)
    assert capsys.readouterr() == ("", "")


def test_windows_of_words_stay_words():
    """Inputs of int64 address rows of an embedding; as floats they would be refused."""
    given = split()
    g = torch.Generator().manual_seed(0)
    words = {}
    for part in ("train", "meta", "validation", "test"):
        y = getattr(given, part).y
        tags = torch.randint(3, (len(y), 3), generator=g)  # a window of three words
        tags[:, 1] = y  # the one in the middle tells the class
        words[part] = data.Samples(tags, y)
    text = dataclasses.replace(given, **words)
    result = run(mlc(), TextMLP(10, 10, dimension=8, hidden=(16,), seed=1), split=text, epochs=8)
    assert text.to("cpu", torch.float32).train.x.dtype == torch.int64
    assert result.accuracy > result.history["test_accuracy"].iloc[0]


def test_a_run_stops_at_the_end_of_an_epoch_when_its_time_is_up_and_goes_on(tmp_path, capsys):
    """To the numbers of a run that had all the time."""
    whole = run(epochs=3)
    path = tmp_path / "c.pt"
    lengths = []
    for seconds in (1e-9, 1e-9, 1e9):
        result = run(epochs=3, checkpoint=path, resume=True, stop_after=seconds)
        lengths.append((len(result.history), result.finished))
    assert lengths == [(1, False), (2, False), (3, True)]
    without_seconds = [r.history.drop(columns="seconds") for r in (whole, result)]
    pd.testing.assert_frame_equal(*without_seconds)
    assert "stopped after 1 of 3 epochs" in capsys.readouterr().out


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_no_time_at_all_is_refused(seconds):
    with pytest.raises(ValueError, match="`stop_after` is"):
        run(epochs=1, stop_after=seconds)
