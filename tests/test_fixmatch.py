"""FixMatch: its limits, its pseudo-labels, and CLID-MU inside it."""

import copy
import dataclasses
import functools
import math
import re

import helpers
import properties
import pytest
import torch
import torch.nn.functional as F
from helpers import assert_same, network
from PIL import Image
from torch import nn
from torch.testing import assert_close

from nlmeta import EMA, CrossEntropy, bilevel, data, fit
from nlmeta.data import Batch, ImageFiles, Images
from nlmeta.data.augmentation import Compose, Cutout, RandomCrop, RandomFlip
from nlmeta.methods import CLIDMU, FixMatch, LabelCrossEntropy, LogitMultiplier, WeightNet
from nlmeta.models import MLP
from nlmeta.seeding import generator

U = 20
problem = functools.partial(helpers.problem, n=6)  # six labelled samples
MEAN = torch.tensor([90.0, 80.0, 70.0])


def unlabelled(dtype=torch.float64):
    g = torch.Generator().manual_seed(8)
    return torch.randn(U, 1, 8, 8, generator=g, dtype=torch.float64).to(dtype)


def as_it_is(x, generator):
    return x


def noise(size):
    """Normal noise; it draws on the CPU, wherever the samples are."""

    def augment(x, generator):
        return x + size * torch.randn(x.shape, generator=generator).to(x)

    return augment


def fixmatch(**options):
    defaults = {"weak": noise(0.1), "strong": noise(0.5), "batch_size": 5, "cutoff": 0.4, "seed": 1}
    return FixMatch(unlabelled(), **{**defaults, **options}).double()


def weights_correction(**options):
    return CLIDMU(WeightNet(6, normalise=False, seed=1), head_lr=0.1, **options)


def multiplier_correction(**options):
    head = LogitMultiplier(8, 3, embedding=4, hidden=(6,), seed=1)
    return CLIDMU(head, head_lr=0.1, head_optimizer="adam", **options)


CORRECTIONS = {"weights": weights_correction, "multipliers": multiplier_correction}
both_corrections = pytest.mark.parametrize(
    "correction", CORRECTIONS.values(), ids=CORRECTIONS.keys()
)


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9, weight_decay=1e-3)


def steps(method, model, *, count=3, dtype=torch.float64):
    optimizer = sgd(model)
    for seed in range(count):
        train, meta = problem(seed, dtype=dtype)
        seen = method.step(model, optimizer, train, meta if method.needs_meta else None)
    return seen


# limits


@both_corrections
def test_without_unlabelled_weight_and_views_it_is_the_correction_bit_for_bit(correction):
    """All labels given, samples as they are: CLID-MU's own step, in float32."""
    alone, around = correction().float(), correction()
    method = fixmatch(
        weak=as_it_is, strong=as_it_is, unlabelled_weight=0, correction=around
    ).float()
    models = network().float(), network().float()
    steps(alone, models[0], dtype=torch.float32)
    seen = steps(method, models[1], dtype=torch.float32)
    assert_same(*models)
    assert_same(alone, around)
    assert not torch.equal(models[0].classifier.bias, network().float().classifier.bias)
    assert "accepted" not in seen


def test_without_unlabelled_weight_and_views_it_is_cross_entropy_bit_for_bit():
    method = fixmatch(weak=as_it_is, unlabelled_weight=0)
    models = network(), network()
    steps(CrossEntropy(), models[0])
    steps(method, models[1])
    assert_same(*models)


