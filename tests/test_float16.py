"""Tests of ``precision="float16"``: scaled losses, skipped steps, and methods that cannot."""

import properties
import pytest
import torch
import torch.nn.functional as F
from helpers import assert_same, mlp, refused
from helpers import digits as split
from methods import LINES, problem_of
from torch.testing import assert_close

from nlmeta import MLC, CrossEntropy, fit
from nlmeta.data import Batch
from nlmeta.methods.base import descend, scaled_by
from nlmeta.training import measure

PROBLEM = problem_of(split(), mlp)


def run(method, model, **options):
    defaults = {"epochs": 2, "seed": 0, "progress": False, "device": "cpu", "precision": "float16"}
    return fit(method, model, split(), **{**defaults, **options})


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_each_method_is_trained_in_float16_or_refused_by_name(line):
    model = mlp(1)
    method = line.build(PROBLEM, model)
    if not method.scalable:
        text = f"in which losses must be scaled, and {line.kind.__name__} is not made for that"
        refused(text, lambda: run(method, model))
        return
    before = mlp(1).state_dict()
    result = run(method, model, lr=0.01)
    assert result.history["loss"].notna().all()
    moved = [not torch.equal(p, before[n]) for n, p in model.named_parameters()]
    assert all(moved)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_what_looks_ahead_is_not_scalable_and_what_takes_one_loss_is():
    kinds = {line.kind.__name__: line.build(PROBLEM, mlp(1)).scalable for line in LINES}
    names = {"MLC", "MSLG", "CLIDMU", "MLNT", "LearningToReweight", "Captured"}
    assert not any(kinds[name] for name in names)
    names = {"CrossEntropy", "GeneralisedCrossEntropy", "ForwardCorrection", "GoldLossCorrection"}
    assert all(kinds[name] for name in {*names, "CoTeaching", "ELR"})


def batch(n=64):
    return Batch(split().train.x[:n], split().train.y[:n])


def gradients(scaler, factor=1.0, autocast=True):
    """The gradient that the optimiser's hooks see in a step on a multiple of the cross-entropy."""
    model, found = mlp(1), {}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.register_step_pre_hook(
        lambda *_: found.update({n: p.grad.clone() for n, p in model.named_parameters()})
    )
    with torch.autocast("cpu", torch.float16, enabled=autocast), scaled_by(scaler):
        descend(optimizer, factor * F.cross_entropy(model(batch().x), batch().y))
    return found


def test_a_scaled_loss_leaves_the_gradient_and_keeps_what_float16_would_round_to_zero():
    small = 1e-5  # of the loss: its slopes are below the smallest number of float16, 6e-8
    want = gradients(None, small, autocast=False)
    scaled = gradients(torch.amp.GradScaler("cpu"), small)
    plain = gradients(None, small)
    for name, gradient in want.items():
        assert gradient.abs().max() > 0
        assert_close(scaled[name], gradient, rtol=0, atol=0.02 * gradient.abs().max().item())
    first = next(iter(want))
    assert (plain[first] - want[first]).norm() > 0.5 * want[first].norm()


def test_a_step_with_an_infinite_gradient_is_left_out_and_halves_the_scale():
    model, scaler = mlp(1), torch.amp.GradScaler("cpu", init_scale=2.0**60)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch.autocast("cpu", torch.float16), scaled_by(scaler):
        CrossEntropy().step(model, optimizer, batch())
    assert scaler.get_scale() == 2.0**59
    assert_same(model, mlp(1))


def test_outside_the_block_no_loss_is_scaled():
    scaler = torch.amp.GradScaler("cpu")
    with pytest.raises(ZeroDivisionError), scaled_by(scaler):
        raise ZeroDivisionError
    found, want = gradients(None, autocast=False), gradients(None, autocast=False)
    assert all(torch.equal(found[name], want[name]) for name in want)
    assert scaler.state_dict()["_growth_tracker"] == 0


@pytest.mark.parametrize("growth", [2000, 3])
def test_a_run_in_float16_can_be_resumed_bit_for_bit(growth, tmp_path, monkeypatch):
    """With a scale that grows within the run, too."""

    def scaler(device):
        return torch.amp.GradScaler(device.type, growth_interval=growth)

    monkeypatch.setattr("nlmeta.training.run.loss_scaler", lambda precision, device: scaler(device))

    def train(seed, **given):
        return run(CrossEntropy(), mlp(seed), epochs=5, **given)

    properties.resumes_bit_for_bit(train, tmp_path / "run.pt", stop=4)
    state = torch.load(tmp_path / "run.pt", weights_only=True)["scaler"]
    assert (state["scale"] > 65536) == (growth == 3)


def test_float16_trains_as_well_as_float32():
    half, whole = (
        run(CrossEntropy(), mlp(1), epochs=20, precision=precision).history["loss"].iloc[-1]
        for precision in ("float16", "float32")
    )
    assert half == pytest.approx(whole, rel=0.05)
    assert half < 2.0  # of log 10 at the start


def test_measuring_in_float16_is_measuring_under_autocast():
    model = mlp(1).eval()
    found = measure(model, split(), parts=["test"], precision="float16")["accuracy"]
    with torch.autocast("cpu", torch.float16):
        logits = model(split().test.x)
    assert found == (logits.argmax(1) == split().test.y).double().mean().item()
    refused("'bfloat16', 'float16'", lambda: measure(model, split(), precision="half"))


def test_the_refusal_says_what_to_use():
    text = "use 'bfloat16' on a GPU that computes in it, or 'float32'"
    refused(text, lambda: run(MLC(10, virtual_lr=0.1, transition_lr=1.0), mlp(1)))
