"""Step sizes named "auto": what they do not depend on, how far they go, what `fit` tells them."""

import pytest
import torch
import torch.nn.functional as F
from helpers import assert_same_run, stop_at
from torch.testing import assert_close

from nlmeta import EMA, MLC, MSLG, bilevel, data, fit
from nlmeta.data import Batch
from nlmeta.methods import CLIDMU, Captured, EveryKth, LabelHead, LinearLabelNet, WeightNet
from nlmeta.methods.step_sizes import HEAD_RATE, LABEL_REACH, label_step, of_unit_length
from nlmeta.methods.transition_steps import REACH, transition_step
from nlmeta.models import MLP

N = 12
ROWS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def root_mean_square(rows):
    return rows.square().sum(1).mean().sqrt().item()


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_scale_of_a_gradient_has_no_effect(scale, dtype):
    """Also where its squares are zero or infinite in the type."""
    want = of_unit_length(ROWS.to(dtype))
    assert root_mean_square(want) == pytest.approx(1)
    assert_close(of_unit_length((scale * ROWS).to(dtype)), want)


def test_no_gradient_is_no_step():
    assert of_unit_length(torch.zeros(3, 2)).tolist() == [[0, 0]] * 3


def test_classes_in_which_nothing_happens_do_not_change_the_step():
    """The size is that of whole rows, and not of their entries, of which there may be many."""
    wide = torch.cat([ROWS, torch.zeros(6, 96, dtype=torch.float64)], dim=1)
    assert_close(of_unit_length(wide)[:, :4], of_unit_length(ROWS))


def test_a_number_is_the_gradients_plain_multiple():
    assert_close(label_step(ROWS, 3.0, unit=5.0, visits=None), 3 * ROWS)
    assert_close(transition_step(ROWS, 3.0), 3 * ROWS)


@pytest.mark.parametrize("visits", [1, 4, 25])
def test_all_visits_together_move_labels_by_no_more_than_the_reach(visits):
    """The ways of the samples, in root mean square; to the limit if gradients are of one size."""
    draw = torch.Generator().manual_seed(1)
    way, even = torch.zeros(N), torch.zeros(N)
    for _ in range(visits):
        for ids in torch.randperm(N, generator=draw).split(4):
            gradient = torch.randn(4, 3, generator=draw) * torch.rand(4, 1, generator=draw)
            way[ids] += label_step(gradient, "auto", unit=5.0, visits=visits).norm(dim=1)
            same = gradient / gradient.norm(dim=1, keepdim=True)
            even[ids] += label_step(same, "auto", unit=5.0, visits=visits).norm(dim=1)
    assert 0.5 * LABEL_REACH * 5 < way.square().mean().sqrt() <= LABEL_REACH * 5
    assert_close(even, torch.full((N,), LABEL_REACH * 5))


def test_rows_of_t_move_by_the_reach():
    assert root_mean_square(transition_step(1e-6 * ROWS, "auto")) == pytest.approx(REACH)


class Louder:
    """Cross-entropy of the meta labels times a number."""

    uses_labels = True

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, network, meta):
        return self.factor * F.cross_entropy(network(meta.x), meta.y)


def a_step(method):
    """What is learned after a step in float64."""
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(N, 1, 8, 8, generator=draw, dtype=torch.float64)
    train = Batch(x[:8], torch.tensor([0, 1, 2, 0, 1, 2, 0, 0]), torch.arange(8))
    meta = Batch(x[8:], torch.tensor([0, 1, 2, 2]))
    model = MLP(64, 3, (16,), seed=5).double()
    method.double().step(model, torch.optim.SGD(model.parameters(), lr=0.1), train, meta)
    return method.transition if isinstance(method, MLC) else method.memory.logits


def mlc(factor=1.0, **options):
    options = {"virtual_lr": 0.5, "transition_lr": "auto", **options}
    return MLC(3, objective=Louder(factor), **options)


def mslg(factor=1.0, **options):
    options = {"virtual_lr": 0.5, "label_lr": "auto", "visits": 5, **options}
    given = torch.arange(N) % 3
    return MSLG(given, 3, objective=Louder(factor), **options)


@pytest.mark.parametrize("build", [mlc, mslg])
def test_a_louder_judge_and_a_longer_batch_loss_leave_the_step(build):
    """With a number the step is a thousand times as long."""
    assert_close(a_step(build(1000.0)), a_step(build()), rtol=1e-9, atol=1e-12)
    number = {"transition_lr": 1e-3} if build is mlc else {"label_lr": 1.0}
    assert (a_step(build(1000.0, **number)) - a_step(build(**number))).abs().max() > 1e-6


