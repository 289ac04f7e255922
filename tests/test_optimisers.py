"""Tests of `optimizer`, `schedule` and `lr_warmup_epochs` of `fit`."""

import math

import properties
import pytest
import torch
import torch.nn.functional as F
from helpers import assert_same as assert_same_weights
from helpers import assert_same_run, mlp, refused
from helpers import digits as split
from methods import BY_NAME, problem_of

from nlmeta import CrossEntropy, fit
from nlmeta.procedures import fine_tune
from nlmeta.training.optimisers import rate_factor

PROBLEM = problem_of(split(), mlp)
STEPS = 3  # a pass over the 177 training samples of `split`: 64, 64 and 49


def run(method=None, model=None, **options):
    method = CrossEntropy() if method is None else method
    defaults = {"epochs": 4, "seed": 0, "progress": False, "device": "cpu"}
    return fit(method, model or mlp(), split(), **{**defaults, **options})


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.1)


class Spy(CrossEntropy):
    """Plain training that writes down the rates and the batches."""

    def step(self, model, optimizer, train, meta=None):
        self._seen = [*getattr(self, "_seen", []), [g["lr"] for g in optimizer.param_groups]]
        self._batches = [*getattr(self, "_batches", []), train]
        return super().step(model, optimizer, train, meta)


def test_sgd_by_a_function_is_the_sgd_of_the_options():
    def sgd(parameters):
        return torch.optim.SGD(parameters, lr=0.1, momentum=0.5, weight_decay=1e-3)

    plain = run(lr=0.1, momentum=0.5, weight_decay=1e-3)
    assert_same_run(run(optimizer=sgd), plain)
    assert plain.history["loss"].iloc[-1] < plain.history["loss"].iloc[0]


def test_adamw_takes_the_steps_of_a_loop_by_hand():
    spy, by_hand = Spy(), mlp()
    trained = run(spy, optimizer=adamw, epochs=2, schedule="constant").model
    own = adamw(by_hand.parameters())
    for batch in spy._batches:
        own.zero_grad()
        F.cross_entropy(by_hand(batch.x), batch.y).backward()
        own.step()
    assert_same_weights(trained, by_hand)


def test_the_schedule_multiplies_the_rate_of_each_group():
    def two_rates(parameters):
        return torch.optim.Adam([{"params": parameters[:2]}, {"params": parameters[2:], "lr": 0.5}])

    spy = Spy()
    history = run(spy, optimizer=two_rates, epochs=2, schedule="cosine").history
    factors = [0.5 * (1 + math.cos(math.pi * i / (2 * STEPS))) for i in range(2 * STEPS)]
    assert spy._seen == [[1e-3 * factor, 0.5 * factor] for factor in factors]
    assert history["lr"].tolist() == [1e-3 * factors[STEPS - 1], 1e-3 * factors[-1]]


@pytest.mark.parametrize(
    "name", ["cross-entropy", "MLC", "MSLG", "CLID-MU, weights", "Co-teaching"]
)
def test_a_run_with_adamw_and_a_warm_up_can_be_resumed_bit_for_bit(name, tmp_path):
    def train(seed, **given):
        model = mlp(seed)
        method = BY_NAME[name].build(PROBLEM, model)
        options = {"optimizer": adamw, "lr_warmup_epochs": 1.5, "epochs": 5}
        return run(method, model, **{**options, **given})

    properties.resumes_bit_for_bit(train, tmp_path / "run.pt", stop=3)


def rates(**options):
    """The rates of all steps as shares of the full one."""
    spy = Spy()
    run(spy, lr=1.0, momentum=0.0, **options)
    return [rate for (rate,) in spy._seen]


def test_the_rate_rises_in_equal_parts_and_the_cosine_begins_after_it():
    rising = [(i + 1) / 6 for i in range(6)]
    falling = [0.5 * (1 + math.cos(math.pi * i / 6)) for i in range(6)]
    assert rates(lr_warmup_epochs=2) == pytest.approx(rising + falling, abs=1e-12)
    assert rates(lr_warmup_epochs=2, schedule="constant") == pytest.approx(rising + [1] * 6)
    drops = [1] * 3 + [0.1] * 9
    product = [a * b for a, b in zip(rising + [1] * 6, drops, strict=True)]
    assert rates(lr_warmup_epochs=2, schedule=[2]) == pytest.approx(product)
    assert rates(lr_warmup_epochs=1 / 3)[:2] == rates()[:1] * 2  # one step, then the cosine's first
    assert rates(lr_warmup_epochs=4)[-1] == 1.0  # the whole run


