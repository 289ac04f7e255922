"""Label heads against the released steps of both methods, their limits, and double backward."""

import copy

import properties
import pytest
import torch
import torch.nn.functional as F
from helpers import assert_same, network, problem, refused, weights
from torch import nn
from torch.func import functional_call
from torch.testing import assert_close

from nlmeta import MSLG, CrossEntropy, bilevel, data, fit, models, presets
from nlmeta.data import Batch
from nlmeta.methods import FixMatch, LabelCorrectionNet, LabelHead, LinearLabelNet
from nlmeta.methods.label_networks import LabelNetwork
from nlmeta.models import MLP

LR = 0.7
META_LABEL_NET = {"direction": "prediction-first", "entropy_weight": 1.0, "scale": "entries"}
SWITCHES = [
    {"direction": direction, "scale": scale}
    for direction in ("prediction-first", "label-first")
    for scale in ("samples", "entries")
]


def linear(seed=1):
    return LinearLabelNet(8, 3, seed=seed).double()


def corrected(seed=1, **options):
    return LabelCorrectionNet(8, 3, seed=seed, **{"embedding": 4, "hidden": 6, **options}).double()


HEADS = {
    "linear": linear,
    "corrected": corrected,
    "corrected, skip": lambda: corrected(skip=True),
}
every_head = pytest.mark.parametrize("make", HEADS.values(), ids=HEADS.keys())


def encoder():
    """Another network than the one that is trained."""
    return MLP(64, 3, (8,), seed=9).double()


def label_head(head, **options):
    return LabelHead(head, **{"head_lr": 0.1, "virtual_lr": LR, **options}).double()


def sgd(model, lr=0.3):
    return torch.optim.SGD(model.parameters(), lr=lr)


def trained(method, model, *, steps=3, optimizer=None):
    optimizer = sgd(model) if optimizer is None else optimizer
    for seed in range(steps):
        train, meta = problem(seed)
        method.step(model, optimizer, train, meta)
    return model


# the released steps, written anew


def released_meta_label_net(net, encoder, layer, net_optimizer, layer_optimizer, x, meta):
    """One step of MetaLabelNet's code on a batch; the given labels do not enter."""

    def divergence(logits, s):
        return (logits.softmax(1) * ((logits + 1e-10).log_softmax(1) - (s + 1e-10).log())).mean()

    logits = net(x)
    features = encoder(x, return_features=True)[1]
    names, theta = zip(*net.named_parameters(), strict=True)
    inner = divergence(logits, layer(features).softmax(1))
    slopes = torch.autograd.grad(inner, theta, create_graph=True)
    ahead = {n: p - g for n, p, g in zip(names, theta, slopes, strict=True)}
    outer = F.cross_entropy(functional_call(net, ahead, (meta.x,)), meta.y)
    layer_optimizer.zero_grad()
    outer.backward(retain_graph=True)
    layer_optimizer.step()
    s = layer(features).softmax(1).detach()
    loss = divergence(logits, s) - (logits.softmax(1) * logits.log_softmax(1)).mean()
    net_optimizer.zero_grad()
    loss.backward()
    net_optimizer.step()


@pytest.mark.parametrize("kind", ["MLP", "BatchNorm"])
def test_it_takes_the_released_steps_of_meta_label_net(kind):
    """Three steps; the code's 1e-10 beside the soft label is left out, hence the tolerance."""
    ours, theirs = network(kind), network(kind)
    method = label_head(
        linear(),
        encoder=encoder(),
        head_lr=0.02,
        virtual_lr=1.0,
        head_weight_decay=1e-4,
        **META_LABEL_NET,
    )
    layer = copy.deepcopy(method.head.layer)
    before = weights(layer)
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}
    optimizer = torch.optim.SGD(ours.parameters(), **options)
    net_optimizer = torch.optim.SGD(theirs.parameters(), **options)
    layer_optimizer = torch.optim.Adam(layer.parameters(), lr=0.02, weight_decay=1e-4)
    for seed in range(3):
        train, meta = problem(seed)
        method.step(ours, optimizer, train, meta)
        released_meta_label_net(
            theirs, encoder().eval(), layer, net_optimizer, layer_optimizer, train.x, meta
        )
    assert (layer.weight - before["weight"]).abs().max() > 1e-2
    assert_close(list(method.head.parameters()), list(layer.parameters()), rtol=0, atol=1e-7)
    assert_close(list(ours.parameters()), list(theirs.parameters()), rtol=0, atol=1e-8)