@both_corrections
def test_one_step_with_lines_of_ones_own(correction):
    """Two passes, plain autograd, double backward for the head: (11.11) and (11.12)."""
    method = fixmatch(correction=correction(), unlabelled_weight=0.7)
    twin, model, other = copy.deepcopy(method), network(), network()
    train, meta = problem()
    seen = method.step(model, sgd(model), train, meta)

    draw, correction = twin._random, twin.correction
    labelled = twin.weak(train.x, draw)
    drawn = twin.unlabelled[torch.randperm(U, generator=draw)[:5]]
    weak, strong = twin.weak(drawn, draw), twin.strong(drawn, draw)
    meta = Batch(twin.weak(meta.x, draw), meta.y)
    with torch.no_grad():
        p = copy.deepcopy(other)(weak).softmax(1)
    sure = (p.max(1).values >= 0.4).double()
    assert 0 < sure.sum() < 5
    forward = bilevel.forward_pass(other, torch.cat([labelled, strong]), features=True)
    correction.mode = "exact"
    correction.learn(other, forward, train.y, meta, lr=0.3)
    costs = F.cross_entropy(forward.logits[6:], p.argmax(1), reduction="none")
    loss = correction.ordinary_loss(forward, train.y) + 0.7 * (sure @ costs) / 5
    optimizer = sgd(other)
    loss.backward()
    optimizer.step()

    assert seen["accepted"] == sure.mean()
    assert_close(seen["unlabelled_loss"], (sure @ costs).detach() / 5, rtol=1e-12, atol=0)
    assert_close(seen["loss"], loss.detach(), rtol=1e-12, atol=0)
    assert_close(model.state_dict(), other.state_dict(), rtol=1e-9, atol=1e-12)
    for one, two in zip(method.parameters(), twin.parameters(), strict=True):
        assert_close(one, two, rtol=1e-9, atol=1e-12)


def test_a_cutoff_that_nothing_passes_leaves_the_labelled_loss():
    """In a network without batch statistics; with them, the unlabelled samples are felt."""
    models = network("MLP"), network("MLP")
    none, without = (
        fixmatch(weak=as_it_is, cutoff=1.0),
        fixmatch(weak=as_it_is, unlabelled_weight=0),
    )
    train, _ = problem()
    seen = none.step(models[0], sgd(models[0]), train)
    without.step(models[1], sgd(models[1]), train)
    assert seen["accepted"] == seen["unlabelled_loss"] == 0
    assert_close(models[0].state_dict(), models[1].state_dict(), rtol=1e-12, atol=1e-14)


def test_the_cutoff_itself_is_accepted():
    """Two classes, logits of zero: a probability of one half exactly."""
    model = nn.Linear(2, 2, bias=False)
    nn.init.zeros_(model.weight)
    for cutoff, accepted in ((0.5, True), (0.51, False)):
        method = FixMatch(
            torch.ones(3, 2), weak=as_it_is, strong=as_it_is, batch_size=2, cutoff=cutoff, seed=0
        )
        labels, sure = method.pseudo_labels(model, torch.ones(3, 2))
        assert (labels == 0).all()
        assert (sure == accepted).all()


# what a step touches


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize("correction", [None, *CORRECTIONS.values()])
def test_running_statistics_move_once_per_step(correction, weight):
    """As the joint pass moves them; pseudo-labels and virtual steps leave them alone."""
    correction = None if correction is None else correction()
    method = fixmatch(
        weak=as_it_is, strong=as_it_is, unlabelled_weight=weight, correction=correction
    )
    twin, (train, meta) = copy.deepcopy(method), problem()
    drawn = [twin.unlabelled[torch.randperm(U, generator=twin._random)[:5]]] if weight else []
    seen = torch.cat([train.x, *drawn])
    properties.running_statistics_move_once(method, network(), train, meta, seen=seen)


def test_pseudo_labels_leave_no_trace():
    model = network()
    before = copy.deepcopy(model)
    labels, sure = fixmatch().pseudo_labels(model, unlabelled())
    assert_same(model, before)
    assert all(p.grad is None for p in model.parameters())
    assert labels.shape == sure.shape == (U,)


def test_no_gradient_goes_through_a_pseudo_label():
    """The strong view learns what the weak one said, and the weak one learns nothing."""
    model = network("MLP")
    x = unlabelled()[:5].requires_grad_()
    method = FixMatch(
        unlabelled()[:5], weak=lambda *_: x, strong=as_it_is, batch_size=5, cutoff=0.0, seed=0
    ).double()
    method.step(model, sgd(model), Batch(x, torch.tensor([0, 1, 2, 0, 1])))
    (slope,) = torch.autograd.grad(
        F.cross_entropy(network("MLP")(x), torch.tensor([0, 1, 2, 0, 1])), x
    )
    assert_close(x.grad, slope, rtol=1e-10, atol=1e-14)


