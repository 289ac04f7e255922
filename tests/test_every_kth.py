"""The meta step at every k-th step alone."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from nlmeta import bilevel, fit
from nlmeta.data import Batch, load
from nlmeta.methods import CLIDMU, EMA, MLC, MLNT, MSLG, Captured, CrossEntropy, EveryKth, WeightNet
from nlmeta.models import MLP

SPLIT = partial(load, "digits", noise="symmetric", rate=0.5, meta_size=20, seed=4)


def network(seed=1):
    return MLP(64, 10, (16,), seed=seed)


def methods(split):
    model = network()
    return {
        "MLC": MLC(10, virtual_lr=0.1, transition_lr=10.0),
        "MSLG": MSLG(split.train.y, 10, virtual_lr=0.5, label_lr=400.0),
        "CLID-MU": CLIDMU(WeightNet(seed=2), head_lr=0.1, virtual_lr=0.1),
        "MLNT": MLNT(model, network(5), trial_lr=0.1, meta_weight=1.0, trials=2, seed=3),
    }


def run(wrap, name, *, epochs=2, **options):
    split = SPLIT()
    method = wrap(methods(split)[name])
    given = {"batch_size": 200, "lr": 0.02, "device": "cpu", "progress": False, **options}
    return fit(method, network(), split, epochs=epochs, seed=6, **given)


def same_weights(a, b):
    pairs = zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


@pytest.mark.parametrize("name", ["MLC", "MSLG", "CLID-MU", "MLNT"])
def test_every_first_step_is_the_method_itself(name):
    alone = run(lambda method: method, name)
    wrapped = run(partial(EveryKth, k=1), name)
    assert same_weights(alone, wrapped)


@pytest.mark.parametrize("name", ["MLC", "MSLG", "CLID-MU", "MLNT"])
def test_steps_in_between_move_the_network_and_nothing_that_is_learned_beside_it(name):
    split = SPLIT()
    method = EveryKth(methods(split)[name], 3)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    batches = [
        Batch(split.train.x[rows], split.train.y[rows], rows)
        for rows in torch.arange(200).split(50)
    ]
    meta = Batch(split.meta.x, split.meta.y)
    had_meta_step = []
    for train in batches:
        learned = {
            k: v.clone()
            for k, v in method.state_dict().items()
            if isinstance(v, torch.Tensor) and "teacher" not in k
        }
        weights = [p.detach().clone() for p in model.parameters()]
        seen = method.step(model, optimizer, train, meta)
        had_meta_step.append("meta_loss" in seen)
        moved = any(not torch.equal(v, method.state_dict()[k]) for k, v in learned.items())
        assert moved == had_meta_step[-1]
        assert all(not torch.equal(p, w) for p, w in zip(model.parameters(), weights, strict=True))
    assert had_meta_step == [True, False, False, True]


def test_a_step_in_between_uses_what_was_learned():
    """MLC's ordinary step alone is forward correction with its T, by hand."""
    split = SPLIT()
    transition = 0.7 * torch.eye(10) + 0.03
    mlc = MLC(10, virtual_lr=0.1, transition_lr=10.0, initial=transition, q_floor=0.0)
    model, by_hand = network().double(), network().double()
    mlc.double()
    x, y = split.train.x[:50].double(), split.train.y[:50]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    mlc.ordinary_step(model, optimizer, Batch(x, y))
    q = by_hand(x).softmax(1) @ mlc.transition.detach()
    F.nll_loss(q.log(), y).backward()
    for p, own in zip(by_hand.parameters(), model.parameters(), strict=True):
        assert_close(own.detach(), p.detach() - 0.1 * p.grad, rtol=1e-10, atol=1e-14)


def test_teacher_of_mlnt_follows_in_between():
    split = SPLIT()
    mlnt = methods(split)["MLNT"]
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for rows in torch.arange(90).split(30):
        mlnt.ordinary_step(model, optimizer, Batch(split.train.x[rows], split.train.y[rows]))
    assert mlnt.teacher.n_averaged == 3


def test_resumed_run_equals_the_uninterrupted_one(tmp_path):
    """An epoch has no multiple of k = 3 batches, so the count must be in the checkpoint."""
    assert len(SPLIT().train.y.split(250)) % 3 != 0
    file = tmp_path / "run.pt"
    options = {"batch_size": 250, "schedule": "constant", "warmup_epochs": 0}
    wrap = partial(EveryKth, k=3)
    run(wrap, "MSLG", epochs=1, checkpoint=file, **options)
    state = torch.load(file, weights_only=True)
    state["settings"]["epochs"] = 2  # as if it had been stopped in the middle
    torch.save(state, file)
    resumed = run(wrap, "MSLG", epochs=2, checkpoint=file, resume=True, **options)
    assert same_weights(resumed, run(wrap, "MSLG", epochs=2, **options))
    assert not same_weights(resumed, run(wrap, "MSLG", epochs=1, **options))


def test_ema_of_it_and_lean_lookahead_work_together():
    split = SPLIT()
    lean = MSLG(
        split.train.y, 10, virtual_lr=0.5, label_lr=400.0, mode=bilevel.Lookahead(recompute=True)
    )
    results = [
        fit(
            EMA(EveryKth(method, 2), network(), decay=0.9),
            network(),
            split,
            epochs=1,
            seed=6,
            lr=0.02,
            device="cpu",
            progress=False,
        )
        for method in (lean, methods(split)["MSLG"])
    ]
    assert same_weights(*results)
    assert {"meta_loss", "hypergradient"} <= set(results[0].history)


@pytest.mark.parametrize(
    ("method", "k", "message"),
    [
        (CrossEntropy(), 2, "`method` is CrossEntropy, which has no `ordinary_step`"),
        (
            Captured(CrossEntropy()),
            2,
            "`method` is CrossEntropy, which has no `ordinary_step`",
        ),
        (MLC(3, virtual_lr=0.1, transition_lr=1.0), 0, "`k` is 0"),
    ],
)
def test_wrong_arguments_are_refused_by_name(method, k, message):
    with pytest.raises(ValueError, match=message):
        EveryKth(method, k)