def released_label_correction(net, head, net_optimizer, head_optimizer, train, judge, clean):
    """One step of Meta Label Correction's code, which looks one step ahead, by SGD's own rule."""
    theta, (options,) = list(net.parameters()), net_optimizer.param_groups
    logits, features = net(train.x, return_features=True)
    s = head(features.detach(), train.y)
    loss = -(s * logits.log_softmax(1)).sum(1).mean()
    if len(clean.y):
        trusted = F.cross_entropy(net(clean.x), clean.y)
        n, m = len(train.y), len(clean.y)
        loss = (n * loss + m * trusted) / (n + m)
    slopes = torch.autograd.grad(loss, theta, create_graph=True)
    there = copy.deepcopy(net)
    with torch.no_grad():
        for p, new, slope in zip(theta, there.parameters(), slopes, strict=True):
            moment = net_optimizer.state[p].get("momentum_buffer", torch.zeros_like(p))
            moment = options["momentum"] * moment + slope + options["weight_decay"] * p
            new -= options["lr"] * moment
    judged = torch.autograd.grad(F.cross_entropy(there(judge.x), judge.y), there.parameters())
    head_optimizer.zero_grad()
    pairs = zip(slopes, judged, strict=True)
    (-sum((options["lr"] * g * v).sum() for g, v in pairs)).backward()
    head_optimizer.step()
    for p, slope in zip(theta, slopes, strict=True):
        p.grad = slope.detach()
    net_optimizer.step()  # by the labels of the head as it was


class ReleasedNet(nn.Module):
    """The label correction network of the release, from the weights of ours."""

    def __init__(self, ours):
        super().__init__()
        self.embedding = copy.deepcopy(ours.embedding)
        self.layers = copy.deepcopy(ours.layers)
        self.skip = ours.skip

    def forward(self, features, y):
        z = self.layers(torch.cat([features, self.embedding(y)], dim=-1))
        if not self.skip:
            return z.softmax(-1)
        share = z[:, 3:].sigmoid()
        return (1 - share) * z[:, :3].softmax(-1) + share * F.one_hot(y, 3)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_it_takes_the_released_steps_of_meta_label_correction(share, skip):
    """Three steps, with momentum and weight decay; the network moves by the old head's labels."""
    ours, theirs = network("MLP"), network("MLP")
    method = LabelHead(
        corrected(skip=skip),
        head_lr=0.02,
        head_optimizer="amsgrad",
        clean_share=share,
        mode=bilevel.Lookahead(sequence="act-first"),
    ).double()
    head = ReleasedNet(method.head)
    before = weights(head)
    head_optimizer = torch.optim.Adam(head.parameters(), lr=0.02, amsgrad=True)
    options = {"lr": LR, "momentum": 0.9, "weight_decay": 1e-2}
    optimizers = [torch.optim.SGD(net.parameters(), **options) for net in (ours, theirs)]
    for seed in range(3):
        train, meta = problem(seed)
        k = 3 if share else 6  # six clean samples: the first ones judge
        judge, clean = (Batch(meta.x[rows], meta.y[rows]) for rows in (slice(k), slice(k, None)))
        method.step(ours, optimizers[0], train, meta)
        args = optimizers[1], head_optimizer, train, judge, clean
        released_label_correction(theirs, head, *args)
    assert (head.embedding.weight - before["embedding.weight"]).abs().max() > 1e-2
    assert_close(weights(method.head), weights(head), rtol=0, atol=1e-9)
    assert_close(list(ours.parameters()), list(theirs.parameters()), rtol=0, atol=1e-11)


def test_looking_first_the_network_moves_by_the_labels_of_the_new_head():
    """The default; to move by those of the old one is a step with a head at rest."""
    train, meta = problem()
    ends = []
    for head_lr in (0.5, 0.0):
        model, method = network("MLP"), label_head(corrected(), head_lr=head_lr)
        method.step(model, sgd(model), train, meta)
        ends.append(weights(model))
        twin = network("MLP")
        label_head(method.head, head_lr=0.0).step(twin, sgd(twin), train, meta)
        assert_close(weights(twin), ends[-1], rtol=0, atol=1e-14)
    assert (ends[0]["classifier.weight"] - ends[1]["classifier.weight"]).abs().max() > 1e-4


# what it becomes


class SampleNumber(nn.Module):
    """Features that are the one-hot of the sample's number, which stands before the pixels."""

    def forward(self, x, return_features=False):
        return x[:, :12], x[:, :12]


class Pixels(nn.Module):
    """A network that does not look at the number."""

    def __init__(self):
        super().__init__()
        self.network = MLP(64, 3, (8,), seed=5)
        self.classifier = self.network.classifier

    def forward(self, x, return_features=False):
        return self.network(x[:, 12:], return_features=return_features)