def test_augmentations_get_what_they_should():
    """Labelled and meta samples weakly; the same unlabelled ones both ways."""
    seen = {"weak": [], "strong": []}

    def spy(name, x, generator):
        assert generator.device.type == "cpu"
        seen[name].append(x)
        return x

    views = {name: functools.partial(spy, name) for name in seen}
    method = fixmatch(correction=weights_correction(), **views)
    train, meta = problem()
    model = network()
    method.step(model, sgd(model), train, meta)
    assert [len(x) for x in seen["weak"]] == [6, 5, 6]
    assert torch.equal(seen["weak"][0], train.x)
    assert torch.equal(seen["weak"][2], meta.x)
    assert torch.equal(seen["weak"][1], seen["strong"][0])
    rows = (seen["strong"][0][:, None] == unlabelled()).flatten(2).all(2)
    assert (rows.sum(1) == 1).all()  # each is one of the unlabelled,
    assert (rows.sum(0) <= 1).all()  # and none comes twice


def test_draws_follow_the_seed_and_leave_the_global_generator():
    outcomes = []
    for seed, outside in ((1, 5), (1, 6), (2, 5)):
        model = network()
        torch.manual_seed(outside)
        before = torch.get_rng_state()
        steps(fixmatch(seed=seed), model)
        assert torch.equal(torch.get_rng_state(), before)
        outcomes.append(model.classifier.bias.detach())
    assert torch.equal(outcomes[0], outcomes[1])
    assert not torch.equal(outcomes[0], outcomes[2])


# state


@both_corrections
def test_a_state_dict_takes_the_draws_and_the_correction_to_another_object(correction):
    method, other = fixmatch(correction=correction()), fixmatch(correction=correction(), seed=9)
    model, other_model = network(), network()
    steps(method, model)
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    other_model.load_state_dict(model.state_dict())
    for pair in ((method, model), (other, other_model)):
        steps(*pair)
    assert_same(model, other_model)
    assert_same(method, other)


def test_unlabelled_inputs_move_with_the_method_and_are_not_in_its_state():
    method = fixmatch()
    assert method.unlabelled.dtype == torch.float64
    assert method.float().unlabelled.dtype == torch.float32
    assert method.to("meta").unlabelled.device.type == "meta"
    assert list(method.state_dict()) == ["_extra_state"]


def test_settings_hold_the_options_and_those_of_the_correction():
    settings = fixmatch(correction=weights_correction()).settings
    others = {"batch_size": 5, "cutoff": 0.4, "unlabelled_weight": 1.0, "seed": 1}
    assert {name: settings[name] for name in others} == others
    assert settings["name"] == "FixMatch"
    assert settings["correction"] == weights_correction().settings


@pytest.mark.parametrize(
    ("correction", "needs", "labels"),
    [
        (None, False, False),
        (weights_correction(), True, False),
        (weights_correction(objective=LabelCrossEntropy()), True, True),
    ],
)
def test_it_needs_the_meta_samples_that_its_correction_needs(correction, needs, labels):
    method = fixmatch(correction=correction)
    assert (method.needs_meta, method.needs_meta_labels) == (needs, labels)
    around = EMA(method, network(), decay=0.5)
    assert (around.needs_meta, around.needs_meta_labels) == (needs, labels)


# in the loop


@functools.cache
def few_labels(seed=4):
    """Digits: five correct labels of each class, and the images of all other training samples."""
    split = data.load("digits", seed=seed, meta_size=20)
    kept = torch.zeros(len(split.train), dtype=torch.bool)
    for c in range(10):
        kept[(split.train.y == c).nonzero().flatten()[:5]] = True
    return split.keep(kept), split.train.x[~kept]