def test_the_scale_of_the_inner_loss_and_the_number_of_classes_leave_the_labels_step():
    """Mean over entries, with a virtual step C times as long: the same virtual network."""
    want = a_step(mslg(scale="samples", virtual_lr=0.5))
    got = a_step(mslg(scale="entries", virtual_lr=1.5))
    assert_close(got, want, rtol=1e-9, atol=1e-12)


def test_a_moved_label_is_where_the_rule_says():
    before = mslg().memory.logits.double()
    moved = a_step(mslg()) - before
    assert (moved[8:] == 0).all()  # not in the batch
    assert root_mean_square(moved[:8]) == pytest.approx(LABEL_REACH * 10 / 5)  # K / visits


def test_a_loop_of_ones_own_has_to_say_how_often_it_comes_by():
    with pytest.raises(ValueError, match="`visits` is None and `label_lr` is 'auto'"):
        a_step(mslg(visits=None))


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: mslg(label_lr="fast"), ValueError, "`label_lr` is 'fast'; .* or 'auto'"),
        (lambda: mslg(label_lr=-1.0), ValueError, "`label_lr` is -1.0"),
        (lambda: mslg(label_lr=None), TypeError, "`label_lr` is None; it must be a number"),
        (lambda: mslg(visits=0), ValueError, "`visits` is 0; it must be a finite number above 0"),
        (lambda: mlc(transition_lr="fast"), ValueError, "`transition_lr` is 'fast'"),
        (lambda: clid_mu(head_lr="fast"), ValueError, "`head_lr` is 'fast'"),
        (
            lambda: CLIDMU(WeightNet(seed=0), head_lr="auto"),
            ValueError,
            "`head_lr` is 'auto' and `head_optimizer` is 'sgd'",
        ),
    ],
)
def test_other_words_are_refused_by_name(build, error, text):
    with pytest.raises(error, match=text):
        build()


def clid_mu(**options):
    options = {"head_lr": "auto", "head_optimizer": "adam", **options}
    return CLIDMU(WeightNet(seed=0), **options)


def test_a_heads_rate_is_one_for_all():
    assert clid_mu().head_lr == HEAD_RATE
    assert LabelHead(LinearLabelNet(4, 3, seed=0), head_lr="auto").head_lr == HEAD_RATE
    assert clid_mu(head_lr=0.25).head_lr == 0.25


def split(kind="symmetric", **options):
    options = {"meta_size": 100, "seed": 0, "rate": 0.4, **options}
    return data.load("digits", noise=kind, **options)


def network():
    return MLP(64, 10, (16,), seed=0)


def train(method, data=None, **options):
    options = {"epochs": 3, "warmup_epochs": 1, "progress": False, "device": "cpu", **options}
    here = split() if data is None else data
    return fit(
        method, MLP(64, 10, (16,), seed=options.get("seed", 0)), here, **{"seed": 0} | options
    )


def visits_after(wrap, epochs=3):
    inside = MSLG(split().train.y, 10, virtual_lr=0.5, label_lr="auto")
    train(wrap(inside), epochs=epochs, warmup_epochs=1, evaluate_every=epochs)
    return inside.visits


def test_fit_says_in_how_many_epochs_it_takes_the_methods_step():
    assert visits_after(lambda method: method) == 2
    assert visits_after(lambda method: EMA(Captured(method), network(), decay=0.9)) == 2
    assert visits_after(lambda method: EveryKth(method, 4)) == 0.5


def test_fit_leaves_a_number_as_it_was():
    method = MSLG(split().train.y, 10, virtual_lr=0.5, label_lr=1.0)
    train(method)
    assert method.visits is None
    assert "visits" not in method.settings


@pytest.mark.parametrize("sequence", ["look-first", "act-first"])
def test_a_run_with_auto_resumes_bit_for_bit(sequence, tmp_path):
    def run(**options):
        lr = None if sequence == "act-first" else 0.5
        how = bilevel.Lookahead(sequence=sequence)
        method = MSLG(split().train.y, 10, virtual_lr=lr, label_lr="auto", mode=how)
        return train(method, epochs=4, **options)

    whole = run()
    assert not run(checkpoint=tmp_path / "c", on_epoch=stop_at(2, KeyboardInterrupt)).finished
    assert_same_run(whole, run(checkpoint=tmp_path / "c", resume=True))