class LabelTable(LabelNetwork):
    """A linear layer without a bias that starts at k times the one-hot of the given labels."""

    settings = {"num_features": 12}

    def __init__(self, given, k):
        super().__init__()
        self.weight = nn.Parameter(k * F.one_hot(given, 3).double().t())

    def label_logits(self, features, given=None):
        return features @ self.weight.t()


@pytest.mark.parametrize("options", SWITCHES, ids=lambda o: "-".join(o.values()))
def test_a_linear_head_on_the_number_of_the_sample_is_mslg(options):
    """The head's SGD moves the columns of the batch's samples, which are their label logits."""
    given = torch.tensor([0, 0, 2, 1, 0, 2, 0, 1, 0, 0, 2, 0])
    common = {"virtual_lr": LR, "entropy_weight": 0.5, **options}
    rows = MSLG(given, 3, label_lr=40.0, k=2.0, **common).double()
    head = LabelTable(given, 2.0)
    method = label_head(head, head_lr=40.0, head_optimizer="sgd", encoder=SampleNumber(), **common)
    batches = []
    for seed, ids in enumerate(([11, 9, 7, 4], [0, 11, 5, 2], [7, 8, 3, 1])):
        train, meta = problem(seed)
        one_hot, ids = F.one_hot(torch.tensor(ids), 12).double(), torch.tensor(ids)
        x = torch.cat([one_hot, train.x[:4].flatten(1)], dim=1)
        meta_x = torch.cat([torch.zeros(6, 12).double(), meta.x.flatten(1)], dim=1)
        batches.append((Batch(x, given[ids], ids), Batch(meta_x, meta.y)))

    def same_network():
        return Pixels().double()

    ends = properties.trains_as(
        lambda model: method, lambda model: rows, same_network, batches, exact=False
    )
    assert_close(*ends, rtol=0, atol=1e-12)
    moved = rows.memory.logits - 2.0 * F.one_hot(given, 3)
    assert moved.abs().max() > 1e-2
    assert_close(head.weight.t().detach(), rows.memory.logits, rtol=0, atol=1e-12)
    assert_close(method.soft_labels(torch.eye(12).double()), rows.soft_labels(), rtol=0, atol=1e-12)


class Copies(LabelNetwork):
    """A head whose label is the given one."""

    settings = {"num_features": 8}

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def label_logits(self, features, given=None):
        return 1000.0 * F.one_hot(given, 3) + 0 * self.unused


def test_a_head_that_copies_the_given_label_is_cross_entropy():
    batches = [problem(seed) for seed in range(3)]
    properties.trains_as(
        lambda model: label_head(Copies(), head_lr=1.0),
        lambda model: CrossEntropy(),
        network,
        batches,
        exact=False,
    )
    seen = label_head(Copies()).step(network(), sgd(network()), *problem())
    assert seen["hypergradient"] == 0


# the hypergradient


@every_head
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("options", SWITCHES, ids=lambda o: "-".join(o.values()))
def test_the_gradient_of_the_head_equals_double_backward(make, frozen, options):
    """Forward mode against the gradient of a gradient, BatchNorm in training mode."""
    train, meta = problem()
    found = []
    for mode in ("jvp", "exact"):
        model = network()
        method = label_head(make(), mode=mode, encoder=encoder() if frozen else None, **options)
        forward = method.forward_pass(model, train.x)
        found.append(method.head_gradient(model, forward, train.y, meta, lr=LR))
    size = found[1].norm.item()
    assert size > 1e-6
    assert_close(found[0].gradients, found[1].gradients, rtol=1e-9, atol=1e-12 * size)


def test_a_label_moves_towards_the_class_that_helps_the_clean_samples():
    """The clean sample is the training sample itself: its label must come to agree with it."""
    train, _ = problem(n=4)
    method = label_head(linear(), encoder=encoder(), head_lr=0.05, virtual_lr=0.1)
    features = models.with_features(method.encoder, train.x)[1]
    clean = Batch(train.x, torch.tensor([2, 1, 0, 2]))
    before = method.soft_labels(features).gather(1, clean.y[:, None])
    model = network("MLP")
    for _ in range(20):
        method.step(model, sgd(model, 0.05), train, clean)
    after = method.soft_labels(features).gather(1, clean.y[:, None])
    assert after.mean() > before.mean() + 0.2


# clean samples that are trained on