def run(correction=None, split=None, *, epochs=2, **options):
    labelled, images = few_labels()
    split = labelled if split is None else split
    views = {"weak": noise(0.1), "strong": noise(0.6)}
    defaults = {"batch_size": 96, "cutoff": 0.9, "seed": 0, **views}
    method = FixMatch(images, correction=correction, **{**defaults, **options})
    sizes = {"batch_size": 25, "meta_batch_size": 20, "evaluate_every": epochs}
    model = MLP(64, 10, (64,), seed=4)
    return fit(method, model, split, epochs=epochs, seed=4, progress=False, device="cpu", **sizes)


def test_unlabelled_images_help_where_labels_are_few():
    """Fifty correct labels; measured .86 to .92 with them, .82 to .87 without, on seeds 0 to 5."""
    with_them = run(epochs=150).accuracy
    without = run(epochs=150, unlabelled_weight=0.0).accuracy
    assert with_them > without + 0.01


@pytest.mark.parametrize(
    "correction",
    [
        lambda: CLIDMU(WeightNet(6, normalise=False, seed=0), head_lr=0.1),
        lambda: CLIDMU(LogitMultiplier(64, 10, hidden=(8,), seed=0), head_lr=0.01),
    ],
    ids=["weights", "multipliers"],
)
def test_neither_true_labels_nor_meta_labels_are_looked_at(correction):
    split = few_labels()[0]
    meta = dataclasses.replace(split.meta, y=split.meta.y.flip(0))
    garbage = dataclasses.replace(split, true_labels=split.true_labels.flip(0), meta=meta)
    one, two = run(correction()), run(correction(), garbage)
    assert_same(one.model, two.model)
    assert one.history["meta_loss"].tolist() == two.history["meta_loss"].tolist()
    assert one.history["accepted"].notna().all()


# images kept as bytes

WEAK, STRONG = Compose([RandomFlip(), RandomCrop(padding=1)]), Compose([RandomFlip(), Cutout(2)])


def pictures():
    """The unlabelled ones as bytes, their weak and strong views drawn on bytes too."""
    g = torch.Generator().manual_seed(8)
    stored = torch.randint(0, 256, (U, 1, 8, 8), generator=g, dtype=torch.uint8)
    return Images(stored, mean=torch.tensor([90.0]), deviation=torch.tensor([60.0]))


def on_images(images=None, **options):
    defaults = {"weak": WEAK, "strong": STRONG, "batch_size": 5, "cutoff": 0.4, "seed": 1}
    images = pictures() if images is None else images
    return FixMatch(images, **{**defaults, **options}).double()


def test_views_of_images_are_drawn_for_each_from_the_generator():
    """Rows, then weak numbers, then strong ones; both views are of the same images."""
    method, by_hand = on_images(), generator(1, "fixmatch")
    for _ in range(2):
        weak, strong = method.views()
        rows = torch.randperm(U, generator=by_hand)[:5]
        raw = pictures().stored[rows]
        for view, change in ((weak, WEAK), (strong, STRONG)):
            u = torch.rand(5, change.num_random, generator=by_hand)
            assert torch.equal(view, (change(raw, u).double() - 90) / 60)
            assert not torch.equal(view, (raw.double() - 90) / 60)


@both_corrections
def test_a_step_on_images_is_the_step_on_their_views(correction):
    """Labelled and meta samples come as they are: their split has augmented them already."""
    method, model, other = on_images(correction=correction()), network(), network()
    views = [*copy.deepcopy(method).views()]
    ready = fixmatch(
        weak=lambda x, _: views[0] if len(x) == 5 else x,
        strong=lambda *_: views[1],
        correction=correction(),
    )
    train, meta = problem()
    seen = method.step(model, sgd(model), train, meta)
    want = ready.step(other, sgd(other), train, meta)
    assert seen == want
    assert 0 < seen["accepted"] < 1
    assert_same(model, other)
    assert_same(method.correction, ready.correction)