def test_without_a_warm_up_the_rates_are_what_they_were():
    for epochs, steps in ((3, 7), (200, 391)):
        for schedule in ("cosine", "constant", [2]):
            settings = {"epochs": epochs, "schedule": schedule, "lr_warmup_epochs": 0.0}
            for epoch, step in ((1, 0), (2, 3), (epochs, steps - 1)):
                done = ((epoch - 1) * steps + step) / (epochs * steps)
                cosine = 0.5 * (1 + math.cos(math.pi * done))
                drop = 0.1 if epoch >= 2 else 1.0
                expected = {"cosine": cosine, "constant": 1.0}.get(str(schedule), drop)
                assert rate_factor(settings, epoch, step, steps) == expected


def test_a_run_is_not_continued_with_another_optimiser(tmp_path):
    path = tmp_path / "run.pt"
    run(optimizer=adamw, epochs=2, checkpoint=path)

    def other(parameters):
        return torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.2)

    for changed in ({"optimizer": other}, {}):
        text = "there `optimizer` is \"AdamW of [{'lr': 0.003, 'betas': (0.9, 0.999)"
        refused(text, lambda c=changed: run(epochs=2, checkpoint=path, resume=True, **c))
    text = "there `lr_warmup_epochs` is 0.0, here 1"
    again = {"epochs": 2, "checkpoint": path, "resume": True, "optimizer": adamw}
    refused(text, lambda: run(lr_warmup_epochs=1, **again))
    assert run(**again).finished


def test_fine_tuning_takes_an_optimiser_or_a_rate():
    options = {"epochs": 3, "seed": 0, "progress": False, "device": "cpu"}
    small = fine_tune(mlp(), split(), **options).history["lr"]
    assert small.iloc[0] == 0.01
    assert fine_tune(mlp(), split(), lr=0.1, **options).history["lr"].iloc[0] == 0.1
    assert fine_tune(mlp(), split(), optimizer=adamw, **options).history["lr"].iloc[0] == 3e-3
    both = {**options, "optimizer": adamw, "lr": 0.1}
    refused("`lr` is 0.1 and `optimizer` is given", lambda: fine_tune(mlp(), split(), **both))


REFUSALS = {
    "a name": ("AdamW", TypeError, "`optimizer` is 'AdamW'; it must be a function of the param"),
    "an optimiser": (
        adamw([torch.nn.Parameter(torch.ones(1))]),
        TypeError,
        "`optimizer` is AdamW; it must be a function of the parameters that returns their optim",
    ),
    "no optimiser": (lambda p: p, TypeError, "`optimizer` returned a list; it must return a"),
    "LBFGS": (
        torch.optim.LBFGS,
        TypeError,
        "`optimizer` is LBFGS, whose step evaluates the loss several times by itself",
    ),
    "others' parameters": (
        lambda p: adamw([torch.nn.Parameter(torch.ones(1))]),
        ValueError,
        "an optimiser of parameters that are not the network's",
    ),
    "no rate": (
        lambda p: torch.optim.AdamW(p, lr=torch.tensor(1e-3)),
        ValueError,
        "`optimizer` returned a AdamW with the rate tensor(0.0010); `lr` must be a number",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_is_no_optimiser_of_the_network_is_refused(what):
    optimizer, error, text = REFUSALS[what]
    refused(text, lambda: run(optimizer=optimizer), error)


@pytest.mark.parametrize(("name", "value"), [("lr", 0.1), ("momentum", 0.0), ("weight_decay", 0)])
def test_options_of_sgd_beside_an_optimiser_are_refused(name, value):
    text = f"`{name}` is {value} and `optimizer` is given, which has options of its own"
    refused(text, lambda: run(optimizer=adamw, **{name: value}))


def test_a_warm_up_of_the_rate_outside_the_run_is_refused():
    refused("`lr_warmup_epochs` is 5; it must lie in 0 to 4", lambda: run(lr_warmup_epochs=5))
    refused("`lr_warmup_epochs` is -1", lambda: run(lr_warmup_epochs=-1))