def test_clean_samples_in_the_batch_count_by_cross_entropy_and_do_not_judge():
    """The inner loss is the mean over both; the judge sees the first part of the clean batch."""
    train, meta = problem()
    model = network("MLP")
    method = label_head(corrected(), head_lr=0.0, clean_share=0.5)
    seen = method.step(model, sgd(model, 0.0), train, meta)
    logits, features = model(train.x, return_features=True)
    s = method.soft_labels(features, train.y)
    soft = (s * (s.log() - logits.log_softmax(1))).sum()
    own = F.cross_entropy(model(meta.x[3:]), meta.y[3:], reduction="sum")
    assert own > 0.1
    assert_close(seen["loss"], ((soft + own) / 11).detach(), rtol=1e-12, atol=0)
    ahead = copy.deepcopy(model)
    joint = Batch(torch.cat([train.x, meta.x[3:]]), None)
    p = torch.cat([s, F.one_hot(meta.y[3:], 3)])
    (-(p * ahead(joint.x).log_softmax(1)).sum(1).mean()).backward()
    with torch.no_grad():
        for w in ahead.parameters():
            w -= LR * w.grad
    judged = F.cross_entropy(ahead(meta.x[:3]), meta.y[:3])
    assert_close(seen["meta_loss"], judged.detach(), rtol=1e-12, atol=0)


def test_a_share_too_small_for_one_clean_sample_changes_nothing():
    ends = [trained(label_head(corrected(), clean_share=share), network()) for share in (0.0, 0.1)]
    assert_same(*ends)


def test_refuses_to_train_on_all_clean_samples():
    method, model = label_head(corrected(), clean_share=1.0), network()
    refused("`meta` is empty; LabelHead needs", lambda: method.step(model, sgd(model), *problem()))
    assert method._clean == 0  # an error leaves nothing behind


# the encoder


@pytest.mark.parametrize("switched", [False, True])
def test_the_encoder_is_a_frozen_copy_in_evaluation_mode(switched):
    model = network()
    method = label_head(linear(), encoder=model)
    want = copy.deepcopy(model).eval()
    if switched:
        method.train()
    trained(method, model)
    assert_same(method.encoder, want)
    assert not torch.equal(model.classifier.weight, want.classifier.weight)
    x = problem()[0].x
    forward = method.forward_pass(model, x)
    assert torch.equal(forward.features, want(x, return_features=True)[1])
    assert not any(p.requires_grad for p in method.encoder.parameters())


def test_without_an_encoder_the_head_reads_the_network_that_is_trained():
    model, (train, _) = network("MLP"), problem()
    forward = label_head(linear()).forward_pass(model, train.x)
    assert torch.equal(forward.features, model(train.x, return_features=True)[1])


def test_a_checkpoint_holds_the_encoder_and_the_optimiser_of_the_head():
    method = label_head(linear(), encoder=encoder())
    model = trained(method, network("MLP"))
    other = label_head(linear(seed=2), encoder=network("MLP"))
    other.load_state_dict(method.state_dict())
    ends = [trained(each, copy.deepcopy(model)) for each in (method, other)]
    assert_same(*ends)


def test_fixmatch_reads_the_features_of_the_encoder():
    (train, meta), model = problem(), network("MLP")
    unlabelled = problem(4)[0].x
    views = {"weak": lambda x, g: x, "strong": lambda x, g: x}
    seen = []
    for frozen in (None, encoder()):
        method = label_head(linear(), encoder=frozen)
        around = FixMatch(unlabelled, correction=method, batch_size=4, seed=1, **views).double()
        net = copy.deepcopy(model)
        seen.append(around.step(net, sgd(net), train, meta)["hypergradient"])
    assert seen[0] != seen[1]


# labels of samples


def test_soft_labels_are_the_softmax_of_the_head_by_hand():
    head, features = linear(), torch.randn(5, 8).double()
    u = features @ head.layer.weight.t() + head.layer.bias
    got = label_head(head).soft_labels(features)
    assert_close(got, u.softmax(1).detach(), rtol=1e-13, atol=0)
    assert not got.requires_grad
    single = label_head(head).soft_labels(features.float())
    assert_close(single, got, rtol=1e-6, atol=0)


@pytest.mark.parametrize("skip", [False, True])
def test_soft_labels_of_a_correction_network_by_hand(skip):
    """With `skip`, a mixture with the given label's one-hot."""
    head, y = corrected(skip=skip), torch.tensor([2, 0, 1, 2, 2])
    features = torch.randn(5, 8, generator=torch.Generator().manual_seed(1)).double()
    want = ReleasedNet(head)(features, y).detach()
    got = label_head(head).soft_labels(features, y)
    assert_close(got, want, rtol=1e-12, atol=0)
    assert (got - label_head(head).soft_labels(features, (y + 1) % 3)).abs().max() > 1e-2