def test_images_on_disk_give_the_steps_of_those_in_memory(tmp_path):
    colour = Images(pictures().stored.expand(-1, 3, -1, -1), mean=MEAN, deviation=MEAN + 1)
    for i, image in enumerate(colour.stored):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{i}.png")
    files = ImageFiles(tmp_path, [f"{i}.png" for i in range(U)], size=8)
    for disk, memory in zip(
        on_images(Images(files, mean=MEAN, deviation=MEAN + 1)).views(),
        on_images(colour).views(),
        strict=True,
    ):
        assert torch.equal(disk, memory)


def test_draws_on_images_go_on_from_a_state_dict():
    method, other = on_images(), on_images(seed=9)
    model, other_model = network(), network()
    steps(method, model)
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    other_model.load_state_dict(model.state_dict())
    for pair in ((method, model), (other, other_model)):
        steps(*pair)
    assert_same(model, other_model)
    assert not torch.equal(method.views()[0], on_images().views()[0])


def test_images_move_with_the_method_and_are_not_in_its_state():
    method = on_images()
    assert method.unlabelled.dtype == torch.float64
    assert method.float().unlabelled.dtype == torch.float32
    assert method.unlabelled.stored.dtype == torch.uint8
    assert list(method.state_dict()) == ["_extra_state"]
    assert list(method.buffers()) == []


def test_settings_hold_the_augmentations_of_images():
    settings = on_images().settings
    assert (settings["weak"], settings["strong"]) == (repr(WEAK), repr(STRONG))


def test_training_on_unlabelled_images_goes_on_bit_for_bit(tmp_path):
    stored = torch.cat([pictures().stored, pictures().stored.flip(2, 3)])
    y = torch.arange(2 * U) % 3
    split = data.from_arrays(stored, y, true_labels=y, test_size=9, seed=0)

    def train(stop=False, **options):
        def on_epoch(epoch, model, method):
            if stop and epoch == 2:
                raise KeyboardInterrupt

        method = on_images(split.train.x, cutoff=0.34).float()
        options |= {"device": "cpu", "progress": False, "on_epoch": on_epoch}
        return fit(method, MLP(64, 3, seed=0), split.augmented(WEAK), epochs=3, seed=0, **options)

    whole = train()
    cut = {"checkpoint": tmp_path / "run.pt", "resume": True}
    assert not train(stop=True, **cut).finished
    resumed = train(**cut)
    assert resumed.history["unlabelled_loss"].tolist() == whole.history["unlabelled_loss"].tolist()
    assert (whole.history["accepted"] > 0).all()
    assert_same(resumed.model, whole.model)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: on_images(strong=as_it_is), "`strong` is <function as_it_is"),
        (lambda: on_images(weak=None), "`weak` is None; for images kept as bytes it must"),
        (lambda: fixmatch(weak=WEAK), "`weak` is Compose("),
        (lambda: fixmatch(strong=None), "`strong` is None; for a tensor it must be a function"),
        (lambda: on_images([1, 2]), "`unlabelled` is list; it must be a tensor or `Images`"),
    ],
)
def test_each_kind_of_input_takes_its_own_kind_of_view(make, text):
    with pytest.raises(TypeError, match=re.escape(text)):
        make()


# refusals


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_size": 0}, "`batch_size` is 0; it must be at least 1"),
        ({"batch_size": 21}, "`batch_size` is 21; it must be at most 20"),
        ({"cutoff": 1.5}, "`cutoff` is 1.5; it must lie in [0, 1]"),
        ({"unlabelled_weight": -1.0}, "`unlabelled_weight` is -1.0"),
        ({"unlabelled_weight": math.inf}, "`unlabelled_weight` is inf"),
        ({"seed": -1}, "`seed` is -1"),
    ],
)
def test_wrong_options_are_refused_by_name(options, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        fixmatch(**options)


def test_a_missing_meta_batch_is_refused_where_the_correction_needs_one():
    train, _ = problem()
    model = network()
    with pytest.raises(ValueError, match="`meta` is empty; CLIDMU needs at least one meta sample"):
        fixmatch(correction=weights_correction()).step(model, sgd(model), train)