def test_labels_of_unseen_samples_agree_with_the_truth_after_training():
    """Four labels in ten are wrong, and the test samples have none: 0.85 is far from chance."""
    split = data.load("digits", rate=0.4, meta_size=100, seed=0)
    model = MLP(64, 10, seed=0)
    options = {"seed": 0, "progress": False, "device": "cpu"}
    fit(CrossEntropy(), model, split, epochs=8, lr=0.05, momentum=0.9, **options)
    head = LinearLabelNet(model.classifier.in_features, 10, seed=0)
    method = LabelHead(head, encoder=model, **presets.META_LABEL_NET_CIFAR10.method)
    run = fit(method, model, split, epochs=15, lr=0.05, momentum=0.9, **options)
    unseen = models.with_features(method.encoder, split.test.x[:])[1]
    assert (method.soft_labels(unseen).argmax(1) == split.test.y).double().mean() > 0.85
    assert run.accuracy > 0.85


def test_a_linear_head_reads_no_given_label():
    """So samples without a label can be trained on."""
    ends = []
    for turned in (0, 1):
        model, method = network(), label_head(linear(), encoder=encoder())
        for seed in range(3):
            train, meta = problem(seed)
            method.step(model, sgd(model), train._replace(y=(train.y + turned) % 3), meta)
        ends.append({**weights(model), **weights(method.head)})
    assert_same(*ends)


def test_it_keeps_no_label_for_a_sample():
    assert label_head(linear()).learned_labels() is None
    assert label_head(linear()).num_samples is None


# settings and refusals


def test_one_seed_gives_one_head_and_the_released_sizes_are_the_defaults():
    for make in (linear, corrected):
        assert_same(make(), make())
        first, other = (next(make(seed).parameters()) for seed in (1, 2))
        assert (first - other).abs().min() > 0
    head = LabelCorrectionNet(64, 10, seed=0)
    assert [tuple(layer.weight.shape) for layer in head.layers[::2]] == [
        (128, 192),
        (128, 128),
        (10, 128),
    ]
    assert all((layer.bias == 0).all() for layer in head.layers[::2])


def test_settings_hold_the_head_and_every_switch():
    settings = label_head(corrected(), clean_share=0.5, encoder=encoder()).settings
    assert settings["name"] == "LabelHead"
    assert settings["head"]["name"] == "LabelCorrectionNet"
    assert settings["clean_share"] == 0.5
    assert settings["direction"] == "label-first"
    assert settings["mode"] == repr(bilevel.Lookahead())


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: LinearLabelNet(0, 3, seed=0), "`num_features` is 0; it must be at least 1"),
        (lambda: LinearLabelNet(8, 0, seed=0), "`num_classes` is 0; it must be at least 1"),
        (lambda: corrected(embedding=0), "`embedding` is 0; it must be at least 1"),
        (lambda: corrected(hidden=0), "`hidden` is 0; it must be at least 1"),
        (lambda: label_head(linear(), direction="first"), "`direction` is 'first'; it must be"),
        (lambda: label_head(linear(), scale="sum"), "`scale` is 'sum'; it must be"),
        (lambda: label_head(linear(), entropy_weight=-1.0), "`entropy_weight` is -1.0; it must"),
        (lambda: label_head(linear(), clean_share=1.5), "`clean_share` is 1.5; it must"),
        (
            lambda: label_head(linear(), clean_share=0.5, direction="prediction-first"),
            "`clean_share` is 0.5 and `direction` is 'prediction-first'; clean samples are",
        ),
        (lambda: label_head(linear(), head_optimizer="lion"), "`head_optimizer` is 'lion'; it"),
        (
            lambda: label_head(linear()).soft_labels(torch.zeros(2, 5)),
            "`num_features` is 8, but the network's features have 5 entries each",
        ),
        (
            lambda: label_head(corrected()).soft_labels(torch.zeros(2, 8)),
            "`given` is missing; LabelCorrectionNet reads the given label of each sample",
        ),
        (
            lambda: label_head(corrected()).soft_labels(torch.zeros(2, 8), torch.zeros(2)),
            "`given` is torch.float32 of shape (2,); labels must be torch.int64",
        ),
        (
            lambda: linear()(bilevel.forward_pass(network(), problem()[0].x), problem()[0].y),
            "`forward` has no features, which LinearLabelNet needs",
        ),
    ],
)
def test_refuses_what_it_cannot_use(make, text):
    refused(text, make)


def test_refuses_a_step_without_clean_samples():
    method, model = label_head(linear()), network()
    refused("`meta` is empty; LabelHead", lambda: method.step(model, sgd(model), problem()[0]))
